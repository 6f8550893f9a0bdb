"""The k largest magnitudes of what is read in pieces: against a sort, whatever the sample says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.weight import select


def sorted_out(values: np.ndarray, k: int) -> np.ndarray:
    """The k largest; of equal ones the first."""
    mask = np.zeros(len(values), bool)
    mask[np.argsort(-values, kind="stable")[:k]] = True
    return mask


def check(rows: Sequence[np.ndarray], counts: Sequence[int], step: int = 64) -> None:
    size = len(rows[0])

    def pieces() -> Iterator[tuple[int, list[np.ndarray]]]:
        for start in range(0, size, step):
            yield start, [row[start : start + step].copy() for row in rows]

    cuts = select.largest(size, counts, pieces, lambda start, n: [row[start : start + n].copy() for row in rows])
    for row, k, cut in zip(rows, counts, cuts, strict=True):
        found = np.empty(size, bool)
        for start in range(0, size, 17):  # other chunks than those in which it was found
            cut.kept(row[start : start + 17], start, found[start : start + 17])
        np.testing.assert_array_equal(found, sorted_out(row, k))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMALL", 100), ("HELD", 200), ("SAMPLE", 8), ("RUN", 16)):
        monkeypatch.setattr(select, name, value)


KINDS = {
    "normal": lambda draw, n: np.abs(draw.standard_normal(n)),
    "coarse": lambda draw, n: np.abs(np.round(draw.standard_normal(n) * 3)),
    "zeros": lambda draw, n: np.zeros(n),
    "mostly zeros": lambda draw, n: np.abs(draw.standard_normal(n)) * (draw.random(n) < 0.03),
    "two values": lambda draw, n: (draw.random(n) < 0.5) * 1.0,
    "sorted": lambda draw, n: np.sort(draw.random(n)),
    "misleading": lambda draw, n: np.where(np.arange(n) % (n // 8) < 16, 100.0, draw.random(n)),
    "infinite": lambda draw, n: np.where(draw.random(n) < 0.1, np.inf, draw.random(n)),
    "tiny": lambda draw, n: draw.random(n) * 1e-42,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("small")
def test_as_a_sort_has_it(kind: str, dtype: type) -> None:
    draw = np.random.default_rng(7)
    for n in (90, 1000, 5003):
        rows = [KINDS[kind](draw, n).astype(dtype) for _ in range(3)]
        for share in (0.0, 0.001, 0.2, 0.5, 0.77, 0.999, 1.0):
            check(rows, [int(share * n), n - int(share * n), n // 2])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.data())
def test_of_few_values(values: list[int], data: st.DataObject) -> None:
    row = np.array(values, np.float32)
    check([row], [data.draw(st.integers(0, len(values)))])


def test_at_full_size() -> None:
    draw = np.random.default_rng(8)
    n = 600_001
    coarse = np.abs(np.round(draw.standard_normal(n) * 50)).astype(np.float32)
    fine = np.abs(draw.standard_normal(n)).astype(np.float32)
    check([coarse, fine], [n // 2, n // 3], step=65_536)
