"""Cascades: a `Model` that asks stage after stage, from cheap to dear, and stops at the first answer that passes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import anyio

from agora import calls
from agora.answers import AnswerType, answer_type, extract, objects
from agora.api.answerscorer import AnswerScorer
from agora.api.route import plain
from agora.errors import BudgetError, InputError, ModelError
from agora.model import Model, Settings, derive_seed
from agora.prompts import template
from agora.records import Message, Reply, Usage

SIGNALS = ("agreement", "logprob", "confidence")
_UNTIL = re.compile(r"\s*([a-z]{1,20})\s*>=\s*(-?\d{1,6}(?:\.\d{1,12})?)\s*")


@dataclass(frozen=True)
class Answered:
    """What a stage answered.

    Attributes:
        reply: the one that stands for the stage: of several samples, one that gives their most frequent answer.
        replies: all samples.
        agreement: the share of the samples that give that answer; of a debate the share of the vote behind its verdict.
            Samples that cannot be read count against it.
        confidence: as stated or reported, 0 to 1; None where there is none.
        logprob: mean log-probability of a token; None where the model does not give it.
        spent: what the stage took, lost samples included.
    """

    reply: Reply
    replies: tuple[Reply, ...]
    agreement: float
    confidence: float | None
    logprob: float | None
    spent: Usage


class Test(Protocol):
    """Whether a stage's answer is good enough."""

    async def passes(self, question: str, answered: Answered, settings: Settings) -> tuple[bool, str, Reply | None]:
        """Whether it passes, why in a few words, and the reply of a model that was asked for it."""
        ...


@dataclass(frozen=True)
class AtLeast:
    """A signal of the stage itself reaches a threshold. A signal that is missing never does.

    Attributes:
        signal: 'agreement', 'logprob' (mean log-probability of a token) or 'confidence'.
        threshold: the least that passes.
    """

    signal: Literal["agreement", "logprob", "confidence"]
    threshold: float

    async def passes(self, question: str, answered: Answered, settings: Settings) -> tuple[bool, str, Reply | None]:
        value = getattr(answered, self.signal)
        if value is None:
            return False, f"no {self.signal}", None
        sign = ">=" if value >= self.threshold - 1e-9 else "<"
        return sign == ">=", f"{self.signal} {value:.2f} {sign} {self.threshold:g}", None


class Verified:
    """Another model checks the answer. Where it fails, or its reply cannot be read, the answer does not pass.

    Args:
        model: the verifier.
        override: a template in place of the shipped one.
    """

    def __init__(self, model: Model, override: str | Path | None = None) -> None:
        self.model = model
        self._frame = template("verify", override, getattr(model, "prompts", None))

    async def passes(self, question: str, answered: Answered, settings: Settings) -> tuple[bool, str, Reply | None]:
        text = self._frame.render(question=question, text=answered.reply.text)
        try:
            reply = await calls.ask(self.model, [Message("user", text)], Settings(seed=settings.seed), at="verify")
        except (BudgetError, InputError):
            raise
        except ModelError as error:
            return False, f"the verifier failed: {calls.sentence(error)}", None
        right = _right(reply.text)
        said = "could not be read" if right is None else "says it is right" if right else "says it is wrong"
        return right is True, f"the verifier {said}", reply


def _right(text: str) -> bool | None:
    """What the last JSON object with a key 'right' says."""
    said = [value for value in objects(text, "right") if isinstance(value, bool)]
    return said[-1] if said else None


@dataclass(frozen=True)
class Scored:
    """A trained scorer's probability that the answer is right reaches a threshold (FrugalGPT, Chen et al. 2023,
    arXiv:2305.05176, whose scorer is a small language model; this one is a regression).

    Attributes:
        scorer: see `agora.api.answerscorer`.
        threshold: the least that passes.
    """

    scorer: AnswerScorer
    threshold: float

    async def passes(self, question: str, answered: Answered, settings: Settings) -> tuple[bool, str, Reply | None]:
        value = self.scorer.probability(answered)
        sign = ">=" if value >= self.threshold - 1e-9 else "<"
        return sign == ">=", f"scored {value:.2f} {sign} {self.threshold:g}", None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        model: who answers: a model, a vote, a whole debate.
        until: the test that ends the cascade here; None lets every answer pass, which only the last stage does.
        samples: how often the model is asked, at once.
        name: what to call it; default: the model's name.
    """

    model: Model
    until: Test | None = None
    samples: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.samples > 1000:
            raise InputError(f"cascade: samples is between 1 and 1000, not {self.samples}.")
        object.__setattr__(self, "name", self.name or self.model.name)


def parse_until(text: str) -> AtLeast:
    """A test from its YAML form: `agreement >= 0.8`, `confidence >= 0.9`, `logprob >= -0.2`.

    Raises:
        InputError: if it cannot be read.
    """
    match = _UNTIL.fullmatch(text[:200])
    if match is None or match[1] not in SIGNALS:
        shown = "".join(c if c.isprintable() else " " for c in text[:60])
        raise InputError(f"until: cannot read '{shown}'; write such as agreement >= 0.8.",
                         hint=f"There are {', '.join(SIGNALS)}.")  # fmt: skip
    threshold = float(match[2])
    if match[1] == "logprob" and threshold > 0:
        raise InputError(f"until: a log-probability is at most 0, so {threshold:g} is never reached.")
    if match[1] != "logprob" and not 0 <= threshold <= 1:
        raise InputError(f"until: {match[1]} is between 0 and 1, not {threshold:g}.")
    return AtLeast(match[1], threshold)  # type: ignore[arg-type]


class Cascade:
    """A model that asks its stages in order until an answer passes the stage's test; the last one's is taken as it is.

    Its cost is that of all stages that were asked. A stage that fails is passed over; where the last fails, the last
    answer there is is taken, and the reply's `warnings` say so.

    Args:
        stages: from cheap to dear.
        answer: the kind of answer, for agreement and confidence.
        name: as a model.

    Raises:
        InputError: for no stage, or one without a test before the last.
    """

    def __init__(self, stages: Sequence[Stage], *, answer: str | AnswerType = "text", name: str = "cascade") -> None:
        if not stages:
            raise InputError("cascade: needs at least one stage.")
        for i, stage in enumerate(stages[:-1]):
            if stage.until is None:
                raise InputError(f"cascade: stage {i + 1} has no test, so no later one would ever be asked.",
                                 hint="Give it one: until: agreement >= 0.8.")  # fmt: skip
        self.stages = tuple(stages)
        self.answer_type = answer_type(answer)
        self._name = name

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def members(self) -> tuple[Model, ...]:
        """The stages' models and the verifiers."""
        verifiers = [s.until.model for s in self.stages if isinstance(s.until, Verified)]
        return (*(stage.model for stage in self.stages), *verifiers)

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The answer of the first stage that passes.

        Raises:
            ModelError: if no stage answers.
        """
        question = next((m.content for m in reversed(messages) if m.role == "user"), "")
        parts: list[Reply] = []
        warnings: list[str] = []
        spent = Usage()
        best: tuple[str, Answered] | None = None
        failure: ModelError | None = None
        why = ""
        for i, stage in enumerate(self.stages):
            with _at(f"{i}"):
                try:
                    answered = await self.ask_stage(stage, messages, settings)
                except BudgetError as error:
                    if best is None:
                        raise
                    warnings.append(f"a budget ended the cascade, so the answer of {best[0]} was taken: {error}")
                    break
                except ModelError as error:
                    failure = error
                    spent = spent + (error.usage or Usage())
                    warnings.append(f"stage {stage.name} failed: {calls.sentence(error)}")
                    continue
                spent = spent + answered.spent
                parts += answered.replies
                best, last = (stage.name, answered), i == len(self.stages) - 1
                passed, why, asked = True, "the last stage", None
                if stage.until is not None and not last:
                    try:
                        passed, why, asked = await stage.until.passes(question, answered, settings)
                    except BudgetError as error:
                        warnings.append(f"a budget ended the cascade, so the answer of {stage.name} was taken: {error}")
                        passed, why, asked = True, "a budget", None
                    if why.startswith("no ") or why.endswith("could not be read") or "failed" in why:
                        warnings.append(f"stage {stage.name} could not be tested: {why}")
            if asked is not None:
                parts.append(asked)
                spent = spent + asked.usage
            if passed:
                break
        else:
            if best is not None:
                warnings.append(f"no later stage answered, so that of {best[0]} was taken, which had not passed")
        if best is None:
            assert failure is not None
            raise failure
        stage_name, answered = best
        said = tuple(dict.fromkeys([*warnings, *answered.reply.warnings]))
        return replace(plain(answered.reply), usage=spent, parts=tuple(parts), warnings=said, route=(stage_name, why))

    async def ask_stage(self, stage: Stage, messages: Sequence[Message], settings: Settings = Settings()) -> Answered:
        """What one stage answers, whatever its test says of it: for calibration too.

        Raises:
            ModelError: if none of its samples answers.
        """
        messages, settings = _asking(stage, messages, settings)
        if stage.samples == 1:
            replies: list[Reply | ModelError] = [await calls.ask(stage.model, messages, settings, at="ask")]
        else:
            replies = [ModelError("not asked")] * stage.samples
            seed = settings.seed if settings.seed is not None else 0

            async def sample(k: int) -> None:
                try:
                    seeded = settings.seeded(derive_seed(seed, "sample", k))
                    replies[k] = await calls.ask(stage.model, messages, seeded, at=f"{k}")
                except (BudgetError, InputError):
                    raise
                except ModelError as error:
                    replies[k] = error

            try:
                async with anyio.create_task_group() as group:
                    for k in range(stage.samples):
                        group.start_soon(sample, k)
            except BaseExceptionGroup as errors:
                raise calls.first(errors) from None
        given = [reply for reply in replies if isinstance(reply, Reply)]
        lost = sum((e.usage for e in replies if isinstance(e, ModelError) and e.usage), Usage())
        if not given:
            error = next(e for e in replies if isinstance(e, ModelError))
            error.usage = lost if lost.calls else None
            raise error
        return self._answered(given, len(replies), lost)

    def _answered(self, replies: Sequence[Reply], asked: int, lost: Usage) -> Answered:
        answers = [extract(self.answer_type, reply) for reply in replies]
        counts = Counter(answer.value for answer in answers if answer.value is not None)
        usual = counts.most_common(1)[0][0] if counts else None
        at = next((i for i, answer in enumerate(answers) if answer.value == usual), 0)
        reply = replies[at]
        agreement = counts[usual] / asked if usual is not None else 0.0
        if asked == 1 and hasattr(reply, "support"):  # a debate's verdict: the share of the vote behind it
            agreement = reply.confidence if reply.confidence is not None and reply.answer is not None else 0.0  # type: ignore[attr-defined]
        confidence = answers[at].confidence
        logprob = reply.logprob
        return Answered(
            reply, tuple(replies), agreement,
            None if confidence is None or math.isnan(confidence) else confidence,
            None if logprob is None or math.isnan(logprob) else logprob,
            sum((r.usage for r in replies), lost),
        )  # fmt: skip


_HOW_SURE = (
    "After your answer, write a line 'Confidence: P', where P is the probability in percent that your answer is right."
)


def _asking(stage: Stage, messages: Sequence[Message], settings: Settings) -> tuple[Sequence[Message], Settings]:
    """What a stage's test looks at, asked for: models say how sure they are only where they are told to."""
    signal = stage.until.signal if isinstance(stage.until, AtLeast) else ""
    single = not getattr(stage.model, "members", ()) and not getattr(stage.model, "fixed_prompts", False)
    if signal == "logprob" and settings.logprobs is None:
        settings = replace(settings, logprobs=0)
    if signal == "confidence" and single and messages and "Confidence:" not in messages[-1].content:
        last = messages[-1]
        messages = [*messages[:-1], replace(last, content=f"{last.content}\n\n{_HOW_SURE}")]
    return messages, settings


@contextmanager
def _at(place: str) -> Iterator[None]:
    """A place below the current call, without a call of its own."""
    here = calls.current()
    with calls.scope(path=f"{here.path}/{place}" if here.path else place):
        yield
