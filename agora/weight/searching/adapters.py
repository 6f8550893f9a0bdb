"""The space of weights of LoRA adapters on one base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from agora.errors import InputError
from agora.weight import methods
from agora.weight.adapters import Adapter
from agora.weight.recipe import read_recipe
from agora.weight.searching.bench import Buffers, Merged
from agora.weight.searching.loaders import Loader
from agora.weight.searching.merges import WeightedSum, shown
from agora.weight.searching.space import Key, digest


class Adapters(WeightedSum):
    """Weighted sums of LoRA adapters on one base: base + sum w_i B_i A_i, exactly, scalings folded in.

    The weights of one adapter alone give the base with that adapter, to the bit. What no adapter changes is made once.
    'separate' sums the factors apart, (sum w_i B_i)(sum w_i A_i), as LoraHub's code does: that has cross terms between
    adapters, and is there to compare with it; its recipe makes an adapter.

    Args:
        base: reference of the model.
        adapters: folders of PEFT adapters.
        how: 'exact' or 'separate'.
        power: of the weights in either sum of 'separate': 1 as LoraHub, 0.5 as PEFT; see `lora_separate`.
        low, high: usual range of a weight; LoraHub's.
        load, beside, folders, together: see `WeightedSum`.

    Raises:
        InputError: if a model or an adapter is not there, or they do not fit.
    """

    def __init__(
        self,
        base: str | Path,
        adapters: Sequence[str | Path],
        *,
        how: Literal["exact", "separate"] = "exact",
        power: float = 1.0,
        load: Loader | None = None,
        low: float | Sequence[float] = -1.5,
        high: float | Sequence[float] = 1.5,
        beside: Path | str | None = None,
        folders: Mapping[str, Path] | None = None,
        together: int | None = None,
    ) -> None:
        if how not in ("exact", "separate"):
            raise InputError(f"adapters are summed 'exact' or 'separate', not '{str(how)[:20]}'.")
        self.adapters, self.separate, self.power = [str(one) for one in adapters], how == "separate", power
        named = [f"{base}+{adapter}" for adapter in adapters]
        super().__init__(named, base, load=load, low=low, high=high, beside=beside, folders=folders, together=together)
        self._held: dict[str, Adapter] = {}
        for name, own in zip(named, self.adapters, strict=True):
            held = self._bench.parent(name).adapter
            if held is None:
                raise InputError(f"{name}: a name with + in it that is a folder cannot be an adapter's.")
            if self.separate and held.saved:
                raise InputError(f"{own}: brings whole tensors along, whose factors cannot be summed.")
            self._held[own] = held
        changed = {name for held in self._held.values() for name in held.changed()}
        self._bench.constant = frozenset(set(self._bench.parent(str(base)).checkpoint) - changed)
        self.identity = digest(self.identity, how, power if self.separate else None)

    def data(self, key: Key) -> dict[str, Any]:
        """The recipe of a candidate, as data."""
        if not self.separate:
            return super().data(key)
        if isinstance(key, str):
            raise InputError(f"there is no candidate '{key[:80]}' here.")
        models = [{"model": name, "parameters": {"weight": w}} for name, w in zip(self.adapters, key, strict=True)]
        return {"merge_method": "lora_separate", "models": models, "parameters": {"power": self.power}}

    def _merged(self, key: Key) -> tuple[Merged, Buffers]:
        if not self.separate:
            return super()._merged(key)
        plain = read_recipe({"passthrough": [str(self.base)]})
        merged, buffers = self._bench.build(plain, digest(self.identity, key), shown(key))
        try:
            self._change(merged, dict(zip(self.adapters, key, strict=True)))
        except BaseException:
            self._bench.release(buffers)
            raise
        return merged, buffers

    def _change(self, merged: Merged, weights: Mapping[str, Any]) -> None:
        """Add the change, module by module, the adapters in the order in which a merge takes them."""
        method = methods.get("lora_separate")
        order = sorted(self._held, key=lambda name: (self._held[name].checkpoint.fingerprint(), name))
        for module in sorted({module for held in self._held.values() for module in held.modules}):
            having = [name for name in order if module in self._held[name].modules]
            factors = [self._held[name].factors(module) for name in having]
            share = methods.Each(float(weights[name]) for name in having)
            made: Any = method.make(factors, weight=share, power=self.power)
            place = merged.tensors[f"{module}.weight"]
            if place.shape != made.shape:
                raise InputError(f"the adapters' change of '{module[:80]}' is {made.shape}, the tensor {place.shape}.")
            place += made.rows(0, len(place))
            if not math.isfinite(float(abs(place).max(initial=0))):
                raise InputError(f"tensor '{module[:80]}.weight': the result is too large for float32.")
