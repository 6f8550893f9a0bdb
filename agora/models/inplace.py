"""A Hugging Face checkpoint whose weights are replaced in place, again and again, as a search of merges does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from agora.errors import InputError, ModelError
from agora.models.huggingface import Dtype, HuggingFaceModel, _loading

if TYPE_CHECKING:
    from agora.models.batching import Decoder
    from agora.models.checkpoint_weights import Weights
    from agora.models.torchsession import Session


class InPlace(HuggingFaceModel):
    """A checkpoint's network, tokenizer and chat format, whose weights `with_tensors` replaces.

    Its weights are its own, not shared with other models of the folder. Only the model that `with_tensors` gave last
    can be asked.

    Args:
        folder: the checkpoint that says what network it is.
        dtype: of the network.
        device: as `HuggingFaceModel` takes it, and so is `chat`.

    Raises:
        InputError: as `HuggingFaceModel`.
        MissingError: likewise.
    """

    def __init__(self, folder: str | Path, dtype: Dtype = "float32", device: str = "auto", chat: Any = None) -> None:
        super().__init__(folder, dtype=dtype, device=device, chat=chat)
        self._latest: list[str] = [self.identity]  # shared by all that have these weights

    @cached_property
    def _weights(self) -> Weights:
        from agora.models.checkpoint_weights import Weights

        with _loading:
            return Weights(self._files, self._adapters, self._key[-2], self._key[-1])

    @property
    def decoder(self) -> Decoder:
        """One of its own."""
        return super(HuggingFaceModel, self).decoder

    def load(self) -> None:
        """Load it now.

        Raises:
            InputError: if it cannot be.
        """
        assert self._weights is not None

    def session(self) -> Session:
        """A new, empty batch of sequences.

        Raises:
            ModelError: if its weights have been replaced since.
        """
        if self._latest[0] != self.identity:
            raise ModelError("its weights have been replaced by another's.", model=self.name)
        return super().session()

    def with_tensors(self, tensors: Mapping[str, NDArray[Any]], name: str, identity: str) -> InPlace:
        """Replace the weights; they are copied.

        Args:
            tensors: by their names in a checkpoint of this network, all of them.
            name: what users call the model.
            identity: a text that differs where the weights do.

        Raises:
            InputError: if they are not those of this network.
        """
        import torch

        model = self._weights.network.model
        held = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
        with torch.inference_mode():
            filled: set[int] = set()
            # an output matrix that is tied to the embedding comes last, and is already there then
            for key in sorted(tensors, key=lambda key: key.endswith("lm_head.weight")):
                place = held.get(key)
                if place is None or tuple(place.shape) != tensors[key].shape:
                    raise InputError(f"the network of {self._files.folder} has no such tensor '{key[:80]}'.")
                if id(place) not in filled:
                    place.copy_(torch.from_numpy(tensors[key]))
                    filled.add(id(place))
                elif not torch.equal(place, torch.from_numpy(tensors[key]).to(place)):
                    raise InputError(f"'{key[:80]}' is another tensor of the network of {self._files.folder}, too, and "
                                     "the merge has different ones.")  # fmt: skip
        lacking = sorted(key for key, place in model.named_parameters() if id(place) not in filled)
        if lacking:
            raise InputError(f"the merge has no tensor '{lacking[0][:80]}', which its network needs.")
        made = copy.copy(self)
        made._name, made.identity, made._decoder = name, f"hf in place {identity}", None
        self._latest[0] = made.identity
        return made
