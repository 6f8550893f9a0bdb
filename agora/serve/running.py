"""One request, run: every choice is a run of its own, journaled as any other, and told piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import fields, replace
from types import TracebackType
from typing import Any

import anyio

from agora import calls
from agora.budget import Budget
from agora.calls import Around, Delta, Wait
from agora.errors import AgoraError, BudgetError, ModelError, StoreError
from agora.journal import Journal, new_id
from agora.model import Settings
from agora.models.endpoint import held_to
from agora.records import Message, Reply, Usage, Verdict
from agora.serve.asked import Answered, Asked, Begun, Piece, Refused, Said, Thought
from agora.serve.catalog import Catalog, Served
from agora.serve.shaping import Shaped, shaped
from agora.serve.transcript import Transcript
from agora.text.debate import Debate

KEPT = 2000  # characters of a question that the journal's list has; the whole is in the run's calls
Tell = Callable[[Piece], None]


class Runner:
    """Runs requests. Used as `async with`: its journals are open for as long.

    Args:
        catalog: what can be asked.
        store: URL or path of the journal; None: the usual one; 'none': runs are kept nowhere.
        most: that a request may take, whatever limits it sets itself.
        spent: is told what each request has taken, whether or not there was an answer: the model's id, and the usage.
    """

    def __init__(
        self, catalog: Catalog, store: str | None = None, *, most: Budget = Budget(),
        spent: Callable[[str, Usage], None] = lambda model, usage: None,
    ) -> None:  # fmt: skip
        self.catalog, self._store, self._most, self._spent = catalog, store, most, spent
        self._journals: dict[tuple[bool, bool], Journal] = {}
        self._stack, self._opening = AsyncExitStack(), anyio.Lock()
        self._mute: set[str] = set()  # models that have been found to give no log-probabilities

    async def __aenter__(self) -> Runner:
        for served in self.catalog.values():
            await self.journal(served.store)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def broken(self) -> str | None:
        """Why nothing can be journaled any more, if so."""
        return next((str(journal.broken) for journal in self._journals.values() if journal.broken), None)

    @property
    def journals(self) -> tuple[Journal, ...]:
        """Those that runs are written to."""
        return tuple(self._journals.values())

    async def journal(self, store: Mapping[str, Any]) -> Journal | None:
        """The journal of what a debate file says under `store:`; None where runs are kept nowhere."""
        if self._store == "none":
            return None
        kept = (bool(store.get("content", True)), bool(store.get("reuse", False)))
        async with self._opening:
            if kept not in self._journals:
                journal = Journal(self._store, content=kept[0], reuse=kept[1])
                self._journals[kept] = await self._stack.enter_async_context(journal)
        return self._journals[kept]

    def prepare(self, asked: Asked) -> Callable[[Tell, Around | None], Any]:
        """What runs a request; what is wrong with it is found before anything is sent.

        Raises:
            Refused: if there is no such model, or it cannot do what is asked.
        """
        served = self.catalog.get(asked.model)
        if served is None:
            raise Refused(f"The model '{asked.model[:100]}' does not exist; there are {_some(list(self.catalog))}.",
                          status=404, code="model_not_found", param="model")  # fmt: skip
        if not any(message.content.strip() for message in asked.messages):
            raise Refused("messages: there is no text in them.", code="invalid_value", param="messages")
        made = shaped(served, asked)
        if asked.settings.logprobs is not None and served.id in self._mute:
            raise self._no_logprobs(served)

        async def run(tell: Tell, around: Around | None) -> list[Answered]:
            done: dict[int, Answered] = {}

            async def one(choice: int) -> None:
                done[choice] = await self._one(served, made, asked, choice, tell, around)

            budget = narrower(asked.budget, self._most)
            with calls.limited(budget) as meter:
                try:
                    async with anyio.create_task_group() as group:
                        for choice in range(asked.choices):
                            group.start_soon(one, choice)
                except BaseExceptionGroup as errors:
                    raise calls.first(errors) from None
                finally:
                    self._spent(served.id, replace(meter.used, calls=meter.used.calls + meter.failed))
            return [done[choice] for choice in sorted(done)]

        return run

    async def _one(
        self, served: Served, made: Shaped, asked: Asked, choice: int, tell: Tell, around: Around | None
    ) -> Answered:
        run, settings = new_id(), made.seeded(choice)
        journal = await self.journal(served.store)
        tell(Begun(choice, run))
        live: _Live | None = None

        def show(text: str) -> None:
            if asked.show:
                tell(Thought(choice, text))

        transcript = Transcript(show)
        try:
            with calls.scope(around=around):
                if isinstance(made.model, Debate):
                    reply: Reply = await _debate(made.model, asked, settings, journal, run, transcript)
                else:
                    live = _Live(lambda text: tell(Said(choice, text)))
                    reply = await _ask(served, made, asked, settings, journal, run, live)
            if asked.settings.logprobs is not None and not reply.tokens:
                if not getattr(made.model, "members", ()):  # else another member may give some
                    self._mute.add(served.id)
                raise self._no_logprobs(served)
            answered = _answered(reply, asked, choice, run, transcript, live)
        except AgoraError as error:
            error.run = run  # type: ignore[attr-defined]  # the client is told, so that what was paid for is found
            raise
        tell(answered)
        return answered

    @staticmethod
    def _no_logprobs(served: Served) -> Refused:
        return Refused(f"'{served.id}' gives no log-probabilities.", code="unsupported_value", param="logprobs")


async def _debate(
    debate: Debate, asked: Asked, settings: Settings, journal: Journal | None, run: str, transcript: Transcript
) -> Verdict:
    shown = asked.show and asked.stream
    async with debate.watch(asked.messages, settings, journal=journal, run=run, stream=shown) as events:
        async for event in events:
            transcript.see(event)
    assert events.verdict is not None
    return events.verdict


async def _ask(
    served: Served, made: Shaped, asked: Asked, settings: Settings, journal: Journal | None, run: str, live: _Live
) -> Reply:
    """Ask a model that is no debate, as a run of the journal."""
    plain = settings.schema is None and settings.logprobs is None
    streams = asked.stream and plain and not getattr(made.model, "members", ())  # which speak all at once
    with ExitStack() as stack:
        recorder = None
        if journal is not None:
            stack.enter_context(journal.claim(run))
            question = next((m.content for m in reversed(asked.messages) if m.content.strip()), "")[:KEPT]
            recorder = await journal.begin(run, question=question, name=served.id, seed=settings.seed or 0)
        stack.enter_context(calls.scope(recorder=recorder, listen=live.hear, stream=streams))
        status, outcome = "interrupted", dict[str, Any]()
        try:
            reply = await calls.ask(made.model, asked.messages, settings, at="answer")
            status, outcome = "done", {"reason": reply.finish, "answer": getattr(reply, "answer", None)}
            return reply
        except StoreError:
            status = ""  # it cannot be written that it cannot be written
            raise
        except Exception as error:
            status, outcome = (
                "budget" if isinstance(error, BudgetError) else "failed",
                {"reason": calls.sentence(error)},
            )
            raise
        finally:
            if recorder is not None and status:
                await recorder.end(status, **outcome)


def _answered(
    reply: Reply, asked: Asked, choice: int, run: str, transcript: Transcript, live: _Live | None
) -> Answered:
    text: str | None = reply.text
    refusal, thought = None, transcript.text
    if asked.json and isinstance(reply, Verdict):
        text = reply.answer
        refusal = None if text is not None else f"The debate reached no answer: {reply.reason}"
    elif asked.json:
        try:
            text = held_to(asked.settings.schema or {}, reply.text, reply.model)
        except ModelError as error:
            error.usage = reply.usage
            raise
    elif not isinstance(reply, Verdict) and reply.reasoning:
        thought = reply.reasoning
    said = live.said(text) if live is not None and text is not None else 0
    return Answered(choice, run, reply, text, refusal, said, thought if asked.show and not said else "")


class _Live:
    """The text of one model while it is written, as far as it cannot change any more."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._text = self._told = ""

    def hear(self, what: Wait | Delta) -> None:
        """A piece."""
        if isinstance(what, Wait):
            return
        self._text = what.text if what.first else self._text + what.text
        text = self._text.lstrip()
        if text.startswith("<think>") or "<think>".startswith(text):
            return  # reasoning, which is told apart from the answer when both are there
        if text.startswith(self._told) and len(text) > len(self._told):
            self._tell(text[len(self._told) :])
            self._told = text

    def said(self, text: str) -> int:
        """How many characters of the whole text have been told.

        Raises:
            Refused: if something else has been told.
        """
        before = len(text) - len(text.lstrip())
        if text.startswith(self._told, before):
            return before + len(self._told) if self._told else 0
        if text.strip() == self._told.strip():
            return len(text)
        raise Refused("the model began its answer anew when a part of it had been sent.", status=502,
                      hint="Ask again, or without `stream`.")  # fmt: skip


def narrower(a: Budget, b: Budget) -> Budget:
    """The limits that keep within both."""
    pairs = {f.name: [v for v in (getattr(a, f.name), getattr(b, f.name)) if v is not None] for f in fields(Budget)}
    return Budget(**{name: min(values) for name, values in pairs.items() if values})


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def taken(usage: Usage) -> dict[str, Any]:
    """What only agora says of a usage, as plain data."""
    return {"calls": usage.calls, "usd": usage.usd, "seconds": round(usage.seconds, 3)}


def summary(answered: Answered) -> dict[str, Any]:
    """What only agora says of an answer, as plain data."""
    reply = answered.reply
    data: dict[str, Any] = {"run": answered.run, **taken(reply.usage)}
    if isinstance(reply, Verdict):
        data |= {
            "answer": reply.answer, "reason": reply.reason, "confidence": reply.confidence,
            "rounds": len(reply.rounds) - 1, "support": dict(reply.support), "initial": reply.initial,
            "dissent": [{"agent": d.agent, "answer": d.answer} for d in reply.dissent],
            "absent": list(reply.absent),
        }  # fmt: skip
    if reply.route is not None:
        data["route"] = list(reply.route)
    if reply.warnings:
        data["warnings"] = list(reply.warnings)
    return data


def conversation(messages: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """Messages of (role, text) pairs; roles that vendors have besides are read as the nearest one."""
    roles: Mapping[str, Any] = {"developer": "system"}
    return tuple(Message(roles.get(role, role), text) for role, text in messages)
