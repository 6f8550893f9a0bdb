"""Ways to fuse in debate files: every form, what is refused with which words, and what `agora check` foresees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from agora import Message
from agora.config import load_model
from agora.errors import InputError
from agora.logit import Drafted, Fused, OverText, fuse, proxy
from agora.models.pocket import PocketModel
from agora.models.writers import bare

QUESTION = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
S, M, B = "pocket:sum", "pocket:mul", "pocket:base"
FAR = {"completions": "m", "base_url": "http://127.0.0.1:9/v1"}


def said(value: Any) -> str:
    return anyio.run(load_model(value).answer, [Message("user", QUESTION)]).text


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"fuse": [S, M]}, Fused),
        ({"fuse": {"a": S, "b": M}, "method": "surest"}, Fused),
        ({"fuse": [S, M], "method": "product", "weights": [1, 0.5]}, Fused),
        ({"fuse": [S, M], "weights": "perplexity", "tau": 0.1}, Fused),
        ({"fuse": [S, M], "sure": 0.9}, Fused),
        ({"fuse": [S, M], "method": "defer", "sure": 0.5}, Fused),
        ({"fuse": [S, M], "over": "text", "top": 4}, OverText),
        ({"fuse": [S, FAR], "over": "text"}, OverText),
        ({"contrast": {"expert": S, "amateur": B, "alpha": 0.1}}, Fused),
        ({"contrast": {"expert": S, "amateur": B}, "beta": 0.5}, Fused),
        ({"proxy": {"base": B, "expert": S, "anti": B}}, Fused),
        ({"proxy": {"base": FAR, "expert": S, "anti": B}, "over": "text", "alpha": 0.5}, OverText),
        ({"aware": S, "alpha": 1.0, "tag": "notes"}, Fused),
        ({"speculate": {"model": {"fuse": [S, M]}, "draft": S}, "tokens": 2}, Drafted),
        ({"fuse": [S, M], "temperature": 0.5}, Fused),
    ],
)
def test_every_form(value: Any, kind: type) -> None:
    assert isinstance(bare(load_model(value))[0], kind)


def test_they_are_what_they_are_in_python() -> None:
    sum_, mul, base = PocketModel("sum"), PocketModel("mul"), PocketModel("base")

    def of(model: Any) -> str:
        return anyio.run(model.answer, [Message("user", QUESTION)]).text  # type: ignore[no-any-return]

    assert said({"fuse": [S, M], "weights": [3, 1]}) == of(fuse([sum_, mul], weights=[3, 1]))
    assert said({"proxy": {"base": B, "expert": S, "anti": M, "alpha": 0.5}}) == of(proxy(base, sum_, mul, alpha=0.5))
    assert said({"fuse": [S, M], "method": "defer", "sure": 1}) == of(mul)
    assert said({"speculate": {"model": S, "draft": M}}) == of(sum_)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"fuse": [S]}, "at least two"),
        ({"fuse": []}, "a list of models"),
        ({"fuse": [S, M], "method": "avg"}, "there are average, product, .*defer"),
        ({"fuse": [S, M], "method": "defer"}, "needs `sure`"),
        ({"fuse": [S, M], "weight": [1, 2]}, "Did you mean 'weights'"),
        ({"fuse": [S, M], "weights": [1]}, "2 weights"),
        ({"fuse": [S, M], "weights": [0, 0]}, "not all 0"),
        ({"fuse": [S, M], "method": "min", "weights": [1, 1]}, "takes no weights"),
        ({"fuse": [S, FAR]}, "over: text"),
        ({"fuse": [S, FAR], "over": "text", "weights": "perplexity"}, "share a vocabulary"),
        ({"fuse": [S, "scripted:hello"], "over": "text"}, "cannot go on with a text"),
        (
            {"fuse": [S, {"openai": "x", "base_url": "http://127.0.0.1:9/v1"}], "over": "text"},
            "cannot go on with a text",
        ),
        ({"contrast": {"expert": S}}, "expert: MODEL, amateur: MODEL"),
        ({"contrast": {"expert": S, "amateur": M, "alfa": 1}}, "Did you mean 'alpha'"),
        ({"contrast": {"expert": S, "amateur": M, "alpha": 3}}, "alpha"),
        ({"proxy": {"base": S, "expert": M}}, "anti: MODEL"),
        ({"proxy": [S, M, B]}, "anti: MODEL"),
        ({"aware": FAR}, "cannot be read in this process"),
        ({"speculate": {"model": S, "draft": FAR}}, "cannot be read in this process"),
        ({"speculate": {"model": S, "draft": M}, "tokens": 0}, "tokens"),
    ],
)
def test_refused_in_one_sentence(value: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        load_model(value)
    assert "\n" not in str(error.value)


def check(tmp_path: Path, model: str) -> dict[str, Any]:
    file = tmp_path / "f.yaml"
    file.write_text(
        "models:\n"
        "  far: {completions: m, base_url: 'http://127.0.0.1:9/v1', max_tokens: 50, price: {input: 1, output: 2}}\n"
        f"  both: {model}\n"
        "agents: {one: {model: both}}\nmoderator: {stop: rounds(0)}\nanswer: number\n"
    )
    command = [sys.executable, "-m", "agora.cli", "check", str(file), "--json", "-q", QUESTION]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "model",
    ["{fuse: [far, 'pocket:sum'], over: text}", "{nudge: {base: far, nudger: far}}",
     "{defer: {base: far, other: far}, threshold: 0.5}"],
)  # fmt: skip
def test_check_foresees_a_request_for_every_token(tmp_path: Path, model: str) -> None:
    found = check(tmp_path, model)
    requests = 50 * model.count("far")
    assert found["models"]["completions:m"]["calls"] == requests
    assert found["predicted"]["most"]["calls"] == requests
    assert found["predicted"]["least"]["calls"] <= requests / 3
    usage = found["models"]["completions:m"]
    # each request reads the growing answer again: the sum over t of (prompt + t)
    prompt = usage["input_tokens"] / requests - 49 / 2
    assert 10 < prompt < 200
    assert usage["usd"] == pytest.approx((usage["input_tokens"] + 2 * usage["output_tokens"]) / 1e6)
