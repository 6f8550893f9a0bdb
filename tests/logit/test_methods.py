"""How distributions are combined: the exact cases of the literature, and what must hold for any of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agora.errors import InputError
from agora.logit import methods as m
from agora.logit import weights as w
from agora.logit.fused import disagreement


def logs(*rows: list[float]) -> m.Array:
    """Probabilities of members, each a row, as (members, 1, vocabulary) log-probabilities."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float64))[:, None]


def p(combined: m.Array) -> list[float]:
    return [round(x, 6) for x in np.exp(combined)[0].tolist()]


def ones(n: int) -> m.Array:
    return np.ones((n, 1))


HALVES = logs([0.5, 0.5, 0.0], [0.0, 0.5, 0.5])


def test_the_two_halves() -> None:
    assert p(m.average(HALVES, ones(2))) == [0.25, 0.5, 0.25]
    assert p(m.product(HALVES, ones(2))) == [0, 1, 0]
    assert p(m.geometric(HALVES, ones(2))) == [0, 1, 0]
    assert p(m.minimum(HALVES, ones(2))) == [0, 1, 0]
    assert p(m.maximum(HALVES, ones(2))) == [round(1 / 3, 6)] * 3


def test_product_sharpens_and_geometric_does_not() -> None:
    one = logs([0.8, 0.2], [0.8, 0.2])
    assert p(m.geometric(one, ones(2))) == [0.8, 0.2]
    assert p(m.product(one, ones(2))) == [round(0.64 / 0.68, 6), round(0.04 / 0.68, 6)]


def test_weights() -> None:
    two = logs([0.9, 0.1], [0.1, 0.9])
    assert p(m.average(two, np.array([[3.0], [1.0]]))) == [0.7, 0.3]
    for how in (m.average, m.product, m.geometric):
        assert p(how(two, np.array([[1.0], [0.0]]))) == [0.9, 0.1]
        assert p(how(HALVES, np.array([[0.0], [1.0]]))) == [0, 0.5, 0.5]


def test_contrast_by_hand() -> None:
    # allowed: at least .1 * .6; the scores are log(.6/.3) and log(.3/.1), so the second is preferred 3 to 2
    said = m.contrast(logs([0.6, 0.3, 0.05, 0.05], [0.3, 0.1, 0.5, 0.1]), ones(2), alpha=0.1)
    assert p(said) == [0.4, 0.6, 0, 0]
    # beta 1: .6^2/.3 and .3^2/.1
    said = m.contrast(logs([0.6, 0.3, 0.05, 0.05], [0.3, 0.1, 0.5, 0.1]), ones(2), alpha=0.1, beta=1)
    assert p(said) == [round(1.2 / 2.1, 6), round(0.9 / 2.1, 6), 0, 0]
    assert p(m.contrast(logs([0.6, 0.4], [0.1, 0.9]), ones(2), alpha=1)) == [1, 0]


def test_contrast_with_itself_orders_equal_scores_by_the_expert() -> None:
    one = logs([0.2, 0.5, 0.25, 0.05], [0.2, 0.5, 0.25, 0.05])
    said = m.contrast(one, ones(2), alpha=0.1)
    assert said.argmax() == 1
    assert p(said) == [round(1 / 4, 6)] * 4  # .05 >= .1 * .5
    assert np.argsort(-said[0])[:3].tolist() == [1, 2, 0]


def test_an_amateur_to_whom_a_token_is_impossible_does_not_make_it_certain_by_infinity() -> None:
    said = m.contrast(logs([0.5, 0.5], [0.0, 1.0]), ones(2))
    assert np.isfinite(said[0, 0])
    assert p(said) == [1, 0]


def test_tuned() -> None:
    base, expert, anti = [0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2]
    assert p(m.tuned(logs(base, expert, expert), ones(3))) == base
    assert p(m.tuned(logs(base, expert, anti), ones(3), alpha=0)) == base
    moved = [0.5 * 0.5, 0.3 * 1.5, 0.2]
    assert p(m.tuned(logs(base, expert, anti), ones(3))) == [round(x / sum(moved), 6) for x in moved]
    # the base's own tuned version by emulated fine-tuning: the anti-expert is the base
    assert p(m.tuned(logs(base, expert, base), ones(3))) == expert
    assert p(m.tuned(logs([0.0, 0.5, 0.5], [0.9, 0.1, 0.0], [0.0, 0.5, 0.5]), ones(3)))[0] == 0


def test_aware() -> None:
    with_, without = [0.6, 0.4], [0.3, 0.7]
    assert p(m.aware(logs(with_, without), ones(2), alpha=0)) == with_
    moved = [0.6**2 / 0.3, 0.4**2 / 0.7]
    assert p(m.aware(logs(with_, without), ones(2), alpha=1)) == [round(x / sum(moved), 6) for x in moved]


def test_surest_is_the_one_with_the_least_entropy_row_by_row() -> None:
    one, other = [0.9, 0.1, 0.0], [0.3, 0.4, 0.3]
    both = np.concatenate([logs(one, other), logs(other, one)], 1)
    assert np.exp(m.surest(both, np.ones((2, 2)))).round(6).tolist() == [one, one]
    assert p(m.surest(logs(one, one[::-1]), ones(2))) == one  # the first among equals


@pytest.mark.parametrize(("threshold", "alone"), [(0, [True, True]), (0.6, [True, False]), (1, [False, False])])
def test_deferral(threshold: float, alone: list[bool]) -> None:
    rows = np.concatenate([logs([0.7, 0.3]), logs([0.5, 0.5])], 1)[0]
    assert m.deferring(threshold).decided(rows).tolist() == alone
    certain = logs([1.0, 0.0])[0]
    assert m.deferring(1).decided(certain).tolist() == [False]


def test_packllm() -> None:
    assert w.by_losses([0, math.log(3)], 1).tolist() == pytest.approx([0.75, 0.25])
    assert w.by_losses([1, 1, 1], 0.01).tolist() == pytest.approx([1 / 3] * 3)
    assert w.by_losses([1000, 1], 0.01).tolist() == pytest.approx([0, 1])


def test_disagreement() -> None:
    def of(*rows: list[float]) -> float:
        return disagreement(logs(*rows)[:, 0])

    assert of([0.5, 0.5], [0.5, 0.5]) == 0
    assert of([1, 0], [0, 1]) == 1
    assert of([1, 0, 0], [0, 1, 0], [0, 0, 1]) == pytest.approx(1)
    assert 0 < of([0.9, 0.1], [0.5, 0.5]) < 1


# ---- properties -------------------------------------------------------------------------------------------------

HOW: list[tuple[str, Callable[[m.Array, m.Array], m.Array], int]] = [
    ("average", m.average, 3),
    ("product", m.product, 3),
    ("geometric", m.geometric, 3),
    ("min", m.minimum, 3),
    ("max", m.maximum, 3),
    ("surest", m.surest, 3),
    ("contrast", m.contrast, 2),
    ("tuned", m.tuned, 3),
    ("aware", m.aware, 2),
]
LOGITS = arrays(np.float32, (3, 2, 5), elements=st.floats(-20, 20, width=32))


@pytest.mark.parametrize(("name", "how", "n"), HOW)
@given(logits=LOGITS, shift=arrays(np.float32, (3, 2, 1), elements=st.floats(-100, 100, width=32)))
def test_it_is_a_distribution_and_a_constant_changes_nothing(
    name: str, how: Callable[[m.Array, m.Array], m.Array], n: int, logits: m.Array, shift: m.Array
) -> None:
    weights = np.ones((n, 2))
    said = how(m.normalised(logits[:n]), weights)
    np.testing.assert_allclose(np.exp(said).sum(-1), 1, atol=1e-4)
    if name not in ("surest", "contrast"):  # which jump where members or scores are equal
        moved = how(m.normalised(logits[:n] + shift[:n]), weights)
        np.testing.assert_allclose(np.exp(moved), np.exp(said), atol=1e-3)


@pytest.mark.parametrize(("name", "how", "n"), HOW[:1] + HOW[2:6] + HOW[7:])
@given(logits=LOGITS)
def test_copies_of_one_model_are_that_model(
    name: str, how: Callable[[m.Array, m.Array], m.Array], n: int, logits: m.Array
) -> None:
    one = m.normalised(logits[:1])
    said = how(np.repeat(one, n, 0), np.ones((n, 2)))
    np.testing.assert_allclose(np.exp(said), np.exp(one[0]), atol=1e-4)


@given(logits=LOGITS)
def test_the_order_of_members_makes_no_difference(logits: m.Array) -> None:
    said = m.normalised(logits)
    weights = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
    for how in (m.average, m.product, m.geometric, m.minimum, m.maximum):
        np.testing.assert_allclose(
            np.exp(how(said, weights)), np.exp(how(said[::-1], weights[::-1])), rtol=1e-4, atol=1e-5
        )


def test_nan_and_nothing_become_nan_and_stay() -> None:
    rows = np.array([[1.0, np.nan, 2.0], [-np.inf, -np.inf, -np.inf], [0.0, 0.0, -np.inf]])
    said = m.normalised(rows)
    assert np.isnan(said[:2]).all()
    assert np.exp(said[2]).tolist() == pytest.approx([0.5, 0.5, 0])
    for _, how, n in HOW:
        both = np.stack([m.normalised(np.array([[0.0, 1.0]]))] * n)
        both[-1] = np.nan
        assert np.isnan(how(both, ones(n))).any()


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: m.method("avg"), "there are average, product"),
        (lambda: m.method("average", sure=1.5), "between 0 and 1"),
        (lambda: m.method("average", sure=math.nan), "between 0 and 1"),
        (lambda: m.contrasting(-0.1), "alpha"),
        (lambda: m.contrasting(0.1, -1), "beta"),
        (lambda: m.tuning(math.inf), "alpha"),
        (lambda: m.deferring(2), "threshold"),
        (lambda: w.given([1, 2], 3, "average"), "3 weights"),
        (lambda: w.given([1, -1], 2, "average"), "at least 0"),
        (lambda: w.given([0, 0], 2, "average"), "not all 0"),
        (lambda: w.given([1, math.nan], 2, "product"), "finite"),
        (lambda: w.given([1, 1], 2, "surest"), "takes no weights"),
    ],
)
def test_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_a_product_may_have_negative_weights() -> None:
    assert w.given([1, -0.5], 2, "product").tolist() == [1, -0.5]
