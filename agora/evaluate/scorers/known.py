"""Scorers that compare with a known truth: exactly, within a tolerance, as sets, by words, or as you say."""

from __future__ import annotations

import inspect
import json
import re
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any

from agora.answers import Choice, Number, Text
from agora.calls import sentence
from agora.errors import AgoraError, InputError
from agora.evaluate.records import Item

if TYPE_CHECKING:
    from agora.answers import AnswerType


def read_truth(text: str, kind: AnswerType) -> str | None:
    """The canonical form of a right answer, None where it is none of its kind."""
    return kind.read(text) or kind.read(f"Answer: {text}")


def accepted(item: Item) -> tuple[str, ...]:
    """The canonical forms of an item's right answers."""
    return tuple(read_truth(text, item.answer) or text for text in item.truth)


@dataclass(frozen=True, slots=True)
class Exact:
    """1 where the answer is one of those accepted, both in their canonical form; JSON is compared as data, texts in it
    up to case and spacing."""

    name: str = "exact"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """1 or 0."""
        if item.answer.kind == "json":
            return float(any(_data(answer) == _data(truth) for truth in item.truth))
        return float(answer in accepted(item))


@dataclass(frozen=True, slots=True)
class OneOf:
    """1 where the option is one of those accepted. The items must be choices."""

    name: str = "choice"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """1 or 0.

        Raises:
            InputError: if the item is no choice.
        """
        if not isinstance(item.answer, Choice):
            raise InputError(f"item '{item.id[:60]}': the scorer 'choice' needs options, and it has none.",
                             hint="Name their field by choices: in the mapping.")  # fmt: skip
        return float(answer in accepted(item))


@dataclass(frozen=True, slots=True)
class Numeric:
    """1 where the answer is a number near enough to one of those accepted.

    Attributes:
        absolute: greatest difference. An item's own `data['tolerance']` stands in for it.
        relative: greatest difference as a share of the right number; the more generous of the two counts.
    """

    absolute: float = 0.0
    relative: float = 1e-9
    name: str = "numeric"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """1 or 0."""
        given = _number(answer)
        absolute = Fraction(str(item.data.get("tolerance", self.absolute)))
        for truth in item.truth:  # as it is given, not as the kind of answer rounds it
            right = _number(truth)
            if given is None or right is None:
                continue
            if abs(given - right) <= max(absolute, Fraction(str(self.relative)) * abs(right)):
                return 1.0
        return 0.0


@dataclass(frozen=True, slots=True)
class AsSet:
    """Compares sets: elements of a JSON list, or parted by commas, semicolons, line breaks or 'and'; order, case and
    repetitions do not matter, and numbers are equal as numbers.

    Attributes:
        partial: the Jaccard index (shared elements as a share of all), else 1 for the same set and 0 for another.
    """

    partial: bool = False
    name: str = "set"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """0 to 1."""
        given = _elements(answer)
        right = frozenset().union(*map(_elements, item.truth))
        if not self.partial:
            return float(given == right)
        return len(given & right) / len(given | right) if given | right else 1.0


@dataclass(frozen=True, slots=True)
class TokenF1:
    """The F1 of an answer's words, the best over those accepted, after the normalisation of SQuAD (Rajpurkar et al.
    2016, arXiv:1606.05250): lower case, no punctuation, no articles."""

    name: str = "f1"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """0 to 1."""
        return max((token_f1(answer, truth) for truth in item.truth), default=0.0)


def token_f1(answer: str, truth: str) -> float:
    """F1 of the words of two texts, 0 to 1."""
    given, right = _words(answer), _words(truth)
    if not given or not right:
        return float(given == right)
    shared = (Counter(given) & Counter(right)).total()
    return 2 * shared / (len(given) + len(right))


@dataclass(frozen=True, slots=True)
class Function:
    """A function of yours, plain or async: of the answer, or of the answer and the item, or of these and the whole
    reply. It gives True or False, or a number from 0 to 1.

    Attributes:
        call: it.
        name: what reports call it.
        paid: it costs: only what ends an item is scored by it.
    """

    call: Callable[..., Any]
    name: str = "function"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """What it says.

        Raises:
            InputError: if it fails, or gives anything else.
        """
        try:
            said = self.call(*(answer, item, text)[: _takes(self.call)])
            if inspect.isawaitable(said):
                said = await said
        except AgoraError:
            raise
        except (Exception, SystemExit) as error:  # one that ends the program would leave its threads behind
            raise InputError(
                f"the scorer '{self.name}' failed on item '{item.id[:60]}': {sentence(error)[:200]}."
            ) from error
        if type(said).__name__ in ("bool", "bool_"):  # numpy has a truth value of its own
            return float(bool(said))
        number: Any = said  # compared as it is: one of 400 digits is no float
        if not isinstance(said, Real) or not 0 <= number <= 1:
            raise InputError(
                f"the scorer '{self.name}' gave {_told(said)} for item '{item.id[:60]}'.",
                hint="It gives True or False, or a number from 0 to 1.",
            )
        return float(said)


def _told(value: Any) -> str:
    """What a function gave, in few words."""
    try:
        return repr(value)[:40]
    except Exception:  # it is not of ours, and need have none; nor have whole numbers of thousands of digits
        return f"a {type(value).__name__}"


# ---- how texts are read -------------------------------------------------------------------------------------------


def _number(text: str) -> Fraction | None:
    read = Number().read(text)
    return None if read is None else Fraction(read)


def _data(text: str) -> Any:
    """JSON as data to compare: texts folded, numbers as numbers."""
    try:
        return _folded(json.loads(text))
    except (ValueError, RecursionError):  # a model may nest as deeply as it likes
        return _fold(text)


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return _fold(value)
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, dict):
        return {_fold(key): _folded(item) for key, item in value.items()}
    if isinstance(value, bool):
        return str(value)  # true is not 1
    return value


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _elements(text: str) -> frozenset[str]:
    """The elements of a set."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        parts = [f"{key}={item}" for key, item in value.items()]
    elif isinstance(value, list):
        parts = [item if isinstance(item, str) else json.dumps(item) for item in value]
    else:
        shown = text.strip().strip("{}[]().")
        parts = re.split(r"[,;\n]\s*(?:and\s+)?|\s+and\s+", re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", shown))
    return frozenset(element for part in parts if (element := _element(part)))


def _element(text: str) -> str:
    text = text.strip(" \t\"'`*")
    if re.fullmatch(r"[-+\u2212]?[\d,]*\.?\d+", text):
        return Number().read(text) or text
    return Text().read(text) or ""


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split()


def _takes(call: Callable[..., Any]) -> int:
    """How many of answer, item and text a function takes."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return 3
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return max(1, min(3, sum(p.default is p.empty for p in places) or len(places)))
