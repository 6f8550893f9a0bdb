"""The registry of merge methods: a method is one function; its keyword arguments are its parameters.

    @method("linear", paper="Wortsman et al., arXiv:2203.05482", needs="chunk", base="none")
    def linear(x: Tensors, *, weight: Each = each(1.0), normalize: bool = True) -> Plan:

The function is called once for a tensor. It may take statistics of all of it, and returns what computes the result:
a kernel of one chunk (`Kernel`), of whole rows (`Rows`), the result itself (`Whole`), or the first model as it is
(`Copy`). Any callable is a kernel; of those that say what they compute, `averages.weighted` and `tasks.combined`, large
merges run a compiled form where numba is installed (`fused`), with the same bytes.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.tensors import Chunk

Kernel: TypeAlias = Callable[[Chunk], Floats]


@dataclass(frozen=True, slots=True)
class Rows:
    """A kernel whose chunks are whole rows; a vector is one row."""

    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Whole:
    """The result itself."""

    values: Floats


@dataclass(frozen=True, slots=True)
class Copy:
    """The first model's tensor as it is, byte for byte where the type stays."""


Plan: TypeAlias = Kernel | Rows | Whole | Copy
F = TypeVar("F", bound=Callable[..., Any])
Needs = Literal["chunk", "stats", "row", "matrix", "data", "adapter"]


class Each(tuple[Any, ...]):
    """A parameter that every model has its own value of, in the order of the models: floats."""


class EachFile(tuple[Any, ...]):
    """A parameter that names a checkpoint for every model, whose tensor of the same name the method sees too."""


def each(default: float) -> Each:
    """The default of a parameter of every model."""
    return Each((default,))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a method.

    Attributes:
        name: as recipes write it.
        kind: 'float', 'int', 'bool', 'str' or 'file'.
        per_model: every model has its own.
        default: None where it must be given.
    """

    name: str
    kind: str
    per_model: bool
    default: Any
    required: bool

    def checked(self, value: Any) -> Any:
        """The value, if it is one.

        Raises:
            InputError: if not.
        """
        if self.kind in ("str", "file"):
            if isinstance(value, (str, bool, int, float)):
                return value if self.kind == "str" and isinstance(value, bool) else str(value)
        elif self.kind == "bool":
            if isinstance(value, bool) or value in (0, 1):
                return bool(value)
        elif isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            try:
                number = float(value)  # YAML reads 1e-5 as text
            except ValueError:
                number = math.nan
            low, high = _RANGES.get(self.name, (-math.inf, math.inf))
            if math.isfinite(number) and low <= number <= high and (self.kind == "float" or number.is_integer()):
                return int(number) if self.kind == "int" else number
            if math.isfinite(number) and not low <= number <= high:
                raise InputError(f"'{self.name}' is from {low:g} to {high:g}, not {number:g}.")
        kind = {"bool": "true or false", "int": "a whole number", "float": "a number"}.get(self.kind, "text")
        raise InputError(f"'{self.name}' is {kind}, not {str(value)[:40]!r}.")


_RANGES = {
    "rank": (1.0, 1e6),
    "density": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "epsilon": (0.0, 1.0),
    "max_iter": (1.0, 1e6),
}


@dataclass(frozen=True, slots=True)
class Method:
    """A merge method.

    Attributes:
        name: as recipes write it.
        make: the function.
        needs: 'chunk' reads every tensor once; 'stats' twice, the first time for sums or thresholds; 'row' needs memory
            for a row; 'matrix' for a whole tensor; 'data' needs files that were made with data; 'adapter' makes a LoRA
            adapter: its function is given a module's factors, or what is to be factored, and returns factors.
        base: whether it needs a base: 'required', 'optional', or 'none', where one counts as one more model.
        least: number of models, the base not counted.
        most: likewise; None is any.
        symmetric: the order of the models does not matter, and so they are put into one of their own.
        paper: where it is from.
        parameters: by name.
    """

    name: str
    make: Callable[..., Any]
    needs: Needs
    base: Literal["required", "optional", "none"]
    least: int
    most: int | None
    symmetric: bool
    paper: str
    parameters: dict[str, Parameter]

    @property
    def summary(self) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(self.make) or "").split("\n\n")[0].replace("\n", " ")


METHODS: dict[str, Method] = {}
IGNORED = ("int8_mask",)  # parameters of mergekit that change nothing here


def method(
    *names: str,
    paper: str,
    needs: Needs,
    base: Literal["required", "optional", "none"],
    least: int = 1,
    most: int | None = None,
    symmetric: bool = True,
) -> Callable[[F], F]:
    """Register a function as a method under these names; see `Method`.

    Raises:
        ValueError: if a name is taken, or a parameter has no type that is known.
    """

    def register(make: F) -> F:
        parameters = {}
        for raw in list(inspect.signature(make).parameters.values())[1:]:
            kind = str(raw.annotation).split(" | ")[0]
            required = raw.default is inspect.Parameter.empty
            per_model = kind in ("Each", "EachFile")
            if kind not in ("Each", "EachFile", "float", "int", "bool", "str"):
                raise ValueError(f"{names[0]}: parameter {raw.name} has no type that is known")
            default = None if required else raw.default[0] if per_model and raw.default else raw.default
            name = raw.name.rstrip("_")
            shown = {"Each": "float", "EachFile": "file"}.get(kind, kind)
            parameters[name] = Parameter(name, shown, per_model, default, required)
        for name in names:
            if name in METHODS:
                raise ValueError(f"there is a method '{name}' already")
            METHODS[name] = Method(name, make, needs, base, least, most, symmetric, paper, parameters)
        return make

    return register


def get(name: str) -> Method:
    """A method by its name.

    Raises:
        InputError: if there is none.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(sorted(METHODS))}."
        raise InputError(f"there is no merge method '{name[:40]}'.", hint=hint)
    return METHODS[name]
