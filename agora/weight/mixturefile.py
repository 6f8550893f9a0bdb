"""Mixtures as recipes write them: our short form, and mergekit-moe's YAML as it is; read strictly."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from agora.errors import ConfigError
from agora.weight.dtypes import dtype_of
from agora.weight.recipe import Reference, Strict, read_yaml

Router = Literal["hidden", "embedding", "random", "uniform", "zero"]
MAX_EXPERTS = 1024
MAX_PROMPTS = 10_000  # of one expert
_MODES: dict[str, str] = {
    "hidden": "hidden", "hidden_avg": "hidden", "hidden_last": "hidden", "cheap_embed": "embedding",
    "random": "random", "uniform_random": "uniform",
}  # fmt: skip
_PEERS = ("base_model", "gate_mode", "dtype", "experts_per_token", "experts", "architecture")


class Expert(Strict):
    """A model whose MLPs become one expert of each layer."""

    model: Reference
    prompts: list[str] = Field([], max_length=MAX_PROMPTS, description="texts that it is to be chosen for")
    negative: list[str] = Field([], max_length=MAX_PROMPTS, description="texts that it is not to be chosen for")
    name: str | None = Field(None, max_length=200)

    @field_validator("prompts", "negative", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else [] if value is None else value


class Mixture(Strict):
    """What is mixed."""

    experts: list[Expert] = Field(max_length=MAX_EXPERTS)
    base: Reference | None = Field(
        None, description="whose attention, embeddings and norms; none: the experts' average"
    )
    router: Router = "hidden"
    top: int = Field(2, description="experts that a token is sent through")
    dtype: str | None = Field(None, description="of the output; none: the models' own")
    seed: int = Field(0, ge=0, description="of a random router")

    def references(self) -> list[str]:
        """All models it names, each once; the base, else the first expert, comes first."""
        found = [self.base] if self.base else []
        return list(dict.fromkeys([*found, *(expert.model for expert in self.experts)]))

    def to_yaml(self) -> str:
        """Itself as YAML, in the short form."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump({"mixture": data}, sort_keys=False, allow_unicode=True)


def is_mixture(given: Any) -> bool:
    """Whether data is a mixture's, of either form, and not a merge recipe's."""
    return isinstance(given, Mapping) and ("mixture" in given or ("experts" in given and "merge_method" not in given))


def read_mixture(given: Mixture | Mapping[str, Any] | str | Path) -> Mixture:
    """A mixture from a file, or from data of either form.

    The short form is `{mixture: {experts: [{model: a, prompts: [...]}, ...], base: c, router: hidden, top: 2}}`; an
    expert may also be a reference alone, and `experts` a mapping of names. mergekit-moe's form has `base_model`,
    `gate_mode`, `experts_per_token`, and `experts` with `source_model`, `positive_prompts` and `negative_prompts`; its
    gate modes hidden, cheap_embed, random and uniform_random are our routers hidden, embedding, random and uniform;
    their weights are not its own, see `routers.make` and `routers.rows`, but everything else comes out as it does
    there. What it does beyond that (shared experts, noise on experts, other architectures) is refused.

    Args:
        given: a path, data, or a mixture, which is checked alone.

    Raises:
        ConfigError: if it cannot be read or is no mixture; with the file.
    """
    file, data = None, given
    if isinstance(given, (str, Path)):
        file, data = str(given), read_yaml(Path(given))
    if isinstance(data, Mapping):
        if not is_mixture(data):
            raise ConfigError("a mixture begins with `mixture:`, or has `experts:` as mergekit-moe's has.", file=file)
        data = _model(_spelled_out({str(key): value for key, value in data.items()}, file), file)
    if not isinstance(data, Mixture):
        raise ConfigError("a mixture is a mapping that begins with `mixture:`.", file=file)
    _fits(data, file)
    return data


def _spelled_out(data: dict[str, Any], file: str | None) -> dict[str, Any]:
    """The contents of our form, of either."""
    if "mixture" not in data:
        return _of_mergekit(data, file)
    if len(data) > 1:
        other = next(key for key in data if key != "mixture")
        raise ConfigError(f"'{other[:40]}' stands beside `mixture:`.", file=file, hint="Put it under mixture.")
    inner = data["mixture"]
    if not isinstance(inner, Mapping):
        raise ConfigError("`mixture:` holds a mapping with experts.", file=file)
    made = {str(key): value for key, value in inner.items()}
    if "experts" in made:
        made["experts"] = listed(made["experts"], file)
    return made


def listed(experts: Any, file: str | None = None) -> list[Any]:
    """Experts as a list of mappings, whichever way they are given: by name, as references, or so already.

    Raises:
        ConfigError: if they are none of it.
    """
    if isinstance(experts, Mapping):
        named = []
        for name, own in experts.items():
            held = dict(own) if isinstance(own, Mapping) else {"model": own}
            named.append({"name": str(name), "model": str(name), **held})
        return named
    if not isinstance(experts, Sequence) or isinstance(experts, (str, bytes)):
        raise ConfigError("experts are a list, or a mapping of names.", file=file)
    return [one if isinstance(one, (Mapping, Expert)) else {"model": one} for one in experts]


def _of_mergekit(data: dict[str, Any], file: str | None) -> dict[str, Any]:
    data = {key: value for key, value in data.items() if value is not None}
    for key in data:
        if key not in _PEERS:
            near = difflib.get_close_matches(key, _PEERS, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"It may have {', '.join(_PEERS)}."
            raise ConfigError(f"a mixture in mergekit's form has no '{key[:40]}' here.", file=file, hint=hint)
    if str(data.get("architecture") or "mixtral").lower() not in ("mixtral", "auto"):
        raise ConfigError(f"architecture '{str(data['architecture'])[:40]}' cannot be written; mixtral can.", file=file)
    mode = data.get("gate_mode", "hidden")
    if mode not in _MODES:
        raise ConfigError(
            f"there is no gate_mode '{str(mode)[:40]}'.", file=file, hint=f"There are {', '.join(_MODES)}."
        )
    if "base_model" not in data:
        raise ConfigError("a mixture in mergekit's form needs a base_model.", file=file,
                          hint="In the short form, `mixture:`, it may be left out.")  # fmt: skip
    made: dict[str, Any] = {"base": data["base_model"], "router": _MODES[mode], "experts": []}
    for key, own in (("experts_per_token", "top"), ("dtype", "dtype")):
        if key in data:
            made[own] = data[key]
    names = {"source_model": "model", "positive_prompts": "prompts", "negative_prompts": "negative"}
    for one in listed(data.get("experts"), file):
        if not isinstance(one, Mapping) or "source_model" not in one:
            raise ConfigError("every expert has a source_model.", file=file)
        told = {str(key): value for key, value in one.items() if value is not None}
        made["experts"].append({names.get(key, key): value for key, value in told.items()})
    return made


def _model(data: Mapping[str, Any], file: str | None) -> Mixture:
    try:
        return Mixture.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        place = ".".join(str(part) for part in first["loc"])[:80]
        if first["type"] == "extra_forbidden":
            fields = (Expert if len(first["loc"]) > 1 else Mixture).model_fields
            near = difflib.get_close_matches(str(first["loc"][-1]), fields, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(fields)}."
            raise ConfigError(f"a mixture has no key '{place}'.", file=file, hint=hint) from error
        what = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {what[:1].lower()}{what[1:].rstrip('.')}.", file=file) from error


def _fits(mixture: Mixture, file: str | None) -> None:
    count = len(mixture.experts)
    if count < 2:
        raise ConfigError(f"a mixture has at least two experts, not {count}.", file=file,
                          hint="To begin from copies of one model, list it several times.")  # fmt: skip
    if not 1 <= mixture.top <= count:
        raise ConfigError(f"`top` is from 1 to the number of experts, {count}, not {mixture.top}.", file=file)
    if mixture.dtype is not None:
        dtype_of(mixture.dtype)
    for expert in mixture.experts:
        if any(not text.strip() for text in (*expert.prompts, *expert.negative)):
            raise ConfigError(f"a prompt of {expert.model[:80]} is empty.", file=file)
        if mixture.router in ("hidden", "embedding") and not expert.prompts:
            raise ConfigError(f"router '{mixture.router}' needs prompts, and {expert.model[:80]} has none.", file=file,
                              hint="Give some, or use router zero or random.")  # fmt: skip
