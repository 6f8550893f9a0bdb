"""Every merge method against its exact case."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import small
from small import merged

from agora.errors import InputError
from agora.weight import METHODS, merge

HALF = math.sqrt(0.5)


def close(found: np.ndarray, wanted: object) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def same(found: np.ndarray, wanted: object) -> None:
    np.testing.assert_array_equal(found, np.asarray(wanted, np.float32))


def test_linear(tmp_path: Path) -> None:
    models = [[2, 4], [6, 8]]
    same(merged(tmp_path, "linear", models), [4, 6])
    same(merged(tmp_path, "soup", models), [4, 6])
    same(merged(tmp_path, "linear", models, each={"weight": [1, 3]}), [5, 7])
    same(merged(tmp_path, "linear", models, each={"weight": [1, -1]}, normalize=False), [-4, -4])
    with pytest.raises(InputError, match="sum to 0"):
        merged(tmp_path, "linear", models, each={"weight": [1, -1]})
    with pytest.raises(InputError, match="sum to 0"):
        merged(tmp_path, "linear", models, each={"weight": [0, 0]})


def test_a_step_of_a_swarm(tmp_path: Path) -> None:
    # x + s v as a linear merge of x and v: what MoCo got wrong by normalising
    same(merged(tmp_path, "linear", [[2, 4], [8, -8]], each={"weight": [1, 0.5]}, normalize=False), [6, 0])


def test_slerp(tmp_path: Path) -> None:
    a, b = [1, 0], [0, 1]
    close(merged(tmp_path, "slerp", [a, b], t=0.5), [HALF, HALF])
    close(merged(tmp_path, "slerp", [a, b], t=1 / 3), [math.cos(math.pi / 6), math.sin(math.pi / 6)])
    same(merged(tmp_path, "slerp", [a, b], t=0), a)
    same(merged(tmp_path, "slerp", [a, b], t=1), b)
    close(merged(tmp_path, "slerp", [[2, 0], [0, 1]], t=0.5), [2 * HALF, HALF])  # raw vectors are mixed
    same(merged(tmp_path, "slerp", [[1, 2], [3, 6]], t=0.25), [1.5, 3])  # parallel
    same(merged(tmp_path, "slerp", [[2, 0], [-2, 0]], t=0.25), [1, 0])  # antiparallel
    same(merged(tmp_path, "slerp", [[0, 0], [4, 2]], t=0.5), [2, 1])  # no direction


def test_slerp_takes_the_base_first(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"x.weight": [1.0, 0.0]})
    b = small.model(tmp_path / "b", {"x.weight": [0.0, 1.0]})
    merge({"slerp": [str(a), str(b)], "base": str(b), "t": 0.0}, tmp_path / "out")
    same(small.content(tmp_path / "out")["x.weight"], [0, 1])


def test_nuslerp(tmp_path: Path) -> None:
    close(merged(tmp_path, "nuslerp", [[1, 0], [0, 1]], each={"weight": [2, 1]}), [math.cos(math.pi / 6), 0.5])
    close(merged(tmp_path, "nuslerp", [[2, 1], [1, 2]], [1, 1]), [1 + HALF, 1 + HALF])
    rows = merged(tmp_path, "nuslerp", [[[1, 0], [2, 0]], [[0, 1], [4, 0]]], nuslerp_flatten=False)
    close(rows, [[HALF, HALF], [3, 0]])
    columns = merged(
        tmp_path, "nuslerp", [[[1, 2], [0, 0]], [[0, 4], [1, 0]]], nuslerp_flatten=False, nuslerp_row_wise=True
    )
    close(columns, [[HALF, 3], [HALF, 0]])
    with pytest.raises(InputError, match="sum to 0"):
        merged(tmp_path, "nuslerp", [[1, 0], [0, 1]], each={"weight": [1, -1]})


@pytest.mark.parametrize("method", ["multislerp", "karcher"])
def test_means_on_a_sphere(method: str, tmp_path: Path) -> None:
    close(merged(tmp_path, method, [[1, 0], [0, 1]]), [HALF, HALF])
    close(merged(tmp_path, method, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]), [3**-0.5] * 3)
    close(merged(tmp_path, method, [[2, 0], [0, 4]]), [3 * HALF, 3 * HALF])  # the average of the norms
    same(merged(tmp_path, method, [[3, 4]]), [3, 4])
    with pytest.raises(InputError, match="cancel out"):
        merged(tmp_path, method, [[1, 0], [-1, 0]])


def test_multislerp_around_a_base(tmp_path: Path) -> None:
    close(merged(tmp_path, "multislerp", [[2, 1], [1, 2]], [1, 1]), [1 + HALF, 1 + HALF])


def test_karcher_with_weights_is_slerp(tmp_path: Path) -> None:
    found = merged(tmp_path, "karcher", [[1, 0], [0, 1]], each={"weight": [2, 1]})
    close(found, [math.cos(math.pi / 6), math.sin(math.pi / 6)])


def test_task_arithmetic(tmp_path: Path) -> None:
    same(merged(tmp_path, "task_arithmetic", [[3, 1], [1, 5]], [1, 1]), [3, 5])
    same(merged(tmp_path, "task_arithmetic", [[3, 1]], [1, 1], each={"weight": [-1]}), [-1, 1])  # negation
    same(merged(tmp_path, "task_arithmetic", [[3, 1]], [1, 1], **{"lambda": -1}), [-1, 1])
    same(merged(tmp_path, "task_arithmetic", [[3, 1], [3, 1]], [1, 1], each={"weight": [1, -1]}), [1, 1])
    same(merged(tmp_path, "task_arithmetic", [[3, 1], [1, 5]], [1, 1], normalize=True), [2, 3])


TIES = [[4, 1, -2, 0], [-1, 3, -4, 2]]


def test_ties(tmp_path: Path) -> None:
    zero = [0, 0, 0, 0]
    same(merged(tmp_path, "ties", TIES, zero, density=0.5), [4, 3, -3, 0])
    found = merged(tmp_path, "ties", TIES, zero, density=0.5, each={"weight": [0.5, 0.25]})
    same(found, np.float32([4, 3, -8 / 3, 0]))  # the sum of the weights that agree, as in mergekit
    same(merged(tmp_path, "ties", [[1, 5, 9, 3]], [1, 2, 3, 4], density=1), [1, 5, 9, 3])
    same(merged(tmp_path, "ties", [[3], [-3]], [0], density=1), [3])  # a sum of 0 elects +
    same(merged(tmp_path, "ties", TIES, zero, density=0.5, normalize=False), [4, 3, -6, 0])
    same(merged(tmp_path, "ties", TIES, zero, density=0), zero)


def test_ties_keeps_the_first_of_equal_ones(tmp_path: Path) -> None:
    same(merged(tmp_path, "ties", [[1, -1, 1, -1]], [0] * 4, density=0.5), [1, -1, 0, 0])
    same(merged(tmp_path, "ties", [[1, 2, 1, 1]], [0] * 4, density=0.5), [1, 2, 0, 0])


def test_ties_scope(tmp_path: Path) -> None:
    base = small.model(tmp_path / "base", {"a": [0.0, 0.0], "b": [0.0, 0.0]})
    tuned = small.model(tmp_path / "tuned", {"a": [1.0, 2.0], "b": [10.0, 20.0]})
    for trim, a, b in (("tensor", [0, 2], [0, 20]), ("global", [0, 0], [10, 20])):
        out = tmp_path / trim
        merge({"ties": str(tuned), "base": str(base), "density": 0.5, "trim": trim}, out)
        found = small.content(out)
        same(found["a"], a)
        same(found["b"], b)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_keeps_exactly(method: str, tmp_path: Path) -> None:
    n = 100_000
    delta = np.tile([1, -2, 4, 8], n // 4)
    found = merged(tmp_path, method, [delta], np.zeros(n), density=0.5)
    assert set(np.unique(found / delta)) == {0.0, 2.0}  # d / p or nothing
    same(merged(tmp_path, method, [delta], np.zeros(n), density=1), delta)
    same(merged(tmp_path, method, [delta], np.zeros(n), density=0), np.zeros(n))
    dropped = merged(tmp_path, method, [delta], np.zeros(n), density=0.25, rescale=False)
    assert set(np.unique(dropped / delta)) == {0.0, 1.0}
    scaled = merged(tmp_path, method, [delta], np.zeros(n), density=0.5, rescale="l1")
    assert np.abs(scaled).sum(dtype=float) == pytest.approx(np.abs(delta).sum(), rel=1e-6)
    assert len(np.unique(scaled[scaled != 0] / delta[scaled != 0])) == 1


def test_dare_keeps_as_many_as_chance_has_it(tmp_path: Path) -> None:
    n = 1_000_000
    kept = [merged(tmp_path, "dare", [np.ones(n)], np.zeros(n), density=0.5, seed=seed) != 0 for seed in (0, 1)]
    assert abs(kept[0].sum() - n / 2) < 2500  # 5 sigma
    assert abs((kept[0] & kept[1]).sum() - n / 4) < 5 * (n * 3 / 16) ** 0.5  # seeds are independent
    for lag in (1, 2, 64, 1024):
        assert abs((kept[0][lag:] & kept[0][:-lag]).sum() - (n - lag) / 4) < 5 * (n * 3 / 16) ** 0.5
    two = merged(tmp_path, "dare", [np.ones(n), np.full(n, 2)], np.zeros(n), density=0.5)
    assert abs((two == 6).sum() - n / 4) < 5 * (n * 3 / 16) ** 0.5  # so are models


def test_dare_is_unbiased(tmp_path: Path) -> None:
    total = sum(merged(tmp_path, "dare", [np.arange(1, 9)], np.zeros(8), density=0.5, seed=s) for s in range(200))
    np.testing.assert_allclose(total / 200, np.arange(1, 9), rtol=5 / math.sqrt(200))


def test_della_with_epsilon_0_is_dare(tmp_path: Path) -> None:
    models = [np.arange(64).reshape(4, 16) - 20]
    base = np.zeros((4, 16))
    for pair in (("della", "dare_ties"), ("della_linear", "dare_linear")):
        found = merged(tmp_path, pair[0], models, base, density=0.5, epsilon=0.0, normalize=False)
        same(found, merged(tmp_path, pair[1], models, base, density=0.5, normalize=False))


def test_della_keeps_by_rank(tmp_path: Path) -> None:
    rows, columns = 4000, 5
    delta = np.tile([4, -1, 16, 2, 8], (rows, 1))  # ranks 3, 1, 5, 2, 4
    found = merged(tmp_path, "della_linear", [delta], np.zeros((rows, columns)), density=0.5, epsilon=0.25)
    chances = np.array([0.5, 0.25, 0.75, 0.375, 0.625])
    kept = found != 0
    assert (abs(kept.mean(0) - chances) < 5 * np.sqrt(chances * (1 - chances) / rows)).all()
    np.testing.assert_array_equal(found[kept], np.broadcast_to((delta / chances).astype(np.float32), found.shape)[kept])
    for density, epsilon in ((0.5, 0.5), (0.9, 0.1), (0.1, 0.2)):
        with pytest.raises(InputError, match="outside 0 to 1"):
            merged(tmp_path, "della", [delta], np.zeros(delta.shape), density=density, epsilon=epsilon)


def test_breadcrumbs(tmp_path: Path) -> None:
    delta = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    for method in ("breadcrumbs", "breadcrumbs_ties"):
        found = merged(tmp_path, method, [delta], [0] * 10, density=0.5, gamma=0.1)
        same(found, [0, 0, 0, 0, 5, 6, 7, 8, 9, 0])
        same(merged(tmp_path, method, [delta], [0] * 10, density=0.5, gamma=0), [0, 0, 0, 0, 0, 6, 7, 8, 9, 10])
        same(merged(tmp_path, method, [delta], [0] * 10, density=1), delta)


def test_model_stock(tmp_path: Path) -> None:
    zero = [0, 0]
    same(merged(tmp_path, "model_stock", [[1, 0], [0, 1]], zero), zero)
    same(merged(tmp_path, "model_stock", [[1, 0], [1, 0]], zero), [1, 0])
    close(merged(tmp_path, "model_stock", [[1, 0], [0.6, 0.8]], zero), [0.6, 0.3])
    same(merged(tmp_path, "model_stock", [[1, 0], [-1, 0]], zero), zero)  # the singular case: the base
    same(merged(tmp_path, "model_stock", [zero, zero], zero), zero)
    rows = merged(tmp_path, "model_stock", [[[1, 0], [1, 0]], [[0, 1], [1, 0]]], [zero, zero], filter_wise=True)
    close(rows, [[0, 0], [1, 0]])


def test_expo(tmp_path: Path) -> None:
    same(merged(tmp_path, "expo", [[2, 4]], [1, 2], alpha=0.5), [2.5, 5])
    same(merged(tmp_path, "expo", [[2, 4]], [1, 2], alpha=0), [2, 4])
    same(merged(tmp_path, "expo", [[2, 4]], [1, 2], alpha=-1), [1, 2])
    draw = np.random.default_rng(0)
    tuned, base = (draw.standard_normal(1000).astype(np.float32) for _ in range(2))
    linear = merged(tmp_path, "linear", [tuned, base], each={"weight": [1.5, -0.5]}, normalize=False)
    same(merged(tmp_path, "expo", [tuned], base, alpha=0.5), linear)


def fisher_files(tmp: Path, *values: list[float]) -> list[str]:
    home = tmp / f"f{len(list(tmp.iterdir()))}"
    return [str(small.model(home / f"f{i}", {"x.weight": np.array(v)})) for i, v in enumerate(values)]


def test_fisher(tmp_path: Path) -> None:
    models = [[2, 4], [6, 8]]
    files = fisher_files(tmp_path, [1, 1], [1, 1])
    same(merged(tmp_path, "fisher", models, each={"fisher": files}), [4, 6])
    files = fisher_files(tmp_path, [3, 0], [1, 0])
    same(merged(tmp_path, "fisher", [[0, 2], [4, 6]], each={"fisher": files}), [1, 4])  # 0 everywhere: the average
    files = fisher_files(tmp_path, [1, -1], [1, 1])
    with pytest.raises(InputError, match="below 0"):
        merged(tmp_path, "fisher", models, each={"fisher": files})


def test_regmean(tmp_path: Path) -> None:
    # weights as torch has them, (outputs, inputs): an input is a column
    models = [[[1, 2], [3, 4], [5, 6]], [[10, 20], [30, 40], [50, 60]]]
    one = fisher_files(tmp_path, [[1, 0], [0, 1]], [[1, 0], [0, 1]])
    close(merged(tmp_path, "regmean", models, each={"gram": one}, alpha=1), np.mean(models, 0))
    apart = fisher_files(tmp_path, [[1, 0], [0, 0]], [[0, 0], [0, 1]])
    close(merged(tmp_path, "regmean", models, each={"gram": apart}, alpha=1), [[1, 20], [3, 40], [5, 60]])
    full = fisher_files(tmp_path, [[3, 1], [1, 1]], [[1, -1], [-1, 3]])
    rows = np.array(models[0]) * [0.75, 0.25] + np.array(models[1]) * [0.25, 0.75]
    close(merged(tmp_path, "regmean", models, each={"gram": full}, alpha=0), rows)
    none = fisher_files(tmp_path, [[0, 0], [0, 0]], [[0, 0], [0, 0]])
    close(merged(tmp_path, "regmean", models, each={"gram": none}), np.mean(models, 0))
    same(merged(tmp_path, "regmean", [[2, 4], [6, 8]], each={"gram": one}), [4, 6])  # no linear layer
    with pytest.raises(InputError, match="does not fit"):
        merged(tmp_path, "regmean", models, each={"gram": fisher_files(tmp_path, [[1]], [[1]])})


def test_regmean_fits_the_outputs_of_all(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    inputs = [draw.standard_normal((40, 4)) for _ in range(2)]
    weights = [draw.standard_normal((3, 4)).astype(np.float32) for _ in range(2)]
    grams = fisher_files(tmp_path, *[(x.T @ x).astype(np.float32) for x in inputs])
    found = merged(tmp_path, "regmean", weights, each={"gram": grams}, alpha=1)
    outputs = np.concatenate([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    fitted = np.linalg.lstsq(np.concatenate(inputs), outputs, rcond=None)[0].T
    np.testing.assert_allclose(found, fitted, rtol=1e-4, atol=1e-5)


def test_passthrough(tmp_path: Path) -> None:
    same(merged(tmp_path, "passthrough", [[1, 2]]), [1, 2])
    same(merged(tmp_path, "passthrough", [[1, 2]], scale=3), [3, 6])


def test_every_method_says_where_it_is_from() -> None:
    for name, method in METHODS.items():
        assert method.paper, name
        assert method.summary.endswith("."), name


def test_a_new_method_is_one_function(tmp_path: Path) -> None:
    from agora.weight.methods import Plan, registry
    from agora.weight.tensors import Chunk, Tensors

    @registry.method("largest_of", paper="none", needs="chunk", base="none")
    def largest_of(x: Tensors, *, factor: float = 1.0) -> Plan:
        """The largest."""

        def kernel(chunk: Chunk) -> np.ndarray:
            return np.max([chunk.model(i) for i in range(len(x.models))], 0) * factor

        return kernel

    try:
        same(merged(tmp_path, "largest_of", [[1, 8], [4, 2]], factor=2), [8, 16])
    finally:
        del METHODS["largest_of"]
