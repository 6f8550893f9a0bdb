"""The tools by which an assistant convenes a group: a Model Context Protocol server over a catalog."""

from __future__ import annotations

import math
from typing import Annotated, Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

import agora
from agora.records import Message
from agora.serve.asked import AgoraField, Answered, Asked, BudgetField, Piece, Refused, Thought, budget_of
from agora.serve.catalog import Catalog
from agora.serve.faults import fault
from agora.serve.running import Runner, summary

Question = Annotated[str, Field(min_length=1, description="what is asked, with all that is needed to answer it")]
Name = Annotated[str | None, Field(description="which one, by name; default: the first")]
Preset = Annotated[
    str | None, Field(description="a published protocol for the same models, such as 'society-of-minds'")
]
Rounds = Annotated[int | None, Field(ge=0, le=1000, description="of debate after the first answers, at most")]


def server(catalog: Catalog, runner: Runner) -> MCPServer[Any]:
    """The server.

    Args:
        catalog: what can be asked.
        runner: runs it; open.
    """
    debates = [name for name, served in catalog.items() if served.debate is not None]
    made: MCPServer[Any] = MCPServer(
        "agora", version=agora.__version__, log_level="ERROR",
        instructions="Groups of language models that debate a question to a verdict, and single models.",
    )  # fmt: skip

    async def answered(asked: Asked, context: Context[Any, Any], transcript: bool = False) -> dict[str, Any]:
        said: list[str] = []
        steps, come = anyio.create_memory_object_stream[str](math.inf)

        def tell(piece: Piece) -> None:
            if isinstance(piece, Thought):
                said.append(piece.text)
                steps.send_nowait(piece.text)

        async def report() -> None:
            count = 0
            async for text in come:  # who is told that it goes on waits longer
                count += 1
                await context.report_progress(count, message=text.strip()[:200])

        failure, answers = None, list[Answered]()
        with steps, come:
            async with anyio.create_task_group() as group:
                group.start_soon(report)
                try:
                    answers = await runner.prepare(asked)(tell, None)
                except Exception as error:
                    failure = fault(error)
                steps.close()
        if failure is not None:
            raise ToolError(f"{failure.message}{f' (run {failure.run})' if failure.run else ''}")
        (answer,) = answers
        return {"text": answer.text, **summary(answer), **({"transcript": "".join(said)} if transcript else {})}

    @made.tool(
        structured_output=True,
        description="Let a group of language models debate a question. Gives the verdict, why, who dissents, and what "
        f"it cost. There are: {', '.join(debates) or 'none, so give a preset'}.",
    )
    async def debate(
        context: Context[Any, Any],
        question: Question,
        name: Name = None,
        preset: Preset = None,
        rounds: Rounds = None,
        budget: BudgetField | None = None,
        transcript: Annotated[bool, Field(description="tell who said what, too")] = False,
    ) -> dict[str, Any]:
        chosen = name or next(iter(debates), None) or next(iter(catalog), "")
        if preset is None and (found := catalog.get(chosen)) is not None and found.debate is None:
            raise ToolError(f"'{chosen[:60]}' is one model: use `ask`, or give a preset.")
        return await answered(_asked(chosen, question, budget, rounds, preset), context, transcript)

    @made.tool(
        structured_output=True,
        description="Ask one of the models, or one of the groups as if it were one, and get its answer. "
        f"There are: {', '.join(catalog)}.",
    )
    async def ask(
        context: Context[Any, Any],
        question: Question,
        name: Name = None,
        budget: BudgetField | None = None,
    ) -> dict[str, Any]:
        return await answered(_asked(name or next(iter(catalog), ""), question, budget), context)

    return made


def _asked(
    name: str, question: str, budget: BudgetField | None, rounds: int | None = None, preset: str | None = None
) -> Asked:  # fmt: skip
    try:
        limits = budget_of(AgoraField(budget=budget))
    except Refused as error:
        raise ToolError(str(error)) from None
    return Asked(name, (Message("user", question),), budget=limits, rounds=rounds, preset=preset, show=True)


async def run(catalog: Catalog, store: str | None) -> None:
    """Speak on standard input and output until they end.

    Raises:
        StoreError: if the journal cannot be opened.
    """
    async with Runner(catalog, store) as runner:
        await server(catalog, runner).run_stdio_async()
