"""What an agent is shown in a turn: its prompt, made of what it may read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from agora.answers import AnswerType
from agora.errors import InputError
from agora.model import derive_seed
from agora.records import Ballot, Message, Turn
from agora.text.agent import Agent, Shown, View, show
from agora.text.board import Board
from agora.text.protocol import Key, Phase, template_of


class Reader:
    """Makes the prompts of one run.

    Args:
        board: what has been said so far; grows while the run goes on.
        question: what is debated.
        answer: the kind of answer.
        order: each agent's number.
        last: the last round there can be.
        asks: what stop rules need agents to say: 'ask_done', 'ask_confidence'; 'ask_done NAME' of one agent alone.
        instead: what is shown to others in place of a turn, where that is not the turn itself.
    """

    def __init__(
        self,
        board: Board,
        question: str,
        answer: AnswerType,
        order: Mapping[str, int],
        last: int,
        asks: Collection[str] = (),
        instead: Callable[[Turn], Turn | None] | None = None,
    ) -> None:
        self._instead = instead
        self.board, self.plan = board, board.plan
        self.protocol, self.seed = self.plan.protocol, self.plan.seed
        self._passage, self._without = passage_of(question)
        self.question, self.answer, self.order, self.last, self.asks = question, answer, order, last, asks
        self._noted = any(phase.gives == "text" for phase in self.protocol.all_phases)
        self._kinds = {phase.name: phase.kind for phase in self.protocol.all_phases}
        drawn = sorted(order, key=lambda name: derive_seed(self.seed, "letter", order[name]))
        self._letters = {name: f"Peer {_letter(i)}" for i, name in enumerate(drawn)}
        self.minutes: dict[int, str | None] = {}  # the running summary after each round

    def prompt(
        self, agent: Agent, index: int, phase: Phase, read: list[Turn]
    ) -> tuple[tuple[Message, ...], tuple[Key, ...], dict[str, str]]:
        """The messages of a turn, whose turns are in them, and which peer's label is which agent.

        Args:
            agent: who reads.
            index: the round.
            phase: the phase.
            read: the turns it may read.
        """
        protocol, view = self.protocol, phase.view or self.protocol.view
        own = self.board.last_answer(agent.name, index, phase.name)
        turns = self._answers(read)
        if view.own == "peer" and own is not None and own not in turns:
            turns.append(own)
        views = self._edge_views(agent.name, index, view, phase)
        peers = self._show(agent, turns, view, views)
        if view.names == "named" and protocol.schedule.kind == "sequential":  # in the order in which it was said
            peers.sort(key=lambda pair: self._spoken(pair[1]))
        labels = {turn.agent: shown.label for shown, turn in peers}
        notes = self._show(agent, self._notes(agent.name, read, index, phase), view, views)
        past = self._history(agent.name, read, [*turns, *(turn for _, turn in notes)], index)
        history = self._show(agent, past, view, views)
        called = self._called(agent.name, labels, [turn.agent for _, turn in (*notes, *history)], view)
        if notes or history:
            place = {name: i for i, name in enumerate(called)}

            def when(pair: tuple[Shown, Turn]) -> tuple[int, int, int]:
                _, turn = pair
                return (*self._place((turn.agent, turn.round, turn.phase)), place[turn.agent])

            notes.sort(key=when)
            history.sort(key=when)
        cast = [_in_labels(turn.ballot, called) for turn in read if turn.ballot is not None]
        mine = None
        if own is not None and own.reply is not None and view.own == "shown":
            sure = own.answer.confidence if own.answer else None
            label = self._letters[agent.name] if self._lettered(view) else "You"
            mine = Shown(label, own.reply.text.strip(), own.value, sure, own.round)
        said = [self._as(shown, called[turn.agent]) for shown, turn in notes]
        values: dict[str, Any] = {
            "question": self.question if agent.passage else self._without,
            "round": index,
            "phase": phase.name,
            "answer": self.answer,
            "ask_confidence": protocol.view.confidence or "ask_confidence" in self.asks,
            "ask_done": ("ask_done" in self.asks and phase.gives == "answer") or f"ask_done {agent.name}" in self.asks,
            "agreement": protocol.agreement.at(index, self.last) if protocol.agreement else None,
            "contentiousness": protocol.contentiousness.at(index, self.last) if protocol.contentiousness else None,
            "peers": [shown for shown, _ in peers],
            "own": mine,
            "notes": said,
            "critiques": [note for note in said if note.phase == "critique"],
            "history": [self._as(shown, called[turn.agent]) for shown, turn in history],
            "summary": self.minutes.get(index - 1),
            "ballots": cast,
            "standing": standing(cast),
        }
        # who answers first with others' answers in view (a sequence) revises
        name = "revise" if phase.kind == "answer" and (peers or own) else phase.kind
        given = agent.templates.get(phase.name, phase.template)
        if getattr(agent.model, "fixed_prompts", False):  # it reads no other words than those of its own templates
            name, given = "revise" if peers or own else "answer", None
        messages = agent.messages(template_of(name), values, given)
        # what a template does not show is not read
        uses = agent.template(template_of(name), given).uses
        shown = (*(history if "history" in uses else ()), *(peers if uses & {"peers", "standing"} else ()),
                 *(notes if uses & {"notes", "critiques"} else ()))  # fmt: skip
        reads = tuple((t.agent, t.round, t.phase) for _, t in shown)
        return messages, tuple(dict.fromkeys(reads)), {label: name for name, label in labels.items()}

    def _called(self, me: str, labels: Mapping[str, str], others: Sequence[str], view: View) -> dict[str, str]:
        """What each agent is called in one prompt: as among the peers, else a further peer; the reader is 'You'."""
        letters = self._letters if self._lettered(view) else None
        called = dict(labels)
        for name in others:
            if name == me and name not in called:
                called[name] = "You"
            elif name not in called:
                other = f"Peer {len(called) - (me in called) + 1}"
                called[name] = letters[name] if letters else name if view.names == "named" else other
        return called

    def _answers(self, read: Sequence[Turn]) -> list[Turn]:
        """The answers that stand behind what is read: the turn itself, or the last answer before it."""
        found = []
        for turn in read:
            answer = turn if turn.gives == "answer" else self.board.last_answer(turn.agent, turn.round, turn.phase)
            if answer is not None:
                found.append(answer)
        return found

    def _notes(self, me: str, read: Sequence[Turn], index: int, phase: Phase) -> list[Turn]:
        """What else those who are read have said since the reader last spoke: critiques, questions, summaries."""
        if not self._noted:
            return []
        mine = self.plan.before(me, index, phase.name)
        since = self._place(mine) if mine is not None else (0, 0)
        found: list[Turn] = []
        for turn in read:
            spot: Key | None = (turn.agent, turn.round, turn.phase)
            said = []
            while spot is not None and self._place(spot) >= since:
                note = self.board.turns.get(spot)
                if note is not None and note.gives == "text" and note.agent != me:
                    said.append(note)
                spot = self.plan.before(*spot)
            found += reversed(said)
        return found

    def _place(self, key: Key) -> tuple[int, int]:
        """Where a turn stands in the debate: its round, and its phase's number there."""
        names = [phase.name for phase in self.plan.phases_of(key[1])]
        return key[1], names.index(key[2]) if key[2] in names else -1

    def _spoken(self, turn: Turn) -> tuple[int, int]:
        """When a turn was spoken: its round, and its speaker's place in it."""
        if self.protocol.schedule.kind != "sequential":
            return turn.round, self.order[turn.agent]
        return turn.round, self.plan.order(turn.round, turn.phase, self.board.turns)[turn.agent]

    def _history(self, me: str, read: Sequence[Turn], now: Sequence[Turn], index: int) -> list[Turn]:
        """What those who are read have said in earlier rounds, and the reader itself unless hidden; not what is shown
        anyway."""
        protocol = self.protocol
        if protocol.memory not in ("transcript", "last"):
            return []
        since = index - protocol.keep if protocol.memory == "last" else 0
        own = {me} if protocol.view.own != "hidden" else set()
        names = {turn.agent for turn in read} | own
        newest = {(t.agent, t.round, t.phase) for t in now}
        phases = self.plan.phases_of(index)
        last = self.board.last_answer(me, index, phases[0].name) if phases else None
        said = [
            turn
            for key, turn in self.board.turns.items()
            if turn.agent in names
            and turn.gives in ("answer", "text")
            and since <= turn.round < index
            and turn.kept is None
            and key not in newest
            and not (turn is last and protocol.view.own == "shown")
        ]
        # the board is in order of arrival, which depends on time; a prompt must not
        return sorted(said, key=self._spoken)

    def _show(
        self, agent: Agent, turns: Sequence[Turn], view: View, views: Callable[[str], View] | None
    ) -> list[tuple[Shown, Turn]]:
        letters = self._letters if self._lettered(view) else None
        if self._instead is not None:
            others = ((turn, turn if turn.agent == agent.name else self._instead(turn)) for turn in turns)
            turns = [
                replace(turn, reply=other.reply, answer=other.answer, digest=other.digest)
                for turn, other in others
                if other is not None
            ]
        shown = show(
            turns, view, seed=self.seed, reader=self.order[agent.name], order=self.order, views=views, letters=letters
        )
        if not view.quotes:
            return shown
        return [(replace(s, text=verified(s.text, self._passage)), turn) for s, turn in shown]

    def _lettered(self, view: View) -> bool:
        """Whether agents have one label for all: who writes to others must be able to speak of them."""
        return view.names == "lettered" or (view.names == "anonymous" and self._noted)

    def _as(self, shown: Shown, label: str) -> Shown:
        """The same under the label that its speaker has in this prompt, and the kind of its phase."""
        return replace(shown, label=label, phase=self._kinds.get(shown.phase, shown.phase))

    def _edge_views(self, reader: str, index: int, view: View, phase: Phase) -> Callable[[str], View] | None:
        """What is seen along each edge, where the topology says that it differs."""
        if not self.plan.changes:
            return None
        topology = self.plan.topology.at(index, self.seed)
        if not topology.attributed or phase.reads != "peers":
            return None
        return lambda agent: edge_view(topology.attributes(agent, reader).get("view"), view)


_PASSAGE = re.compile(r"<passage>(.*?)</passage>\s*", re.DOTALL | re.IGNORECASE)
_QUOTE = re.compile(r"<quote>(.*?)</quote>", re.DOTALL | re.IGNORECASE)
_VERIFIED = re.compile(r"<(/?)v_quote>", re.IGNORECASE)


def passage_of(question: str) -> tuple[str, str]:
    """What stands between <passage> and </passage> in a question (all of it, without these), and the question without.

    Args:
        question: as it was asked.
    """
    found = _PASSAGE.findall(question)
    return ("\n".join(found) if found else question), _PASSAGE.sub("", question).strip() or question


def verified(text: str, passage: str) -> str:
    """A text with its <quote>s marked: <v_quote> what stands in the passage word for word, up to spaces; <u_quote> what
    does not (Khan et al. 2024, arXiv:2402.06782). What a model marks as verified itself is not.

    Args:
        text: what an agent said.
        passage: what it quotes from.
    """
    whole = " ".join(passage.split())

    def mark(match: re.Match[str]) -> str:
        words = " ".join(match[1].split())
        kind = "v" if words and words in whole else "u"
        return f"<{kind}_quote>{words}</{kind}_quote>"

    # turned, not taken out: what would be left could be the mark again
    return _QUOTE.sub(mark, _VERIFIED.sub(r"<\1u_quote>", text))


@dataclass(frozen=True, slots=True)
class Cast:
    """A ballot as a reader is shown it: all by the labels that it knows them by."""

    label: str
    ranking: tuple[tuple[str, ...], ...]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one stands in the ballots: mean rank (1 is best) and mean score, None where it has none."""

    label: str
    rank: float | None
    score: float | None


def _in_labels(ballot: Ballot, called: Mapping[str, str]) -> Cast:
    tiers = (tuple(called[name] for name in tier if name in called) for tier in ballot.ranking)
    scores = {called[name]: score for name, score in ballot.scores.items() if name in called}
    return Cast(called.get(ballot.voter, "A voter"), tuple(tier for tier in tiers if tier), scores)


def standing(ballots: Sequence[Cast]) -> list[Standing]:
    """Who stands where, best first by mean rank, else by mean score; equals share the mean of their places."""
    ranks: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    for ballot in ballots:
        place = 1
        for tier in ballot.ranking:
            for label in tier:
                ranks.setdefault(label, []).append(place + (len(tier) - 1) / 2)
            place += len(tier)
        for label, score in ballot.scores.items():
            scores.setdefault(label, []).append(score)

    def mean(values: list[float] | None) -> float | None:
        return sum(values) / len(values) if values else None

    found = [Standing(label, mean(ranks.get(label)), mean(scores.get(label))) for label in {**ranks, **scores}]
    return sorted(found, key=lambda s: (s.rank is None, s.rank or 0.0, -(s.score or 0.0)))


def edge_view(given: Any, view: View) -> View:
    """The view of an edge: the protocol's, with what the edge says of it.

    Raises:
        InputError: if the edge says what no view knows.
    """
    if given is None:
        return view
    changes = {"text": given} if isinstance(given, str) else dict(given)
    known = {f.name for f in fields(View)} - {"names", "own"}
    unknown = set(changes) - known
    if unknown or changes.get("text", "full") not in ("full", "answer", "summary", "claims"):
        raise InputError(f"edges: a view is full, answer, summary, claims or a mapping of {', '.join(sorted(known))}.")
    return replace(view, **changes)


def _letter(i: int) -> str:
    return chr(ord("A") + i) if i < 26 else str(i + 1)
