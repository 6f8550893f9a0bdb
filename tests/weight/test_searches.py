"""Every search against its exact case: what moves, what stands still, what is found, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import anyio
import numpy as np
import pytest

from agora.errors import InputError, MissingError
from agora.weight.searching import SEARCHERS, Found, Numbers, Point, Trial, search, search_async
from agora.weight.searching.registry import get


class Corners(Numbers):
    """A box whose experts are given points."""

    def __init__(self, experts: Sequence[Point], low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(low, high, len(experts[0]))
        self.experts = {f"e{i}": point for i, point in enumerate(experts)}
        self.members = dict(self.experts)
        self.average = tuple(sum(column) / len(experts) for column in zip(*experts, strict=True))


def driven(space: Any, how: str, score: Callable[[Point], float], rounds: int, seed: int = 0, **options: Any) -> Any:
    """Batches of points that a search asks for, and their scores."""
    found = get(how)
    asks = found.make(space, np.random.default_rng([seed, 0]), **found.settled(options))
    batches, scores = [list(next(asks))], []
    for _ in range(rounds):
        scores.append([score(point) for point in batches[-1]])
        try:
            batches.append(list(asks.send(scores[-1])))
        except StopIteration:
            break
    return batches, scores


def bowl(*best: float) -> Callable[[Point], float]:
    return lambda point: -sum((a - b) ** 2 for a, b in zip(point, best, strict=True))


# ---- swarm


def test_a_step_of_inertia_alone_goes_on_in_the_same_direction() -> None:
    space = Corners([(0.0, 1.0), (4.0, -1.0), (2.0, 8.0)])
    only = {"inertia": 0.7, "cognitive": 0.0, "social": 0.0, "repel": 0.0, "step": 0.5, "decay": 0.5}
    batches, _ = driven(space, "swarm", bowl(0, 0), 3, particles=3, restart=99, **only)
    x, v = np.array(batches[0]), None
    for rounds, after in enumerate(batches[1:]):
        step = np.array(after) - x
        if v is not None:
            assert np.array_equal(step, v * 0.5)  # v' = v: only the step has shrunk
        else:
            directions = {
                tuple(row) for row in np.array(batches[0])[:, None] - np.array(batches[0])[None] for row in row
            }
            assert {tuple(2 * row) for row in step} <= {tuple(-np.array(d)) for d in directions}
        x, v = np.array(after), step
        assert rounds < 3


def test_equal_particles_stand_still() -> None:
    space = Corners([(0.25, 0.75)] * 4)
    batches, _ = driven(space, "swarm", bowl(1, 1), 20, particles=9)
    assert {point for batch in batches for point in batch} == {(0.25, 0.75)}


def test_first_velocities_are_finite_where_the_weights_of_their_difference_sum_to_0() -> None:
    space = Corners([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
    batches, _ = driven(space, "swarm", bowl(0.2, 0.3, 0.5), 30)
    points = np.array([point for batch in batches for point in batch])
    assert np.isfinite(points).all()
    assert np.allclose(points.sum(1), 1)  # every move is affine, so weights that sum to 1 go on doing so
    assert batches[0][:3] == list(space.experts.values())
    assert len(batches[0]) == 20
    assert all(sum(value > 0 for value in point) == 2 for point in batches[0][3:])  # crossovers of two


def test_a_particle_that_does_not_improve_returns_to_its_best() -> None:
    space = Corners([(0.0,), (8.0,)])
    only = {"inertia": 1.0, "cognitive": 0.0, "social": 0.0, "repel": 0.0, "step": 1.0, "decay": 1.0}
    batches, _ = driven(space, "swarm", lambda point: -abs(point[0]), 4, particles=2, restart=2, **only)
    first = [batch[0][0] for batch in batches]
    if first[1] != 0:  # it was sent towards the other: two worse places, then back to 0, where it stands
        assert first == [0.0, 8.0, 16.0, 0.0, 0.0]
    far = [batch[1][0] for batch in batches]
    assert far in ([8.0] * 5, [8.0, 0.0, -8.0, -16.0, 0.0])


def test_a_swarm_ends_when_it_has_waited_long_enough() -> None:
    space = Corners([(0.0,), (1.0,)])
    batches, _ = driven(space, "swarm", lambda point: 1.0, 99, patience=7, particles=4)
    assert len(batches) == 1 + 7


def test_without_draws_a_step_is_the_weighted_mean_of_where_a_particle_is_drawn() -> None:
    space = Corners([(0.0,), (1.0,)])
    batches, _ = driven(space, "swarm", lambda p: p[0], 1, particles=2, inertia=0, cognitive=1, social=2, repel=1,
                        step=1.0, random=False)  # fmt: skip
    # of 0: own best 0, the common best 1, the common worst 0 itself; of 1: nothing but away from 0
    assert batches[1] == [(0.5,), (1.25,)]


# ---- what is found


EVERY = {
    "random": {"evaluations": 2000}, "coordinate": {"evaluations": 400, "least": 1e-4}, "swarm": {"evaluations": 800},
    "evolution": {"evaluations": 600}, "lorahub": {"evaluations": 600, "l1": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("how", EVERY)
def test_the_lowest_point_of_a_bowl_is_found(how: str) -> None:
    if how in ("evolution", "lorahub"):
        pytest.importorskip("cma")
    found = search(Numbers(-1.0, 1.0, 2), bowl(0.3, -0.2), how, beside=False, **EVERY[how])
    near = {"random": 0.1, "swarm": 0.03}.get(how, 1e-3)  # a swarm's steps shrink, so that it ends beside the point
    assert found.score > -(near**2), found
    assert found.point == pytest.approx((0.3, -0.2), abs=near)


def test_every_search_is_tried() -> None:
    assert {one.name for one in SEARCHERS.values()} == {*EVERY, "greedy_soup"}
    assert all(one.summary and one.paper for one in SEARCHERS.values())


def test_the_sphere_in_ten_dimensions() -> None:
    pytest.importorskip("cma")
    found = search(Numbers(-5.0, 5.0, 10), bowl(*[1.0] * 10), "evolution", evaluations=2500, beside=False)
    assert found.score > -1e-3
    assert found.curve == sorted(found.curve)  # the best never worsens
    assert found.curve[-1] == found.score


def test_lorahub_converges_to_the_soft_thresholded_point() -> None:
    pytest.importorskip("cma")
    # (w - .3)^2 + (u + .2)^2 + .05 mean|.|: each number is drawn towards 0 by .05 / 2 / 2
    found = search(Numbers(-1.5, 1.5, 2), bowl(0.3, -0.2), "lorahub", evaluations=900, beside=False)
    assert found.point == pytest.approx((0.2875, -0.1875), abs=1e-4)
    assert all(-1.5 <= value <= 1.5 for trial in found.trials for value in trial.key if isinstance(value, float))
    small = search(Numbers(-1.5, 1.5, 2), bowl(0.01, 9.0), "lorahub", evaluations=900, beside=False)
    assert small.point == pytest.approx((0.0, 1.5), abs=1e-3)  # below the threshold; at the bound


def test_one_number_alone() -> None:
    pytest.importorskip("cma")
    assert search(Numbers(0.0, 1.0, 1), bowl(0.7), "evolution", evaluations=200, beside=False).point[0] == (
        pytest.approx(0.7, abs=1e-3)
    )


def test_whole_numbers() -> None:
    pytest.importorskip("cma")

    class Mixed(Numbers):
        whole = frozenset((1,))

        def canonical(self, point: Sequence[float]) -> Point:
            return (point[0], float(round(point[1])))

    for how in ("evolution", "coordinate"):
        found = search(Mixed(0.0, 6.0, 2), bowl(1.5, 4.2), how, evaluations=300, beside=False)
        assert found.point == (pytest.approx(1.5, abs=0.02), 4.0)


def test_the_greedy_soup_of_the_reference() -> None:
    space = Corners([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
    scores = {(1, 0, 0): 0.9, (0, 1, 0): 0.8, (0, 0, 1): 0.7, (0.5, 0.5, 0): 0.85, (0.5, 0, 0.5): 0.95}
    found = search(space, lambda point: scores[point], "greedy_soup", beside=False)
    assert found.point == (0.5, 0.0, 0.5)
    assert found.score == 0.95
    assert found.stopped == "done"
    assert found.evaluations == 5


def test_a_soup_takes_what_ties_and_leaves_what_cannot_be_scored() -> None:
    space = Corners([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])

    def score(point: Point) -> float:
        if point[2]:
            raise ValueError("broken")
        return 0.5

    found = search(space, score, "greedy_soup", beside=False)
    assert [trial.key for trial in found.trials][-1] == (0.5, 0.5, 0.0)
    assert found.point == (1.0, 0.0, 0.0)  # of equal ones the first
    assert "1 of 4 candidates could not be scored" in found.notes[0]


def test_a_soup_is_never_below_the_best_single_model() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        space = Corners([tuple(map(float, row)) for row in np.eye(5)])
        noise = {}
        found = search(space, lambda p: noise.setdefault(p, draw.random()), "greedy_soup")  # noqa: B023
        assert found.single is not None
        assert found.score >= found.single.score


# ---- what holds for all


@pytest.mark.parametrize("how", [*EVERY, "greedy_soup"])
def test_same_seed_same_result_and_the_common_random_state_is_left_alone(how: str) -> None:
    if how in ("evolution", "lorahub"):
        pytest.importorskip("cma")
    space = Corners([(0.0, 1.0), (1.0, 0.0), (0.9, 0.9)])
    np.random.seed(5)
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    runs = [search(space, bowl(0.4, 0.4), how, evaluations=60, seed=seed) for seed in (3, 3, 4)]
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]
    assert _shown(runs[0]) == _shown(runs[1])
    if how != "greedy_soup":
        assert _shown(runs[0]) != _shown(runs[2])
    assert runs[0].curve == sorted(runs[0].curve)
    shorter = search(space, bowl(0.4, 0.4), how, evaluations=20, seed=3, beside=False)
    assert shorter.trials == () or [t.key for t in shorter.trials] == [t.key for t in runs[0].trials][:20]


def _shown(found: Found) -> Any:
    kept = [(trial.key, trial.score) for trial in found.trials]
    return kept, found.point, found.random and (found.random.key, found.random.score)


def test_what_a_search_is_compared_with() -> None:
    space = Corners([(0.0, 1.0), (1.0, 0.0)])
    asked: list[Point] = []

    def score(point: Point) -> float:
        asked.append(point)
        return bowl(0.9, 0.2)(point)

    found = search(space, score, "swarm", evaluations=30)
    assert found.single is not None
    assert found.single.key == (1.0, 0.0)
    assert found.average is not None
    assert found.average.key == (0.5, 0.5)
    assert found.random is not None
    assert len(asked) == len(set(asked)), "something was scored twice"
    assert found.evaluations == 30
    assert len(asked) == 1 + 30 + 30  # the members and the average, of which the search asks for the first two again
    alone = search(space, bowl(0.9, 0.2), "swarm", evaluations=30, beside=False)
    assert alone.point == found.point
    assert alone.single is alone.random is alone.average is None
    best = search(space, lambda p: float(p == (1.0, 0.0)), "random", evaluations=5)
    assert best.notes == ("the best single model scores higher: 1, against 0.",)


def test_failures_count_as_the_worst_and_are_recorded() -> None:
    def score(point: Point) -> float:
        if point[0] < 0.3:
            raise RuntimeError("too\nsmall")
        if point[0] < 0.5:
            return math.nan
        return math.inf if point[0] < 0.6 else point[0]

    found = search(Numbers(0.0, 1.0, 1), score, "random", evaluations=60)
    assert 0.6 <= found.score < 1
    errors = {trial.error for trial in found.trials}
    assert errors == {None, "RuntimeError: too small", "its score is nan.", "its score is inf."}
    assert all((trial.score == -math.inf) == (trial.error is not None) for trial in found.trials)
    for how in ("swarm", "coordinate", *(["evolution"] if _cma() else [])):
        assert search(Numbers(0.0, 1.0, 2), score, how, evaluations=60, beside=False).score > 0.6


def _cma() -> bool:
    return find_spec("cma") is not None


def test_if_nothing_can_be_scored_that_is_an_error_soon() -> None:
    asked = []

    def score(point: Point) -> float:
        asked.append(point)
        raise TypeError("not a model")

    with pytest.raises(InputError, match=r"none of 10 candidates could be scored; the first: TypeError: not a model"):
        search(Numbers(0.0, 1.0, 1), score, "random", evaluations=500)
    assert len(asked) == 10
    with pytest.raises(InputError, match="none of 3"):
        search(Numbers(0.0, 1.0, 1), score, "random", evaluations=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"how": "swam"}, "Did you mean 'swarm'"),
        ({"how": "swarm", "particle": 3}, "Did you mean 'particles'"),
        ({"how": "random"}, "goes on until its budget is spent"),
        ({"how": "random", "evaluations": 0}, "one evaluation at least"),
        ({"how": "random", "seconds": 0}, "some time"),
        ({"how": "random", "evaluations": 2, "seed": -1}, "a seed is"),
        ({"how": "greedy_soup"}, "a space of weighted models"),
        ({"how": "swarm", "inertia": 0, "cognitive": 0, "social": 0, "repel": 0}, "not all 0"),
        ({"how": "swarm", "step": math.nan}, "'step' is a number"),
        ({"how": "coordinate", "evaluations": 2, "least": 0}, "'least' are above 0"),
        ({"how": "evolution", "evaluations": 2, "sigma": 0}, "'sigma' is above 0"),
    ],
)
def test_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        search(Numbers(0.0, 1.0, 2), bowl(0, 0), **options)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cma", None)
    with pytest.raises(MissingError, match=r"pip install 'agora-debate\[search\]'"):
        search(Numbers(0.0, 1.0, 2), bowl(0, 0), "evolution", evaluations=5, beside=False)


def test_a_search_that_asks_for_nothing_new_ends() -> None:
    found = search(Corners([(0.5, 0.5)] * 2), bowl(0, 0), "swarm", iterations=10**9, patience=10**9)
    assert found.stopped == "nothing new"
    assert found.evaluations == 1


def test_seconds_end_a_search() -> None:
    async def score(point: Point) -> float:
        await anyio.sleep(0.02)
        return point[0]

    found = search(Numbers(0.0, 1.0, 1), score, "random", seconds=0.2, beside=False)
    assert found.stopped == "seconds"
    assert found.evaluations >= 1


def test_awaited_scores_run_together_and_others_one_at_a_time() -> None:
    now = most = 0

    async def waits(point: Point) -> float:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await anyio.sleep(0.001)
        now -= 1
        return point[0]

    told: list[tuple[Trial, int, float]] = []
    awaited = search(Numbers(0.0, 1.0, 1), waits, "random", evaluations=40, progress=lambda *it: told.append(it))
    assert most == 8
    assert [count for _, count, _ in told] == list(range(1, 41))
    assert told[-1][2] == awaited.score
    plain = search(Numbers(0.0, 1.0, 1), lambda point: point[0], "random", evaluations=40)
    assert _shown(awaited) == _shown(plain)


def test_in_an_event_loop_it_is_awaited() -> None:
    async def inside() -> Found:
        with pytest.raises(RuntimeError, match="search_async"):
            search(Numbers(0.0, 1.0, 1), bowl(0), "random", evaluations=1)
        return await search_async(Numbers(0.0, 1.0, 1), bowl(0), "random", evaluations=3)

    assert anyio.run(inside).evaluations == 3
    with pytest.raises(InputError, match="no merge"):
        anyio.run(inside).recipe()
