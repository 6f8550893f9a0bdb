"""The journal in PostgreSQL, on a temporary server of its own; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import journal_cases as cases
import postgres_server
import pytest

from agora import Journal, StoreError, store

pytest.importorskip("psycopg")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that only this module uses."""
    with postgres_server.running() as address:
        yield address


@pytest.fixture
def new(server: str) -> Callable[[], str]:
    """Makes empty databases."""
    return lambda: postgres_server.database(server)


@pytest.fixture
def url(new: Callable[[], str]) -> str:
    return new()


@pytest.mark.anyio
async def test_record_and_resume(url: str) -> None:
    await cases.record_and_resume(url)


@pytest.mark.anyio
@pytest.mark.parametrize("n", [1, 5])
async def test_only_what_is_missing_is_called(url: str, n: int) -> None:
    await cases.partial_journal(url, n)


@pytest.mark.anyio
async def test_a_failed_run_tries_again_what_failed_last(url: str) -> None:
    await cases.failed_run(url)


@pytest.mark.anyio
async def test_hostile_texts(url: str) -> None:
    await cases.hostile_texts(url)


@pytest.mark.anyio
async def test_hostile_names(url: str) -> None:
    await cases.hostile_names(url)


@pytest.mark.anyio
async def test_runs_are_found(url: str) -> None:
    await cases.listing(url)


@pytest.mark.anyio
async def test_the_choice_of_a_quorum_is_replayed(url: str) -> None:
    await cases.quorum_choice(url)


def test_two_processes_and_many_tasks_lose_nothing(url: str) -> None:
    cases.concurrent_writers(url, each=5)


def test_two_processes_open_a_new_store_at_once(new: Callable[[], str], tmp_path: Path) -> None:
    cases.opened_at_once([new() for _ in range(5)], tmp_path / "urls")


def test_a_database_with_other_tables_may_be_shared(url: str) -> None:
    engine = store.connect(url, 30)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE agora_meta, agora_runs, agora_calls, agora_events")
        connection.exec_driver_sql("CREATE TABLE people (name TEXT)")
    engine.dispose()
    anyio.run(cases.record_and_resume, url)


async def _open(url: str) -> None:
    async with Journal(url) as journal:
        await cases.debate("a").answer("q?", journal=journal, run="r")


def test_stores_that_are_wrong(url: str, server: str) -> None:
    def wrong(given: str) -> str:
        with pytest.raises(StoreError) as caught:
            anyio.run(_open, given)
        assert caught.value.exit_status == 2
        assert caught.value.hint
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "does not exist" in wrong(f"postgresql://agora@/nowhere?host={server}")
    assert "s3cret" not in wrong(f"postgresql://nobody:s3cret@/nowhere?host={server}")
    read_only = f"{url}&options=-c%20default_transaction_read_only%3Don"
    assert "read-only" in wrong(read_only)
    anyio.run(_open, url)
    assert "read-only" in wrong(read_only)
    engine = store.connect(url, 30)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE agora_meta SET value = '99'")
    engine.dispose()
    assert "newer agora" in wrong(url)


def test_a_connection_that_the_server_ends_is_made_again(url: str) -> None:
    """Servers and proxies end what was idle during a long call."""

    def cut(messages: Sequence[object]) -> str:
        engine = store.connect(url, 30)
        with engine.connect() as connection:
            others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}")
        engine.dispose()
        return "Answer: 1"

    async def go() -> None:
        from agora import Agent, Debate, Moderator, ScriptedModel
        from agora.text.stop import rounds

        def group(*scripts: object) -> Debate:
            people = [Agent(n, ScriptedModel(s)) for n, s in zip("ab", scripts, strict=True)]  # type: ignore[arg-type]
            return Debate(people, answer="number", moderator=Moderator(rounds(1)))

        async with Journal(url) as journal:
            verdict = await group("Answer: 1", cut).answer("q?", journal=journal, run="r")
            assert verdict.usage.calls == len(await journal.calls("r")) == 4

    anyio.run(go)
