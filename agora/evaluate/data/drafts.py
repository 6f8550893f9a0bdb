"""Records by a mapping: the question with its options, the truth, and whatever a scorer needs, each of them checked."""

from __future__ import annotations

import difflib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from agora.answers import boxed
from agora.errors import InputError, TemplateError
from agora.evaluate.data.mapping import LETTERS, AnswerSpec, MappingSpec, OptionsSpec, TemplateSpec, listed, template
from agora.model import derive_seed
from agora.sandbox import Sandbox


@dataclass(frozen=True)
class Draft:
    """A record as an item that lacks its kind of answer.

    Attributes:
        where: the record stands.
        id: given there; None where there is none.
        question: with its options.
        truth: as it stands there, as text; labels where there are options.
        options: label -> text.
        group: '' is none.
        data: for scorers.
    """

    where: str
    id: str | None
    question: str
    truth: tuple[Any, ...]
    options: Mapping[str, str] | None
    group: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def draft(record: Mapping[str, Any], where: str, spec: MappingSpec, seed: int) -> Draft:
    """A record by a mapping.

    Raises:
        InputError: saying where, and what is wrong with it.
    """
    truth = spec.truth
    options = None if spec.choices is None else _options(record, where, spec.choices)
    right: tuple[Any, ...] = ()
    if truth.field is not None:
        right = _truth(_at(record, truth.field, where), truth, where)
    if options is not None:
        right = _labels(right, truth.as_, options, where)
        if spec.shuffle:
            options, right = _shuffled(options, right, seed)
    question = _question(record, where, spec.question, options)
    data = {}
    for name in ("views", "distribution", "tolerance"):
        path = getattr(spec, name)
        if path is not None:
            data[name] = _part(_at(record, path, where), name, where)
    given = None if spec.id is None else _text(_at(record, spec.id, where), spec.id, where)[:200]
    group = "" if spec.group is None else _text(_at(record, spec.group, where), spec.group, where, empty=True)[:200]
    return Draft(where, given, question, right, options, group, data)


# ---- the parts of a record ----------------------------------------------------------------------------------------


def _at(record: Mapping[str, Any], path: str, where: str) -> Any:
    """What stands at a field; a dot leads into it, where no field has the whole name."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = value if isinstance(value, Mapping) else record
            near = difflib.get_close_matches(part, [str(name) for name in there], 1)
            hint = f"Did you mean '{near[0]}'?" if near else None
            raise InputError(f"{where}: there is no field '{path[:60]}'; it has {listed(record)}.", hint=hint)
        value = value[part]
    return value


def _text(value: Any, name: str, where: str, *, empty: bool = False) -> str:
    """A value as text.

    Raises:
        InputError: if it is none, or empty.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        text = (value or "").strip()
    elif isinstance(value, (int, float)) and value == value and abs(value) != float("inf"):
        text = str(value)
    else:
        raise InputError(f"{where}: '{name[:60]}' must be a text or a number, not {repr(value)[:40]}.")
    if not text and not empty:
        raise InputError(f"{where}: '{name[:60]}' is empty.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{where}: '{name[:60]}' has half a character in it.",
                             hint="A \\ud8.. stands there without its other half.") from None  # fmt: skip
    return text


def _truth(value: Any, spec: AnswerSpec, where: str) -> tuple[Any, ...]:
    """The right answers as they stand there; a list is several, or marks."""
    name = spec.field or ""
    if isinstance(value, Mapping) or (spec.as_ == "marks" and not isinstance(value, str)):
        return (value,)
    if spec.as_ == "marks":
        return (_parsed(value, name, where),)
    if isinstance(value, (list, tuple)):
        if not value:
            raise InputError(f"{where}: '{name[:60]}' is empty.")
        if any(isinstance(item, (list, tuple, Mapping)) for item in value):
            return (list(value),)
        return tuple(_cut(item, spec, where) for item in value)
    return (_cut(value, spec, where),)


def _cut(value: Any, spec: AnswerSpec, where: str) -> str:
    name = spec.field or ""
    text = _text(value, name, where)
    if spec.after is not None:
        _, found, text = text.rpartition(spec.after)
        if not found or not text.strip():
            raise InputError(f"{where}: in '{name[:60]}' nothing follows '{spec.after[:20]}'.")
    if spec.boxed:
        inside = boxed(text)
        if inside is None or not inside.strip():
            raise InputError(f"{where}: in '{name[:60]}' there is no \\boxed{{}}.")
        text = inside
    return text.strip()


def _parsed(value: Any, name: str, where: str) -> Any:
    """What stands in a text as JSON, as in a field of a CSV file; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: '{name[:60]}' is no JSON: {value[:40]!r}.") from None


def _options(record: Mapping[str, Any], where: str, spec: str | list[str] | OptionsSpec) -> dict[str, str]:
    """Options by label."""
    labels: list[str] | None = None
    if isinstance(spec, list):
        values: Any = [_at(record, name, where) for name in spec]
        name = spec[0] if spec else ""
        if all(len(column) == 1 and column.upper() in LETTERS for column in spec):
            filled = [(c.upper(), v) for c, v in zip(spec, values, strict=True) if v not in (None, "")]
            labels, values = [c for c, _ in filled], [v for _, v in filled]
    else:
        name = spec if isinstance(spec, str) else spec.texts
        values = _at(record, name, where)
        if isinstance(values, str):
            values = _parsed(values, name, where) if values.lstrip()[:1] in ("[", "{") else values.split("|")
        if isinstance(values, Mapping):
            values = {k: v for k, v in values.items() if v is not None}
            labels, values = [str(key).strip() for key in values], list(values.values())
        if isinstance(spec, OptionsSpec) and spec.labels is not None:
            given = _parsed(_at(record, spec.labels, where), spec.labels, where)
            labels = [_text(label, spec.labels, where) for label in given] if isinstance(given, (list, tuple)) else []
    if not isinstance(values, (list, tuple)) or not 2 <= len(values) <= len(LETTERS):
        wanted = f"a list of 2 to {len(LETTERS)} options, or a mapping of labels to options"
        raise InputError(f"{where}: '{name[:60]}' must be {wanted}.", hint="In a CSV file: a|b|c, or a JSON list.")
    texts = [_text(value, name, where) for value in values]
    labels = list(LETTERS[: len(texts)]) if labels is None else labels
    if any(not label or len(label) > 40 or not label.isprintable() for label in labels):
        raise InputError(f"{where}: a label of an option has 1 to 40 printable characters.")
    if len(labels) != len(texts) or len({label.casefold() for label in labels}) != len(labels):
        raise InputError(f"{where}: the options do not have one label each: {', '.join(labels)[:60]}.")
    return dict(zip(labels, texts, strict=True))


def _labels(right: tuple[Any, ...], how: str | None, options: Mapping[str, str], where: str) -> tuple[str, ...]:
    """The labels of the right options."""
    labels = list(options)
    if how == "first":
        return (labels[0],)
    if how == "marks":
        marks = right[0] if right and isinstance(right[0], (list, tuple)) else []
        if len(marks) != len(labels) or any(mark not in (0, 1) for mark in marks) or not any(marks):
            raise InputError(f"{where}: the marks must be one 0 or 1 for each of the {len(labels)} options, with a 1.")
        return tuple(label for label, mark in zip(labels, marks, strict=True) if mark)
    return tuple(_label(text, how, options, where) for text in right)


def _label(text: Any, how: str | None, options: Mapping[str, str], where: str) -> str:
    labels, given = list(options), str(text).strip()
    if how in ("index", "number"):
        place = int(given) - (how == "number") if re.fullmatch(r"\d{1,3}", given) else -1
        if not 0 <= place < len(labels):
            first = int(how == "number")
            raise InputError(
                f"{where}: the answer must be the place of an option, {first} to {len(labels) - 1 + first}, "
                f"not '{given[:40]}'."
            )
        return labels[place]
    folded = given.casefold()
    by_label = [label for label in labels if label.casefold() == folded.strip("().")]
    by_text = [label for label, full in options.items() if full.casefold() == folded]
    if how is None and by_label and by_text and by_label != by_text:
        raise InputError(f"{where}: the answer '{given[:40]}' is the label of one option and the text of another.",
                         hint="Say which is meant: answer: {field: ..., as: label} or {as: text}.")  # fmt: skip
    found = {"label": by_label, "text": by_text}.get(how or "", by_text or by_label)
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise InputError(f"{where}: the answer '{given[:40]}' is the text of several options.")
    hint = None
    if given.isdigit():
        hint = "If it is a place, say how it counts: answer: {field: ..., as: index} from 0, or {as: number} from 1."
    shown = ", ".join(f"{label}) {text[:30]}" for label, text in options.items())[:200]
    raise InputError(f"{where}: the answer '{given[:40]}' is none of the options {shown}.", hint=hint)


def _shuffled(options: Mapping[str, str], right: Sequence[str], seed: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """Options in an order of their own: drawn from the seed and what they say, not from where the record stands."""
    pairs = list(options.items())
    random.Random(derive_seed(seed, "options", *options.values())).shuffle(pairs)
    letters = LETTERS[: len(pairs)]
    places = {old: new for new, (old, _) in zip(letters, pairs, strict=True)}
    shuffled = {new: text for new, (_, text) in zip(letters, pairs, strict=True)}
    return shuffled, tuple(sorted(places[label] for label in right))


def _question(
    record: Mapping[str, Any], where: str, spec: str | TemplateSpec, options: Mapping[str, str] | None
) -> str:
    lines = "" if options is None else "\n".join(f"{label}) {text}" for label, text in options.items())
    if isinstance(spec, str):
        text = _text(_at(record, spec, where), spec, where)
        return f"{text}\n\n{lines}" if lines else text
    made = template(spec.template)
    shown = [{"label": label, "text": text} for label, text in (options or {}).items()]
    values = {**{str(key): value for key, value in record.items()}, "options": shown, "record": record}
    try:
        rendered = Sandbox.text(made, values)
    except TemplateError as error:
        raise InputError(f"{where}: the question's template: {error.message}.") from None
    except jinja2.UndefinedError as error:
        raise InputError(
            f"{where}: the question's template: {error.message}; the record has {listed(record)}."
        ) from None
    except Exception as error:  # a template may use values in a way that they do not allow
        raise InputError(
            f"{where}: the question's template cannot be rendered: {' '.join(str(error).split())[:120]}."
        ) from None
    text = _text(rendered, "question", where)
    return f"{text}\n\n{lines}" if lines and "options" not in spec.template else text


def _part(value: Any, name: str, where: str) -> Any:
    """Views, a distribution or a tolerance, checked."""
    if name == "tolerance":
        text = _text(value, name, where)
        if not re.fullmatch(r"\d{1,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,2})?", text):
            raise InputError(f"{where}: the tolerance must be a number, at least 0, not '{text[:40]}'.")
        return text
    value = _parsed(value, name, where)
    if name == "views":
        texts = list(value) if isinstance(value, (list, tuple, Mapping)) else []
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(f"{where}: the views must be a list of texts, or a mapping of texts to key words.")
        return value
    shares = list(value.values()) if isinstance(value, Mapping) else []
    if not shares or not all(type(s) in (int, float) and 0 <= s < float("inf") for s in shares) or not sum(shares):
        raise InputError(f"{where}: the distribution must be a mapping of answers to shares, such as "
                         '{"yes": 0.7, "no": 0.3}.')  # fmt: skip
    return value
