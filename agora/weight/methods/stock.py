"""Model stock: how far towards the average of fine-tuned models, from the angle between them."""

from __future__ import annotations

import numpy as np

from agora.weight.dtypes import Floats
from agora.weight.methods.averages import weighted
from agora.weight.methods.registry import Plan, Rows, method
from agora.weight.methods.spheres import delta_of, on_base, row_dots
from agora.weight.tensors import Chunk, Gram, Tensors


@method("model_stock", paper="Jang et al., arXiv:2403.19522", needs="stats", base="required", least=2)
def model_stock(x: Tensors, *, filter_wise: bool = False) -> Plan:
    """The base plus a share t = k cos / (1 + (k - 1) cos) of the average difference of k models to it.

    `cos` is the average cosine of the differences over all pairs; a pair with a difference that is 0 counts as 0, and
    where the denominator is 0 the result is the base. (mergekit also counts pairs as 0 whose norms' product is below
    1e-6.)

    Args:
        x: the tensor.
        filter_wise: a share for each row rather than for the tensor.
    """
    k = len(x.models)
    if not filter_wise:
        t = _share(x.gram(delta_of)[None])[0]
        return on_base([t / k] * k) if t else weighted([0.0] * k, 1.0)

    def kernel(chunk: Chunk) -> Floats:
        deltas = np.stack([chunk.delta(i).reshape(-1, x.columns) for i in range(k)])
        gram = np.empty((deltas.shape[1], k, k))
        for i in range(k):
            for j in range(i, k):
                gram[:, i, j] = gram[:, j, i] = row_dots(deltas[i], deltas[j])
        t = _share(gram)[:, None].astype(x.dtype)
        out: Floats = (t * (deltas.sum(0) / k)).reshape(-1)
        return out + chunk.base()

    return Rows(kernel)


def _share(gram: Gram) -> Gram:
    """t of each of several Gram matrices: (n, k, k) -> (n,)."""
    k = gram.shape[-1]
    squares = np.einsum("aii->ai", gram)
    norms = np.sqrt(squares[:, :, None] * squares[:, None, :])
    cosines = np.divide(gram, norms, out=np.zeros_like(gram), where=norms > 0)
    upper = np.triu_indices(k, 1)
    cosine = np.clip(cosines[:, upper[0], upper[1]], -1, 1).mean(1)
    below = 1 + (k - 1) * cosine
    singular = np.abs(below) < 1e-6
    share: Gram = np.where(singular, 0.0, k * cosine / np.where(singular, 1.0, below))
    return share
