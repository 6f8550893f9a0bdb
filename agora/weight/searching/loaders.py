"""From tensors in memory to models that answer: pocket models, Hugging Face checkpoints."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from agora.weight.merging import merge
from agora.weight.parents import parents_untied
from agora.weight.searching.bench import Merged

if TYPE_CHECKING:
    from agora.model import Model
    from agora.models.huggingface import Dtype

Loader: TypeAlias = Callable[[Merged], Any]
"""Makes what is scored of a merge. It may have `together`: most of what it makes that can be alive at a time."""


def loader_for(references: Sequence[str]) -> Loader:
    """The loader of models: pocket models where all are, else Hugging Face checkpoints."""
    return pocket if all(reference.startswith("pocket:") for reference in references) else HuggingFace()


def room(size: int) -> int:
    """How many candidates of so many bytes can be alive at a time: what leaves half of the memory that is free, and no
    more than there are processors."""
    most = os.cpu_count() or 1
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return most
    return max(1, min(most, int(free / (4 * max(1, size)))))  # buffers, and the model's own copy


def pocket(merged: Merged) -> Model:
    """A pocket model with these tensors."""
    from agora.models.pocket import GivenPocketModel
    from agora.models.pocket.network import Weights

    return GivenPocketModel(Weights.of(merged.config, merged.tensors), merged.name, merged.identity)


class HuggingFace:
    """Loads candidates into one network of transformers, in place; so one is alive at a time.

    Args:
        dtype: of the network: 'float32', 'bfloat16', ...
        device: 'cpu', 'cuda', or 'auto'.
        chat: as `HuggingFaceModel` takes it.
    """

    together = 1

    def __init__(self, dtype: Dtype = "float32", device: str = "auto", chat: Any = None) -> None:
        self.dtype, self.device, self.chat = dtype, device, chat
        self._lock = threading.Lock()
        self._shape: Any = None
        self._network: Any = None

    def __call__(self, merged: Merged) -> Model:
        """The model.

        Raises:
            InputError: if transformers cannot load it.
            MissingError: if it is not installed.
        """
        from agora.models.inplace import InPlace

        with self._lock:
            config = merged.config
            shape = {name: values.shape for name, values in merged.tensors.items()}
            if self._network is None or self._shape != shape:
                self._network = None  # its memory first
                own = merged.donor.tied and any(key.endswith("lm_head.weight") for key in shape)
                same = config.get("vocab_size") == merged.donor.config.get("vocab_size") and merged.layers is None
                same = same and not (own and parents_untied(merged.parents.values()))
                if same:
                    self._network = InPlace(merged.donor.folder, self.dtype, self.device, self.chat)
                else:  # other layers or another vocabulary than any parent's: a folder of its own, once
                    self._network = self._written(merged, InPlace)
                self._shape = shape
            made: Model = self._network.with_tensors(merged.tensors, merged.name, merged.identity)
            return made

    def _written(self, merged: Merged, kind: Any) -> Any:
        with tempfile.TemporaryDirectory(prefix="agora-") as place:
            out = Path(place) / "merged"
            merge(merged.recipe, out, folders=merged.folders)
            made = kind(out, self.dtype, self.device, self.chat)
            made.load()
            return made
