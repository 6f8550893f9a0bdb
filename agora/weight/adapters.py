"""LoRA adapters on disk: factors by module, scaling folded in, and a base with one on it as a source of tensors."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np

from agora.errors import InputError
from agora.weight.checkpoint import Checkpoint
from agora.weight.dtypes import Floats
from agora.weight.methods.lora import Factors
from agora.weight.sources import BlockSource, FileSource, Scratch, Source

_KEY = re.compile(r"^(?:base_model\.model\.)?(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)(?:\.weight)?$")
_REFUSED = {
    "use_dora": "DoRA", "use_qalora": "QA-LoRA", "lora_bias": "biases of its own",
    "trainable_token_indices": "tokens of its own", "alora_invocation_tokens": "tokens that switch it on",
}  # fmt: skip
# ways in which an adapter was begun with that leave the base's weights as they are, as in `models.checkpoint_weights`
_HARMLESS = (None, True, False, "gaussian", "eva", "orthogonal")
_ALPHA = 8  # PEFT's, where a configuration says nothing


class Adapter:
    """A LoRA adapter: a folder with adapter_config.json and adapter_model.safetensors.

    Raises:
        InputError: if it cannot be read, or is of a kind whose change is no plain product of factors.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoint = Checkpoint(self.folder)
        self.config = self.checkpoint.json("adapter_config.json")
        if not self.config:
            raise InputError(f"{folder}: an adapter needs adapter_config.json.")
        if str(self.config.get("peft_type", "LORA")).upper() != "LORA":
            raise InputError(f"{folder}: only LoRA adapters can be merged, not {str(self.config['peft_type'])[:20]}.")
        for key, what in _REFUSED.items():
            if self.config.get(key):
                raise InputError(f"{folder}: an adapter with {what} cannot be merged exactly.")
        if self.config.get("bias", "none") != "none":
            raise InputError(f"{folder}: an adapter that trains biases cannot be merged exactly.")
        if self.config.get("init_lora_weights") not in _HARMLESS:
            raise InputError(f"{folder}: an adapter that changes the base's own weights cannot be merged exactly.")
        self._keys: dict[str, dict[str, str]] = {}
        self._last: dict[str, Factors] = {}
        self._lock = threading.Lock()
        self.saved: dict[str, str] = {}  # whole tensors that the adapter brings along, by the name in the base
        for key in self.checkpoint:
            found = _KEY.match(key)
            if found:
                self._keys.setdefault(found[1], {})[found[2]] = key
            else:
                name = key.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
                self.saved[name.replace(".modules_to_save", "")] = key
        for module, keys in self._keys.items():
            if set(keys) not in ({"lora_A", "lora_B"}, {"lora_embedding_A", "lora_embedding_B"}):
                raise InputError(f"{folder}: module '{module[:80]}' has but one of two factors.")

    @property
    def modules(self) -> list[str]:
        """Names of the modules it changes."""
        return sorted(self._keys)

    def factors(self, module: str) -> Factors:
        """The factors of a module, read now.

        Raises:
            InputError: if they do not fit each other.
        """
        (first, second), scaling = self._fit(module)
        transposed = "lora_embedding_A" in self._keys[module] or bool(self.config.get("fan_in_fan_out"))
        return Factors(self.checkpoint.tensor(first), self.checkpoint.tensor(second), scaling, transposed)

    def shape(self, module: str) -> tuple[int, ...]:
        """Of the weight that a module's factors change; they are not read.

        Raises:
            InputError: if they do not fit each other.
        """
        (first, second), _ = self._fit(module)
        shape = (self.checkpoint.entries[second].shape[0], self.checkpoint.entries[first].shape[1])
        turned = "lora_embedding_A" in self._keys[module] or bool(self.config.get("fan_in_fan_out"))
        return shape[::-1] if turned else shape

    def _fit(self, module: str) -> tuple[tuple[str, str], float]:
        """Names of the factors, and the scaling of their product."""
        keys = self._keys[module]
        kind = "lora" if "lora_A" in keys else "lora_embedding"
        first, second = keys[f"{kind}_A"], keys[f"{kind}_B"]
        a, b = self.checkpoint.entries[first].shape, self.checkpoint.entries[second].shape
        if len(a) != 2 or len(b) != 2 or b[1] != a[0]:
            raise InputError(f"{self.folder}: the factors of '{module[:80]}' do not fit each other.")
        try:
            rank = self._pattern("rank_pattern", module, self.config.get("r") or a[0])
            alpha = self._pattern("alpha_pattern", module, self._alpha())
        except (TypeError, ValueError, AttributeError, re.error) as error:
            raise InputError(f"{self.folder}: ranks or alphas in adapter_config.json are no numbers.") from error
        if rank != a[0] or rank < 1:
            raise InputError(f"{self.folder}: '{module[:80]}' has rank {a[0]}, its configuration says {rank:g}.")
        return (first, second), alpha / rank**0.5 if self.config.get("use_rslora") else alpha / rank

    def _alpha(self) -> float:
        given = self.config.get("lora_alpha")
        return float(_ALPHA if given is None else given)

    def _pattern(self, key: str, module: str, default: float) -> float:
        """As PEFT finds it: keys are regular expressions of the end of a name."""
        for pattern, value in (self.config.get(key) or {}).items():
            if len(pattern) > 1000:
                raise ValueError("too long")
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return float(value)
        return float(default)

    def _kept(self, module: str) -> Factors:
        """The same, of which the last few are kept: a tensor is made in blocks of rows."""
        with self._lock:
            if module not in self._last:
                while len(self._last) >= 8:
                    del self._last[next(iter(self._last))]
                self._last[module] = self.factors(module)
            return self._last[module]

    def changed(self) -> set[str]:
        """Names of the tensors of a base that it changes."""
        return {f"{module}.weight" for module in self._keys} | set(self.saved)

    def on(self, base: Checkpoint, name: str, label: str) -> Source:
        """A base's tensor with the change on it, in float32, not rounded in between.

        Raises:
            InputError: if the shapes differ.
        """
        key = base.fingerprint()[:16] + self.checkpoint.fingerprint()[:16]
        if name in self.saved:
            source = FileSource(self.checkpoint, self.saved[name], label)
            source.key = key
            return source
        plain = FileSource(base, name, label)
        plain.key = key
        module = name.removesuffix(".weight")
        if module not in self._keys or not name.endswith(".weight"):
            return plain
        if self.shape(module) != plain.shape:
            raise InputError(f"{label}: the adapter's change of '{name[:80]}' is {self.shape(module)}, "
                             f"the tensor {plain.shape}.")  # fmt: skip
        scratch = Scratch()

        def make(first: int, count: int) -> Floats:
            factors = self._kept(module)
            out = np.empty(count * plain.shape[1], np.float64 if plain.dtype == "F64" else np.float32)
            plain.read(first * plain.shape[1], out, scratch)
            rows: Floats = out.reshape(count, -1)
            rows += factors.rows(first, count)
            return rows

        return BlockSource(plain.shape, make, label, key, plain.dtype)
