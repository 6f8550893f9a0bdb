"""Scorers by name: what may stand under `scorer:`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from agora.calls import sentence
from agora.config.options import Context, checked
from agora.config.schema import Strict
from agora.errors import InputError
from agora.evaluate.records import Scorer
from agora.evaluate.scorers.known import AsSet, Exact, Function, Numeric, OneOf, TokenF1


class _NumericSpec(Strict):
    absolute: float = Field(0.0, ge=0, allow_inf_nan=False)
    relative: float = Field(1e-9, ge=0, allow_inf_nan=False)


class _SetSpec(Strict):
    partial: bool = False


class _MathSpec(Strict):
    plain: bool = False


class _GradedSpec(Strict):
    model: Any
    prompt: str | None = None


class _CoverageSpec(Strict):
    model: Any = None
    prompt: str | None = None


class _DistributionSpec(Strict):
    distance: str = Field("jensen-shannon", pattern="^(jensen-shannon|total-variation)$")


def _math(spec: _MathSpec, context: Context) -> Scorer:
    from agora.evaluate.scorers.equivalence import Math

    return Math(plain_only=spec.plain)


def _graded(spec: _GradedSpec, context: Context) -> Scorer:
    from agora.evaluate.scorers.judged import Graded

    return Graded(context.load(spec.model), spec.prompt)


def _coverage(spec: _CoverageSpec, context: Context) -> Scorer:
    from agora.evaluate.scorers.judged import Coverage

    return Coverage(None if spec.model is None else context.load(spec.model), spec.prompt)


def _distribution(spec: _DistributionSpec, context: Context) -> Scorer:
    from agora.evaluate.scorers.plural import Distance

    return Distance("total-variation" if spec.distance == "total-variation" else "jensen-shannon")


_Made = Callable[[Any, Context], Scorer]
SCORERS: Mapping[str, tuple[type[Strict], _Made]] = {
    "exact": (Strict, lambda spec, context: Exact()),
    "numeric": (_NumericSpec, lambda spec, context: Numeric(spec.absolute, spec.relative)),
    "choice": (Strict, lambda spec, context: OneOf()),
    "set": (_SetSpec, lambda spec, context: AsSet(spec.partial)),
    "f1": (Strict, lambda spec, context: TokenF1()),
    "math": (_MathSpec, _math),
    "graded": (_GradedSpec, _graded),
    "coverage": (_CoverageSpec, _coverage),
    "distribution": (_DistributionSpec, _distribution),
}
_CHIEF = {"graded": "model", "coverage": "model", "distribution": "distance", "numeric": "absolute"}


def scorer_of(value: Any, context: Context | None = None, *, within: Path | None = None) -> Scorer:
    """A scorer from what may stand under `scorer:`.

    Args:
        value: a name of `SCORERS`; a mapping of one name to its options, such as {numeric: {absolute: 0.1}}, or to the
            chief of them, such as {graded: MODEL}; 'module:function'; a function; or a scorer.
        context: where models are built.
        within: where given, 'module:function' must be of a module in this folder: what a file that may come from others
            names is not to run whatever is installed here on what a model says.

    Raises:
        InputError: if there is none such, or it does not take these options.
        MissingError: if something must be installed for it.
    """
    if callable(getattr(value, "score", None)) and not isinstance(value, type):
        found: Scorer = value
        return found
    if callable(value):
        return Function(value, getattr(value, "__name__", type(value).__name__))
    options: Any = {}
    if isinstance(value, Mapping) and len(value) == 1:
        (value, options), *_ = value.items()
    if not isinstance(value, str):
        raise InputError("a scorer is a name, {NAME: OPTIONS}, 'module:function' or a function.",
                         hint=f"There are {', '.join(SCORERS)}.")  # fmt: skip
    if ":" in value and value not in SCORERS:
        if options:
            raise InputError(f"the scorer '{value[:60]}' is a function of yours, which takes no options.")
        return Function(_function(value, within), value)
    if value not in SCORERS:
        near = difflib.get_close_matches(value[:60], SCORERS, 1)
        hint = f"Did you mean '{near[0]}'?" if near else "Or 'module:function' for one of your own."
        raise InputError(f"there is no scorer '{value[:60]}'; there are {', '.join(SCORERS)}.", hint=hint)
    spec, make = SCORERS[value]
    chief = _CHIEF.get(value)
    # a model may be a mapping itself: {graded: {openai: NAME}}
    alone = not isinstance(options, Mapping) or (chief == "model" and bool(options) and "model" not in options)
    if alone:
        if chief is None:
            raise InputError(f"scorer {value}: takes its options as a mapping.")
        options = {chief: options}
    try:
        return make(checked(options, spec), context or Context())
    except InputError as error:
        raise type(error)(f"scorer {value}: {error.message}", hint=error.hint) from None


def _function(name: str, within: Path | None) -> Callable[..., Any]:
    """A function by 'module:function'; modules in the current folder, or in `within`, are found too."""
    module, _, attribute = name.partition(":")
    here = str(within or Path.cwd())
    sys.path.append(here)
    try:
        top = importlib.util.find_spec(module.partition(".")[0]) if within is not None else None
        if within is not None and not (top and _inside(top.origin, within)):
            raise InputError(
                f"the scorer '{name[:80]}' is of no module in {within}.",
                hint="A mapping names functions of its own folder only; give others as the scorer itself.",
            )
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        home = sys.modules.get(getattr(found, "__module__", None) or module)
        if within is not None and not _inside(getattr(home, "__file__", None), within):
            raise InputError(f"the scorer '{name[:80]}' is imported there from elsewhere.", hint="Define it there.")
    except InputError:
        raise
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"the scorer '{name[:80]}' cannot be found: {sentence(error)[:120]}.",
                         hint="It is 'module:function', of a module that can be imported.") from None  # fmt: skip
    except Exception as error:
        raise InputError(f"the scorer '{name[:80]}' cannot be imported: {sentence(error)[:200]}.") from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise InputError(f"the scorer '{name[:80]}' is no function.")
    called: Callable[..., Any] = found
    return called


def _inside(file: str | None, folder: Path) -> bool:
    """Whether a module's file is one of a folder, and not of what is installed in it."""
    if file is None:
        return False
    path = Path(file).resolve()
    return path.is_relative_to(folder.resolve()) and "site-packages" not in path.parts
