"""Mappings: which fields of a record are the question, its options and the truth; a small language in YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jinja2
from pydantic import Field, ValidationError, model_validator

from agora.config.reading import explain, parse, read
from agora.config.schema import Strict
from agora.errors import ConfigError, InputError, TemplateError
from agora.sandbox import Sandbox

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FOLDER = Path(__file__).parent / "mappings"
_KIND = ("a mapping", "question: and answer:")


class TemplateSpec(Strict):
    """A question made of several fields."""

    template: str = Field(min_length=1, description="Jinja; it may use the record's fields, and `options`")


class AnswerSpec(Strict):
    """Where the truth is."""

    field: str | None = Field(None, min_length=1, description="its field; a dot leads into what stands in one")
    after: str | None = Field(None, min_length=1, description="it is what follows the last of these")
    boxed: bool = Field(False, description="it is what stands in the last \\boxed{}")
    as_: Literal["label", "index", "number", "text", "marks", "first"] | None = Field(
        None,
        alias="as",
        description="which option is right: by its label, its place from 0 (index) or from 1 (number), its text, a "
        "list of 0 and 1 (marks), or always the first",
    )


class OptionsSpec(Strict):
    """Options in two fields."""

    labels: str | None = None
    texts: str


class MappingSpec(Strict):
    """What a mapping may say."""

    about: str = Field("", description="a sentence: what it is, where it is from")
    question: str | TemplateSpec
    answer: str | AnswerSpec | None = None
    choices: str | list[str] | OptionsSpec | None = Field(
        None, description="a field with a list or a mapping of label to text, a list of fields, or {labels, texts}"
    )
    shuffle: bool = Field(False, description="options in an order drawn by the seed")
    group: str | None = None
    id: str | None = None
    kind: str | dict[str, Any] | None = Field(None, description="of answer, as under `answer:` of a debate; or 'latex'")
    scorer: str | dict[str, Any] | None = None
    views: str | None = Field(None, description="a field with reference views, for the scorer 'coverage'")
    distribution: str | None = Field(None, description="a field with shares of answers, for the scorer 'distribution'")
    tolerance: str | None = Field(None, description="a field with the greatest difference, for the scorer 'numeric'")

    @property
    def truth(self) -> AnswerSpec:
        """Where the truth is, in full."""
        return self.answer if isinstance(self.answer, AnswerSpec) else AnswerSpec(field=self.answer)

    @model_validator(mode="after")
    def _fits(self) -> MappingSpec:
        truth = self.truth
        if truth.as_ == "first" and not self.shuffle:
            raise ValueError("where the first option is always right, shuffle: must be true")
        if truth.as_ and self.choices is None:
            raise ValueError("answer: as needs choices:")
        if truth.field is None and truth.as_ != "first" and self.views is None and self.distribution is None:
            raise ValueError("answer: must name the field of the truth")
        if self.choices is not None and self.kind is not None:
            raise ValueError("kind: and choices: exclude each other, as choices are a kind of their own")
        if truth.as_ in (None, "first") and self.shuffle and self.choices is None:
            raise ValueError("shuffle: needs choices:")
        return self


def names() -> list[str]:
    """The mappings that come with agora."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def mapping_of(value: str | Path | Mapping[str, Any] | MappingSpec) -> MappingSpec:
    """A mapping from its name, a YAML file, or its content.

    Raises:
        InputError: if there is none such, or it is wrong: with file and line.
    """
    if isinstance(value, MappingSpec):
        return value
    if isinstance(value, Mapping):
        return _checked(dict(value), {}, "mapping")
    name = str(value)
    if isinstance(value, str) and name in names():
        path = FOLDER / f"{name}.yaml"
    elif is_file(name):
        path = Path(value)
    else:
        near = difflib.get_close_matches(name[:60], names(), 1)
        hint = f"Did you mean '{near[0]}'?" if near else "A mapping of your own is a file that ends in .yaml."
        raise InputError(f"there is no mapping '{name[:60]}'; there are {', '.join(names())}.", hint=hint)
    return _checked(*parse(read(path, _KIND[0]), str(path), _KIND), str(path))


def is_file(name: str) -> bool:
    """Whether a name is that of a mapping in a file."""
    return name.endswith((".yaml", ".yml"))


def _checked(data: dict[str, Any], lines: Mapping[Any, int], file: str) -> MappingSpec:
    try:
        spec = MappingSpec.model_validate(data)
    except ValidationError as errors:
        error = explain(errors, data, lines, file, MappingSpec)
        error.message = error.message.removeprefix(": ")
        raise error from None
    if isinstance(spec.question, TemplateSpec):
        try:
            template(spec.question.template)
        except InputError as error:
            line = lines.get(("question", "template"))
            raise ConfigError(f"question.template: {error.message}", file=file, line=line) from None
    return spec


USUAL: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "problem", "prompt", "input", "query"),
    "answer": ("answer", "truth", "target", "gold", "correct", "correct_answer", "expected", "label", "output"),
    "choices": ("choices", "options"),
    "group": ("group", "subject", "category", "topic", "type", "level"),
    "id": ("id", "qid", "question_id", "uid"),
}


def found_in(record: Mapping[str, Any], where: str) -> MappingSpec:
    """A mapping of the fields that go by their usual names.

    Raises:
        InputError: if there is no question, or no truth.
    """
    folded = {str(name).strip().casefold(): str(name) for name in record}
    chosen: dict[str, Any] = {}
    for part, usual in USUAL.items():
        chosen[part] = next((folded[name] for name in usual if name in folded), None)
        if part in ("question", "answer") and chosen[part] is None:
            near = [n for name in usual for n in difflib.get_close_matches(name, folded, 1, 0.8)]
            hint = f"Is it '{folded[near[0]]}'? " if near else ""
            raise InputError(f"{where}: no field is known to be the {part}; it has {listed(record)}.",
                             hint=f"{hint}Name it by a mapping: {part}: FIELD.")  # fmt: skip
    letters = [folded[letter.casefold()] for letter in LETTERS[:10] if letter.casefold() in folded]
    if chosen["choices"] is None and len(letters) > 1:
        chosen["choices"] = letters
    return _spec(chosen)


def _spec(parts: Mapping[str, Any]) -> MappingSpec:
    return _checked({part: name for part, name in parts.items() if name is not None}, {}, "mapping")


@lru_cache(maxsize=16)
def template(source: str) -> jinja2.Template:
    environment = Sandbox(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.bounded(source)
    except TemplateError as error:
        raise InputError(f"{error.message}.") from None
    except (jinja2.TemplateSyntaxError, jinja2.TemplateAssertionError) as error:
        raise InputError(f"line {error.lineno}: {error.message}.") from None


def listed(record: Mapping[str, Any]) -> str:
    """The fields of a record, in words."""
    shown = [str(name)[:40] for name in record]
    return f"{', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''}" if shown else "none"
