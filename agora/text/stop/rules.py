"""The stop rules that ask no model: stateless over the history, each giving its reason with its figures."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from agora.errors import InputError
from agora.records import Round, Turn
from agora.text.stop.rule import Case, Reason, StopRule

# ---- by number of rounds ----------------------------------------------------------------------------------------


def rounds(n: int) -> StopRule:
    """At most `n` rounds of debate after the independent round 0."""
    if n < 0:
        raise InputError(f"rounds({n}): must not be negative.")
    return StopRule(
        f"rounds({n})",
        lambda case: f"{_rounds(n)} of debate" if case.rounds[-1].index >= n else None,
        lambda index, answers: index >= n,
        last=n,
    )


# ---- agreement --------------------------------------------------------------------------------------------------


def unanimous() -> StopRule:
    """All present voices give one answer. An abstention or an answer that cannot be read is no agreement."""

    def check(case: Case) -> Reason:
        values = {turn.value for turn in _present(case.rounds[-1])}
        return "unanimous" if len(values) == 1 and None not in values else None

    return StopRule("unanimous", check, _one_kind)


def quorum(share: float) -> StopRule:
    """At least this share of all agents gives one answer. Absent voices and those without an answer count as agents,
    so they stand in its way; `agreement` leaves them out."""
    _share("quorum", share)

    def check(case: Case) -> Reason:
        most, total = _most(case.rounds[-1])
        return f"{most} of {total} agree" if most and most >= math.ceil(share * total - _EPS) else None

    return StopRule(f"quorum({share:g})", check, _one_vote if share == 1 else _always)


def supermajority(share: float = 2 / 3) -> StopRule:
    """Strictly more than this share of all agents gives one answer, absent voices counted as in `quorum`: with 2/3 as
    in DyLAN (Liu et al. 2023, arXiv 2310.02170), with 1/2 an absolute majority."""
    if not 0 < share < 1:
        raise InputError(f"supermajority({share}): needs a share between 0 and 1, and less than 1.")

    def check(case: Case) -> Reason:
        most, total = _most(case.rounds[-1])
        return f"{most} of {total} agree, more than {share:.0%}" if most > share * total + _EPS else None

    return StopRule(f"supermajority({share:g})", check)


def agreement(share: float) -> StopRule:
    """At least this share of the present voices that gave an answer gives one and the same. Unlike for `quorum`, absent
    voices, abstentions and answers that cannot be read are left out, so that 2 voices of 5 can be in full agreement:
    join it with `quorum` where that is too few."""
    _share("agreement", share)

    def check(case: Case) -> Reason:
        answers = _votes(case.rounds[-1])
        most = max(Counter(answers).values(), default=0)
        found = most and most >= math.ceil(share * len(answers) - _EPS)
        return f"{most} of {len(answers)} given answers agree" if found else None

    return StopRule(f"agreement({share:g})", check, _one_kind if share == 1 else _always)


def entropy(max: float) -> StopRule:
    """The answers of the present voices have a Shannon entropy of at most `max` bits. Voices without an answer count as
    one further kind of answer; where nobody gave one, it does not stop."""
    if not 0 <= max < math.inf:
        raise InputError(f"entropy({max}): needs a number of bits, at least 0.")

    def check(case: Case) -> Reason:
        bits = _entropy(case.rounds[-1])
        if bits is None or bits > max + _EPS:
            return None
        return f"the answers' entropy is {bits:.2f} bits, at most {max:g}"

    return StopRule(f"entropy({max:g})", check, _one_kind if max == 0 else _always)


def spread(max: float, of: Literal["range", "iqr"] = "range") -> StopRule:
    """Numeric answers lie close together, as a panel of the Delphi method ends (Dalkey and Helmer 1963): from the least
    to the greatest, or from the lower to the upper quartile (`iqr`), they differ by at most `max` times their median.
    Voices without an answer are left out; with fewer than two numbers, or an answer that is no number, it never stops.
    """
    if not 0 <= max < math.inf:
        raise InputError(f"spread({max}): needs a number, at least 0.")

    def check(case: Case) -> Reason:
        values = [_number(value) for value in _votes(case.rounds[-1])]
        numbers = sorted(value for value in values if value is not None)
        if len(numbers) < _max(2, len(values)):
            return None
        quarters = (0.25, 0.75) if of == "iqr" else (0.0, 1.0)
        low, middle, high = (_quantile(numbers, q) for q in (quarters[0], 0.5, quarters[1]))
        wide = high - low
        found = wide == 0 or (middle != 0 and wide / abs(middle) <= max + _EPS)
        what = "the quartiles of the answers" if of == "iqr" else "the answers"
        return f"{what} {low:g} to {high:g} are within {max:g} of their median {middle:g}" if found else None

    def may_stop(index: int, answers: Mapping[str | None, int]) -> bool:
        values = [_number(value) for value in answers if value is not None]
        numbers = [value for value in values if value is not None]
        if len(numbers) < len(values):
            return False
        if of == "iqr" or not numbers or (low := min(numbers)) == (high := _max(numbers)):
            return True
        # the least it can become: if all others give the answer that is furthest from zero, or one that is much further
        return min(1.0, (high - low) / _max(abs(low), abs(high))) <= max + 2 * _EPS

    return StopRule(f"spread({max:g}{', iqr' * (of == 'iqr')})", check, may_stop)


# ---- no movement ------------------------------------------------------------------------------------------------


def stable(k: int = 2) -> StopRule:
    """Nobody's answer has changed for `k` rounds."""
    _whole("stable", k)

    def check(case: Case) -> Reason:
        recent = [dict(r.answers) for r in case.rounds[-k - 1 :]]
        same = len(recent) > k and bool(recent[0]) and all(answers == recent[0] for answers in recent)
        return f"no answer changed for {_rounds(k)}" if same else None

    return StopRule(f"stable({k})", check, lambda index, answers: index >= k)


def no_change() -> StopRule:
    """The last round changed nobody's answer."""
    made = stable(1)
    return StopRule("no_change", made.check, made.may_stop)


def oscillation(period: int = 2) -> StopRule:
    """All answers have gone round in a circle of `period` rounds, twice: somebody gives one answer, then another, and
    begins again."""
    _whole("oscillation", period, 2)

    def check(case: Case) -> Reason:
        recent = [dict(r.answers) for r in case.rounds[-2 * period :]]
        if len(recent) < 2 * period or recent[:period] != recent[period:]:
            return None
        moving = [name for name in recent[0] if len({answers.get(name) for answers in recent} - {None}) > 1]
        if not moving:
            return None
        return f"the answers of {len(moving)} of {len(recent[0])} have gone round twice in {period} rounds"

    return StopRule(f"oscillation({period})", check, lambda index, answers: index >= 2 * period - 1)


def converging(eps: float, k: int = 2) -> StopRule:
    """The entropy of the answers (see `entropy`) has changed by less than `eps` bits in each of the last `k` rounds:
    the debate moves no more, whether or not it agrees."""
    if not 0 < eps < math.inf:
        raise InputError(f"converging({eps}): needs a number of bits, more than 0.")
    _whole("converging", k)

    def check(case: Case) -> Reason:
        recent = case.rounds[-k - 1 :]
        bits = [found for r in recent if (found := _entropy(r)) is not None]
        if len(recent) <= k or len(bits) < len(recent):
            return None
        moved = max(abs(b - a) for a, b in pairwise(bits))
        if moved >= eps:
            return None
        return f"the answers' entropy has moved by at most {moved:.2f} bits, less than {eps:g}, for {_rounds(k)}"

    return StopRule(f"converging({eps:g}, {k})", check, lambda index, answers: index >= k)


def repetition(similarity: float = 0.95) -> StopRule:
    """Every present voice says again what it said the round before: the cosine of the word counts of its two texts is
    at least `similarity`. The failure 'step repetition' of MAST (Cemri et al. 2025, arXiv 2503.13657)."""
    _share("repetition", similarity)

    def check(case: Case) -> Reason:
        if len(case.rounds) < 2:
            return None
        before = {turn.agent: turn.reply for turn in _present(case.rounds[-2])}
        least = 1.0
        present = _present(case.rounds[-1])
        for turn in present:
            old = before.get(turn.agent)
            if old is None or turn.reply is None:
                return None
            least = min(least, _cosine(old.text, turn.reply.text))
            if least < similarity - _EPS:
                return None
        if not present:
            return None
        return f"all {len(present)} voices repeat themselves, with a similarity of at least {least:.2f}"

    return StopRule(f"repetition({similarity:g})", check, lambda index, answers: index >= 1)


# ---- what agents say of themselves ------------------------------------------------------------------------------


def confident(p: float, of: Literal["mean", "all"] = "mean") -> StopRule:
    """The present voices are confident of their answers: on average, or `all` of them, by at least `p`. A voice that
    gives no answer, or no confidence, counts as not confident (0)."""
    _share("confident", p)

    def check(case: Case) -> Reason:
        sure = [
            turn.answer.confidence if turn.answer and turn.value is not None and turn.answer.confidence else 0.0
            for turn in _present(case.rounds[-1])
        ]
        if not sure:
            return None
        found = min(sure) if of == "all" else sum(sure) / len(sure)
        what = "least" if of == "all" else "mean"
        return f"the {what} confidence is {found:.0%}, at least {p:.0%}" if found >= p - _EPS else None

    return StopRule(f"confident({p:g}{', all' * (of == 'all')})", check, needs=("ask_confidence",))


def declared(who: str | None = None, least: int | None = None) -> StopRule:
    """Every present voice says that it is done: the last line 'Done: yes' or 'Done: no' of its text, or JSON object
    with {"done": true}, whichever comes later, says yes. With `least`, so many of them are enough; with `who`, that
    agent alone says it, in the last thing it said in the round, be it an answer or not."""
    if who is not None and least is not None:
        raise InputError("declared: give who or least, not both.")
    if least is not None:
        _whole("declared", least)

    def check(case: Case) -> Reason:
        present = _present(case.rounds[-1])
        done = sum(turn.reply is not None and is_done(turn.reply.text) is True for turn in present)
        if least is not None:
            enough = f"{done} of {len(present)} voices say that they are done, at least {least}"
            return enough if done >= least else None
        return f"all {len(present)} voices say that they are done" if present and done == len(present) else None

    def check_one(case: Case) -> Reason:
        said = [turn for turn in case.rounds[-1].turns if turn.agent == who and turn.reply is not None]
        done = bool(said) and said[-1].kept is None and said[-1].reply is not None and is_done(said[-1].reply.text)
        return f"{who} says that it is done" if done else None

    if who is not None:
        return StopRule(f"declared({who})", check_one, needs=(f"ask_done {who}",), agents=(who,))
    return StopRule("declared" if least is None else f"declared(least={least})", check, needs=("ask_done",))


def answered(who: str) -> StopRule:
    """An agent has given an answer in the last round: a moderator, say, that abstains ('Answer: none') until it sees
    one side ahead, as in MAD (Liang et al. 2023, arXiv 2305.19118)."""

    def check(case: Case) -> Reason:
        turn = case.rounds[-1].final.get(who)
        return f"{who} has decided" if turn is not None and turn.kept is None and turn.value is not None else None

    return StopRule(f"answered({who})", check, agents=(who,))


# no '>' before it: who quotes another's 'Done: yes' does not say it
_DONE = re.compile(
    r"^[ \t*_`#-]{0,20}done[ \t*_`]{0,10}[:=][ \t*_`]{0,10}(yes|no|true|false)\b(?![ \t*_`]{0,10}(?:/|\||or\b|and\b))",
    re.IGNORECASE | re.MULTILINE,
)
_TAIL = 20_000  # characters of a text that are searched: it stands at the end


def is_done(text: str) -> bool | None:
    """Whether a text says that its author is done; None where it does not say."""
    text = text[-_TAIL:]
    found: tuple[int, bool] | None = None
    for match in _DONE.finditer(text):
        found = match.start(), match[1].lower() in ("yes", "true")
    decoder, end = json.JSONDecoder(), 0
    for start in [m.start() for m in re.finditer(r"\{", text)][-200:]:
        if start < end:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        done = value.get("done") if isinstance(value, dict) else None
        if isinstance(done, bool) and (found is None or start > found[0]):
            found = start, done
    return None if found is None else found[1]


# ---- failures and budget ----------------------------------------------------------------------------------------


def failures(n: int) -> StopRule:
    """In the last round `n` or more voices were absent."""
    _whole("failures", n)

    def check(case: Case) -> Reason:
        last = case.rounds[-1]
        absent, total = len(last.absent), len(last.final)
        return f"{absent} of {total} voices are absent, at least {n}" if absent >= n else None

    return StopRule(f"failures({n})", check)


def spent(share: float) -> StopRule:
    """At least this share of the budget is used, of whichever limit is nearest. Without a budget it never stops."""
    _share("spent", share)

    def check(case: Case) -> Reason:
        used = case.spent
        return f"{used:.0%} of the budget is used, at least {share:.0%}" if used is not None and used >= share else None

    return StopRule(f"spent({share:g})", check)


# ---- what the rules share ---------------------------------------------------------------------------------------

_EPS = 1e-9  # shares are floats: 0.6 of 5 is 3
_max = max  # some rules have an argument of that name


def _always(index: int, answers: Mapping[str | None, int]) -> bool:
    return True


def _one_kind(index: int, answers: Mapping[str | None, int]) -> bool:
    # a voice without a vote may be an absent one, which is left out
    return len(answers) - (None in answers) < 2


def _one_vote(index: int, answers: Mapping[str | None, int]) -> bool:
    return len(answers) < 2 and None not in answers


def _present(round: Round) -> list[Turn]:
    return [turn for turn in round.final.values() if turn.reply is not None]


def _votes(round: Round) -> list[str]:
    return [value for value in round.answers.values() if value is not None]


def _most(round: Round) -> tuple[int, int]:
    """How many agents give the most frequent answer, and how many there are."""
    return max(Counter(_votes(round)).values(), default=0), len(round.final)


def _entropy(round: Round) -> float | None:
    """Bits; None where nobody gave an answer."""
    counts = Counter(turn.value for turn in _present(round))
    total = counts.total()
    if not total or counts[None] == total:
        return None
    return abs(sum(n / total * math.log2(n / total) for n in counts.values() if n))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _quantile(numbers: Sequence[float], q: float) -> float:
    """Of sorted numbers, with linear interpolation."""
    place = q * (len(numbers) - 1)
    low = math.floor(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (place - low)


def _cosine(a: str, b: str) -> float:
    """Of word counts."""
    one, two = (Counter(re.findall(r"\w+", text.casefold())) for text in (a, b))
    if not one or not two:
        return float(one == two)
    dot = sum(n * two[word] for word, n in one.items())
    return dot / math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in two.values()))


def _rounds(n: int) -> str:
    return f"{n} round{'s' * (n != 1)}"


def _share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"{name}({value}): needs a share between 0 and 1.")


def _whole(name: str, value: int, least: int = 1) -> None:
    if value < least:
        raise InputError(f"{name}({value}): must be at least {least}.")
