"""Models that write one text together, in files: what they are built from, and what is wrong in one sentence."""

from __future__ import annotations

import anyio
import pytest

from agora import Message
from agora.config import load_model, loads
from agora.errors import AgoraError

QUESTION = [Message("user", "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?")]


@pytest.mark.parametrize(
    "value",
    [
        {"nudge": {"base": "pocket:mul", "nudger": "pocket:sum"}},
        {"nudge": {"base": "pocket:mul", "nudger": "pocket:sum"}, "gamma": 0.9},
        {"defer": {"base": "pocket:mul", "other": "pocket:sum"}, "threshold": 0.5},
        {"defer": {"base": "pocket:mul", "other": "pocket:sum"}, "threshold": 1, "by": "entropy"},
        {"switch": ["pocket:mul", "pocket:sum"], "span": 3},
        {"switch": {"first": "pocket:mul", "second": "pocket:sum"}},
        {"mentor": {"student": "pocket:mul", "mentor": "pocket:sum"}, "rate": 1},
    ],
    ids=str,
)
def test_they_answer(value: dict[str, object]) -> None:
    reply = anyio.run(load_model(value).answer, QUESTION)
    assert "Answer:" in reply.text
    assert reply.route is not None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{nudge: [pocket:sum, pocket:mul]}", "needs {base: MODEL, nudger: MODEL}"),
        ("{nudge: {base: pocket:sum, nudger: pocket:mul}, gama: 1}", "Did you mean 'gamma'"),
        ("{nudge: {base: pocket:sum, nudger: pocket:mul}, gamma: -1}", "gamma"),
        ("{nudge: {base: pocket:sum, nudger: {scripted: [x]}}}", "scripted"),
        ("{defer: {base: pocket:sum, other: pocket:mul}}", "threshold"),
        ("{defer: {base: pocket:sum, other: pocket:mul}, threshold: .nan}", "NaN"),
        ("{switch: [pocket:sum], span: 0}", "span"),
        ("{switch: [pocket:sum, pocket:mul], selector: nobody}", "nobody"),
        ("{mentor: {student: pocket:sum, mentor: pocket:mul}, rate: 2}", "rate"),
        ("{completions: m}", "needs a key"),
        ("{completions: m, base_url: 'http://localhost:1/v1', chat: chatlm}", "chat"),
    ],
)
def test_what_is_wrong(value: str, says: str) -> None:
    with pytest.raises(AgoraError) as caught:
        loads(f"models: {{m: {value}}}\nagents: {{a: m}}\n", "f.yaml")
    assert says in str(caught.value)
    assert "f.yaml:1" in str(caught.value)
