"""Routers of mixtures: a matrix a layer, whose rows say which expert is meant by what a token is there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import AgoraError, InputError, MissingError
from agora.weight import masks
from agora.weight.dense import Dense
from agora.weight.mixtral import Shape, configured
from agora.weight.mixturefile import Mixture
from agora.weight.parents import Parent
from agora.weight.sources import Scratch

Array = NDArray[np.float32]
SPREAD = 0.02  # standard deviation of random routers, as models are initialised


def make(mixture: Mixture, shape: Shape, donor: Parent, shared: Sequence[Parent]) -> list[Array]:
    """The router of every layer: (experts, hidden).

    A token's logits are the products of the rows with what enters the layer's MLP; it is sent through the `top` experts
    of the largest, whose outputs are weighted by the softmax over these.

    `zero` weights all alike (then which `top` are taken is up to whoever runs it, as all are equal). `random` is normal
    with standard deviation 0.02, `uniform` uniform within 1/sqrt(hidden); both are drawn from a counter. `embedding`
    and `hidden` are made of prompts, by `rows`: of the embeddings of their tokens, in every layer alike, or of what
    enters that layer's MLP when the dense model reads them.

    Args:
        mixture: what is wanted.
        shape: of the models.
        donor: whose tokenizer reads the prompts.
        shared: the model, or those whose average, reads them.

    Raises:
        InputError: if prompts cannot be read.
        MissingError: if a tokenizer needs transformers, which is not installed.
    """
    size = (len(mixture.experts), shape.hidden)
    if mixture.router == "zero":
        return [np.zeros(size, np.float32)] * shape.layers
    if mixture.router in ("random", "uniform"):
        return [_drawn(mixture, layer, size) for layer in range(shape.layers)]
    window = configured(donor)["sliding_window"]
    dense = Dense(shared, shape, window)
    texts: list[list[int]] = []
    owners: list[tuple[int, bool]] = []
    for number, expert in enumerate(mixture.experts):
        texts += tokens(donor, [*expert.prompts, *expert.negative])
        owners += [(number, True)] * len(expert.prompts) + [(number, False)] * len(expert.negative)
    if mixture.router == "hidden":
        means = dense.means(texts)
    else:
        means = np.stack([np.stack([dense.embedded(text).mean(0) for text in texts])])
    made = [rows(layer, owners, len(mixture.experts)) for layer in means]
    return made if mixture.router == "hidden" else made * shape.layers


def rows(means: Array, owners: Sequence[tuple[int, bool]], experts: int) -> Array:
    """The rows of a router, of the mean states of texts.

    An expert's vector is the mean over its prompts less the mean over its negative ones. What all experts' vectors have
    in common says nothing about which is meant, so it is taken out: first their mean is subtracted, then what is left
    is made orthogonal to it, so that no expert is preferred for a state that is no more than average. The rows are
    then brought to length 1. Where prompts do not tell experts apart their rows are 0.

    mergekit-moe brings the vectors to length 1 as they are, of which the common part is most; its hidden states are
    the last token's, in bfloat16, and those that enter the layer, not what its router will read.

    Args:
        means: of each text: (texts, hidden).
        owners: the expert of each text, and whether the text is one of its prompts or a negative one.
        experts: their number.
    """
    wide = means.astype(np.float64)
    made, positive = np.zeros((experts, wide.shape[1])), np.zeros((experts, wide.shape[1]))
    for number in range(experts):
        own = [i for i, owner in enumerate(owners) if owner == (number, True)]
        other = [i for i, owner in enumerate(owners) if owner == (number, False)]
        made[number] = positive[number] = wide[own].mean(0)
        if other:
            made[number] -= wide[other].mean(0)
    common = positive.mean(0)
    size = float(np.linalg.norm(positive, axis=1).max(initial=0))
    made -= made.mean(0)
    if common @ common > 0:
        made -= np.outer(made @ common / (common @ common), common)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    clear = length > 1e-6 * size  # less is rounding
    return np.where(clear, made / np.where(clear, length, 1), 0).astype(np.float32)


def _drawn(mixture: Mixture, layer: int, size: tuple[int, int]) -> Array:
    count, scratch = math.prod(size), Scratch()

    def uniform(stream: bytes) -> NDArray[np.float64]:
        drawn = np.empty(count, np.uint32)
        masks.draws(masks.key_of(mixture.seed, f"router {layer}", stream), 0, drawn, scratch)
        return np.asarray((drawn + 0.5) * 2.0**-32, np.float64)

    if mixture.router == "uniform":
        values = (2 * uniform(b"first") - 1) / math.sqrt(size[1])
    else:  # Box and Muller
        values = SPREAD * np.sqrt(-2 * np.log(uniform(b"first"))) * np.cos(2 * math.pi * uniform(b"second"))
    return values.astype(np.float32).reshape(size)


def tokens(donor: Parent, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of texts, with what the tokenizer puts around a text; no chat template is applied.

    The pocket models read a question as they do elsewhere, between `Q:` and `A:`; a text that begins with `Q: ` is read
    as it is.

    Raises:
        InputError: if the tokenizer cannot be loaded, or a text has no tokens or more than the model's context.
        MissingError: if it needs transformers, which is not installed.
    """
    found = _pocket(donor, texts)
    if found is None:
        tokenizer = _tokenizer(donor)
        found = [[int(i) for i in tokenizer(text)["input_ids"]] for text in texts]
    context = configured(donor)["max_position_embeddings"]
    for text, ids in zip(texts, found, strict=True):
        if not ids:
            raise InputError(f"the prompt '{text[:40]}' has no tokens.")
        if isinstance(context, int) and len(ids) > context:
            raise InputError(f"the prompt '{text[:40]}' has {len(ids):,} tokens, and the context holds {context:,}.")
    return found


def _pocket(donor: Parent, texts: Sequence[str]) -> list[list[int]] | None:
    from agora.models.pocket import tokenizer

    held = donor.checkpoint.json("tokenizer.json")
    if not held or held != json.loads(tokenizer.to_huggingface()):
        return None
    framed = [text if text.startswith("Q: ") else f"Q: {text.strip()}\nA: " for text in texts]
    return [[tokenizer.BOS, *tokenizer.encode(text)] for text in framed]


def _tokenizer(donor: Parent) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingError("a router made of prompts needs transformers, which is not installed, to read them.",
                           hint="pip install 'agora-debate[local]', or use router zero.") from error  # fmt: skip
    try:
        return AutoTokenizer.from_pretrained(str(donor.folder), local_files_only=True, trust_remote_code=False)
    except AgoraError:
        raise
    except Exception as error:  # whatever transformers raises
        said = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise InputError(f"the tokenizer of {donor.label} cannot be loaded: {said}.") from error
