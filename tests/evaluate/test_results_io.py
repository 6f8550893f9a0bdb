"""Results in files come back as they were; files that are none are refused in a sentence; two evaluations compared."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import results

from agora.errors import InputError, MissingError
from agora.evaluate.measures.comparing import against
from agora.evaluate.records import Contestant, Results, Said, Scored
from agora.evaluate.results_io import from_json, load, rows, save, to_json
from agora.records import Usage

text = st.text(st.characters(), max_size=8)  # NUL, line separators and lone surrogates included
unit = st.floats(0, 1)
maybe = st.none() | unit
saids = st.builds(
    Said, text, st.integers(0, 5), st.none() | text, st.sampled_from(["answered", "unparsed", "absent", "abstained"]),
    maybe, maybe, maybe, st.lists(st.tuples(text, st.integers(0, 5)), max_size=3).map(tuple), st.booleans(),
)  # fmt: skip
usages = st.builds(
    Usage, st.integers(0, 2**53), st.integers(0, 9), usd=st.none() | st.floats(0, 1e9), seconds=st.floats(0, 1e9)
)
scoreds = st.builds(
    Scored, text, text, st.just("answered"), text, unit, st.none() | text, maybe, maybe, maybe, maybe,
    st.integers(0, 9), text, usages, st.floats(0, 1e6), st.lists(saids, max_size=4).map(tuple), st.none() | text, text,
    st.dictionaries(text, st.floats(-1e300, 1e300), max_size=2),
)  # fmt: skip
contestants = st.builds(
    Contestant, text, st.sampled_from(["debate", "member", "noise"]), text,
    st.lists(scoreds, max_size=3, unique_by=lambda row: row.item).map(tuple), text,
)  # fmt: skip
evaluations = st.builds(
    Results, text, text, text, text, st.integers(),
    st.lists(contestants, max_size=3, unique_by=lambda c: c.name).map(tuple),
    st.dictionaries(text, text, max_size=2), st.floats(0, 4e9), st.integers(0, 99),
    notes=st.lists(text, max_size=2).map(tuple), digests=st.dictionaries(text, text, max_size=2),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(evaluations)
def test_json_comes_back_as_it_was(made: Results) -> None:
    told = to_json(made)
    assert from_json(told) == made
    assert to_json(from_json(told)) == told


def test_files_come_back_and_are_replaced_whole(tmp_path: Path) -> None:
    made = results(30)
    save(made, tmp_path / "deep" / "results.json")
    assert load(tmp_path / "deep" / "results.json") == load(tmp_path / "deep") == made
    save(results(5), tmp_path / "deep" / "results.json")
    assert load(tmp_path / "deep") == results(5)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["results.json"]
    with pytest.raises(InputError, match=r"written as \.json, \.jsonl or \.parquet"):
        save(made, tmp_path / "results.xlsx")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        save(made, tmp_path / "file" / "results.json")
    for path in (tmp_path / "none", tmp_path, Path("a\0b")):
        with pytest.raises(InputError, match="cannot be read"):
            load(path)


GOOD = json.loads(to_json(results(4)))


def _at(change: Callable[[Any], object]) -> str:
    made = json.loads(json.dumps(GOOD))
    change(made)
    return json.dumps(made)


HOSTILE = {
    "no JSON": "{",
    "not UTF-8": b"\xff\xfe{",
    "nested": "[" * 100_000,
    "a list": "[]",
    "another object": '{"models": {}}',
    "a later version": _at(lambda r: r.update(agora_results=99)),
    "a version that is none": _at(lambda r: r.update(agora_results=[1])),
    "NaN": to_json(results(4)).replace('"score": 1.0', '"score": NaN', 1),
    "infinity": to_json(results(4)).replace('"score": 1.0', '"score": 1e999', 1),
    "no contestants": _at(lambda r: r.pop("contestants")),
    "a score of 2": _at(lambda r: r["contestants"][0]["rows"][0].update(score=2)),
    "a score of text": _at(lambda r: r["contestants"][0]["rows"][0].update(score="good")),
    "a huge round": _at(lambda r: r["contestants"][0]["rows"][0]["said"][0].update(round=10**12)),
    "a negative round": _at(lambda r: r["contestants"][0]["rows"][0]["said"][0].update(round=-1)),
    "a confidence": _at(lambda r: r["contestants"][0]["rows"][0]["said"][0].update(confidence=7)),
    "negative tokens": _at(lambda r: r["contestants"][0]["rows"][0]["usage"].update(input_tokens=-5)),
    "an item twice": _at(lambda r: r["contestants"][0]["rows"].append(r["contestants"][0]["rows"][0])),
    "a contestant twice": _at(lambda r: r["contestants"].append(r["contestants"][0])),
    "a role": _at(lambda r: r["contestants"][0].update(role="emperor")),
    "an answer that is none": _at(lambda r: r["contestants"][0]["rows"][0].update(status="unparsed")),
    "a key that drives a terminal": _at(lambda r: r["contestants"][0]["rows"][0].update(extra={"\x1b[2J\n": "x"})),
    "too long a number": '{"agora_results": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_a_sentence(content: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_json(content, "results.json")
    said = str(caught.value)
    assert said.startswith("results.json: ")
    assert len(said) < 400
    assert said.isprintable()
    assert caught.value.exit_status == 2


def test_rows_have_the_same_keys() -> None:
    made = results(10)
    told = list(rows(made))
    assert len(told) == 10 * len(made.contestants)
    assert len({tuple(row) for row in told}) == 1
    said = list(rows(made, "said"))
    assert len(said) == sum(len(row.said) for c in made.contestants for row in c.rows)


def test_frames(tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    made = results(20)
    frame = made.to_frame()
    assert len(frame) == 20 * len(made.contestants)
    by_name = frame.groupby("contestant")["score"].mean()
    assert by_name["council"] == sum(row.score for row in made["council"].rows) / 20
    assert set(made.to_frame("said")["round"]) <= {0, 1, 2}
    for name in ("rows.jsonl", "rows.said.jsonl", "rows.parquet", "rows.said.parquet"):
        save(made, tmp_path / name)
    lines = [json.loads(line) for line in (tmp_path / "rows.said.jsonl").read_text().splitlines()]
    assert lines == list(rows(made, "said"))
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert table == list(rows(made))
    pd.testing.assert_series_equal(pd.read_parquet(tmp_path / "rows.parquet")["score"], frame["score"])
    odd = dataclasses.replace(
        made, contestants=(Contestant("x\ud800", "debate", "x", (Scored("1", "", "answered", "\ud800", 1.0),)),)
    )
    save(odd, tmp_path / "odd.parquet")
    save(odd, tmp_path / "odd.jsonl")


@pytest.mark.parametrize("module", ["pandas", "pyarrow"])
def test_what_is_missing_is_said(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    made = results(2)
    needs = made.to_frame if module == "pandas" else lambda: save(made, tmp_path / "rows.parquet")
    with pytest.raises(MissingError, match=rf"{module}.*agora-debate\[frame\]"):
        needs()


# ---- two evaluations --------------------------------------------------------------------------------------------


def test_two_evaluations_are_compared_on_their_common_items() -> None:
    a = results(120, 1, {"one": "worthless"})
    b = results(150, 2, {"two": "helps"})
    made = against(a, b, ("old", "new"))
    assert (made.n, made.only_first, made.only_second) == (120, 0, 30)
    assert len(made.first) == len(made.second) == len(made.comparisons) == 12
    assert made.left == ()
    debate = made.comparisons[0]
    assert (debate.first, debate.second, debate.n, debate.family) == ("two (new)", "one (old)", 120, 1)
    assert debate.verdict == "better"
    same = against(a, a)
    assert all(one.verdict == "no difference shown" and one.difference.value == 0 for one in same.comparisons)


def test_what_only_one_has_is_named() -> None:
    a = results(30, 1, {"one": "worthless", "other": "helps"}, baselines=False)
    b = results(30, 2, {"other": "helps", "third": "harms"}, baselines=False)
    made = against(a, dataclasses.replace(b, scorer="math"))
    assert [one.first for one in made.comparisons] == ["other (B)"]
    assert made.left == ("one", "third")
    assert made.notes == ("the scorers differ: exact and math",)


def test_different_data_are_refused() -> None:
    a, b = results(30, 1), results(40, 1)
    changed = dataclasses.replace(b, digests={**b.digests, "q3": "0" * 16, "q4": "1" * 16})
    with pytest.raises(InputError, match="item 'q3' has another question or truth, and 1 more"):
        against(a, changed)
    with pytest.raises(InputError, match="do not say which items are the same"):
        against(dataclasses.replace(a, digests={}), b)
    assert against(dataclasses.replace(a, digests={}), dataclasses.replace(results(30, 2), digests={})).n == 30
    elsewhere = tuple(
        dataclasses.replace(c, rows=tuple(dataclasses.replace(row, item=f"x{row.item}") for row in c.rows))
        for c in b.contestants
    )
    with pytest.raises(InputError, match="no item in common"):
        against(a, dataclasses.replace(b, contestants=elsewhere))
    apart = results(30, 1, {"x": "helps", "y": "helps"}), results(30, 1, {"v": "helps", "w": "helps"})
    with pytest.raises(InputError, match="no contestant of the same name"):
        against(*apart)
