"""Deferral and switching within an answer: models that write one text together, word by word or span by span."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

from agora import calls
from agora.answers import objects
from agora.api import cards
from agora.api.cards import Card
from agora.api.route import NoChoice, named
from agora.errors import BudgetError, InputError, ModelError, RequestError
from agora.model import Model, Settings, derive_seed
from agora.models.continuing import Extended
from agora.models.draft import Draft, Together
from agora.models.writers import bare, in_process
from agora.prompts import template
from agora.records import Message, Token

WORD = 16  # tokens of a word at most: some languages and some models put no space after it
IN_TURN = "in turn"
Selector = Callable[[Sequence[Message], str, int], "str | Awaitable[str]"]
"""Given the conversation, the text so far and how many spans it has: the name of who writes the next."""


# ---- where to pause ---------------------------------------------------------------------------------------------


class _Word:
    """Pauses behind a word: before the token that begins another, or the end. A token is never cut, so one that holds
    several words is taken whole."""

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, token: Token, ends: bool) -> bool:
        if self._text.strip() and (ends or self._text[-1].isspace() or token.text[:1].isspace()):
            return True
        self._text += token.text
        return False


def unsure(token: Token) -> float:
    """How unsure of the next token a model is: 1 minus the probability of the likeliest; NaN where it is not known."""
    p = math.exp(token.top[0][1] if token.top else token.logprob)
    return 0.0 if p > 1 else 1.0 - p


def entropy(token: Token) -> float:
    """The entropy of the next token, in nats, of the alternatives that are known and of all others as one."""
    known = [math.exp(logprob) for _, logprob in token.top or ((token.text, token.logprob),)]
    rest = 1.0 - sum(known)
    return -sum(p * math.log(p) for p in (*known, rest) if not p <= 1e-12)


class _Above:
    """Pauses where a model is more unsure than a threshold. Where a server does not say how likely its end was, the
    end is believed."""

    def __init__(self, model: str, measure: Callable[[Token], float], passes: Callable[[float], bool]) -> None:
        self._model, self._measure, self._passes = model, measure, passes

    def __call__(self, token: Token, ends: bool) -> bool:
        value = self._measure(token)
        if math.isnan(value):
            if ends:
                return False
            raise RequestError("it does not say how likely its tokens are, which deferral goes by.", model=self._model,
                               hint="Use a server that gives log-probabilities.")  # fmt: skip
        return self._passes(value)


# ---- the ways ---------------------------------------------------------------------------------------------------


class Nudged(Together):
    """Nudging (Fei et al. 2024, arXiv:2410.09300): a base model writes, and where the probability of its likeliest next
    token is below `gamma`, a model that follows instructions, mostly a small one, writes the next word.

    Words, because the two may cut text into different tokens; a word ends where a token of the nudger's does, so that
    neither reads a cut that its tokenizer would not make. After each nudged word the base is looked at again, as in the
    paper; differently from its code, an end that the base is unsure of is nudged too, and a text that repeats itself
    goes on. The reply's `route` says in what share of the words the nudger has a part.

    Args:
        base: who writes.
        nudger: who is asked where the base is unsure.
        gamma: probability; 0 is the base alone, above 1 the nudger alone.
        name: as a model.

    Raises:
        InputError: if gamma is negative or no number, or a model cannot go on with a text.
    """

    by_token = True

    def __init__(self, base: Model, nudger: Model, gamma: float = 0.4, *, name: str = "nudged") -> None:
        if not gamma >= 0:
            raise InputError(f"nudged: gamma is a probability, not {gamma}.")
        super().__init__({"base": base, "nudger": nudger}, (), name, f"nudged {gamma}")
        self.gamma = gamma

    async def _write(self, draft: Draft) -> None:
        if self.gamma > 1:
            await draft.go("nudger", draft.left)
            return
        doubt = _Above(self._called("base"), unsure, lambda value: 1.0 - value < self.gamma)
        while draft.left:
            done = await draft.go("base", draft.left, doubt)
            if done.paused is not None and draft.left:
                await draft.go("nudger", WORD, _Word())

    def _route(self, draft: Draft) -> tuple[str, str]:
        nudged, words = draft.words("nudger")
        return "nudged", f"{nudged / max(1, words):.0%} of {words} words by {self._called('nudger')}"


class Deferred(Together):
    """Deferral token by token, as Co-LLM decodes (Shen et al. 2024, arXiv:2403.03870): where the base is more unsure of
    the next token than a threshold, the other model writes it.

    Differently from the paper, which trains a head of the base to say when to defer, what decides is how unsure the
    base is, with a threshold from `learn_threshold`: so the base may be any model. The two need not share a vocabulary.

    Args:
        base: who writes.
        other: who writes a token where the base is unsure.
        threshold: it defers above it: 1 ('top'), or infinity, never defers, and -1 always does.
        by: 'top', 1 minus the probability of the likeliest token; 'entropy' in nats; or a function of a token with its
            likeliest alternatives.
        name: as a model.

    Raises:
        InputError: if the threshold is no number, or a model cannot go on with a text.
    """

    by_token = True

    def __init__(
        self,
        base: Model,
        other: Model,
        threshold: float,
        *,
        by: Literal["top", "entropy"] | Callable[[Token], float] = "top",
        name: str = "deferred",
    ) -> None:
        if math.isnan(threshold):
            raise InputError("deferred: the threshold is NaN, which nothing is above.")
        if isinstance(by, str) and by not in ("top", "entropy"):
            raise InputError(f"deferred: by is top or entropy, not '{str(by)[:40]}'.")
        shown = by if isinstance(by, str) else getattr(by, "__qualname__", repr(by))
        super().__init__({"base": base, "other": other}, (), name, f"deferred {threshold} {shown}")
        self.threshold = threshold
        self._measure = unsure if by == "top" else entropy if by == "entropy" else by
        self._alternatives = 0 if by == "top" else 20

    async def _write(self, draft: Draft) -> None:
        doubt = _Above(self._called("base"), self._measure, lambda value: value > self.threshold)
        while draft.left:
            done = await draft.go("base", draft.left, doubt, top=self._alternatives)
            if done.paused is not None and draft.left:
                await draft.go("other", 1)

    def _route(self, draft: Draft) -> tuple[str, str]:
        n = draft.counts.total()
        return "deferred", f"{draft.counts['other'] / max(1, n):.0%} of {n} tokens by {self._called('other')}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of deferral, and what it did on the records that it was learnt from.

    Attributes:
        value: defer where the base is more unsure than this.
        share: of the tokens that would be deferred, 0 to 1.
        accuracy: share of the tokens that would be right.
    """

    value: float
    share: float
    accuracy: float


def learn_threshold(
    records: Sequence[tuple[float, bool, bool]], *, share: float | None = None, accuracy: float | None = None
) -> Threshold:
    """The threshold for `Deferred` from what was recorded: the lowest that defers no larger share, or the highest, so
    that defers least, with which at least so many are right. It lies midway between two recorded values; infinity
    never defers and -1 always does.

    Args:
        records: how unsure the base was (at least 0), whether it was right, whether the other was.
        share: most to defer, 0 to 1.
        accuracy: least to be right, 0 to 1.

    Raises:
        InputError: if not one of the two is given, a record is no such triple, or no threshold reaches the accuracy.
    """
    if (share is None) == (accuracy is None):
        raise InputError("learn_threshold: needs either share or accuracy.")
    for name, value in (("share", share), ("accuracy", accuracy)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"learn_threshold: {name} is between 0 and 1, not {value}.")
    if not records or any(not 0 <= u < math.inf for u, _, _ in records):
        raise InputError("learn_threshold: needs records, with how unsure the base was as a number of at least 0.")
    ordered = sorted(records, key=lambda record: -record[0])
    n = len(ordered)
    right = sum(bool(base) for _, base, _ in ordered)
    found = [Threshold(math.inf, 0.0, right / n)]  # from the one that defers least to the one that always does
    for i, (value, base, other) in enumerate(ordered):
        right += bool(other) - bool(base)
        below = ordered[i + 1][0] if i + 1 < n else None
        if below != value:
            found.append(Threshold(-1.0 if below is None else (value + below) / 2, (i + 1) / n, right / n))
    if share is not None:
        return [t for t in found if t.share <= share + 1e-12][-1]
    assert accuracy is not None
    for threshold in found:
        if threshold.accuracy >= accuracy - 1e-12:
            return threshold
    best = max(found, key=lambda t: t.accuracy)
    raise InputError(f"learn_threshold: no threshold makes {accuracy:.2f} right; {best.accuracy:.2f} is the most.")


class Switched(Together):
    """Switch generation (Feng et al. 2025, arXiv:2510.09913): before each span a selector names who writes it.

    Differently from the paper, whose selector is a language model trained on the outcomes of random switches, it is
    whatever is given: a function, a model that is shown the question and the text so far, or a fixed schedule. All
    members stay loaded, and keep their caches. Where a model that selects fails or cannot be read, who wrote last goes
    on, and the reply's `warnings` say so.

    Args:
        members: name -> model, or models, which then go by their names.
        selector: 'in turn'; a function of the conversation, the text so far and the number of spans in it, which gives
            a name; or a model.
        span: tokens that are written at a time.
        given: name -> card, for a model that selects.
        override: a template in place of the shipped one for that, which is the router's.
        name: as a model.

    Raises:
        InputError: if there are no members, two of one name, the span is less than a token, or a model cannot go on
            with a text.
    """

    def __init__(
        self,
        members: Mapping[str, Model] | Sequence[Model],
        selector: Literal["in turn"] | Selector | Model = "in turn",
        span: int = 25,
        *,
        given: Mapping[str, Card] | None = None,
        override: str | None = None,
        name: str = "switched",
    ) -> None:
        named = dict(members) if isinstance(members, Mapping) else {model.name: model for model in members}
        if not named or len(named) < len(members):
            raise InputError(
                "switched: needs members, each of a name of its own.", hint="Give each: {NAME: MODEL, ...}."
            )
        if span < 1:
            raise InputError(f"switched: a span has at least 1 token, not {span}.")
        if isinstance(selector, str) and selector != IN_TURN:
            raise InputError(f"switched: the selector is '{IN_TURN}', a function or a model, not '{selector[:40]}'.")
        cards.known(named, given or {})
        self._model = selector if isinstance(selector, Model) else None
        self._select: Selector | None = None if self._model or isinstance(selector, str) else selector  # type: ignore[assignment]
        kind = selector if isinstance(selector, str) else getattr(selector, "__qualname__", type(selector).__name__)
        super().__init__(named, [self._model] if self._model else [], name, f"switched {span} {kind} {list(named)}")
        self.span = span
        self._cards = {key: cards.card_of(model, (given or {}).get(key)) for key, model in named.items()}
        self._frame = template("route", override, getattr(self._model, "prompts", None)) if self._model else None

    async def _write(self, draft: Draft) -> None:
        names, who, step = list(self._writers), next(iter(self._writers)), 0
        while draft.left:
            if self._model is not None:
                who = await self._named(draft, who, step)
            elif self._select is not None:
                who = await self._selected(draft, step)
            else:
                who = names[step % len(names)]
            await draft.go(who, self.span)
            step += 1

    async def _selected(self, draft: Draft, step: int) -> str:
        """Whom the function names; in a journaled run it is noted, so that a resumed run does the same."""
        assert self._select is not None
        here = calls.current()
        place = f"{here.path}/switch/{step}" if here.path else f"switch/{step}"
        recorder = None if here.whole else here.recorder
        kept = recorder.choice(place) if recorder is not None else None
        if kept in self._writers:
            return str(kept)
        given = self._select(draft.messages, draft.text, step)
        chosen = await given if inspect.isawaitable(given) else given
        if chosen not in self._writers:
            raise InputError(f"switched: the selector names '{str(chosen)[:40]}', which is none of "
                             f"{', '.join(self._writers)[:200]}.")  # fmt: skip
        if recorder is not None:
            recorder.choose(place, chosen)
        return chosen

    async def _named(self, draft: Draft, who: str, step: int) -> str:
        """Whom the model names."""
        assert self._model is not None
        assert self._frame is not None
        question = next((m.content for m in reversed(draft.messages) if m.role == "user"), "")
        names = list(self._writers)
        if draft.text.strip():
            question += f"\n\nAn answer has been begun, and one of them writes its next words:\n\n{draft.text}"
        text = self._frame.render(question=question, cards=cards.listed(self._cards), names=names)
        schema = {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "model": {"type": "string", "enum": names}},
            "required": ["reason", "model"],
            "additionalProperties": False,
        }
        wanted = Settings(schema=schema, seed=draft.settings.seed)
        try:
            with calls.scope(stream=False):
                reply = await calls.ask(self._model, [Message("user", text)], wanted, at=f"switch/{step}")
            draft.asked.append(reply)
            return named(reply.text, names)
        except (BudgetError, InputError):
            raise
        except (NoChoice, ModelError) as error:
            draft.charge(who, getattr(error, "usage", None))
            draft.notes.append(f"{self._model.name}, which selects, named nobody, so {who} went on: "
                               f"{calls.sentence(error)}")  # fmt: skip
            return who

    def _route(self, draft: Draft) -> tuple[str, str]:
        shares = ", ".join(f"{n} by {who}" for who, n in draft.counts.items())
        return "switched", f"{draft.counts.total()} tokens: {shares}"


class _Consult:
    """Pauses before a word, or the end, that chance has picked."""

    def __init__(self, text: str, rate: float, draw: random.Random) -> None:
        self._text, self._rate, self._draw = text, rate, draw
        self._drawn = False  # for this word: the space before it may be a token of its own

    def __call__(self, token: Token, ends: bool) -> bool:
        between = not self._text or self._text[-1].isspace() or token.text[:1].isspace()
        if (ends or between) and not self._drawn:
            self._drawn = True
            if self._draw.random() < self._rate:
                return True
        self._text += token.text
        self._drawn = self._drawn and not token.text.strip()
        return False


class Mentored(Together):
    """MentorCollab (Wang et al. 2026, arXiv:2602.05307): a student writes; at a share of its words, picked by chance,
    it is looked at how its mentor would go on. Where their next words differ both write `span` tokens, and one of the
    two is taken: what the student finds likelier by token, or what a judge prefers.

    Differently from the paper, places are picked among words, so that the models need not share a vocabulary, and the
    student decides by likelihood, where the paper asks it in a prompt or trains a small network on its hidden states.
    The end counts as a word: a mentor may have more to say.

    Args:
        student: who writes.
        mentor: who is consulted.
        rate: share of the student's words at which it is, 0 to 1; 0 is the student alone.
        span: tokens that both write where they differ.
        seed: of chance; each conversation has its own draws, and so has each seed of the settings.
        judge: who chooses in place of the student; needed where the student's server does not say how likely a given
            text is.
        name: as a model.

    Raises:
        InputError: if the rate is none, the span is less than a token, a model cannot go on with a text, or
            the student can neither choose nor has a judge.
    """

    def __init__(
        self,
        student: Model,
        mentor: Model,
        rate: float = 0.25,
        span: int = 16,
        seed: int = 0,
        *,
        judge: Model | None = None,
        name: str = "mentored",
    ) -> None:
        if not 0 <= rate <= 1:
            raise InputError(f"mentored: rate is a share between 0 and 1, not {rate}.")
        if span < 1:
            raise InputError(f"mentored: a span has at least 1 token, not {span}.")
        asked = [judge] if judge is not None else []
        super().__init__({"student": student, "mentor": mentor}, asked, name, f"mentored {rate} {span} {seed}")
        if judge is None and not in_process(bare(student)[0]):
            raise InputError(f"mentored: {student.name} does not say how likely its mentor's words are, so it needs a "
                             f"judge.", hint="Give a model that chooses: judge.")  # fmt: skip
        self.rate, self.span, self.seed, self._judge = rate, span, seed, judge
        self._frame = template("compare", None, getattr(judge, "prompts", None)) if judge is not None else None

    async def _write(self, draft: Draft) -> None:
        said = [[message.role, message.content] for message in draft.messages]
        draw = random.Random(derive_seed(self.seed, "mentored", draft.settings.seed, said))
        draft.tally = {"compared": 0, "differed": 0, "followed": 0}
        while draft.left:
            done = await draft.go("student", draft.left, _Consult(draft.text, self.rate, draw))
            if done.paused is not None and draft.left:
                await self._consult(draft, draw)

    async def _consult(self, draft: Draft, draw: random.Random) -> None:
        own = await draft.ask("student", WORD, _Word())
        theirs = await draft.ask("mentor", WORD, _Word())
        draft.tally["compared"] += 1
        if (own.text.split()[:1], own.ended) == (theirs.text.split()[:1], theirs.ended):
            draft.take("student", own)
            return
        draft.tally["differed"] += 1
        own, theirs = await self._spun(draft, "student", own), await self._spun(draft, "mentor", theirs)
        follows = await (self._judged(draft, own, theirs, draw) if self._judge else self._likelier(draft, own, theirs))
        draft.tally["followed"] += follows
        draft.take("mentor" if follows else "student", theirs if follows else own)

    async def _spun(self, draft: Draft, who: str, word: Extended) -> Extended:
        """A writer's word and what it goes on with, up to a span."""
        wanted = min(self.span, draft.left) - len(word.tokens)
        if word.ended or wanted < 1:
            return word
        more = await draft.ask(who, wanted, after=word.text)
        return Extended(word.text + more.text, (*word.tokens, *more.tokens), more.ended)

    async def _likelier(self, draft: Draft, own: Extended, theirs: Extended) -> bool:
        """Whether the mentor's span is likelier by token than the student's, as the student sees it."""
        hand = draft.writer("student")
        score = getattr(hand, "score", None)
        if score is None:
            raise RequestError("it does not say how likely a given text is.", model=self._called("student"))
        found = await score(draft.messages, draft.text, theirs.text, ended=theirs.ended)
        mine = [token.logprob for token in own.tokens]
        return bool(found) and (not mine or sum(found) / len(found) > sum(mine) / len(mine))

    async def _judged(self, draft: Draft, own: Extended, theirs: Extended, draw: random.Random) -> bool:
        """Whether a judge prefers the mentor's span. Which stands first is left to chance; a draw is the student's."""
        assert self._judge is not None
        assert self._frame is not None
        question = next((m.content for m in reversed(draft.messages) if m.role == "user"), "")
        spans = [(False, own), (True, theirs)]
        draw.shuffle(spans)
        peers = [SimpleNamespace(label=label, text=draft.text + span.text, answer="")
                 for label, (_, span) in zip("AB", spans, strict=True)]  # fmt: skip
        text = self._frame.render(question=question, answer="", peers=peers, history=[], round=0)
        try:
            with calls.scope(stream=False):
                reply = await calls.ask(self._judge, [Message("user", text)], Settings(seed=draft.settings.seed),
                                        at="judge")  # fmt: skip
        except (BudgetError, InputError):
            raise
        except ModelError as error:
            draft.charge("student", error.usage)
            draft.notes.append(f"the judge failed, so the student was followed: {calls.sentence(error)}")
            return False
        draft.asked.append(reply)
        better = _first_ranked(reply.text)
        if better is None:
            draft.notes.append("the judge could not be read, so the student was followed")
        return any(mentor for label, (mentor, _) in zip("AB", spans, strict=True) if label == better)

    def _route(self, draft: Draft) -> tuple[str, str]:
        seen = draft.tally
        return "mentored", (
            f"{self._called('mentor')} was compared at {seen['compared']} words, differed at {seen['differed']} and "
            f"was followed at {seen['followed']}"
        )


def _first_ranked(text: str) -> str | None:
    """The first of the ranking in a text's last JSON object that has one; '' for a draw, None where there is none."""
    said = [ranking for ranking in objects(text, "ranking") if isinstance(ranking, list) and ranking]
    first = said[-1][0] if said else None
    return first if first in ("A", "B") else "" if isinstance(first, list) else None
