"""The logit level: several models vote on every token, as one model. TokenModels -> TokenModel.

    from agora.logit import contrast, fuse, proxy
    model = fuse([a, b, c], "surest")

Over a vocabulary that the members share the result is a `TokenModel` itself, so that it can be fused again, be nudged,
or drafted for; over text (`over="text"`) members may have tokenizers of their own, or be servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from agora.errors import InputError
from agora.logit.around import Drafted, Without
from agora.logit.fused import Fused, FusedSession, disagreement
from agora.logit.methods import METHODS, Method, awareness, contrasting, deferring, method, tuning
from agora.logit.union import OverText
from agora.logit.weights import learn
from agora.model import Model

Over = Literal["vocabulary", "text"]


def fuse(
    members: Sequence[Model],
    by: str | Method = "average",
    *,
    weights: Sequence[float] | Literal["perplexity"] | None = None,
    sure: float | None = None,
    tau: float = 1.0,
    over: Over = "vocabulary",
    top: int = 10,
    name: str = "fused",
) -> Fused | OverText:
    """Several models as one, whose distributions are fused at every token.

    Args:
        members: the models.
        by: 'average' of the probabilities; 'product' of experts; 'geometric' mean; 'min', what all agree on; 'max';
            'surest', the member with the least entropy; or a `Method`.
        weights: of the members, or 'perplexity' of each prompt (PackLLM); see also `learn`.
        sure: fuse only where the first member's likeliest token has less than this probability.
        tau: temperature of weights by perplexity.
        over: 'vocabulary', which all must share, or 'text'.
        top: over text: how many pieces each member proposes.
        name: as a model.

    Raises:
        InputError: if they cannot be fused so.
    """
    how = method(by, sure=sure)
    if _over(over) == "text":
        return OverText(members, how, weights=weights, top=top, name=name)
    return Fused(members, how, weights=weights, tau=tau, name=name)


def contrast(
    expert: Model,
    amateur: Model,
    *,
    alpha: float = 0.1,
    beta: float | None = None,
    over: Over = "vocabulary",
    top: int = 10,
    name: str = "contrast",
) -> Fused | OverText:
    """Contrastive decoding: what an expert likes better than an amateur does; see `agora.logit.methods.contrast`.

    Raises:
        InputError: if they cannot be combined so.
    """
    return fuse([expert, amateur], contrasting(alpha, beta), over=over, top=top, name=name)


def proxy(
    base: Model,
    expert: Model,
    anti: Model,
    *,
    alpha: float = 1.0,
    over: Over = "vocabulary",
    top: int = 10,
    name: str = "proxy",
) -> Fused | OverText:
    """Proxy tuning: a base, moved by what sets a small tuned model off from the same untuned; over text the base may be
    behind a server, and what it proposes is ranked anew. See `agora.logit.methods.tuned`.

    Raises:
        InputError: if they cannot be combined so.
    """
    return fuse([base, expert, anti], tuning(alpha), over=over, top=top, name=name)


def defer(base: Model, other: Model, threshold: float, *, name: str = "deferred") -> Fused | OverText:
    """Deferral token by token over one vocabulary: the other model's distribution where the base's likeliest token has
    less than a probability; the other reads what it has missed in one pass. `agora.api.defer.Deferred` does it over
    text.

    Raises:
        InputError: if they cannot be combined so.
    """
    return fuse([base, other], deferring(threshold), name=name)


def aware(model: Model, *, alpha: float = 0.5, tag: str = "context", name: str = "aware") -> Fused | OverText:
    """Context-aware decoding: a model against itself without what stands between <context> and </context> in the
    conversation; where nothing does, the model itself. See `agora.logit.methods.aware`.

    Args:
        model: the model.
        alpha: strength.
        tag: the mark around the context.
        name: as a model.

    Raises:
        InputError: if its distribution cannot be read, or the tag is no word.
    """
    return fuse([model, Without(model, tag)], awareness(alpha), name=name)


def drafted(model: Model, draft: Model, tokens: int = 4) -> Drafted:
    """Speculative decoding: as the model would answer by itself, sooner. See `Drafted`.

    Raises:
        InputError: if one cannot draft for the other.
    """
    return Drafted(model, draft, tokens)


def _over(over: str) -> str:
    if over not in ("vocabulary", "text"):
        raise InputError(f"fuse: over is 'vocabulary' or 'text', not '{over[:40]}'.")
    return over


__all__ = [
    "METHODS",
    "Drafted",
    "Fused",
    "FusedSession",
    "Method",
    "OverText",
    "aware",
    "contrast",
    "defer",
    "disagreement",
    "drafted",
    "fuse",
    "learn",
    "proxy",
]
