"""The MCP server, by the client of the official SDK, as a process on standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
from agora_server import SCRIPTED
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from agora.journal import Journal


def use(tmp_path: Path, work: Any, text: str = SCRIPTED) -> Any:
    """Run `work(session)` against `agora mcp`."""
    path = tmp_path / "duo.yaml"
    path.write_text(text)
    arguments = ["-m", "agora.cli", "mcp", str(path), "--store", str(tmp_path / "runs.sqlite")]

    async def go() -> Any:
        with (tmp_path / "stderr").open("w") as errors:
            parameters = StdioServerParameters(command=sys.executable, args=arguments)
            async with stdio_client(parameters, errlog=errors) as (read, write), ClientSession(read, write) as session:
                await session.initialize()
                return await work(session)

    return anyio.run(go)


def test_tools_are_listed_with_what_there_is(tmp_path: Path) -> None:
    async def work(session: ClientSession) -> Any:
        return (await session.list_tools()).tools

    tools = {tool.name: tool for tool in use(tmp_path, work)}
    assert set(tools) == {"debate", "ask"}
    assert "There are: duo." in (tools["debate"].description or "")
    assert "duo/bob" in (tools["ask"].description or "")
    assert tools["debate"].input_schema["required"] == ["question"]


def test_a_debate_and_a_question(tmp_path: Path) -> None:
    async def work(session: ClientSession) -> Any:
        told: list[str] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append(message or "")

        debate = await session.call_tool(
            "debate", {"question": "six times seven?", "transcript": True}, progress_callback=hear
        )
        assert told[0] == "ann, bob debate."
        assert "stop: unanimous" in told
        short = await session.call_tool("debate", {"question": "six times seven?", "rounds": 0, "name": "duo"})
        ask = await session.call_tool("ask", {"question": "six times seven?", "name": "bob"})
        preset = await session.call_tool("debate", {"question": "?", "name": "bob", "preset": "self-consistency"})
        return debate, short, ask, preset

    debate, short, ask, preset = use(tmp_path, work)
    said = debate.structured_content
    assert (debate.is_error, said["answer"], said["calls"], said["text"]) == (False, "42", 4, "I see. Answer: 42")
    assert "ann (round 0)" in said["transcript"]
    assert short.structured_content["calls"] == 2
    assert ask.structured_content["text"] == "I am sure. Answer: 42"
    assert preset.structured_content["calls"] > 2

    async def kept() -> list[str]:
        async with Journal(tmp_path / "runs.sqlite") as journal:
            return [run.status for run in await journal.runs()]

    assert anyio.run(kept) == ["done"] * 4
    assert (tmp_path / "stderr").read_text() == ""


def test_what_is_wrong_is_an_error_of_the_tool(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("debate", {"question": "?", "name": "nobody"}, "does not exist"),
        ("debate", {"question": "?", "name": "bob"}, "one model"),
        ("debate", {"question": "?", "preset": "nonsense"}, "no preset"),
        ("debate", {"question": "?", "budget": {"calls": 0}}, "budget of 0 calls"),
        ("ask", {"question": " "}, "no text"),
        ("ask", {}, "question"),
    ]

    async def work(session: ClientSession) -> Any:
        return [await session.call_tool(name, arguments) for name, arguments, _ in cases]

    for result, (_, arguments, said) in zip(use(tmp_path, work), cases, strict=True):
        assert result.is_error, arguments
        assert said in result.content[0].text, result.content[0].text
        assert "Traceback" not in result.content[0].text


def test_an_assistant_that_gives_up_ends_the_debate(tmp_path: Path) -> None:
    async def work(session: ClientSession) -> None:
        with anyio.move_on_after(0.5):
            await session.call_tool("ask", {"question": "?", "name": "slow"})
        done = await session.call_tool("ask", {"question": "?", "name": "bob"})
        assert not done.is_error

    use(tmp_path, work)

    async def kept() -> list[str]:
        async with Journal(tmp_path / "runs.sqlite") as journal:
            return [run.status for run in await journal.runs()]

    assert sorted(anyio.run(kept)) == ["done", "interrupted"]
