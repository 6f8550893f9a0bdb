"""Data sets: what stands after `--data`, as items with a scorer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agora.answers import AnswerType, Choice, Json, Number, Text, YesNo
from agora.config.answers import answer_of
from agora.config.options import Context
from agora.errors import InputError
from agora.evaluate.data import files
from agora.evaluate.data import mapping as mappings
from agora.evaluate.data.drafts import Draft, draft
from agora.evaluate.data.mapping import MappingSpec, found_in, mapping_of
from agora.evaluate.data.tasks import DEFAULT, TASKS, generated
from agora.evaluate.data.tasks.making import named
from agora.evaluate.records import NOTHING, Dataset, Item
from agora.evaluate.scorers.known import read_truth
from agora.evaluate.scorers.latex import Latex
from agora.evaluate.scorers.naming import scorer_of

_NUMERIC = re.compile(r"[-+\u2212]?\$?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d+)?%?")


def load(
    source: str | Path,
    *,
    n: int | None = None,
    seed: int = 0,
    mapping: str | Path | Mapping[str, Any] | None = None,
    scorer: Any = None,
    context: Context | None = None,
) -> Dataset:
    """A data set.

    Args:
        source: one of
            a file: JSON lines, a JSON array, CSV, TSV, Parquet (extra `parquet`), by its ending;
            a folder that `save_to_disk` wrote, with ':SPLIT' where it has several (extra `datasets`);
            'hf:NAME[/CONFIG]:SPLIT', from the Hugging Face hub (extra `datasets`), as in 'hf:cais/mmlu/all:test';
            any of these after the name of a mapping: 'gsm8k:test.jsonl', 'mine.yaml:test.csv';
            a generated task, with how many and its knobs: 'arithmetic', 'arithmetic:100,operands=8,digits=2'.
            A file that is called as a task is './arithmetic'.
        n: items at most: drawn by the seed from a file, the first of a generated task, whose items are drawn anyway.
        seed: of what is drawn: items, the order of options, generated tasks.
        mapping: which fields are what: the name of one that comes with agora, a YAML file, or its content. Without one
            fields are found by their usual names (`mapping.USUAL`), and the kind of answer by what the truths are.
        scorer: in place of the mapping's, or of the kind of answer's own; see `scorers.scorer_of`.
        context: where models of scorers are built.

    Raises:
        InputError: if it cannot be read: with file, line and what is wrong. No record is left out silently.
        MissingError: if it takes an extra that is not installed.
    """
    if n is not None and n < 1:
        raise InputError(f"a data set needs at least 1 item, not {n}.")
    text = str(source)
    parts = re.split(r"[:,]", text)
    if isinstance(source, str) and parts[0] in TASKS:
        if mapping is not None:
            raise InputError(f"{parts[0]} is a generated task, which takes no mapping.")
        made = _task(parts, n, seed)
        return made if scorer is None else Dataset(made.name, made.items, scorer_of(scorer, context), made.about)
    head, colon, rest = text.partition(":")
    if colon and rest and (head in mappings.names() or mappings.is_file(head)):
        if mapping is not None:
            raise InputError(f"two mappings are given: '{head[:60]}' in '{text[:60]}', and another.")
        text, mapping = rest, head
    spec = None if mapping is None else mapping_of(mapping)
    name, records = _records(text)
    items, found = _items(records, spec, seed, text)
    about = found.about or f"from {name}"
    if scorer is not None:
        made_scorer = scorer_of(scorer, context)
    elif found.scorer is not None:
        file = isinstance(mapping, Path) or (isinstance(mapping, str) and mappings.is_file(mapping))
        made_scorer = scorer_of(found.scorer, context, within=Path(str(mapping)).parent if file else None)
    else:
        made_scorer = scorer_of(_usual_scorer(items, text), context)
    return Dataset(name, items, made_scorer, about).sample(n, seed)


def _task(parts: Sequence[str], n: int | None, seed: int) -> Dataset:
    """A generated task from what was typed."""
    count: int | None = None
    knobs: dict[str, str] = {}
    for part in parts[1:]:
        knob, equals, value = part.partition("=")
        if equals and knob.strip() not in knobs:
            knobs[knob.strip()] = value.strip()
        elif re.fullmatch(r"\d{1,9}", part) and count is None:
            count = int(part)
        else:
            raise InputError(
                f"{parts[0]}: '{part[:40]}' is neither a number of items nor KNOB=VALUE, once each.",
                hint=f"As in {parts[0]}:100" + "".join(f",{k}=..." for k in list(TASKS[parts[0]].knobs)[:1]),
            )
    wanted = min((x for x in (count, n) if x is not None), default=DEFAULT)
    return generated(parts[0], wanted, seed, knobs)


def _records(text: str) -> tuple[str, Iterator[files.Record]]:
    """The records of a source that is no generated task, and its name."""
    if text.startswith("hf:"):
        name, colon, split = text.removeprefix("hf:").partition(":")
        parts = name.split("/")
        if not colon or not split or not all(parts) or len(parts) > 3:
            raise InputError(f"'{text[:80]}' names no split of a data set.",
                             hint="It is hf:OWNER/NAME[/CONFIG]:SPLIT, as in hf:openai/gsm8k/main:test.")  # fmt: skip
        return text, files.hub("/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split)
    try:
        path = Path(text)
        if path.exists():
            return path.name, files.records(path)
        folder, colon, split = text.rpartition(":")
        if colon and split and Path(folder).is_dir():
            return f"{Path(folder).name}:{split}", files.records(Path(folder), split)
    except (OSError, ValueError) as error:  # too long, or with a zero in it
        raise InputError(f"'{text[:60]}' cannot be read: {str(error)[:80]}.") from None
    raise InputError(f"there is no data '{text[:80]}'.", hint=_nearest(text, path))


def _nearest(text: str, path: Path) -> str:
    """What may have been meant."""
    head = re.split(r"[:,]", text)[0]
    known = [*TASKS, *(f"{name}:FILE" for name in mappings.names())]
    near = difflib.get_close_matches(head[:60], [*TASKS, *mappings.names()], 1, 0.7)
    if near:
        return f"Did you mean '{near[0]}{'' if near[0] in TASKS else ':FILE'}'?"
    if path.parent.is_dir():
        there = difflib.get_close_matches(path.name[:100], sorted(p.name for p in path.parent.iterdir())[:2_000], 1)
        if there:
            return f"Did you mean '{path.parent / there[0]}'?"
    return f"It is a file ({', '.join(files.ENDINGS)}), hf:NAME:SPLIT, or one of {', '.join(known)}."


# ---- items --------------------------------------------------------------------------------------------------------


def _items(
    records: Iterator[files.Record], spec: MappingSpec | None, seed: int, text: str
) -> tuple[list[Item], MappingSpec]:
    """The items of records, and the mapping that made them."""
    drafts: list[Draft] = []
    for where, record in records:
        if spec is None:
            spec = found_in(record, where)
        drafts.append(draft(record, where, spec, seed))
    if not drafts or spec is None:
        raise InputError(f"{text[:80]}: there is no record in it.")
    kind = None if drafts[0].options is not None else _kind(spec, drafts)
    items, places = [], dict[str, str]()
    copies = dict[str, int]()
    for one in drafts:
        made = _item(one, kind)
        if one.id is None:  # records that are alike are no mistake: they are numbered
            copies[made.id] = copies.get(made.id, 0) + 1
            if copies[made.id] > 1:
                made = _renamed(made, f"{made.id}-{copies[made.id]}")
        elif made.id in places:
            raise InputError(f"{one.where}: the id '{made.id[:60]}' is taken already, at {places[made.id]}.",
                             hint="Ids must differ; without an id: in the mapping they are made.")  # fmt: skip
        places[made.id] = one.where
        items.append(made)
    return items, spec


def _renamed(item: Item, name: str) -> Item:
    return Item(name, item.question, item.truth, item.answer, item.group, item.data)


def _kind(spec: MappingSpec, drafts: Sequence[Draft]) -> AnswerType:
    """The kind of answer: as it is said, else what all truths are."""
    if spec.kind == "latex":
        return Latex()
    if spec.kind is not None:
        try:
            return answer_of(spec.kind)
        except InputError as error:
            raise InputError(f"kind: {error.message.removeprefix('answer: ')}", hint=error.hint) from None
    truths = [truth for one in drafts for truth in one.truth]
    if truths and all(not isinstance(truth, str) for truth in truths):
        return Json()
    if truths and all(isinstance(t, str) and len(t) < 300 and _NUMERIC.fullmatch(t) for t in truths):
        return Number()
    if truths and all(isinstance(t, str) and t.casefold() in ("yes", "no", "true", "false") for t in truths):
        return YesNo()
    return Text()


def _item(one: Draft, kind: AnswerType | None) -> Item:
    """An item of a draft, checked."""
    from agora.text.debate import MAX_QUESTION

    if len(one.question) > MAX_QUESTION:
        most = f"at most {MAX_QUESTION:,} can be debated"
        raise InputError(f"{one.where}: the question has {len(one.question):,} characters; {most}.")
    answer = Choice(one.options, listed=True) if one.options is not None else kind
    assert answer is not None
    truths = tuple(truth if isinstance(truth, str) else _json(truth, one.where) for truth in one.truth)
    for truth in truths:
        if read_truth(truth, answer) is None:
            raise InputError(f"{one.where}: the answer '{truth[:60]}' is none of the kind '{answer.kind}'.",
                             hint="Say which kind it is by kind: in the mapping.")  # fmt: skip
    if isinstance(answer, (Choice, YesNo)) or answer == Number():
        truths = tuple(read_truth(truth, answer) or truth for truth in truths)
    made = Item(
        one.id or "", one.question, truths, answer, one.group, MappingProxyType(dict(one.data)) if one.data else NOTHING
    )
    return made if one.id else named(made)


def _json(value: Any, where: str) -> str:
    import json

    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise InputError(f"{where}: the answer is no JSON: {repr(value)[:60]}.") from None


_LONG = 200  # characters of a truth


def _usual_scorer(items: Sequence[Item], text: str) -> Any:
    """The scorer of a kind of answer, where nobody says another.

    Raises:
        InputError: if the truths are texts that no answer ever equals, so that all would be wrong without a word.
    """
    first = items[0]
    truths = [item.truth[0] for item in items if item.truth]
    if first.answer.kind == "text" and truths:
        if all("####" in truth for truth in truths):
            raise InputError(f"{text[:80]}: the answers end in '####' and the right number.",
                             hint=f"Read them by the mapping for that: gsm8k:{text[:80]}.")  # fmt: skip
        if sorted(map(len, truths))[len(truths) // 2] > _LONG:
            raise InputError(
                f"{text[:80]}: most answers are texts of over {_LONG} characters, which no model repeats.",
                hint="Name a scorer, such as f1 or graded, or a mapping that finds the answer in them.",
            )
    if "distribution" in first.data:
        return "distribution"
    if "views" in first.data:
        return "coverage"
    if "tolerance" in first.data:
        return "numeric"
    return {"choice": "choice", "latex": "math"}.get(first.answer.kind, "exact")
