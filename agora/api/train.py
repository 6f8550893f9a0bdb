"""Training: outcomes in, a router out, with lambda or a threshold set for a spend or a share of strong calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agora.api.features import Features, fit_words, rounded
from agora.api.metrics import threshold_for_share, weight_for_spend, win_probability
from agora.api.outcomes import Floats, Table
from agora.api.routerfile import Learnt
from agora.api.scorers import FITS
from agora.errors import InputError

METHODS = tuple(FITS)


async def train(
    table: Table,
    method: str = "knn",
    *,
    features: Features | None = None,
    dimensions: int = 128,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Learnt:
    """Train a router.

    Args:
        table: outcomes; not every model need have answered every prompt.
        method: 'knn', 'logistic', 'mf' or 'graph'.
        features: of prompts; default: words, fitted to these prompts.
        dimensions: of words' vectors.
        seed: of what is drawn.
        options: of the method, such as {"k": 20}.

    Raises:
        InputError: for one model alone, or an unknown method or option.
        MissingError: without scikit-learn.
        ModelError: if an embeddings endpoint fails.
    """
    if method not in FITS:
        raise InputError(f"method: '{str(method)[:40]}' is none of {', '.join(METHODS)}.")
    if len(table.models) < 2:
        raise InputError(f"there are outcomes of {table.models[0][:60]} alone, and a router chooses among models.",
                         hint="Ask another model the same questions too.")  # fmt: skip
    made = features or fit_words(table.prompts, dimensions, seed=seed)
    vectors = rounded(await made.vectors(table.prompts))
    try:
        scorer = FITS[method](vectors, table.scores, **(options or {}))
    except TypeError as error:
        raise InputError(f"{method}: does not take {', '.join(options or {})}.") from error
    with np.errstate(invalid="ignore"):
        costs = tuple(float(cost) for cost in table.costs.mean(axis=0))
    return Learnt(method, table.models, costs, made, scorer, trained={"prompts": len(table.prompts)})


async def expected(learnt: Learnt, table: Table) -> Floats:
    """What a router expects of the models of a table, in the table's order.

    Raises:
        InputError: if it was not trained for one of them.
    """
    missing = [model for model in table.models if model not in learnt.models]
    if missing:
        raise InputError(
            f"the router was trained for {', '.join(learnt.models[:6])}, not for {missing[0][:60]}.",
            hint="Report on outcomes of the models that it knows.",
        )
    scores = learnt.scorer.scores(await learnt.features.vectors(table.prompts))
    found: Floats = scores[:, [learnt.models.index(model) for model in table.models]]
    return found


async def calibrated(learnt: Learnt, table: Table, *, spend: float | None = None, share: float | None = None) -> Learnt:
    """A router set for a spend an answer, by lambda, or for a share of calls to the dearer of two, by a threshold.

    Args:
        learnt: the router.
        table: prompts like those to come; best not those it was trained on.
        spend: USD an answer, on average.
        share: 0 to 1.

    Raises:
        InputError: if both are given, the spend cannot be kept, or there are not two models for a share.
    """
    if (spend is None) == (share is None):
        raise InputError("calibrate for a spend or for a share of calls to the strong model: give one of them.")
    scores = learnt.scorer.scores(await learnt.features.vectors(table.prompts))
    if spend is not None:
        return replace(learnt, weight=weight_for_spend(scores, learnt.costs, spend), threshold=None)
    if len(learnt.models) != 2:
        raise InputError(f"a share of calls is between two models, and the router has {len(learnt.models)}.",
                         hint="Calibrate for a spend.")  # fmt: skip
    assert share is not None
    weak, strong = sorted(range(2), key=lambda j: learnt.costs[j])
    return replace(learnt, threshold=threshold_for_share(win_probability(scores, weak, strong), share))
