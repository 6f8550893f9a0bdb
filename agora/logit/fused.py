"""An ensemble whose members vote on every token, over one vocabulary: itself a `TokenModel`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from agora.errors import AgoraError, InputError, ModelError
from agora.logit import weights as prompt_weights
from agora.logit.methods import Array, Method, method, normalised
from agora.model import Model, Prompt, TokenModel, TokenSession
from agora.models.batching import room_of
from agora.models.local import LocalModel
from agora.models.writers import bare, in_process
from agora.records import Message

Weights = Sequence[float] | Literal["perplexity"] | None


class Prompts(Sequence[int]):
    """The prompts of several members; as one sequence, one after another."""

    def __init__(self, parts: Sequence[Prompt]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        return [token for part in self.parts for token in part][index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompts) and list(map(list, self.parts)) == list(map(list, other.parts))

    def __hash__(self) -> int:
        return hash(tuple(map(tuple, self.parts)))


class Fused(LocalModel):
    """Several models of one vocabulary as one: each reads the conversation in its own format, and at every token their
    distributions are fused.

    Every member keeps a cache of its own. Where the method lets the first member decide alone (`Method.sure`), the
    others are not asked; they read what they have missed in one pass when they next are. A reply's usage is the tokens
    that its members read and wrote, all together. With `logprobs` in the settings each token says who gave it which
    probability and how much the members disagree.

    Args:
        members: the models, or name -> model. Settings that are pinned around one have no effect: the ensemble samples
            once.
        by: how their distributions are combined.
        weights: of the members; None: equal, or what the method's own arguments say. 'perplexity': of each
            conversation, by how well each member predicts the prompt (PackLLM, see `agora.logit.weights.by_losses`).
        tau: temperature of those.
        name: as a model.

    Raises:
        InputError: if there are too few members or weights, a member is no `TokenModel`, their vocabularies differ, or
            weights are no weights.
    """

    def __init__(
        self,
        members: Sequence[Model] | Mapping[str, Model],
        by: str | Method = "average",
        *,
        weights: Weights = None,
        tau: float = 1.0,
        name: str = "fused",
    ) -> None:
        self.method = method(by)
        given = named(members)
        self.names = tuple(given)
        self.models = tuple(token_model(model, "fuse") for model in given.values())
        called_for(self.method, len(self.models))
        same_vocabulary(self.models, "fuse")
        self._weights: NDArray[np.float64] | None
        if isinstance(weights, str) and weights == "perplexity":
            if self.method.name.split(" ")[0] not in prompt_weights.WEIGHTED:
                raise InputError(f"fuse: {self.method.name.split(' ')[0]} takes no weights.")
            if any(_inner(model) for model in self.models):
                raise InputError("fuse: weights by perplexity need members that are no ensembles themselves.")
            if not 1e-6 <= tau < math.inf:
                raise InputError(f"fuse: tau is at least 0.000001, not {tau}.")
            self._weights = None
        else:
            self._weights = prompt_weights.given(weights, len(self.models), self.method.name)
        self.vocabulary_key = getattr(self.models[0], "vocabulary_key", None)
        self.tau, self._name = tau, name
        said = "perplexity" if self._weights is None else self._weights.tolist()
        own = [str(getattr(model, "identity", model.name)) for model in self.models]
        self.identity = f"fused {self.method.name} {said} {tau} of {own}"
        self.limit = min(getattr(model, "limit", LocalModel.limit) for model in self.models)
        self.forwards = sum(getattr(model, "forwards", 1) for model in self.models)
        self.certain = all(getattr(model, "certain", False) for model in self.models)
        self.ends = tuple(dict.fromkeys(end for model in self.models for end in getattr(model, "ends", ())))
        self.fixed_prompts = any(getattr(model, "fixed_prompts", False) for model in self.models)
        styles = {getattr(model, "prompts", None) for model in self.models}
        self.prompts = styles.pop() if len(styles) == 1 else None
        if usual := [n for model in self.models if (n := getattr(model, "usual_output", None)) is not None]:
            self.usual_output = max(usual)

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @cached_property
    def vocabulary(self) -> Sequence[str]:  # type: ignore[override]
        """The text of each token id, of those that all members have."""
        return min((model.vocabulary for model in self.models), key=len)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer: those of any member."""
        return frozenset(token for model in self.models for token in model.stop_tokens)

    def encode(self, messages: Sequence[Message]) -> Prompts:
        """The prompt of a conversation for each member.

        Raises:
            ModelError: as the members.
        """
        return Prompts([model.encode(messages) for model in self.models])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        return self.models[0].decode(tokens)

    def __getattr__(self, name: str) -> Any:
        if name == "tokenize" and (own := getattr(self.models[0], "tokenize", None)) is not None:
            return own
        raise AttributeError(name)

    def room(self, prompt: Prompt) -> int | None:
        """The most tokens that an answer can have, for no member's context to overflow."""
        assert isinstance(prompt, Prompts)
        found = [room_of(model, part) for model, part in zip(self.models, prompt.parts, strict=True)]
        return min((n for n in found if n is not None), default=None)

    def session(self) -> FusedSession:
        """A new, empty batch of sequences."""
        return FusedSession(self)

    def weigh(self, sessions: Sequence[TokenSession], slots: Sequence[int], prompt: Prompts) -> NDArray[np.float64]:
        """The members' weights for a conversation. By perplexity, all of the prompts but their last token is read."""
        if self._weights is not None:
            return self._weights
        losses = [
            prompt_weights.loss(session, slot, part)
            for session, slot, part in zip(sessions, slots, prompt.parts, strict=True)
        ]
        return prompt_weights.by_losses(losses, self.tau)


class _Sequence:
    """One of the ensemble's sequences.

    Attributes:
        slots: of it in the members' sessions.
        begins: tokens of each member's sequence that are the prompt to the ensemble, and no prompt to its session.
        read: tokens that each member's sequence has, behind what its session takes for the prompt.
        unread: tokens that each member has yet to read.
        weights: of the members.
    """

    __slots__ = ("begins", "read", "slots", "unread", "weights")

    def __init__(self, slots: list[int], weights: NDArray[np.float64]) -> None:
        self.slots, self.weights = slots, weights
        self.begins, self.read = [0] * len(slots), [0] * len(slots)
        self.unread: list[list[int]] = [[] for _ in slots]


class FusedSession:
    """A batch of sequences over all members; see `agora.model.TokenSession`."""

    def __init__(self, fused: Fused) -> None:
        self._fused = fused
        self._width = len(fused.vocabulary)
        self._sessions = [model.session() for model in fused.models]
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0
        self._last: list[Array] = []  # log-probabilities of the last forward, by member
        self._asked: NDArray[np.bool_] = np.zeros((0, 0), bool)  # (members, rows): who gave them

    def new(self, prompt: Prompt = ()) -> int:
        """Begin a sequence with the members' prompts, and give its slot."""
        parts: Sequence[Prompt] = prompt.parts if isinstance(prompt, Prompts) else [prompt] * len(self._sessions)
        by_prompt = self._fused._weights is None and isinstance(prompt, Prompts)
        slots: list[int] = []
        try:
            for session, part in zip(self._sessions, parts, strict=True):
                slots.append(session.new(() if by_prompt else part))
            self._sequences[self._next] = self._begun(slots, prompt if by_prompt else None)
        except BaseException:
            for session, slot in zip(self._sessions, slots, strict=False):
                session.free(slot)
            raise
        self._next += 1
        return self._next - 1

    def _begun(self, slots: list[int], prompt: Prompt | None) -> _Sequence:
        """A sequence, for which a prompt is read if it decides the weights."""
        if not isinstance(prompt, Prompts):
            known = self._fused._weights
            return _Sequence(slots, known if known is not None else np.ones(len(slots)) / len(slots))
        sequence = _Sequence(slots, self._fused.weigh(self._sessions, slots, prompt))
        for i, part in enumerate(prompt.parts):
            sequence.begins[i], sequence.read[i] = len(part), len(part) - 1
            sequence.unread[i] = list(part[-1:])
        return sequence

    def free(self, slot: int) -> None:
        """End a sequence."""
        for session, own in zip(self._sessions, self._sequences.pop(slot).slots, strict=True):
            session.free(own)

    def crop(self, slot: int, length: int) -> None:
        """Forget all but the prompt of a sequence and the first `length` tokens after it."""
        sequence = self._sequences[slot]
        for i, session in enumerate(self._sessions):
            kept = sequence.begins[i] + length
            if kept < sequence.read[i]:
                session.crop(sequence.slots[i], kept)
                sequence.read[i] = kept
            del sequence.unread[i][kept - sequence.read[i] :]

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], *, every: bool = False) -> Array:
        """Append tokens; the fused log-probabilities after the last of each, or after every one.

        Raises:
            ModelError: if a member fails, by name.
            ValueError: if a sequence would outgrow a member's context, or has nothing to read.
        """
        for slot, tokens in batch:
            for unread in self._sequences[slot].unread:
                unread += tokens
        sizes = [max(1, len(tokens)) if every else 1 for _, tokens in batch]
        first = self._member(0, batch, sizes, every)
        rows = np.repeat([slot for slot, _ in batch], sizes)
        alone = self._fused.method.decided(first)
        whole = not alone.any()
        if alone.all():
            self._last, self._asked = [first], np.zeros((len(self._sessions), len(rows)), bool)
            self._asked[0] = True
            return first
        # a sequence is put to the others if one of its rows is: of several rows the later need what the earlier read
        needs = [slot for slot in dict.fromkeys(rows.tolist()) if not alone[rows == slot].all()]
        chosen = [(slot, tokens) for slot, tokens in batch if slot in needs] if not whole else list(batch)
        some = [size for size, (slot, _) in zip(sizes, batch, strict=True) if whole or slot in needs]
        others = [self._member(i, chosen, some, every) for i in range(1, len(self._sessions))]
        picked = np.isin(rows, needs) if not whole else np.ones(len(rows), bool)
        self._asked = np.tile(picked & ~alone, (len(self._sessions), 1))
        self._asked[0] = True
        self._last = [first]
        for other in others:
            full = other if whole else np.full_like(first, np.nan)
            if not whole:
                full[picked] = other
            self._last.append(full)
        weights = np.stack([self._sequences[slot].weights for slot in rows[picked].tolist()], 1)
        fused = self._fused.method.combine(np.stack([first[picked], *others]), weights)
        if whole:
            return fused
        out = first.astype(np.result_type(first, fused))
        out[picked] = fused
        out[alone] = first[alone]
        return out

    def _member(self, i: int, batch: Sequence[tuple[int, Sequence[int]]], sizes: Sequence[int], every: bool) -> Array:
        """A member's log-probabilities after all that it has yet to read: (sum of sizes, vocabulary)."""
        fed = [(sequence.slots[i], sequence.unread[i]) for slot, _ in batch if (sequence := self._sequences[slot])]
        name = self._fused.models[i].name
        try:
            logits = self._sessions[i].forward(fed, every=True) if every else self._sessions[i].forward(fed)
        except AgoraError:
            raise
        except ValueError as error:
            raise ValueError(f"its member {name} cannot read on: {error}") from error
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ModelError(f"its member {name} failed: {said}.", model=self._fused.name) from error
        if every:  # of those who had missed some, the rows before are not asked for
            given = [max(1, len(unread)) for _, unread in fed]
            if given != list(sizes):
                ends = np.cumsum(given)
                logits = np.concatenate([logits[end - size : end] for end, size in zip(ends, sizes, strict=True)])
        for slot, _ in batch:
            sequence = self._sequences[slot]
            sequence.read[i] += len(sequence.unread[i])
            sequence.unread[i] = []
        return normalised(logits[:, : self._width])

    def together(self, slot: int) -> int | None:
        """How many tokens can be read at once with the logits they have one by one."""
        sequence, found = self._sequences[slot], []
        for session, own, unread in zip(self._sessions, sequence.slots, sequence.unread, strict=True):
            most = session.together(own) if hasattr(session, "together") else None
            if most is not None and most > len(unread):
                found.append(most - len(unread))
        return min(found, default=None)

    # -- of the last forward

    def shares(self, row: int, token: int) -> tuple[tuple[tuple[str, float], ...], float | None]:
        """Of a row: each member's log-probability of a token, and the members' disagreement, 0 to 1; of those asked."""
        rows = [(name, logprobs[row]) for name, logprobs, asked in
                zip(self._fused.names, self._last, self._asked[:, row], strict=False) if asked]  # fmt: skip
        by = tuple((name, float(logprobs[token])) for name, logprobs in rows)
        return by, disagreement(np.stack([logprobs for _, logprobs in rows])) if len(rows) > 1 else None

    def culprit(self, row: int) -> str | None:
        """The first member whose logits of a row held NaN."""
        for model, logprobs, asked in zip(self._fused.models, self._last, self._asked[:, row], strict=False):
            if asked and np.isnan(logprobs[row]).any():
                return model.name
        return None


def disagreement(logprobs: Array) -> float:
    """The Jensen-Shannon divergence of distributions, (members, vocabulary), over its greatest value, log(members)."""
    p = np.exp(logprobs.astype(np.float64))
    mean = p.mean(0)

    def entropy(q: NDArray[np.float64]) -> float:
        some = q[q > 0]
        return float(-(some * np.log(some)).sum())

    value = (entropy(mean) - sum(entropy(q) for q in p) / len(p)) / math.log(len(p))
    return min(1.0, max(0.0, value))


def _inner(model: object) -> bool:
    """Whether it is an ensemble, whatever stands around it."""
    while not isinstance(model, Fused) and hasattr(model, "_model"):
        model = model._model
    return isinstance(model, Fused)


def token_model(model: Model, what: str) -> TokenModel:
    """A model without the settings pinned around it, if its next-token distribution can be read here.

    Raises:
        InputError: if it cannot.
    """
    inner, _ = bare(model)
    if in_process(inner) and not hasattr(inner, "extend"):
        return inner  # type: ignore[return-value]
    raise InputError(
        f"{what}: the next-token distribution of {model.name} cannot be read in this process.",
        hint="Models in the box and local checkpoints (hf:FOLDER) can be fused over their vocabulary; one behind a "
        "completions endpoint over text: `over: text`.",
    )


def named(members: Sequence[Model] | Mapping[str, Model]) -> dict[str, Model]:
    """Models by their names, a number behind those of one name."""
    if isinstance(members, Mapping):
        return dict(members)
    found: dict[str, Model] = {}
    for model in members:
        name, n = model.name, 2
        while name in found:
            name, n = f"{model.name} {n}", n + 1
        found[name] = model
    return found


def called_for(by: Method, members: int) -> None:
    """See that a method takes so many members.

    Raises:
        InputError: if not.
    """
    if by.members is not None and members != by.members:
        raise InputError(f"fuse: {by.name} takes {by.members} members, not {members}.")
    if members < 2:
        raise InputError(f"fuse: needs at least two members, not {members}.")


def same_vocabulary(models: Sequence[TokenModel], what: str) -> None:
    """Ids without a text at the end, with which checkpoints pad their vocabularies, make no difference.

    Raises:
        InputError: if two models have different vocabularies.
    """
    first, *others = models
    for other in others:
        key = getattr(first, "vocabulary_key", None)  # of checkpoints, which need not be loaded for it
        if other is first or (key is not None and key == getattr(other, "vocabulary_key", None)):
            continue
        words, theirs = _texts(first), _texts(other)
        if theirs != words:
            at = next((i for i, (a, b) in enumerate(zip(words, theirs, strict=False)) if a != b), None)
            seen = "" if at is None else f"; token {at} is {words[at][:20]!r} and {theirs[at][:20]!r}"
            raise InputError(
                f"{what}: {first.name} and {other.name} have different vocabularies, of {len(words)} and {len(theirs)} "
                f"tokens{seen}.",
                hint="Fuse them over text: `over: text` in a debate file, `fuse(..., over='text')` in Python.",
            )


def _texts(model: TokenModel) -> list[str]:
    words = list(model.vocabulary)
    while words and not words[-1]:
        words.pop()
    return words
