"""What simulated agents hold and say, for many debates at once, and how a turn changes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agora.simulate.heard import NONE, UNSAID, Counts, Floats32, Ints, Said
from agora.simulate.population import Floats, Population

Mask = NDArray[np.bool_]

SURE = 0.8  # mean confidence, where the population says nothing of it
_PSEUDO = 10.0


@dataclass
class Minds:
    """The agents of many debates.

    Attributes:
        held: the answer each holds, whether it says so or not; UNSAID before its first. Debates x agents.
        said: what each said last: an answer, NONE, or UNSAID.
        beliefs: of first answers or, with a concentration, pseudo-counts. Debates x agents x options.
        sure: the confidence in what was said last, where confidences matter.
        out: who has left.
    """

    population: Population
    conformity: Floats
    abstention: Floats
    held: Said
    said: Said
    beliefs: Floats
    sure: Floats32 | None
    out: Mask

    @classmethod
    def drawn(
        cls, population: Population, names: tuple[str, ...], options: int, debates: int, draw: np.random.Generator,
        *, confident: bool,
    ) -> Minds:  # fmt: skip
        """Agents before a debate."""
        size = (debates, len(names))
        beliefs = population.beliefs(population.values("accuracy", names), options, debates, draw)
        if population.concentration is not None:
            beliefs *= population.concentration
        return cls(
            population,
            population.values("conformity", names),
            population.values("abstention", names),
            np.full(size, UNSAID, np.int16),
            np.full(size, UNSAID, np.int16),
            beliefs,
            np.zeros(size, np.float32) if confident else None,
            np.zeros(size, bool),
        )

    def of(self, debates: Mask) -> Minds:
        """The same of some of the debates."""
        sure = None if self.sure is None else self.sure[debates]
        return Minds(
            self.population, self.conformity, self.abstention, self.held[debates], self.said[debates],
            self.beliefs[debates], sure, self.out[debates],
        )  # fmt: skip

    def speak(self, who: Ints, counts: Counts, asked: Mask, draw: np.random.Generator, *, own: bool) -> None:
        """Let agents answer.

        Args:
            who: the agents.
            counts: what they read, debates x who x (options + 1).
            asked: in which debates each is asked, debates x who.
            draw: chance.
            own: they see their own last answers.
        """
        people, options = self.population, self.beliefs.shape[2]
        before, heard = self.held[:, who], counts[..., :options]
        first = before == UNSAID
        if people.concentration is not None:
            grown = self._grown(who, heard, own)
            self.beliefs[:, who] = np.where(asked[..., None], grown, self.beliefs[:, who])
            says = _one_of(grown, draw)
        elif first.all():
            says = _one_of(self.beliefs[:, who], draw)
        elif first.any():
            says = np.where(first, _one_of(self.beliefs[:, who], draw), before)
        else:
            says = before
        if self.conformity[who].any():
            says = self._conform(says, who, heard, draw)
        silent = draw.random(says.shape, np.float32) < self.abstention[who] if self.abstention[who].any() else False
        self.held[:, who] = np.where(asked, says, before)
        self.said[:, who] = np.where(asked, np.where(silent, NONE, says), self.said[:, who])
        if self.sure is not None:
            means = people.confidence or (SURE, SURE)
            drawn = np.where(says == 0, *(_sure(mean, says.shape, draw) for mean in means))
            self.sure[:, who] = np.where(asked, drawn, self.sure[:, who])

    def _grown(self, who: Ints, heard: Counts, own: bool) -> Floats:
        """Beliefs after what was read."""
        options, worth = self.beliefs.shape[2], self._worth()
        grown: Floats = self.beliefs[:, who] + heard * worth
        if own:
            grown += (self.said[:, who][..., None] == np.arange(options)) * worth
        return grown

    def _worth(self) -> Floats:
        """What reading each answer counts."""
        worth = np.full(self.beliefs.shape[2], 1 - self.population.persuasion)
        worth[0] = 1 + self.population.persuasion
        return worth

    def _conform(self, says: Said, who: Ints, heard: Counts, draw: np.random.Generator) -> Said:
        """What is said after the plurality of what was read has had its effect."""
        most = heard.max(axis=-1, keepdims=True)
        leads = (heard == most) & (most > 0)
        other = leads.any(axis=-1) & ~np.take_along_axis(leads, says[..., None].astype(np.intp), axis=-1)[..., 0]
        if not other.any():
            return says
        worth, conformity = self._worth(), self.conformity[who]
        lead = _one_of(leads * np.maximum(worth, 1e-12), draw)  # of one alone, that one, whatever it is worth
        taken: Said = np.where(other & (draw.random(says.shape) < conformity * worth[lead]), lead, says)
        return taken


def _one_of(weights: Floats, draw: np.random.Generator) -> Said:
    """An index along the last axis, with probability in proportion to the weights."""
    sums = np.cumsum(weights, axis=-1)
    at = draw.random(weights.shape[:-1]) * sums[..., -1]
    chosen = (at[..., None] >= sums[..., :-1]).sum(axis=-1)
    return np.asarray(chosen, np.int16)


def _sure(mean: float, shape: tuple[int, ...], draw: np.random.Generator) -> Floats32:
    if mean in (0.0, 1.0):
        return np.full(shape, mean, np.float32)
    return draw.beta(_PSEUDO * mean, _PSEUDO * (1 - mean), shape).astype(np.float32)
