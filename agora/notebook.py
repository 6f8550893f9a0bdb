"""Debates in notebooks' cells: one that is watched while it goes on, and verdicts, which show themselves."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from agora.model import Settings
from agora.view.standing import Standing
from agora.view.stills import standing_html, verdict_html

if TYPE_CHECKING:
    from pathlib import Path

    from agora.journal import Journal
    from agora.records import Event, Message, Verdict
    from agora.text.debate import Debate

EVERY = 0.25  # seconds between two pictures of a debate that goes on


async def display(
    debate: Debate,
    question: str | Sequence[Message],
    settings: Settings = Settings(),
    *,
    journal: Journal | str | Path | None = None,
    run: str | None = None,
) -> Verdict:
    """Debate a question in a notebook's cell, shown while it goes on; in the end the verdict stands there, with the
    page of the run to unfold. Elsewhere the terminal shows it.

        verdict = await agora.display(debate, "What is six times seven?")

    A notebook awaits it. A script, which has no event loop: `asyncio.run(agora.display(debate, question))`.
    Interrupting the kernel ends the debate and all its calls; with a journal, the same `run` goes on.

    Args:
        debate: who debates, and how.
        question: to debate, or a conversation that ends with it.
        settings: passed on to agents that do not pin their own.
        journal: where every call is recorded, as `Debate.answer` takes it.
        run: the run's id; one that the journal has is resumed.

    Raises:
        AgoraError: as `Debate.answer`; its sentence is shown, too.
    """
    from agora.errors import sentence

    handle = _cell()
    options: dict[str, Any] = {"journal": journal, "run": run}
    if handle is None:
        return await _in_terminal(debate, question, settings, options)
    now = Standing([agent.name for agent in debate.agents])
    told: list[tuple[float, Event]] = []
    try:
        verdict = await _followed(debate, question, settings, options, now, told, handle)
    except anyio.get_cancelled_exc_class():
        again = "" if journal is None else f" What was answered is kept; run={now.run!r} goes on."
        handle.show(standing_html(now, f"Interrupted.{again}"), f"Interrupted.{again}")
        raise
    except Exception as error:
        handle.show(standing_html(now, sentence(error)), sentence(error))
        raise
    try:
        picture = verdict_html(verdict, told)
    except Exception as error:  # a verdict is paid for: it is given, whatever becomes of its picture
        picture = standing_html(now, f"The verdict cannot be drawn: {sentence(error)}")
    handle.show(picture, str(verdict))
    _just_shown(verdict)
    return verdict


async def _followed(
    debate: Debate,
    question: Any,
    settings: Settings,
    options: dict[str, Any],
    now: Standing,
    told: list[tuple[float, Event]],
    handle: _Cell,
) -> Verdict:
    """A debate to its verdict, drawn again as it moves, but not more often than it can be read."""
    from agora.calls import first
    from agora.records import Wrote

    news = anyio.Event()

    async def draw() -> None:
        nonlocal news
        while True:
            await news.wait()
            news = anyio.Event()
            handle.show(standing_html(now))
            await anyio.sleep(EVERY)

    failure: BaseException | None = None
    async with debate.watch(question, settings, stream=True, **options) as events:
        now.run = events.run_id
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(draw)
                async for event in events:
                    now.see(event)
                    if not isinstance(event, Wrote):
                        told.append((time.time(), event))
                    news.set()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            failure = first(errors)
    if failure is not None:
        raise failure  # out here, as IPython shows no error that has a group in its context
    assert events.verdict is not None
    return events.verdict


async def _in_terminal(debate: Debate, question: Any, settings: Settings, options: dict[str, Any]) -> Verdict:
    from agora.journal import verdict_json
    from agora.terminal import endings, shows

    verdict = await shows.watched(debate, question, shows.shown(debate), settings=settings, **options)
    endings.summary(verdict_json(verdict), verdict.usage)
    return verdict


# ---- the cell ---------------------------------------------------------------------------------------------------


class _Cell:
    """An output of a notebook's cell, shown again in the same place."""

    def __init__(self) -> None:
        from IPython.display import display as shown

        self._handle: Any = shown({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def show(self, html: str, text: str = "a debate under way") -> None:
        """Put a picture in the place of the one before; `text` is for who shows no HTML."""
        self._handle.update({"text/html": html, "text/plain": text}, raw=True)


def _cell() -> _Cell | None:
    """Where a notebook shows it; None in a terminal, IPython's own included."""
    import sys

    if "IPython" not in sys.modules:  # who runs in a kernel has it
        return None
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call]
    return _Cell() if getattr(shell, "kernel", None) is not None else None


_last: tuple[Any, int] | None = None  # the verdict that a cell has just shown, and which execution that was


def _execution() -> int:
    from IPython import get_ipython

    return int(getattr(get_ipython(), "execution_count", 0))  # type: ignore[no-untyped-call]


def _just_shown(verdict: Verdict) -> None:
    global _last
    _last = weakref.ref(verdict), _execution()


def verdict_repr(verdict: Verdict) -> str | None:
    """A verdict for a notebook; None, which is one line of text, where `display` has shown it in the same cell."""
    if _last is not None and _last[0]() is verdict and _last[1] == _execution():
        return None
    return verdict_html(verdict)
