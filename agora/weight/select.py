"""The k-th largest magnitude of a tensor that is read in pieces: exact, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from agora.weight.dtypes import Floats

SMALL = 1 << 18  # elements that are simply held
HELD = 1 << 22  # elements held at most
SAMPLE = 64  # places at least at which a sample is taken
RUN = 1024  # elements taken at each
MOST = 1 << 23  # elements of a sample at most

Counted = tuple[int, int, int, NDArray[np.intp] | None]
Counter = Callable[[Floats, float, float, bool], Counted]
Pieces = Iterable[tuple[int, Sequence[Floats]]]


class Cut:
    """Which elements are among the `k` of largest magnitude: those above the threshold, and of those equal to it the
    first ones, by their place in the tensor.

    Attributes:
        threshold: the k-th largest magnitude.
        before: elements equal to it are taken where their index is below this.
    """

    __slots__ = ("before", "threshold")

    def __init__(self, threshold: float, before: int) -> None:
        self.threshold, self.before = threshold, before

    def kept(self, magnitudes: Floats, start: int, out: NDArray[np.bool_]) -> None:
        """Fill `out` with whether each of these elements, the first of them at `start`, is taken."""
        split = min(max(self.before - start, 0), len(out))
        np.greater_equal(magnitudes[:split], self.threshold, out=out[:split])
        np.greater(magnitudes[split:], self.threshold, out=out[split:])


NOTHING, ALL = Cut(float("inf"), 0), Cut(-1.0, 0)


def counted(magnitudes: Floats, low: float, high: float, hold: bool) -> Counted:
    """How many magnitudes are above a bracket, equal to its lower and to its upper end, and, if they are to be held,
    the places of those inside it."""
    mask = np.greater(magnitudes, high)
    above = int(np.count_nonzero(mask))
    lower = int(np.count_nonzero(np.equal(magnitudes, low, out=mask)))
    upper = int(np.count_nonzero(np.equal(magnitudes, high, out=mask)))
    if not hold:
        return above, lower, upper, None
    np.less(magnitudes, high, out=mask)
    return above, lower, upper, np.flatnonzero(np.logical_and(mask, np.greater(magnitudes, low), out=mask))


def largest(
    size: int, counts: Sequence[int], pieces: Callable[[], Pieces], sample: Callable[[int, int], Sequence[Floats]],
    counter: Counter = counted,
) -> list[Cut]:  # fmt: skip
    """The cut after the `counts[i]` largest magnitudes of the i-th of several tensors of one size, read together.

    A sample brackets the thresholds; one pass then counts what lies above the brackets and holds what lies inside.
    Where a sample misleads, or too many are equal, two passes with histograms of the bits take its place. The result
    is exact either way, and the same.

    Args:
        size: elements of each.
        counts: k of each, 0 to `size`.
        pieces: gives (start, magnitudes of each), from the beginning to the end; read as often as it takes.
        sample: magnitudes of each over (start, count), fewer where a tensor ends.
        counter: what counts; see `counted`.
    """
    cuts: list[Cut | None] = [NOTHING if not k else ALL if k >= size else None for k in counts]
    wanted = [i for i, cut in enumerate(cuts) if cut is None]
    if not wanted:
        return [cut for cut in cuts if cut is not None]
    brackets = _brackets(size, [counts[i] for i in wanted], wanted, sample)
    finders = {i: _Finder(counts[i], *bracket) for i, bracket in zip(wanted, brackets, strict=True)}
    longest = 0
    for start, magnitudes in pieces():
        longest = max(longest, len(magnitudes[0]))
        for i, finder in finders.items():
            finder.feed(start, magnitudes[i], counter)
    for i, finder in finders.items():
        cuts[i] = finder.cut(lambda start, i=i: sample(start, longest)[i])  # type: ignore[misc]
    missed = [i for i in wanted if cuts[i] is None]
    if missed:
        for i, cut in zip(missed, _by_bits([counts[i] for i in missed], missed, pieces), strict=True):
            cuts[i] = cut
    return [cut for cut in cuts if cut is not None]


def _brackets(
    size: int, counts: Sequence[int], wanted: Sequence[int], sample: Callable[[int, int], Sequence[Floats]]
) -> list[tuple[float, float]]:
    if size <= SMALL:
        return [(-1.0, float("inf"))] * len(wanted)
    # so many that what lies in the bracket, at most 8 / sqrt(sample) of all, can be held
    places = min(max(SAMPLE, int((16 * size / HELD) ** 2) // RUN), MOST // RUN, max(SAMPLE, size // (8 * RUN)))
    step = size // places
    taken: list[list[Floats]] = [[] for _ in wanted]
    for place in range(places):
        found = sample(place * step, RUN)
        for held, i in zip(taken, wanted, strict=True):
            held.append(np.array(found[i]))
    brackets = []
    for k, held in zip(counts, taken, strict=True):
        values = np.sort(np.concatenate(held))[::-1]
        share, n = k / size, len(values)
        slack = 8 * (share * (1 - share) / n) ** 0.5 + 8 / n  # 8 sigma: runs are not quite independent draws
        low, high = int((share + slack) * n), int((share - slack) * n)
        brackets.append((float(values[low]) if low < n else -1.0, float(values[high]) if high >= 0 else float("inf")))
    return brackets


class _Finder:
    """Counts above a bracket, counts what equals its ends, block by block, and holds what lies inside it.

    The ends are counted apart because differences of bfloat16 weights are coarse: a tenth of them may be equal.
    """

    def __init__(self, k: int, low: float, high: float) -> None:
        self.k, self.low, self.high = k, low, high
        self.above = self.inside = 0
        self.starts: list[int] = []
        self.equal: dict[float, list[int]] = {low: [], high: []}
        self.values: list[Floats] = []
        self.places: list[NDArray[np.int64]] = []

    def feed(self, start: int, magnitudes: Floats, counter: Counter) -> None:
        hold = self.inside <= HELD and self.low != self.high
        above, lower, upper, places = counter(magnitudes, self.low, self.high, hold)
        self.starts.append(start)
        self.above += above
        self.equal[self.high].append(upper)
        if self.low != self.high:
            self.equal[self.low].append(lower)
        if places is None:
            return
        self.inside += len(places)
        self.values.append(magnitudes[places])
        self.places.append(places + start)
        if self.inside > HELD:
            self.values, self.places = [], []

    def cut(self, reread: Callable[[int], Floats]) -> Cut | None:
        left = self.k - self.above  # to be taken from the bracket
        if left <= 0:
            return None
        for end in (self.high, None, self.low):
            if end is not None:
                if left <= (count := sum(self.equal[end])):
                    return self._tie(end, left, reread)
                left -= count
                if self.low == self.high:
                    return None
            elif self.inside > HELD:
                return None
            elif left <= self.inside:
                values, places = np.concatenate(self.values), np.concatenate(self.places)
                threshold = np.partition(values, len(values) - left)[len(values) - left]
                equal = left - int(np.count_nonzero(values > threshold))
                return Cut(float(threshold), int(places[values == threshold][equal - 1]) + 1)
            else:
                left -= self.inside
        return None

    def _tie(self, end: float, left: int, reread: Callable[[int], Floats]) -> Cut:
        sums = np.cumsum(self.equal[end])
        block = int(np.searchsorted(sums, left))
        left -= int(sums[block - 1]) if block else 0
        start = self.starts[block]
        return Cut(end, start + int(np.flatnonzero(reread(start) == end)[left - 1]) + 1)


def _by_bits(counts: Sequence[int], wanted: Sequence[int], pieces: Callable[[], Pieces]) -> list[Cut]:
    """The same by histograms of 16 bits at a time, from the highest: nothing is held but the counts."""
    prefix, left = [0] * len(wanted), list(counts)
    shifts: list[int] = []
    level = 0
    kind: type[np.unsignedinteger] = np.uint32
    while True:
        tables = [np.zeros(1 << 16, np.int64) for _ in wanted]
        for _, magnitudes in pieces():
            if not shifts:
                kind = np.uint32 if magnitudes[0].dtype == np.float32 else np.uint64
                shifts = [16, 0] if kind is np.uint32 else [48, 32, 16, 0]
            for j, i in enumerate(wanted):
                bits = np.ascontiguousarray(magnitudes[i]).view(kind) >> kind(shifts[0])
                own = bits[(bits >> kind(16)) == kind(prefix[j])] if level else bits
                tables[j] += np.bincount((own & kind(0xFFFF)).astype(np.int64), minlength=1 << 16)
        for j, table in enumerate(tables):
            above = np.cumsum(table[::-1])
            place = int(np.searchsorted(above, left[j]))
            left[j] -= int(above[place - 1]) if place else 0
            prefix[j] = (prefix[j] << 16) | (len(table) - 1 - place)
        level += 1
        del shifts[0]
        if not shifts:
            break
    single = np.float32 if kind is np.uint32 else np.float64
    thresholds = [float(np.array([word], kind).view(single)[0]) for word in prefix]
    before = [0] * len(wanted)
    for start, magnitudes in pieces():  # where the last of those equal to the threshold lies that is still taken
        for j, i in enumerate(wanted):
            if left[j] > 0:
                places = np.flatnonzero(magnitudes[i] == thresholds[j])
                if len(places) >= left[j]:
                    before[j] = start + int(places[left[j] - 1]) + 1
                left[j] -= len(places)
    return [Cut(threshold, place) for threshold, place in zip(thresholds, before, strict=True)]
