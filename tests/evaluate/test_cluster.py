"""What a cluster's workers and the evaluation tell each other, on a stand-in for Ray whose actors die when told to."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copyreg
import pickle
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray_evaluation import items, table

from agora import Debate, Journal, ScriptedModel, StoreError, calls, store
from agora.budget import Budget
from agora.config import load
from agora.errors import AgoraError, BudgetError, InputError, MissingError, QuorumError, ServerError
from agora.evaluate import Progress, Ray, Results, evaluate, evaluate_async
from agora.evaluate.running import cluster
from agora.models import limits
from agora.records import Reply, Usage

DEBATE = """
models:
  first: {scripted: {"Peer": "So it is. Answer: 3", "Item 7": "Answer: none", "": "Because. Answer: 2"}, name: first}
  other: {scripted: {"": "Answer: 1"}, failures: 0.2, name: other}
agents: {ann: first, bob: other, cat: first}
topology: ring
moderator: {stop: rounds(2)}
answer: number
"""


def proxy(data: dict[str, Any]) -> types.MappingProxyType[str, Any]:
    return types.MappingProxyType(data)


copyreg.pickle(types.MappingProxyType, lambda given: (proxy, (dict(given),)))  # Ray's pickler takes them, too


class Gone(Exception):
    """As Ray raises it."""


class Actor:
    """A worker in this process: what goes to it and comes from it is pickled. It dies at the `n`th call of a method:
    before it does anything ('before'), or when it has done it and nobody has heard ('after')."""

    def __init__(self, made: Any, dies: Callable[[str], str | None]) -> None:
        self.made, self.dies = made, dies
        self.tasks: set[asyncio.Task[Any]] = set()
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return types.SimpleNamespace(remote=lambda *args: self._call(name, pickle.dumps(args)))

    async def _call(self, name: str, args: bytes) -> Any:
        when = None if self.dead.is_set() else self.dies(name)
        if when == "before":
            self.kill()
        if self.dead.is_set():
            raise Gone
        # another process's context: nothing of the evaluation's is in it
        task = contextvars.Context().run(asyncio.ensure_future, getattr(self.made, name)(*pickle.loads(args)))
        self.tasks.add(task)
        died = asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
        if when == "after":
            self.kill()
        if self.dead.is_set():
            raise Gone
        return pickle.loads(pickle.dumps(task.result()))

    def kill(self) -> None:
        self.dead.set()
        for task in self.tasks:
            task.cancel()


class FakeRay:
    """What of Ray is used."""

    _private = types.SimpleNamespace(worker=types.SimpleNamespace())
    exceptions = types.SimpleNamespace(RayActorError=Gone, NodeDiedError=Gone, ObjectLostError=Gone)

    def __init__(self, deaths: dict[tuple[int, str, int], str]) -> None:
        self.deaths, self.actors = deaths, list[Actor]()

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, kind: Any) -> Any:
        def start(*args: Any) -> Actor:
            number, count = len(self.actors), Counter[str]()

            def dies(name: str) -> str | None:
                count[name] += 1
                return self.deaths.get((number, name, count[name]))

            self.actors.append(Actor(kind(*pickle.loads(pickle.dumps(args))), dies))
            return self.actors[-1]

        return types.SimpleNamespace(options=lambda **_: types.SimpleNamespace(remote=start))

    def kill(self, actor: Actor) -> None:
        actor.kill()

    def shutdown(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _undivided() -> Iterator[None]:
    yield
    limits.divide(1)  # this process is nobody's worker any more


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster") / "debate.yaml"
    path.write_text(DEBATE)
    return path


@pytest.fixture
def heard() -> Iterator[Counter[Any]]:
    """Calls that were made, in whatever process they were meant to be."""
    counted: Counter[Any] = Counter()
    real = ScriptedModel.answer

    async def answer(self: ScriptedModel, messages: Any, settings: Any) -> Any:
        counted[self.name, settings.seed, str(messages)] += 1
        await anyio.lowlevel.checkpoint()
        return await real(self, messages, settings)

    ScriptedModel.answer = answer  # type: ignore[method-assign]
    yield counted
    ScriptedModel.answer = real  # type: ignore[method-assign]


def run(file: Path, deaths: dict[tuple[int, str, int], str] | None = None, n: int = 6, **options: Any) -> Results:
    """The results; on the stand-in for Ray, unless `engine` is None."""
    debate, _ = load(file)
    fake, real = FakeRay(deaths or {}), cluster._ray
    cluster._ray = lambda: fake
    try:
        return evaluate(debate, items(n), **{"engine": Ray(2), "concurrency": 4, **options})
    finally:
        cluster._ray = real


def stopped(*args: Any, **options: Any) -> str:
    """Why it was stopped."""
    try:
        return run(*args, **options).stopped
    except BudgetError as error:
        return str(error)


@pytest.fixture(scope="module")
def alone(file: Path) -> Any:
    return table(run(file, engine=None))


def test_the_same_table(file: Path, alone: Any, heard: Counter[Any]) -> None:
    assert table(run(file)) == alone
    one = Counter(heard)
    heard.clear()
    run(file, engine=None)
    assert one == heard


METHODS = ["exchange", "answer"]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.sampled_from(METHODS), st.integers(1, 30)),
        st.sampled_from(["before", "after"]),
        min_size=1,
        max_size=2,
    )
)
def test_workers_may_die_at_any_moment(file: Path, alone: Any, deaths: dict[tuple[int, str, int], str]) -> None:
    assert table(run(file, deaths)) == alone


def test_what_was_journaled_is_not_asked_again(file: Path, heard: Counter[Any]) -> None:
    run(file, engine=None)
    one = Counter(heard)
    for at in range(1, 25, 8):
        heard.clear()
        run(file, {(0, "answer", at): "after"})  # all that it was asked then was answered, and is in the journal
        assert not one - heard
        lost = (heard - one).total()
        assert lost <= 4 * 3, "more than what was under way was asked again"


def test_an_item_that_takes_workers_with_it_is_absent(file: Path) -> None:
    deaths = {(number, "answer", 1): "before" for number in range(3)}
    first, *rest = run(file, deaths, n=3, baselines=[], concurrency=1).debates[0].rows
    assert (first.status, first.error) == ("absent", "debate: 3 workers were lost while they asked it about item 0.")
    assert all(row.status != "absent" for row in rest)


def test_all_workers_lost(file: Path, tmp_path: Path, alone: Any) -> None:
    store = tmp_path / "runs.sqlite"
    deaths = {(number, "exchange", 1): "after" for number in range(50)}
    with pytest.raises(AgoraError, match="all workers were lost"):
        run(file, deaths, journal=store)
    assert table(run(file, journal=store)) == alone


def test_what_was_answered_is_kept_when_it_is_ended(
    file: Path, heard: Counter[Any], tmp_path: Path, alone: Any
) -> None:
    kept = tmp_path / "runs.sqlite"

    def end(now: Progress) -> None:
        if now.done == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(file, journal=kept, progress=end)
    assert table(run(file, journal=kept)) == alone
    once = Counter(heard)
    heard.clear()
    run(file, engine=None)
    assert not heard - once
    assert (once - heard).total() <= 4 * 3  # what was under way


def test_a_journal_that_cannot_be_written_ends_it(
    file: Path, tmp_path: Path, heard: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = store.write, Counter[str]()

    def write(engine: Any, rows: Any) -> None:
        count["groups"] += 1
        if count["groups"] > 12:
            raise OSError("No space left on device: the disk is full")
        real(engine, rows)

    monkeypatch.setattr(store, "write", write)
    with pytest.raises(StoreError, match="the disk is full"):
        run(file, journal=tmp_path / "runs.sqlite")
    assert heard.total() < 60


def test_replies_of_earlier_runs_are_found(file: Path, tmp_path: Path, heard: Counter[Any]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"{DEBATE}# another file, and so other runs\n")

    async def go(path: Path, engine: Ray | None) -> None:
        async with Journal(tmp_path / "runs.sqlite", reuse=True) as journal:
            debate, _ = load(path)
            await evaluate_async(debate, items(3), baselines=[], journal=journal, engine=engine, concurrency=1)

    anyio.run(go, file, None)
    failed = sum(name == "other" for name, *_ in heard)
    heard.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_ray", lambda: FakeRay({}))
        anyio.run(go, other, Ray(2))
    assert heard.total() < failed  # replies are found, failures are tried again
    assert {name for name, *_ in heard} == {"other"}


@pytest.mark.parametrize("limit", [1, 20, 54, 60, 90])
@pytest.mark.parametrize("deaths", [{}, {(0, "exchange", 5): "after"}], ids=["alive", "killed"])
def test_a_budget_is_never_exceeded(file: Path, heard: Counter[Any], limit: int, deaths: Any, tmp_path: Path) -> None:
    said = stopped(file, deaths, budget=Budget(calls=limit), journal=tmp_path / "runs.sqlite")
    assert f"the budget of {limit} calls is used up" in said
    assert heard.total() <= limit


def test_a_budget_that_is_enough_is_enough(file: Path, alone: Any, heard: Counter[Any]) -> None:
    run(file, engine=None)
    needed = heard.total()
    heard.clear()
    found = run(file, budget=Budget(calls=needed))
    assert heard.total() == needed
    assert table(found) == alone
    assert "calls is used up" in stopped(file, budget=Budget(calls=needed - 1))


def test_a_budget_around_the_evaluation_holds_too(file: Path, heard: Counter[Any]) -> None:
    with calls.limited(Budget(calls=10)) as meter, contextlib.suppress(AgoraError):
        run(file)
    assert meter.used.calls + meter.failed <= 10
    assert heard.total() <= 10


def test_tokens_count_where_the_budget_is_and_seconds_end_it(file: Path) -> None:
    whole = run(file, engine=None, baselines=[])
    told: list[Any] = []
    run(file, baselines=[], progress=told.append)
    assert told[-1].spent.tokens == sum(row.usage.tokens for row in whole.debates[0].rows)
    with calls.limited(Budget()) as meter:
        assert "tokens" in stopped(file, baselines=[], budget=Budget(tokens=500))
    assert 0 < meter.used.tokens < 600
    with pytest.raises(BudgetError, match="seconds"):
        run(file, baselines=[], budget=Budget(seconds=0))


def test_usd_are_lent_and_an_unknown_price_is_told_of(
    file: Path, heard: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def priced(self: ScriptedModel) -> Reply:
        return Reply("Answer: 1", model=self.name, usage=Usage(1, 10, 10, usd=0.1))

    monkeypatch.setattr(ScriptedModel, "cost", lambda self, usage: 0.1)
    monkeypatch.setattr(ScriptedModel, "_say", lambda self, index, messages: priced(self))
    with calls.limited(Budget()) as meter:
        assert "USD does not allow another call" in stopped(file, budget=Budget(usd=2.0), baselines=[])
    assert heard.total() == meter.used.calls + meter.failed
    assert meter.used.usd is not None
    assert meter.used.usd < 2.0 + 1e-9
    monkeypatch.setattr(ScriptedModel, "cost", lambda self, usage: None)
    with pytest.raises(InputError, match="price"):
        run(file, budget=Budget(usd=2.0), baselines=[])


def test_debates_that_no_file_makes_are_refused(file: Path) -> None:
    made, _ = load(file)
    for debate in (made.varied(seed=2), Debate(made.agents, answer="number")):
        with pytest.raises(InputError, match="made in Python"):
            evaluate(debate, items(2), engine=Ray(2))
    with pytest.raises(InputError, match="at least 1"):
        evaluate(made, items(2), engine=Ray(0))


def test_a_search_comes_to_the_same(file: Path, heard: Counter[Any]) -> None:
    pytest.importorskip("optuna")
    from agora.tune import tune

    over = ["topology=ring,complete", "moderator.stop=rounds(1),rounds(2)"]

    def go(engine: Ray | None) -> Any:
        found = tune(file, items(12), over=over, trials=4, engine=engine, concurrency=4)
        trials = [(trial.values, trial.state, trial.items, trial.score, trial.accuracy) for trial in found.trials]
        return trials, found.winner.number, found.text

    alone, one = go(None), heard.total()
    heard.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_ray", lambda: FakeRay({(0, "answer", 9): "before"}))
        assert go(Ray(2)) == alone
    assert one <= heard.total() <= one + 4 * 3


def test_where_it_cannot_be(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debate, _ = load(file)
    with pytest.raises(InputError, match="asyncio only"):
        anyio.run(partial(evaluate_async, debate, items(2), engine=Ray(2)), backend="trio")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"pip install 'agora-debate\[ray\]'"):
        evaluate(debate, items(2), engine=Ray(2))
    monkeypatch.setitem(sys.modules, "ray", FakeRay({}))
    monkeypatch.setattr(FakeRay, "is_initialized", lambda self: False)
    for address, said in (("127.0.0.1:9", "cannot be reached"), ("ray://127.0.0.1:9", "not by a Ray client")):
        with pytest.raises(InputError, match=said):
            evaluate(debate, items(2), engine=Ray(2, address))


def test_what_is_wrong_with_a_worker_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agora.evaluate.running.worker.versions", lambda: {"agora-debate": "0.0.1"})
    with pytest.raises(InputError, match=r"a worker on .*: it has agora 0\.0\.1"):
        run(file)
    monkeypatch.undo()
    limits.divide(1)
    tight = tmp_path / "tight.yaml"
    model = "{openai: m, base_url: 'http://127.0.0.1:9/v1', limits: {concurrent: 1}}"
    tight.write_text(f"models: {{m: {model}}}\nagents: {{a: m}}\nanswer: number\n")
    with pytest.raises(InputError, match="concurrent: 1 cannot be divided among 2 workers"):
        run(tight)


def test_limits_are_divided() -> None:
    limits.divide(3)
    given = limits.Limits(requests_per_minute=10, concurrent=3)
    assert limits.part(given) == limits.Limits(requests_per_minute=3, concurrent=1)
    with pytest.raises(InputError, match=r"concurrent: 2 cannot be divided among 3 workers\. Use at most 2"):
        limits.part(limits.Limits(concurrent=2))
    limiter = limits.Limiter()
    limiter.learn(limiter.rate("m"), [(b"x-ratelimit-limit-requests", b"90")])
    assert limiter.rate("m").requests == 30


@pytest.mark.parametrize(
    "error",
    [
        BudgetError("b.", limit="calls", hint="h."), QuorumError("q.", rounds=()), InputError("i.", hint="h."),
        ServerError("s.", model="m", retry_after=2.0),
    ],
)  # fmt: skip
def test_errors_travel(error: AgoraError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), there.__dict__) == (type(error), str(error), error.__dict__)
