"""Typed answers: how each kind is asked for, read from a reply, and compared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol, runtime_checkable

from agora.errors import InputError
from agora.records import Answer, Reply

_TAIL = 20_000  # characters of a reply that are searched: the answer stands at the end
_ABSTAIN = re.compile(
    r"(?:i\s+)?(?:abstain(?:ed|s)?|don'?t know|do not know|can(?:no|')t (?:say|tell)|unknown|n/?a|none|no answer)\b",
    re.IGNORECASE,
)
_MARK = re.compile(r"(?:\banswer(?:\s+is)?|\bverdict)\s*(?:\*\*|__)?\s*[:=]\s*|\banswer\s+is\s+", re.IGNORECASE)
_CONFIDENCE = re.compile(
    r"^[\s*_]*confidence[\s*_]*[:=][\s*_]*(\d{1,3}(?:\.\d+)?)\s*(%?)", re.IGNORECASE | re.MULTILINE
)


_DONE = re.compile(r"^[\s*_]*done[\s*_]*[:=][\s*_]*(?:yes|no)[\s*_.]*$", re.IGNORECASE | re.MULTILINE)


@runtime_checkable
class AnswerType(Protocol):
    """A kind of answer. `kind` names it; `instruction` is the sentence templates put into prompts."""

    @property
    def kind(self) -> str: ...

    @property
    def instruction(self) -> str: ...

    def read(self, text: str) -> str | None:
        """The canonical answer in a text, or None."""
        ...


def extract(kind: AnswerType, reply: Reply) -> Answer:
    """Read the answer of a reply, with its confidence: stated, else reported, else exp(mean log-probability)."""
    text = _DONE.sub("", reply.text[-_TAIL:])
    stated = None
    for match in _CONFIDENCE.finditer(text):
        stated = float(match[1]) / (100 if match[2] or float(match[1]) > 1 else 1)
    if stated is not None:
        confidence: float | None = min(1.0, stated)
        text = _CONFIDENCE.sub("", text)
    elif reply.confidence is not None:
        confidence = reply.confidence
    else:
        confidence = None if reply.logprob is None else math.exp(min(0.0, reply.logprob))
    marked = marked_line(text)
    if marked and _ABSTAIN.match(marked.strip(" *_`\"'.([{")):
        return Answer(None, why_none="abstained", confidence=confidence)
    value = kind.read(text)
    if value is None or value == "":
        return Answer(None, why_none="unparsed", confidence=confidence)
    return Answer(value, confidence=confidence)


_THINKING = re.compile(r"<thinking>.*?(?:</thinking>|\Z)", re.DOTALL | re.IGNORECASE)


def bare(text: str) -> str:
    """A reply without what is not for the others: what it thinks between <thinking> and </thinking>, how sure it is,
    and whether it is done."""
    if "<thinking>" in text.casefold():
        text = _THINKING.sub("", text)
    return _DONE.sub("", _CONFIDENCE.sub("", text)).strip() if ":" in text or "=" in text else text.strip()


def objects(text: str, key: str) -> Iterator[Any]:
    """What stands under a key in the JSON objects of a text, in order; objects inside others are part of these.

    Args:
        text: what a model wrote; the last 200 places are tried, as formulas are full of braces and what counts is last.
        key: objects without it are passed over.
    """
    decoder, end = json.JSONDecoder(), 0
    for start in [m.start() for m in re.finditer(r"\{", text)][-200:]:
        if start < end:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and key in value:
            yield value[key]


def marked_line(text: str) -> str | None:
    """What follows the last 'Answer:' on its line, or else on the next."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].strip()
    return rest.split("\n", 1)[0].strip()


def boxed(text: str) -> str | None:
    """The content of the last \\boxed{...}, with braces balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin:i]
    return None


_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])([-+]?\s?\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,300}(?!\d))(?:\.\d{1,300})?|\.\d{1,300})(?:[eE][-+]?\d{1,3})?)(?:\s*/\s*(\d{1,30}))?"
)


_FRACTION = re.compile(r"(\d{1,30}|)\s?\\[dtc]?frac\s?\{\s?(-?\d{1,30})\s?\}\s?\{\s?(\d{1,30})\s?\}")


def _fraction(match: re.Match[str]) -> str:
    """A LaTeX fraction as 'numerator/denominator', a mixed number as one fraction."""
    whole, numerator, denominator = match.groups()
    return f"{int(whole or 0) * int(denominator) + int(numerator)}/{denominator}"


_EQUALS = re.compile(r"(?<![<>!=:])=(?!=)")
_ASIDE = re.compile(r"\([^()]{0,500}=[^()]{0,500}\)")  # how it was worked out: '7 (3 + 4 = 7)'
_MORE = re.compile(r"[;,](?!\d)|\.\s|\b(?:because|since|as|where|and|or|check)\b", re.IGNORECASE)  # a clause ends


def _result(text: str) -> str:
    """Of an equation the side that is one number, the last of several: '1024' of '2^10 = 1024' and of '1024 = 2^10';
    else the text as it is."""
    if "=" not in text:
        return text
    sides = _EQUALS.split(_MORE.split(_ASIDE.sub(" ", text), maxsplit=1)[0])
    alone = [side for side in sides if len(_NUMBER.findall(side)) == 1]
    return alone[-1] if len(sides) > 1 and alone else text


@dataclass(frozen=True, slots=True)
class Number:
    """A number. Equal when equal as decimals, after rounding to `places` where given. Of an equation the side that is
    one number is read: 1024 of '2^10 = 1024'. Units are not read, nor is a percent sign: '50%' is 50, not 0.5.

    Args:
        places: decimal places that count; None compares exactly (fractions to 12 significant digits).
    """

    places: int | None = None
    kind: str = field(default="number", init=False)

    @property
    def instruction(self) -> str:
        return "End with a line 'Answer: N', where N is one number."

    def read(self, text: str) -> str | None:
        for where, pick in ((boxed(text), -1), (marked_line(text), 0), (text, -1)):
            if where is not None:
                plain = where.replace("\u2212", "-").replace("\\$", "$").replace("{,}", ",")
                plain = _FRACTION.sub(_fraction, plain)
                found = _NUMBER.findall(plain if where is text else _result(plain))
                if found:
                    return self._canonical(*found[pick])
        return None

    def _canonical(self, digits: str, denominator: str) -> str | None:
        try:
            value = Decimal(re.sub(r"[,$\s]", "", digits))
            if denominator:
                value = Decimal(f"{float(value) / float(denominator):.12g}")
            if not -1000 < value.adjusted() < 1000:
                return None
            if self.places is not None:
                value = round(value, self.places)
        except (InvalidOperation, ZeroDivisionError, OverflowError):
            return None
        text = f"{value:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text in ("-0", "") else text


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options.

    Args:
        options: labels, or a mapping of label to text ({"A": "Paris", "B": "Rome"}); the text of an option is
            understood as well as its label. What is a label is never taken for another's text.
        listed: the question lists the options, so that the instruction need only name the labels.
    """

    options: Mapping[str, str]
    listed: bool = False
    kind: str = field(default="choice", init=False)

    def __init__(self, options: Mapping[str, str] | Sequence[str], *, listed: bool = False) -> None:
        given = dict(options) if isinstance(options, Mapping) else {str(o): str(o) for o in options}
        if len(given) < 2:
            raise InputError("a choice needs at least two options.")
        object.__setattr__(self, "options", given)
        object.__setattr__(self, "listed", listed)
        object.__setattr__(self, "kind", "choice")

    @property
    def instruction(self) -> str:
        shown = [label if self.listed or label == text else f"{label} ({text})" for label, text in self.options.items()]
        return f"End with a line 'Answer: X', where X is one of: {', '.join(shown)}."

    def read(self, text: str) -> str | None:
        for where in (boxed(text), marked_line(text)):
            if where is not None and (label := self._label(where)) is not None:
                return label
        lines = text.strip().splitlines()
        return self._label(lines[-1], whole=True) if lines else None

    def _label(self, text: str, *, whole: bool = False) -> str | None:
        """The option a short text names, only if it names exactly one."""
        bare = re.sub(r"^(?:option|choice)\s+", "", text.strip(" *_`\"'.()[]{}:\t"), flags=re.IGNORECASE)
        if (label := self._exactly(bare)) is not None or whole:
            return label
        head, mark, rest = re.split(r"\s*([).:])\s*", bare, maxsplit=1) if re.search(r"[).:]", bare) else (bare, "", "")
        label = self._exactly(head)
        if mark and label is not None and rest.casefold() == self.options[label].casefold():
            return label  # 'B) A', where A is another's label
        # 'B) Rome', 'B because ...': the label first and alone; 'Both' is no B, 'A or B' is no vote
        named = {
            label
            for label, full in self.options.items()
            for key in {label, full}
            if re.search(_alone(key), bare, 0 if len(key) == 1 else re.IGNORECASE)
        }
        return named.pop() if len(named) == 1 else None

    def _exactly(self, text: str) -> str | None:
        """The option whose label a text is, or else whose text alone it is."""
        folded = text.casefold()
        for label in self.options:
            if label.casefold() == folded:
                return label
        alike = [label for label, full in self.options.items() if full.casefold() == folded]
        return alike[0] if len(alike) == 1 else None


def _alone(key: str) -> str:
    """A pattern of a label or a text on its own; 'A' and 'I' before another word are no labels but English."""
    word = r"(?!\s+(?!(?:because|since|as|is|for|due|and|or)\b)[a-z])" if key in ("A", "I") else ""
    return rf"(?<!\w){re.escape(key)}(?!\w){word}"


@dataclass(frozen=True, slots=True)
class YesNo:
    """Yes or no."""

    kind: str = field(default="yes_no", init=False)

    @property
    def instruction(self) -> str:
        return "End with a line 'Answer: yes' or 'Answer: no'."

    def read(self, text: str) -> str | None:
        marked = marked_line(text)
        where = marked if marked is not None else (text.strip().splitlines() or [""])[-1]
        match = re.match(r"\W*(yes|no|true|false)\b(?!\s+(?:or|and)\b)", where, re.IGNORECASE)
        return {"yes": "yes", "true": "yes", "no": "no", "false": "no"}[match[1].lower()] if match else None


@dataclass(frozen=True, slots=True)
class Text:
    """Free text: what follows 'Answer:', else the whole reply. Equal up to case, spacing and end punctuation."""

    kind: str = field(default="text", init=False)

    @property
    def instruction(self) -> str:
        return "End with a line 'Answer: ...' that gives your answer in as few words as it needs."

    def read(self, text: str) -> str | None:
        where = marked_line(text)
        shown = re.sub(r"\s+", " ", where if where else text).strip(" *_`\"'.")
        return shown.casefold() or None


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON value: the last one in the reply. Equal when equal as data.

    Args:
        keys: where given, an object must have these keys, and only they are compared.
    """

    keys: tuple[str, ...] = ()
    kind: str = field(default="json", init=False)

    @property
    def instruction(self) -> str:
        shown = f" with the keys {', '.join(self.keys)}" if self.keys else ""
        return f"End with one JSON object{shown} and nothing after it."

    def read(self, text: str) -> str | None:
        decoder, starts = json.JSONDecoder(), [m.start() for m in re.finditer(r"[{\[]", text)][:200]
        best, end = None, 0
        for start in starts:
            if start < end:
                continue
            try:
                value, end = decoder.raw_decode(text, start)
                if self.keys:
                    if not isinstance(value, dict) or any(key not in value for key in self.keys):
                        continue
                    value = {key: value[key] for key in self.keys}
                best = json.dumps(value, sort_keys=True, ensure_ascii=False)
            except (ValueError, RecursionError):  # what is read may still be nested too deeply to be written
                continue
        return best


KINDS = {"number": Number, "yes_no": YesNo, "text": Text, "json": Json, "choice": Choice}


def answer_type(value: str | AnswerType) -> AnswerType:
    """An answer type from its name ('number', 'yes_no', 'text', 'json') or itself."""
    if not isinstance(value, str):
        return value
    if value == "choice":
        raise InputError("answer: choice needs its options: {choice: [A, B]}.")
    kind = KINDS.get(value)
    if kind is None:
        raise InputError(f"unknown answer type '{value[:40]}'; there are {', '.join(KINDS)}.")
    made: AnswerType = kind()  # type: ignore[call-arg]
    return made
