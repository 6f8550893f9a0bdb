"""Ballots: rankings and scores, read from what a model wrote as structure, never picked out of prose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agora.records import Ballot

__all__ = ["Ballot", "read_ranking", "read_scores"]

_TAIL = 200_000  # characters of a reply that are searched: a ballot stands at the end
_TRIES = 1_000  # objects tried, and characters read for objects that turn out to be none: a bound on hostile text
_WORK = 2_000_000
_NUMBERED = re.compile(r"[*_`>\s]{0,8}(\d{1,4})[.)][*_`]{0,3}\s+")
_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?")
_MARKUP = " \t\r*_`\"'"


def read_ranking(text: str, labels: Sequence[str]) -> tuple[tuple[str, ...], ...] | None:
    """The ranking in a reply, best first, or None where it cannot be read as a whole.

    The last JSON object with a key 'ranking' decides: a list of labels, or of lists of labels that are equals. Where
    there is no such object, the list under the last line 'Ranking:' (or 'Final ranking:') does: lines '1. LABEL',
    '2. LABEL', ..., numbered without a gap and with nothing but blank lines before and between. Markdown around a
    heading, a number or a label is no part of it.

    A label is matched whole, up to case and spacing: 'Peer 1' is not 'Peer 10', and 'Both' is nobody. A ranking may be
    incomplete: the rules let those left out share what remains. A label that is unknown or stands there twice, an empty
    list, a line that says more than a label, a gap in the numbers: all of it is None.

    Args:
        text: what a model wrote.
        labels: what it may rank.
    """
    find = _finder(labels)
    given = _under(text, "ranking")
    found = _listed(text, len(labels), find) if given is None else _tiers(given, find)
    if not found:
        return None
    flat = [label for tier in found for label in tier]
    return tuple(found) if len(flat) == len(set(flat)) else None


def read_scores(text: str, labels: Sequence[str], low: float, high: float) -> dict[str, float] | None:
    """The scores in a reply, in the order of the labels, or None where they cannot be read as a whole.

    The last JSON object with a key 'scores' decides: an object of label and number. Where there is no such object, the
    lines 'LABEL: NUMBER' under the last line 'Scores:' do, with or without bullets, down to the first line that is none
    (or to a blank line, once every label has its score).

    Every label must have one score between `low` and `high`. A label that is unknown, missing or there twice, a number
    out of range, NaN, a number in words or quotes: all of it is None. Labels are matched as in `read_ranking`.

    Args:
        text: what a model wrote.
        labels: what it must score.
        low: the lowest score there is.
        high: the highest.
    """
    find = _finder(labels)
    given = _under(text, "scores")
    if given is None:
        pairs = _scored(text, len(labels), find)
    elif len(given) == 1 and isinstance(given[0], _Object):
        pairs = [(find(key), value) for key, value in given[0]]
    else:
        return None
    scores: dict[str, float] = {}
    for label, value in pairs or ():
        if label is None or label in scores or type(value) not in (int, float) or not low <= value <= high:
            return None
        scores[label] = float(value)
    return {label: scores[label] for label in labels} if scores and len(scores) == len(set(labels)) else None


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def _under(text: str, key: str) -> list[Any] | None:
    """What the last JSON object with a key has under it (several things where the key is there twice), or None."""
    tail, work = text[-_TAIL:], 0
    if f'"{key}"' not in tail.casefold():
        return None
    for start in reversed([match.start() for match in re.finditer(r'\{\s*"', tail)][-_TRIES:]):
        try:
            value, _ = _DECODER.raw_decode(tail, start)
        except (ValueError, RecursionError):
            work += len(tail) - start
            if work > _WORK:
                return None
            continue
        found = [item for name, item in value if name.casefold() == key]
        if found:
            return found
    return None


def _finder(labels: Sequence[str]) -> Callable[[str], str | None]:
    """Finds the label that a text is: as it stands, up to case and spacing, or without markdown around it."""
    exact = {label: label for label in labels}
    folded: dict[str, set[str]] = {}
    for label in labels:
        folded.setdefault(_fold(label), set()).add(label)

    def find(text: str) -> str | None:
        for shown in (text, text.strip(_MARKUP), text.strip(_MARKUP + ".,;")):
            if shown in exact:
                return shown
            same = folded.get(_fold(shown), ())
            if len(same) == 1:
                return next(iter(same))
        return None

    return find


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _tiers(given: list[Any], find: Callable[[str], str | None]) -> list[tuple[str, ...]] | None:
    """A ranking from JSON."""
    if len(given) != 1 or type(given[0]) is not list:
        return None
    found = []
    for item in given[0]:
        tier = [find(name) if isinstance(name, str) else None for name in (item if type(item) is list else [item])]
        if not tier or None in tier:
            return None
        found.append(tuple(label for label in tier if label is not None))
    return found


def _lines(text: str, *headings: str) -> Iterator[str]:
    """The lines after the last heading, blank ones (fences too) as ''."""
    lines = text[-_TAIL:].split("\n")
    for at in range(len(lines) - 1, -1, -1):
        if len(lines[at]) < 100 and re.sub(r"[*_`#>:]", "", lines[at]).strip().casefold() in headings:
            for line in lines[at + 1 :]:
                yield line.strip() if line.strip(_MARKUP) else ""
            return


def _listed(text: str, most: int, find: Callable[[str], str | None]) -> list[tuple[str, ...]] | None:
    """A ranking from numbered lines."""
    found: list[tuple[str, ...]] = []
    over = False
    for line in _lines(text, "ranking", "final ranking"):
        number = _NUMBERED.match(line)
        if number is None:
            if line and not found:
                return None
            over = over or (bool(line) or len(found) == most)
            continue
        label = find(line[number.end() :])
        follows = int(number[1]) == len(found) + 1
        if over:
            # a list that goes on below a remark has not been read as a whole
            if follows and label is not None:
                return None
        elif label is None or not follows:
            return None
        else:
            found.append((label,))
    return found


def _scored(text: str, most: int, find: Callable[[str], str | None]) -> list[tuple[str | None, Any]] | None:
    """Scores from lines."""
    found: list[tuple[str | None, Any]] = []
    for line in _lines(text, "scores"):
        if not line:
            if len(found) == most:
                break
            continue
        head, _, tail = line.rpartition(":")
        label, number = find(head.lstrip("-•*> \t")), tail.strip(_MARKUP)
        if not head or not _NUMBER.fullmatch(number):
            if label is not None:
                return None
            break
        found.append((label, float(number)))
    return found
