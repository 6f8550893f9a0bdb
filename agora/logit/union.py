"""Fusion over text: members with tokenizers of their own, in this process or behind servers, write piece by piece."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
import anyio.to_thread
import numpy as np

from agora import calls
from agora.errors import InputError, MalformedError, RequestError
from agora.logit import weights as prompt_weights
from agora.logit.fused import called_for, disagreement
from agora.logit.methods import Array, Method, method, normalised
from agora.model import Model, Settings, TokenModel
from agora.models.continuing import Continues, Extended
from agora.models.decoding import sample
from agora.models.draft import Draft, Together
from agora.models.tokenwriter import TokenWriter, pieces_of, tokens_of
from agora.models.writers import bare, in_process, writer
from agora.records import Message, Token, Usage

AHEAD = 8  # tokens of one request to a server
END = ""  # as a candidate
ENDS = frozenset(("", "</s>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<eos>"))
_MIXTURES = ("average", "max")  # to which a token that is not seen is impossible, at the least


@dataclass
class Look:
    """What a member says of the piece of text that comes next.

    Attributes:
        pieces: the likeliest, and their log-probabilities; `END` is the end of the answer.
        rest: the most that the log-probability of any other can be.
        known: log-probabilities of others, where they can be told: of pieces that are tokens to it, exactly; of any
            other that of its first token, which is the most that it can be (as in UniTE).
        exact: of which of those it is exact.
    """

    pieces: dict[str, float]
    rest: float
    known: dict[str, float] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)

    def bounds(self, piece: str) -> tuple[float, float]:
        """The least and the most that the log-probability of a piece can be."""
        value = self.pieces.get(piece)
        if value is not None:
            return value, value
        if piece in self.exact:
            return self.known[piece], self.known[piece]
        return -math.inf, min(self.rest, self.known.get(piece, self.rest))


def candidates(looks: Sequence[Look], by: Method) -> list[str]:
    """The union of what the members propose, or what the first does where the method lets it lead."""
    return list(dict.fromkeys(piece for look in (looks[:1] if by.leads else looks) for piece in look.pieces))


def table(looks: Sequence[Look], pieces: Sequence[str], by: Method) -> Array:
    """Log-probabilities of pieces, (members, 1, pieces). What a member does not tell is 0 to a mixture, and to other
    methods the most that it can be."""
    missing = by.name.split(" ")[0] in _MIXTURES
    rows = []
    for look in looks:
        row = []
        for piece in pieces:
            value = look.pieces.get(piece, look.known.get(piece))
            row.append(value if value is not None else -math.inf if missing else look.rest)
        rows.append([row])
    return np.array(rows, np.float64)


def certain(looks: Sequence[Look], weights: Sequence[float], chosen: str, pieces: Sequence[str]) -> bool:
    """Whether a piece is provably the likeliest of the average of the members' whole distributions over pieces of text:
    at the least it has more than any other can have at the most, pieces that nobody has named included."""
    share = np.array(weights) / sum(weights)

    def total(piece: str | None, most: bool) -> float:
        found = [look.rest if piece is None else look.bounds(piece)[most] for look in looks]
        return float(share @ np.exp(np.array(found)))

    least = total(chosen, False)
    return all(least > total(piece, True) for piece in (None, *pieces) if piece != chosen)


class Here:
    """A member in this process, while it takes part in an answer.

    Args:
        model: the member.
        hand: what holds its cache.
        top: how many pieces it proposes.
    """

    def __init__(self, model: TokenModel, hand: TokenWriter, top: int) -> None:
        self._model, self._hand, self._top = model, hand, top
        self._ids, _ = pieces_of(model)
        self._stop = sorted(model.stop_tokens)
        self._row: Array = np.zeros(0)

    def look(self, messages: Sequence[Message], text: str) -> tuple[Look, int]:
        """What it says comes after a text, and how many tokens it read for that.

        Raises:
            ContextError: if the text has outgrown its context.
            MalformedError: if it gives NaN.
        """
        row = self._row = normalised(self._hand.look(messages, text))
        if np.isnan(row).any():
            error = MalformedError("it gave NaN for the next token.", model=self._model.name)
            error.retryable = False
            raise error
        wanted = min(self._top + len(self._stop), len(row))
        some = np.argpartition(row, -wanted)[-wanted:]
        order = some[np.lexsort((some, -row[some]))].tolist()
        found: dict[str, float] = {}
        rest = -math.inf if wanted == len(row) else float(row[order[-1]])
        words = self._model.vocabulary
        for token in order:
            piece = words[token]
            if self._ids.get(piece) != token:
                continue  # an end, a mark, or a part of a character
            if len(found) < self._top:
                found[piece] = float(row[token])
            else:
                rest = max(rest, float(row[token]))
        end = float(np.logaddexp.reduce(row[self._stop])) if self._stop else -math.inf
        look = Look(found, rest, {END: end}, {END})
        if len(found) < self._top or end >= min(found.values()):
            found[END] = end
        return look, self._hand.read

    def tell(self, look: Look, pieces: Sequence[str]) -> None:
        """Note what it thinks of pieces that it has not proposed."""
        for piece in pieces:
            if piece in look.pieces or piece in look.known:
                continue
            token = self._ids.get(piece)
            if token is not None:
                look.exact.add(piece)
            else:
                token = next(iter(tokens_of(self._model, piece)), None)
            look.known[piece] = -math.inf if token is None else float(self._row[token])

    def keep(self, piece: str) -> None:
        """What it has proposed itself stays cut as it would write it."""
        self._hand.keep(self._ids[piece], piece)


class OverText(Together):
    """Models that need not share a vocabulary as one: at every step the likeliest next pieces of text of each are put
    together, and their probabilities are fused; what is chosen is appended for all of them.

    After UniTE (Yao et al. 2024, arXiv:2410.03777): the union of the members' `top` likeliest tokens, as text; to a
    member whose vocabulary lacks a piece its probability is that of the piece's first token. Differently from it the
    probabilities are those of the whole vocabulary, so that with all of it and one tokenizer the union is the average.
    A member that did not propose the piece reads it cut by its own tokenizer, together with what it did not write just
    before; of its cache all is kept that still agrees.

    A member behind a completions endpoint is asked for `ahead` tokens and their `top` alternatives at a time; as long
    as what is chosen is what its server wrote no new request is made. At most that is a request for every token. What
    is not among its alternatives has an unknown probability: 0 to an average, else the most that it can be. Members in
    this process are no calls.

    Args:
        members: models, or name -> model.
        by: how they are combined.
        weights: of the members.
        top: how many pieces each proposes; servers give at most 20, OpenAI's completions 5.
        ahead: tokens of one request to a server.
        name: as a model.

    Raises:
        InputError: if there are too few members or weights, or one can neither be read in this process nor go on with a
            text.
    """

    by_token = True

    def __init__(
        self,
        members: Sequence[Model] | Mapping[str, Model],
        by: str | Method = "average",
        *,
        weights: Sequence[float] | Literal["perplexity"] | None = None,
        top: int = 10,
        ahead: int = AHEAD,
        name: str = "fused",
    ) -> None:
        self.method = method(by)
        given = dict(members) if isinstance(members, Mapping) else _named(members)
        called_for(self.method, len(given))
        if top < 1 or ahead < 1:
            raise InputError(f"fuse: top and ahead are at least 1, not {min(top, ahead)}.")
        if weights == "perplexity":
            raise InputError("fuse: weights by perplexity need members that share a vocabulary.",
                             hint="Give weights as numbers.")  # fmt: skip
        self._weights = prompt_weights.given(weights, len(given), self.method.name)
        self._top, self.chunk = top, ahead
        super().__init__(given, (), name, f"fused over text {self.method.name} {self._weights.tolist()} {top}")

    @property
    def members(self) -> tuple[Model, ...]:
        """Those whose calls are budgeted and journaled: the ones behind servers, or all where there are none."""
        far = tuple(model for model in self._writers.values() if not in_process(bare(model)[0]))
        return far or tuple(self._writers.values())

    def _hand(self, who: str, model: Model) -> Continues:
        inner, pinned = bare(model)
        if in_process(inner) and not hasattr(inner, "extend"):
            return TokenWriter(inner, pinned)  # type: ignore[arg-type]
        return writer(model, who, chunk=self.chunk)

    async def _write(self, draft: Draft) -> None:
        draw = np.random.default_rng(draft.settings.seed)
        draft.tally = {"certain": 0, "steps": 0}
        here = {
            who: Here(bare(model)[0], hand, self._top)  # type: ignore[arg-type]
            for who, model in self._writers.items()
            if isinstance(hand := draft.writer(who), TokenWriter)
        }
        if len(here) == len(self._writers):  # one thread for the whole answer
            gone = threading.Event()

            def work() -> None:
                while draft.left and not gone.is_set():
                    looks = {who: self._looked(draft, who, member) for who, member in here.items()}
                    self._step(draft, here, looks, draw)

            with draft.threaded():
                try:
                    await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
                finally:
                    gone.set()
            return
        while draft.left:
            self._step(draft, here, await self._looks(draft, here), draw)

    # -- looking

    async def _looks(self, draft: Draft, here: Mapping[str, Here]) -> dict[str, Look]:
        """What each member says, all asked at once."""
        found: dict[str, Look] = {}

        async def look(who: str) -> None:
            if who in here:
                found[who] = await anyio.to_thread.run_sync(self._looked, draft, who, here[who])
            else:
                found[who] = await self._served(draft, who)

        try:
            async with anyio.create_task_group() as group:
                for who in self._writers:
                    group.start_soon(look, who)
        except BaseExceptionGroup as errors:
            raise calls.first(errors) from None
        return {who: found[who] for who in self._writers}

    @staticmethod
    def _looked(draft: Draft, who: str, member: Here) -> Look:
        look, read = member.look(draft.messages, draft.text)
        draft.charge(who, Usage(0, read, 0))
        return look

    async def _served(self, draft: Draft, who: str) -> Look:
        """What a member behind a server says."""
        ends = False

        def pause(token: Token, ended: bool) -> bool:
            nonlocal ends
            ends = ended
            return True

        wanted = replace(draft.settings, temperature=0.0, top_p=None, top_k=None, min_p=None, seed=None, stop=None,
                         logprobs=self._top)  # fmt: skip
        done = await draft.writer(who).extend(draft.messages, draft.text, tokens=min(self.chunk, draft.left),
                                              settings=wanted, pause=pause)  # fmt: skip
        draft.charge(who, done.usage)
        token = done.paused
        if token is not None and ends and math.isnan(token.logprob):
            return Look({END: 0.0}, -math.inf)  # an end of which the server says nothing is believed
        if token is None or math.isnan(token.logprob):
            raise RequestError(
                "it does not say how likely its tokens are, which fusing goes by.",
                model=self._writers[who].name,
                hint="Use a server that gives log-probabilities (`top_logprobs`).",
            )
        found: dict[str, float] = {}
        for text, logprob in (*token.top, (END if ends else token.text, token.logprob)):
            if "\ufffd" in text or text.startswith("bytes:"):
                continue
            piece = END if text in ENDS else text
            found[piece] = max(found.get(piece, -math.inf), logprob)
        tail = 1.0 - sum(map(math.exp, found.values()))
        least = min((logprob for _, logprob in token.top), default=token.logprob)
        return Look(found, min(least, math.log(tail)) if tail > 0 else -math.inf)

    # -- choosing

    def _step(self, draft: Draft, here: Mapping[str, Here], looks: Mapping[str, Look], draw: Any) -> None:
        """Choose the next piece and append it."""
        names, said = list(looks), list(looks.values())
        pieces = candidates(said, self.method)
        if not pieces:
            raise MalformedError("none of its members proposes a piece of text.", model=self.name)
        for who, member in here.items():
            member.tell(looks[who], pieces)
        found = table(said, pieces, self.method)
        row = self._combined(found)
        if not math.isfinite(float(row.max())):
            raise MalformedError("its members agree on no piece of text.", model=self.name)
        settings = draft.settings
        at = sample(row, settings, float(draw.random())) if settings.temperature else int(row.argmax())
        piece = pieces[at]
        draft.tally["steps"] += 1
        if self._provable(settings):
            draft.tally["certain"] += certain(said, self._weights.tolist(), piece, pieces)
        top: tuple[tuple[str, float], ...] = ()
        by: tuple[tuple[str, float], ...] = ()
        apart = None
        if settings.logprobs is not None:
            order = np.argsort(-row, kind="stable")[: settings.logprobs].tolist()
            top = tuple((pieces[i], float(row[i])) for i in order)
            by = tuple((self._called(who), float(found[i, 0, at])) for i, who in enumerate(names))
            apart = disagreement(normalised(np.maximum(found[:, 0], -50.0)))
        proposers = [who for who in names if piece in looks[who].pieces]
        best = max(proposers, key=lambda who: looks[who].pieces[piece])
        draft.take(best, Extended(piece, (Token(piece, float(row[at]), top, by, apart),), ended=piece == END))
        if piece != END:
            for who in proposers:
                if who in here:
                    here[who].keep(piece)
                    draft.charge(who, Usage(0, 0, 1))

    def _combined(self, found: Array) -> Array:
        """The fused log-probabilities of pieces, (pieces,)."""
        if self.method.decided(found[0])[0]:
            return normalised(found[0, 0])
        return np.asarray(normalised(self.method.combine(found, self._weights[:, None]))[0])

    def _provable(self, settings: Settings) -> bool:
        return self.method.name == "average" and not settings.temperature

    def _route(self, draft: Draft) -> tuple[str, str]:
        steps = draft.tally["steps"]
        said = f"{steps} pieces by {self.method.name} of {', '.join(map(self._called, self._writers))}"
        if self._provable(draft.settings):
            said += f"; the choice was provably that of the whole distributions at {draft.tally['certain']} of {steps}"
        return "fused over text", said


def _named(members: Sequence[Model]) -> dict[str, Model]:
    """Models by their names, a number behind those of one name."""
    found: dict[str, Model] = {}
    for model in members:
        name, n = model.name, 2
        while name in found:
            name, n = f"{model.name} {n}", n + 1
        found[name] = model
    return found
