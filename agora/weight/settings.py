"""Parameters as recipes write them: a value, a gradient over layers, or values for tensors whose names hold a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agora.errors import InputError
from agora.weight.methods.registry import Method, Parameter

Scalar = bool | int | float | str


class Filtered(BaseModel):
    """A value for the tensors whose names hold a word."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: Scalar | list[Scalar]
    filter: str | None = Field(None, description="part of a name; none, or '*', is every tensor")


Setting = Scalar | Filtered | list[Scalar | Filtered]


def evaluate(setting: Setting, parameter: Parameter, tensor: str, t: float) -> Any:
    """The value for a tensor; None where no filter fits.

    Args:
        setting: as it stands in the recipe.
        parameter: what it is a value of.
        tensor: name of the tensor.
        t: how far along its slice the tensor's layer is, 0 to 1; 0 for tensors of no layer.

    Raises:
        InputError: if the value is none.
    """
    if isinstance(setting, Filtered):
        setting = [setting]
    if not isinstance(setting, list):
        return parameter.checked(setting)
    if any(isinstance(item, Filtered) for item in setting):
        for item in setting:
            if not isinstance(item, Filtered):
                return parameter.checked(item)  # a plain value among filtered ones fits every tensor
            if item.filter is None or item.filter == "*" or item.filter in tensor:
                value = item.value
                return evaluate([*value] if isinstance(value, list) else value, parameter, tensor, t)
        return None
    if not setting:
        raise InputError(f"'{parameter.name}' is an empty list.")
    values = [parameter.checked(item) for item in setting]
    place = t * (len(values) - 1)
    low = int(place)
    if parameter.kind not in ("float", "int"):
        return values[low]
    high, share = min(len(values) - 1, low + 1), place - low
    return parameter.checked((1 - share) * values[low] + share * values[high])


def resolve(
    parameter: Parameter, sources: Iterable[Mapping[str, Setting] | None], tensor: str, t: float, where: str
) -> Any:
    """The value of a parameter from the settings nearest to the tensor that have one for it, else its default.

    Args:
        parameter: whose value.
        sources: settings, the nearest first.
        tensor: name of the tensor.
        t: see `evaluate`.
        where: the method and the model, for errors.

    Raises:
        InputError: if it must be given and is not, or a value is none.
    """
    for settings in sources:
        if settings is not None and parameter.name in settings:
            value = evaluate(settings[parameter.name], parameter, tensor, t)
            if value is not None:
                return value
    if parameter.required:
        raise InputError(f"{where} needs '{parameter.name}' for tensor '{tensor[:80]}'.",
                         hint=f"Give `parameters: {{{parameter.name}: ...}}`.")  # fmt: skip
    return parameter.default


def resolve_all(
    method: Method,
    shared: Iterable[Mapping[str, Setting] | None],
    each: Mapping[str, Iterable[Mapping[str, Setting] | None]],
    tensor: str,
    names: Mapping[str, str],
    t: float,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """All parameters of a method for a tensor: those of the tensor, and those of each model, by model.

    Args:
        method: whose parameters.
        shared: settings for the tensor, the nearest first.
        each: likewise for each model.
        tensor: name in the output.
        names: name in each model.
        t: see `evaluate`.

    Raises:
        InputError: as `resolve`.
    """
    common = list(shared)
    of_all = {
        name: resolve(parameter, common, tensor, t, method.name)
        for name, parameter in method.parameters.items()
        if not parameter.per_model
    }
    of_each = {}
    for model, settings in each.items():
        own = list(settings)
        of_each[model] = {
            name: resolve(parameter, own, names[model], t, f"{method.name} of {model}")
            for name, parameter in method.parameters.items()
            if parameter.per_model
        }
    return of_all, of_each
