"""Votes on many simulated debates at once: plain counts in numpy, whatever else by the debate's own decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from agora.answers import Text
from agora.errors import InputError
from agora.records import Answer, Reply, Round, Turn
from agora.simulate.heard import NONE, UNSAID, Floats32, Ints, Said, tally
from agora.simulate.minds import Mask
from agora.simulate.population import Floats
from agora.text.decisions import Vote

if TYPE_CHECKING:
    from agora.text.debate import Debate

_IN_NUMPY = ("plurality", "majority", "supermajority")
_BY_ITSELF = (*_IN_NUMPY, "trajectory", "most_consistent")
_EPS = 1e-9  # as in agora.text.votes
_LEAST, _MOST = 0.5, 0.99  # between which log-odds are taken, as in agora.text.weights


class Voting:
    """How the debates are decided.

    Args:
        debate: whose decision, voters and models.
        options: the number of possible answers.

    Attributes:
        vote: the vote that is simulated.
        rounds: how many of the last rounds it must see, besides the first; None: all.
        confident: it looks at confidences.
        notes: what is decided otherwise than in the debate.

    Raises:
        InputError: if an outcome cannot be right or wrong.
    """

    def __init__(self, debate: Debate, options: int) -> None:
        self.options, self.seed = options, debate.seed
        self.names = debate.topology.agents
        self.models = [agent.model.name for agent in debate.agents]
        order = {name: i for i, name in enumerate(self.names)}
        self.voters: Ints = np.array([order[name] for name in debate.voters], np.intp)
        self.vote, self.notes = _vote(debate)
        vote = self.vote
        self.fast = vote.rule in _IN_NUMPY and vote.cap is None and not vote.trim and vote.families == 1
        self.rounds: int | None = None if vote.rule == "trajectory" else 1
        self.confident = vote.weight not in ("one", "logprob") or vote.ties == "confidence" or bool(vote.trim)
        known = [vote.accuracies.get(name, math.nan) for name in debate.voters]
        self._skill = np.array([_log_odds(p) for p in known]) if vote.accuracies else None

    def __call__(self, past: Sequence[Said], first: Said, sure: Floats32 | None, draw: np.random.Generator) -> Said:
        """The outcome of each debate: an answer's number, or NONE.

        Args:
            past: what stands after each round that must be seen, the newest last.
            first: what stood after round 0.
            sure: confidences in the newest.
            draw: for ties broken by seed.
        """
        if self.fast:
            return self._counted(past[-1], first, sure, draw)
        return self._asked(past, first, sure)

    # ---- by numpy ------------------------------------------------------------------------------------------------

    def _counted(self, said: Said, first: Said, sure: Floats32 | None, draw: np.random.Generator) -> Said:
        vote, options = self.vote, self.options
        said = said[:, self.voters]
        sure = None if sure is None else sure[:, self.voters]
        votes = tally(said, options)[:, :-1]
        weights = self._weights(said, sure)
        support = votes if weights is None else tally(said, options, weights)[:, :-1]
        top = support.max(axis=1, initial=0.0, where=votes > 0, keepdims=True)
        leads = (votes > 0) & (top - support <= _EPS * np.maximum(1.0, top))
        tied = leads.sum(axis=1) > 1
        if tied.any():
            sums = votes if sure is None else tally(said, options, sure.astype(float))[:, :-1]
            leads[tied] = self._untied(leads[tied], said[tied], tally(first[tied], options)[:, :-1], sums[tied], draw)
        winner = np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), NONE).astype(np.int16)
        had = np.where(winner >= 0, np.take_along_axis(support, np.maximum(winner, 0)[:, None], 1)[:, 0], 0.0)
        if vote.rule == "plurality":
            whole = support.sum(axis=1)
            if vote.threshold:
                winner[had < vote.threshold * whole - _EPS * np.maximum(1.0, whole)] = NONE
            return winner
        there = said != UNSAID
        whole = there.sum(axis=1) if weights is None else np.where(there, weights, 0.0).sum(axis=1)
        over, edge = had - (0.5 if vote.rule == "majority" else vote.share) * whole, _EPS * np.maximum(1.0, whole)
        winner[(over <= edge) if vote.rule == "majority" else (over < -edge)] = NONE
        return winner

    def _untied(self, leads: Mask, said: Said, initial: Floats, sure: Floats, draw: np.random.Generator) -> Mask:
        """The leaders that the policy on ties leaves."""
        ties = self.vote.ties
        if ties == "abstain":
            return leads
        if ties in ("initial", "confidence"):
            second = np.where(leads, initial if ties == "initial" else sure, -np.inf)
        elif ties == "first":
            place = np.stack([(said == k).argmax(axis=1) for k in range(self.options)], axis=1)
            second = np.where(leads, -place, -np.inf)
        else:
            second = np.where(leads, draw.random(leads.shape), -np.inf)
        top = second.max(axis=1, keepdims=True)
        kept: Mask = leads & (top - second <= _EPS * np.maximum(1.0, np.abs(top)))
        return kept

    def _weights(self, said: Said, sure: Floats32 | None) -> Floats | None:
        """What each voice counts; None: all 1."""
        kind = self.vote.weight
        weights = None
        if kind not in ("one", "logprob") and sure is not None:
            c = sure.astype(float)
            weights = {"confidence": _same, "reconcile": _reconcile, "log_odds": _log_odds_of}[kind](c)
        if self._skill is not None:
            skill = np.broadcast_to(self._skill, said.shape)
            known = (said >= 0) & ~np.isnan(skill)
            number = known.sum(axis=1)
            usual = np.where(number > 0, np.where(known, skill, 0.0).sum(axis=1) / np.maximum(number, 1), 1.0)
            filled = np.where(np.isnan(skill), usual[:, None], skill)
            weights = filled if weights is None else weights * filled
        return weights

    # ---- by the decision itself ----------------------------------------------------------------------------------

    def _asked(self, past: Sequence[Said], first: Said, sure: Floats32 | None) -> Said:
        """Each kind of debate once."""
        seen = [first, past[-1]] if self.rounds is not None else list(past)
        kinds, at, which = np.unique(np.stack(seen, axis=1), axis=0, return_index=True, return_inverse=True)
        if self.confident and sure is not None:  # no two are alike
            kinds, which = np.stack(seen, axis=1), np.arange(len(first))
            at = which
        found = [self._decided(kind, None if sure is None else sure[i]) for kind, i in zip(kinds, at, strict=True)]
        return np.array(found, np.int16)[which.reshape(-1)]

    def _decided(self, rounds: Said, sure: Floats32 | None) -> int:
        made = [self._round(i, row.tolist(), sure if i == len(rounds) - 1 else None) for i, row in enumerate(rounds)]
        final = made[-1].final
        turns = [final[name] for i in self.voters if (name := self.names[i]) in final]
        case = SimpleNamespace(rounds=made, seed=self.seed, answer=Text(), warn=lambda text: None)
        coroutine = self.vote.decide(case, turns)  # type: ignore[arg-type]
        try:
            coroutine.send(None)  # it waits for nothing, so that it ends at once
        except StopIteration as end:
            return NONE if end.value.answer is None else int(end.value.answer)
        raise AssertionError("a vote waited for something")

    def _round(self, index: int, row: Sequence[int], sure: Floats32 | None) -> Round:
        turns = []
        for i, value in enumerate(row):
            if value != UNSAID:
                c = None if sure is None else float(sure[i])
                answer = Answer(None if value == NONE else str(value), confidence=c)
                turns.append(Turn(self.names[i], index, "answer", Reply("", model=self.models[i]), answer))
        return Round(index, tuple(turns))


def _vote(debate: Debate) -> tuple[Vote, list[str]]:
    """The vote that stands for a debate's decision, and what to say of it."""
    decide = debate.moderator.decide
    if isinstance(decide, Vote):
        if decide.rule in ("mean", "median"):
            raise InputError(
                f"simulate: the {decide.rule} of numbers is not simulated, as simulated answers are right or wrong and "
                "have no size.",
                hint="Try --set moderator.decide=plurality.",
            )
        notes = []
        if decide.weight == "logprob":
            notes.append("log-probabilities are not simulated: every vote counts 1")
        if decide.rule in _BY_ITSELF:
            return decide, notes
        return Vote(ties=decide.ties), [f"{decide.rule} is not simulated: a plurality decides instead"]
    kind = type(decide).__name__
    if kind in ("Distribution", "Steer") or getattr(decide, "template", "") == "overton":
        raise InputError(
            f"simulate: the outcome of this debate ({kind}) is not right or wrong, so there is nothing to predict.",
            hint="agora check predicts its calls and cost.",
        )
    what = getattr(decide, "template", kind.lower())
    return Vote(), [f"the decision by a model ({what}) is not simulated: a plurality of what it would see decides"]


def _log_odds(p: float) -> float:
    return math.nan if math.isnan(p) else float(_log_odds_of(np.array([p]))[0])


def _log_odds_of(p: Floats) -> Floats:
    held = np.clip(p, _LEAST, _MOST)
    return np.asarray(np.log(held / (1 - held)), float)


def _same(c: Floats) -> Floats:
    return c


def _reconcile(c: Floats) -> Floats:
    return np.select([c >= 1, c >= 0.9, c >= 0.8, c > 0.6], [1.0, 0.8, 0.5, 0.3], 0.1)
