"""How often each reader reads each answer, in many debates at once, over dense, sparse and full graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from agora.text.topology import Topology

Ints = NDArray[np.intp]
Floats32 = NDArray[np.float32]
Said = NDArray[np.int16]  # debates x agents: an answer's number, or one of the two below
Counts = NDArray[np.float32]  # debates x readers x (options + 1): how often each is read; the last: no answer
NONE, UNSAID = -1, -2  # no answer in what was said; nothing said, or no longer in the debate
_DENSE = 300  # agents up to which a graph is a matrix

Hear = Callable[[Said, Ints, int], Counts]  # what was said, the readers, the number of options


def nothing(said: Said, readers: Ints, options: int) -> Counts:
    """Nobody is read."""
    return np.zeros((len(said), len(readers), options + 1), np.float32)


def everybody(who: Ints | None = None, *, but_oneself: bool = False) -> Hear:
    """All agents, or some, are read by all readers; their own answers too unless `but_oneself`."""

    def hear(said: Said, readers: Ints, options: int) -> Counts:
        total = tally(said if who is None else said[:, who], options)[:, None, :]
        if not but_oneself:
            return np.broadcast_to(total, (len(said), len(readers), options + 1)).astype(np.float32)
        return (total - _marks(said[:, readers], options)).astype(np.float32)

    return hear


def neighbours(topology: Topology, keep: Callable[[str, str], bool] | None = None) -> Hear:
    """Those whom a graph lets each agent read.

    Args:
        topology: of one round.
        keep: (who is read, who reads) -> whether the edge is meant.
    """
    agents = topology.agents
    if topology.name == "complete" and not topology.attributed and not topology.changes:
        return everybody(but_oneself=True)
    order = {agent: i for i, agent in enumerate(agents)}
    reads = [[order[u] for u in topology.reads(v) if keep is None or keep(u, v)] for v in agents]
    if len(agents) <= _DENSE:
        matrix = np.zeros((len(agents), len(agents)), np.float32)
        for i, row in enumerate(reads):
            matrix[i, row] = 1
        return lambda said, readers, options: _dense(matrix, said, readers, options)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in reads])))
    columns = np.fromiter((j for row in reads for j in row), np.intp, int(starts[-1]))
    return lambda said, readers, options: _sparse(starts, columns, said, readers, options)


def _dense(matrix: NDArray[np.float32], said: Said, readers: Ints, options: int) -> Counts:
    """Counts by a product with the rows of a matrix."""
    rows = matrix[readers]
    read = np.flatnonzero(rows.any(axis=0))  # in a sequence one agent reads a few
    counts: Counts = np.matmul(rows[:, read], _marks(said[:, read], options))
    return counts


def _sparse(starts: Ints, columns: Ints, said: Said, readers: Ints, options: int) -> Counts:
    """Counts along the rows of a sparse matrix."""
    lengths = starts[readers + 1] - starts[readers]
    rows = np.repeat(np.arange(len(readers)), lengths)
    # each reader's places in `columns`, one after the other
    places = np.arange(len(rows)) + np.repeat(starts[readers] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    heard = said[:, columns[places]].astype(np.intp)
    kinds, size = options + 1, len(readers) * (options + 1)
    keys = rows * kinds + np.where(heard >= 0, heard, options) + np.arange(len(said))[:, None] * size
    counts = np.bincount(keys[heard != UNSAID], minlength=len(said) * size)
    return counts.reshape(len(said), len(readers), kinds).astype(np.float32)


def tally(said: Said, options: int, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """How often each answer is given in each debate: debates x (options + 1), the last for no answer."""
    kinds = options + 1
    keys = np.where(said >= 0, said, options) + np.arange(len(said))[:, None] * kinds
    there = said != UNSAID
    counted = np.bincount(keys[there], None if weights is None else weights[there], len(said) * kinds)
    return counted.reshape(len(said), kinds).astype(float)


def _marks(said: Said, options: int) -> Counts:
    """A one for each thing said: debates x agents x (options + 1)."""
    kinds = np.append(np.arange(options), NONE)
    marks: Counts = (said[..., None] == kinds).astype(np.float32)
    return marks


def numbers(names: Sequence[str], order: dict[str, int]) -> Ints:
    """The numbers of agents."""
    return np.array([order[name] for name in names], np.intp)
