"""`AdapterChoice`: one base in memory, many LoRA adapters beside it, and for each question those that fit it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from agora import calls
from agora.errors import InputError
from agora.model import Model, Settings
from agora.models.huggingface import Dtype, HuggingFaceModel
from agora.records import Message, Reply

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS = 10  # factors of a composition are tenths, so that questions alike are answered by one model
KEPT = 8  # compositions that are kept


@dataclass(frozen=True)
class Choosable:
    """An adapter that may be chosen.

    Attributes:
        adapter: its folder; None is the base as it is.
        prompts: texts that it is to be chosen for.
        negative: texts that it is not.
    """

    adapter: Path | str | None
    prompts: Sequence[str]
    negative: Sequence[str] = ()


class AdapterChoice:
    """A model that answers each question by one of several adapters of one base, or by a weighted sum of some.

    The base reads the question as a user's message; what it makes of it (`HuggingFaceModel.states`) is held against
    what it makes of each adapter's prompts, with vectors as a mixture's router has (`routers.rows`): freed of what all
    prompts have in common, and of length 1. The adapter of the largest product is taken. Where `top` is more, so many
    are added to the base together, each change by its share of a softmax over the cosines; this is the composition of
    Zhao et al. (LoraRetriever, arXiv:2402.09997), with two deliberate differences: no retriever is trained, and shares
    are by similarity, not equal.

    The adapters stay beside the weights, which are in memory once. Which were taken, and why, is the reply's `route`.

    Args:
        base: the folder of the checkpoint; see `HuggingFaceModel`, also for `dtype`, `device` and `chat`.
        adapters: by name; mappings have `adapter`, `prompts` and perhaps `negative`.
        top: adapters that are added together.
        temperature: of the softmax over cosines, above 0; the lower, the more the first has of it.
        name: as a model.

    Raises:
        InputError: if there are fewer than two adapters, one has no prompts, or a folder cannot be read.
        MissingError: if torch, transformers or peft is not installed.
    """

    def __init__(
        self,
        base: str | Path,
        adapters: Mapping[str, Choosable | Mapping[str, Any]],
        *,
        top: int = 1,
        temperature: float = 0.1,
        dtype: Dtype = "auto",
        device: str = "auto",
        chat: Any = None,
        name: str | None = None,
    ) -> None:
        self._name = name or f"adapters of {base}"
        if len(adapters) < 2:
            raise InputError(f"{self._name}: there is nothing to choose among {len(adapters)} adapters.")
        if not 1 <= top <= len(adapters):
            raise InputError(f"{self._name}: `top` is from 1 to the number of adapters, {len(adapters)}, not {top}.")
        if not 0 < temperature < float("inf"):
            raise InputError(f"{self._name}: a temperature above 0 is needed, not {temperature}.")
        self._top, self._temperature = top, temperature
        self._choices = {key: _choosable(key, given) for key, given in adapters.items()}
        self._options: dict[str, Any] = {"dtype": dtype, "device": device, "chat": chat, "shared": True}
        self._folder = base
        self._base = HuggingFaceModel(base, name=f"{self._name}: base", **self._options)
        self.routes: dict[str, Model] = {
            key: HuggingFaceModel(base, adapter=one.adapter, name=f"{self._name}: {key}", **self._options)
            for key, one in self._choices.items()
        }
        self._sums: OrderedDict[tuple[tuple[str, int], ...], Model] = OrderedDict()
        self._lock, self._reading = threading.Lock(), threading.Lock()  # the latter is held for long, in threads
        self._rows: NDArray[np.float32] | None = None
        kinds = [getattr(model, "identity", "") for model in self.routes.values()]
        told = [(key, tuple(one.prompts), tuple(one.negative)) for key, one in self._choices.items()]
        self.identity = f"adapter choice of {kinds}, {told}, top {top}, temperature {temperature}"

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def members(self) -> tuple[Model, ...]:
        """The models of one adapter each."""
        return tuple(self.routes.values())

    @property
    def context(self) -> int:
        """Most tokens of a sequence, its prompt included."""
        return self._base.context

    def cost(self, usage: Any) -> float:
        """Nothing."""
        return 0.0

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The answer of the base with the adapters that fit the last of the user's messages.

        Raises:
            ModelError: if it cannot.
        """
        question = next((message.content for message in reversed(messages) if message.role == "user"), "")
        here = calls.current()
        path = f"{here.path}/adapter" if here.path else "adapter"
        recorder = here.recorder if not here.whole else None
        kept = recorder.choice(path) if recorder is not None else None
        if here.stand_in is not None:  # a rehearsal loads nothing
            shares = {next(iter(self.routes)): STEPS}
        elif isinstance(kept, list) and kept and all(key in self.routes for key, _ in kept):
            shares = {str(key): int(share) for key, share in kept}
        else:
            shares = await anyio.to_thread.run_sync(self.shares, question)
            if recorder is not None:
                recorder.choose(path, [[key, share] for key, share in shares.items()])
        chosen = " + ".join(key if share == STEPS else f"{share / STEPS:g} {key}" for key, share in shares.items())
        reply = await calls.ask(self._model(shares), messages, settings, at=next(iter(shares)))
        plain = {field.name: getattr(reply, field.name) for field in fields(Reply)}
        return replace(Reply(**plain), parts=(reply,), route=(chosen, "its prompts are the nearest"))

    def shares(self, question: str) -> dict[str, int]:
        """The adapters that fit a question, and the tenths of each one's change; the first first. They sum to 10.

        Raises:
            InputError: if the base cannot be loaded.
        """
        import numpy as np

        state = self._base.states([[Message("user", question)]])[0].astype(np.float64)
        names = list(self.routes)
        scores = self._prepared() @ state / (np.linalg.norm(state) or 1.0)
        order = sorted(range(len(names)), key=lambda i: (-scores[i], i))[: self._top]
        weights = np.exp((scores[order] - scores[order[0]]) / self._temperature)
        exact = STEPS * weights / weights.sum()
        tenths = np.floor(exact).astype(int)
        left = sorted(range(len(order)), key=lambda i: (tenths[i] - exact[i], i))[: STEPS - int(tenths.sum())]
        tenths[left] += 1
        return {names[i]: int(share) for i, share in zip(order, tenths, strict=True) if share}

    def _prepared(self) -> NDArray[np.float32]:
        """The vectors of the adapters, made when the first question comes."""
        from agora.weight.routers import rows

        with self._reading:
            if self._rows is None:
                texts: list[str] = []
                owners: list[tuple[int, bool]] = []
                for number, one in enumerate(self._choices.values()):
                    texts += [*one.prompts, *one.negative]
                    owners += [(number, True)] * len(one.prompts) + [(number, False)] * len(one.negative)
                self._rows = rows(
                    self._base.states([[Message("user", text)] for text in texts]), owners, len(self._choices)
                )
            return self._rows

    def _model(self, shares: Mapping[str, int]) -> Model:
        """The base with adapters on it, each change by its share."""
        if len(shares) == 1:
            return self.routes[next(iter(shares))]
        key = tuple(sorted(shares.items()))
        with self._lock:
            if key not in self._sums:
                wanted: dict[str, float] = {}
                for k, share in key:
                    if (folder := self._choices[k].adapter) is not None:  # the base alone adds nothing
                        wanted[str(folder)] = wanted.get(str(folder), 0.0) + share / STEPS
                label = " + ".join(f"{share / STEPS:g} {k}" for k, share in key)
                self._sums[key] = HuggingFaceModel(
                    self._folder, adapter=wanted, name=f"{self._name}: {label}", **self._options
                )
            self._sums.move_to_end(key)
            while len(self._sums) > KEPT:
                self._sums.popitem(last=False)
            return self._sums[key]


def _choosable(key: str, given: Choosable | Mapping[str, Any]) -> Choosable:
    """An adapter as it is given.

    Raises:
        InputError: if it has no prompts, or other keys than it may.
    """
    if isinstance(given, Mapping):
        try:
            given = Choosable(**given)
        except TypeError as error:
            raise InputError(f"adapter '{key[:40]}' has adapter, prompts and perhaps negative, no more.") from error
    prompts, negative = ([x] if isinstance(x, str) else list(x) for x in (given.prompts, given.negative))
    if not prompts or any(not isinstance(text, str) or not text.strip() for text in (*prompts, *negative)):
        raise InputError(f"adapter '{key[:40]}' needs prompts that are texts, to be chosen by.")
    return Choosable(given.adapter, prompts, negative)
