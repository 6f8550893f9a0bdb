"""From a recipe and its models to the tensors of the output: what each is made of, with which parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agora.errors import InputError
from agora.weight import methods
from agora.weight.checkpoint import LAYER
from agora.weight.dtypes import FLOATS, dtype_of
from agora.weight.methods import Method
from agora.weight.parents import Parent
from agora.weight.recipe import Module, Recipe
from agora.weight.settings import Setting, resolve_all
from agora.weight.sources import Source
from agora.weight.writer import Output

Settings = Mapping[str, Setting] | None
DROPPED = ("rotary_emb.inv_freq",)  # buffers that are computed when a model is loaded
FIRST = ("emb", "wte", "wpe")  # tensors of no layer that belong to the first slice; all others to the last


@dataclass(frozen=True)
class Run:
    """Layers that come from the same sources.

    Attributes:
        sources: reference, first layer, and own settings of each.
        count: number of layers; None is all of the model, under the names they have.
        base: of this run.
        settings: of the run, then of what is around it.
    """

    sources: tuple[tuple[str, int, Settings], ...]
    count: int | None
    base: str | None
    settings: tuple[Settings, ...]


@dataclass
class Job:
    """A tensor of the output.

    Attributes:
        output: its name, type and shape.
        method: what makes it.
        models: what it is made of.
        base: likewise.
        parameters: as the method's function takes them.
        files: paths of further checkpoints, by parameter, one a model.
        copied: it holds no floats: it is copied, and must be equal in all.
    """

    output: Output
    method: Method
    models: Sequence[Source]
    base: Source | None
    parameters: dict[str, Any]
    files: dict[str, Sequence[str]] = field(default_factory=dict)
    copied: bool = False


@dataclass(frozen=True)
class Made:
    """A plan.

    Attributes:
        jobs: one a tensor, in the order in which they are written.
        layers: number of layers, where slices say so.
        notes: what a user should know.
    """

    jobs: list[Job]
    layers: int | None
    notes: list[str]


class Rows:
    """What changes the rows of vocabulary tensors; by default nothing. See `tokens.Vocabulary`."""

    def source(self, parent: Parent, name: str, every: Mapping[str, Parent]) -> Source:
        """A model's tensor, its rows in the order of the output's vocabulary."""
        return parent.source(name)


def make(recipe: Recipe, parents: Mapping[str, Parent], rows: Rows) -> Made:
    """Plan a merge.

    Args:
        recipe: what is wanted.
        parents: the models it names, by reference.
        rows: what is done with the vocabulary.

    Raises:
        InputError: if the models do not fit each other or the method, or a parameter is missing.
    """
    method = methods.get(recipe.merge_method)
    notes = [
        f"'{name}' changes nothing here."
        for name in methods.registry.IGNORED
        if any(name in held for held in recipe.settings())
    ]
    jobs: list[Job] = []
    layers = None
    modules = recipe.modules or {"default": Module(models=recipe.models, slices=recipe.slices)}
    taken: set[str] = set()
    for title, module in modules.items():
        around = (module.parameters, recipe.parameters) if recipe.modules else (recipe.parameters,)
        runs = _runs(recipe, module, method, parents, around)
        wanted = None if title == "default" else title
        if runs[0].count is not None:
            layers = sum(run.count or 0 for run in runs)
        for run, name, inputs, t in _places(runs, parents, wanted, notes):
            if name in taken:
                raise InputError(f"two modules of the recipe make tensor '{name[:80]}'.")
            taken.add(name)
            jobs.append(_job(recipe, method, run, name, inputs, t, parents, rows))
    return Made(jobs, layers, notes)


def _runs(
    recipe: Recipe, module: Module, method: Method, parents: Mapping[str, Parent], around: tuple[Settings, ...]
) -> list[Run]:
    if module.models is not None:
        sources = [(member.model, 0, member.parameters) for member in module.models]
        runs = [Run(tuple(sources), None, recipe.base_model, around)]
    else:
        runs = []
        for one in module.slices or ():
            counts = {source.layer_range[1] - source.layer_range[0] for source in one.sources}
            if len(counts) != 1 or min(counts) < 1:
                raise InputError("all sources of a slice have the same number of layers, at least one.")
            for source in one.sources:
                have = parents[source.model].layers
                if source.layer_range[0] < 0 or source.layer_range[1] > have:
                    raise InputError(f"{source.model} has layers 0 to {have}, not "
                                     f"{source.layer_range[0]} to {source.layer_range[1]}.")  # fmt: skip
            listed = tuple((source.model, source.layer_range[0], source.parameters) for source in one.sources)
            base = one.base_model or recipe.base_model
            runs.append(Run(listed, counts.pop(), base, (one.parameters, *around)))
    if not runs:
        raise InputError("a recipe needs models.")
    return [_with_base(run, method) for run in runs]


def _with_base(run: Run, method: Method) -> Run:
    listed = [source[0] for source in run.sources]
    if len(set(listed)) < len(listed) and run.count is None:
        raise InputError(f"model {max(listed, key=listed.count)} stands twice.", hint="Give it one weight.")
    if run.base is not None and run.base not in listed:
        if method.base == "none" and not (method.name == "slerp" and len(listed) == 1):
            raise InputError(f"{method.name} has no base, and base_model is none of its models.",
                             hint="List it among the models, or leave base_model out.")  # fmt: skip
        first = run.sources[0][1] if run.sources else 0
        run = Run(((run.base, first, None), *run.sources), run.count, run.base, run.settings)
        listed = [run.base, *listed]  # type: ignore[list-item]
    if method.base == "required" and run.base is None:
        raise InputError(f"{method.name} needs a base.", hint="Give base_model, or `base:` in the short form.")
    others = len(listed) - (method.base != "none" and run.base is not None)
    if others < method.least or (method.most is not None and others > method.most):
        most = "" if method.most == method.least else " or more" if method.most is None else f" to {method.most}"
        raise InputError(f"{method.name} takes {method.least}{most} models, not {others}.")
    if method.name == "slerp" and run.base is not None:
        ordered = sorted(run.sources, key=lambda source: source[0] != run.base)
        run = Run(tuple(ordered), run.count, run.base, run.settings)
    return run


Place = tuple[Run, str, list[str], float]


def _places(
    runs: Sequence[Run], parents: Mapping[str, Parent], wanted: str | None, notes: list[str]
) -> Iterator[Place]:
    """Run, name, name in each source, and t of every tensor of the output."""
    first = runs[0]
    if first.count is None:
        for name in _names(first, parents, wanted, notes):
            layer, total = LAYER.search(name), parents[first.sources[0][0]].layers
            t = 0.0 if not layer else 1.0 if total <= 1 else min(1.0, int(layer[1]) / (total - 1))
            yield first, name, [name] * len(first.sources), t
        return
    for name in _names(first, parents, wanted, notes):
        if not LAYER.search(name) and any(word in name for word in FIRST):
            yield first, name, [name] * len(first.sources), 0.0
    at = 0
    for run in runs:
        count = run.count or 0
        named = [name for name in _names(run, parents, wanted, notes) if LAYER.search(name)]
        for i in range(count):
            t = i / (count - 1) if count > 1 else 1.0
            own = run.sources[0][1] + i
            if wanted is None and not any(_layer(name) == own for name in named):
                raise InputError(f"{run.sources[0][0]} has no tensors of layer {own}, though its config.json says so.")
            for name in named:
                if _layer(name) == own:
                    inputs = [_moved(name, source[1] + i) for source in run.sources]
                    yield run, _moved(name, at), inputs, t
            at += 1
    last = runs[-1]
    for name in _names(last, parents, wanted, notes):
        if not LAYER.search(name) and not any(word in name for word in FIRST):
            yield last, name, [name] * len(last.sources), 0.0


def _layer(name: str) -> int:
    found = LAYER.search(name)
    return int(found[1]) if found else -1


def _moved(name: str, layer: int) -> str:
    """The name of the tensor of another layer."""
    found = LAYER.search(name)
    if found is None:
        return name
    return f"{name[: found.start(1)]}{layer}{name[found.end(1) :]}"


def _names(run: Run, parents: Mapping[str, Parent], wanted: str | None, notes: list[str]) -> list[str]:
    """Names of the tensors that the sources of a run have between them, the base's first."""
    listed = [source[0] for source in run.sources]
    order = sorted(dict.fromkeys(listed), key=lambda reference: reference != run.base)
    donor = parents[order[0]]
    names: dict[str, None] = {}
    for reference in order:
        held = parents[reference]
        extra = list(held.adapter.saved) if held.adapter else []
        for name in [*held.checkpoint, *extra]:
            if name.endswith(DROPPED):
                note = f"buffers such as '{name[:80]}' are left out; a model computes them when it is loaded."
                if not any("are left out" in held for held in notes):
                    notes.append(note)
            elif wanted is None or wanted in name:
                names.setdefault(name)
    tied = donor.tied and all(parents[reference].tied for reference in order)
    return [name for name in names if not (tied and name.endswith("lm_head.weight") and name not in donor.checkpoint)]


def _job(
    recipe: Recipe, method: Method, run: Run, name: str, inputs: Sequence[str], t: float,
    parents: Mapping[str, Parent], rows: Rows,
) -> Job:  # fmt: skip
    shared, each, own = list(run.settings), {}, {}
    found: list[tuple[str, Source]] = []
    named = {source[0]: parents[source[0]] for source in run.sources}
    for k, (source, wanted) in enumerate(zip(run.sources, inputs, strict=True)):
        reference = f"{source[0]}#{k}"
        held = parents[source[0]]
        there = held.own(wanted)
        if there is None:
            raise InputError(f"{held.label} has no tensor '{wanted[:80]}', which another model has.",
                             hint="Merge models of one architecture.")  # fmt: skip
        found.append((reference, rows.source(held, there, named)))
        if not (method.base != "none" and source[0] == run.base):
            each[reference], own[reference] = [source[2], *shared], wanted
    kinds = {entry.dtype in FLOATS for _, entry in found}
    shapes = {entry.shape for _, entry in found}
    if len(shapes) > 1:
        listed = ", ".join(f"{entry.label} {list(entry.shape)}" for _, entry in found)
        hint = "Models of one architecture are needed; where vocabularies differ, `tokenizer_source: union` or base."
        raise InputError(f"tensor '{name[:80]}' has different shapes: {listed[:400]}.", hint=hint)
    is_base = [method.base != "none" and source[0] == run.base for source in run.sources]
    base = next((entry for (_, entry), flag in zip(found, is_base, strict=True) if flag), None)
    of_all, of_each = resolve_all(method, shared, each, name, own, t)
    members = [(key, entry) for (key, entry), flag in zip(found, is_base, strict=True) if not flag]
    if method.symmetric:
        members.sort(key=lambda member: (member[1].key, repr(sorted(of_each[member[0]].items())), member[0]))
    kept = dict(of_all)
    files: dict[str, Sequence[str]] = {}
    for title, parameter in method.parameters.items():
        if parameter.kind == "file" and parameter.per_model:
            files[title] = [of_each[key][title] for key, _ in members]
            kept[title] = methods.EachFile(files[title])
        elif parameter.per_model:
            kept[title] = methods.Each(of_each[key][title] for key, _ in members)
    shape = found[0][1].shape
    if kinds == {False}:
        if len({entry.dtype for _, entry in found}) > 1:
            raise InputError(f"tensor '{name[:80]}' has different types that are no floats.")
        copied = Output(name, found[0][1].dtype, shape)
        return Job(copied, method, [entry for _, entry in found], None, kept, copied=True)
    if len(kinds) > 1:
        raise InputError(f"tensor '{name[:80]}' holds floats in some models and none in others.")
    kept = {("lambda_" if title == "lambda" else title): value for title, value in kept.items()}
    dtype = recipe.out_dtype or recipe.dtype
    kind = dtype_of(dtype) if dtype else base.dtype if base else widest([entry.dtype for _, entry in members])
    return Job(Output(name, kind, shape), method, [entry for _, entry in members], base, kept, files)


def widest(dtypes: Sequence[str]) -> str:
    kinds = set(dtypes)
    if len(kinds) == 1:
        return dtypes[0]
    return "F64" if "F64" in kinds else "F32"
