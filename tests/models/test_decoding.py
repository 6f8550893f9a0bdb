"""From logits to tokens and their text: exact distributions, what is left out, characters in parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toys import Toy

from agora import Message, Settings
from agora.errors import MalformedError
from agora.models.batching import Job, decode
from agora.models.decoding import Spelling, greedy, likeliest, sample

LOGITS = arrays(np.float32, 12, elements=st.floats(-15, 15, width=32), unique=True)
GRID = [(i + 0.5) / 4000 for i in range(4000)]


def shares(logits: np.ndarray, **options: object) -> dict[int, float]:
    """Of a grid of uniform numbers, how many give each token."""
    settings = Settings(temperature=1.0, **options)  # type: ignore[arg-type]
    found: dict[int, float] = {}
    for u in GRID:
        token = sample(logits, settings, u)
        found[token] = found.get(token, 0) + 1 / len(GRID)
    return found


def test_the_distribution_is_that_of_the_logits() -> None:
    logits = np.log(np.array([0.5, 0.2, 0.2, 0.1], np.float32))
    assert shares(logits) == pytest.approx({0: 0.5, 1: 0.2, 2: 0.2, 3: 0.1}, abs=1e-3)
    assert shares(logits, top_k=2) == pytest.approx({0: 5 / 7, 1: 2 / 7}, abs=1e-3) or shares(
        logits, top_k=2
    ) == pytest.approx({0: 5 / 7, 2: 2 / 7}, abs=1e-3)
    assert shares(logits, min_p=0.3) == pytest.approx({0: 5 / 9, 1: 2 / 9, 2: 2 / 9}, abs=1e-3)
    assert shares(logits, top_p=0.6) == pytest.approx({0: 5 / 7, 1: 2 / 7}, abs=1e-3)
    assert shares(logits, top_p=0.5) == pytest.approx({0: 5 / 7, 1: 2 / 7}, abs=1e-3) or shares(logits, top_p=0.5) == {
        0: pytest.approx(1)
    }
    assert shares(logits, top_k=3, top_p=0.7, min_p=0.5) == pytest.approx({0: 1}, abs=1e-3)


@given(logits=LOGITS, u=st.floats(0, 1, exclude_max=True))
def test_greedy_by_any_way(logits: np.ndarray, u: float) -> None:
    best = int(logits.argmax())
    assert greedy(logits[None])[0] == [best]
    for settings in (
        Settings(), Settings(temperature=0), Settings(temperature=1, top_k=1), Settings(temperature=1, min_p=1),
        Settings(temperature=1, top_p=1e-9), Settings(temperature=1e-6),
    ):  # fmt: skip
        assert sample(logits, settings, u) == best or np.isclose(np.sort(logits)[-2], logits[best], atol=1e-4)


@given(
    logits=LOGITS, u=st.floats(0, 1, exclude_max=True), t=st.floats(0.1, 3), k=st.integers(1, 12),
    p=st.floats(0.01, 1), m=st.floats(0, 1),
)  # fmt: skip
def test_what_is_left_out_is_never_drawn(logits: np.ndarray, u: float, t: float, k: int, p: float, m: float) -> None:
    token = sample(logits, Settings(temperature=t, top_k=k, top_p=p, min_p=m), u)
    scaled = np.exp((logits - logits.max()) / t)
    assert (logits > logits[token]).sum() < k
    assert scaled[token] >= m * scaled.max() - 1e-6
    kept = np.sort(scaled)[::-1][:k]
    kept = kept / kept.sum()
    before = kept[: int((logits > logits[token]).sum())].sum()
    assert before < p + 1e-6 or token == logits.argmax()


@given(logits=LOGITS, most=st.integers(0, 14))
def test_likeliest(logits: np.ndarray, most: int) -> None:
    p = np.exp(logits - logits.max())
    p /= p.sum()
    found = likeliest(logits, float(np.log(p[3])), 3, most)
    assert [i for i, _ in found] == sorted(range(12), key=lambda i: -logits[i])[:most]
    assert [math.exp(v) for _, v in found] == pytest.approx([p[i] for i, _ in found], abs=1e-5)


def test_nan_is_told_from_a_number() -> None:
    rows = np.array([[1.0, np.nan], [0.0, 0.0], [-np.inf, -np.inf], [np.inf, 0.0]], np.float32)
    tokens, logprobs = greedy(rows)
    assert [math.isfinite(x) for x in logprobs] == [False, True, False, False]
    assert tokens[1] == 0


PARTS = [b"a", "é".encode()[:1], "é".encode()[1:], "🙂".encode()[:2], "🙂".encode()[2:], b" b"]


def spell(tokens: Sequence[int]) -> str:
    return b"".join(PARTS[t] for t in tokens).decode("utf-8", "replace")


@pytest.mark.parametrize("tokens", [[0, 1, 2, 3, 4, 5], [3, 4, 1, 2], [5, 5, 5, 5, 5, 5, 5, 5], [1, 2] * 10])
def test_characters_in_parts_are_told_when_they_are_whole(tokens: list[int]) -> None:
    spelling, pieces = Spelling(spell), []
    for token in tokens:
        pieces.append(spelling.piece(token))
        spelling.add(token, pieces[-1])
        assert "\ufffd" not in pieces[-1]
    assert "".join(pieces) == spell(tokens)


def test_a_stop_text_over_several_tokens_and_parts() -> None:
    toy = Toy(
        "t",
        ["ab", "c", "d"],
        lambda text: {"ab": 1.0} if len(text) % 4 == 0 else {"c" if len(text) % 4 == 2 else "d": 1.0},
    )
    for stop, text in (("cd", "ab"), ("bc", "a"), ("dab", "abc"), ("dabcda", "abc")):
        decode(toy, [job := Job([Message("user", "?")], Settings(stop=(stop,), logprobs=0), 50)])
        assert (job.text, job.finish) == (text, "stop")
        assert sum(len(t.text) for t in job.report) <= len(text) + 1


def test_infinite_logits_are_an_error_and_no_answer() -> None:
    toy = Toy("t", ["a"], lambda text: {"a": math.inf})
    with pytest.raises(MalformedError, match="NaN at token 1"):
        anyio.run(toy.answer, [Message("user", "?")])
