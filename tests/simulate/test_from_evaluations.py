"""Populations fitted to stored evaluations, and how well they predict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from crowd import Voice, debate, items

from agora.cli import agora as cli
from agora.errors import InputError
from agora.evaluate import Contestant, Said, Scored, evaluate
from agora.simulate import Record, fit, how_well, records_of, simulate

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"


def conforms(draws: object, peers: Sequence[str], truth: str) -> str:
    return peers[0]


def test_records_of_an_evaluation_say_what_was_answered_and_read() -> None:
    said = (
        Said("a", 0, "7", "answered", 1.0, confidence=0.9),
        Said("b", 0, "8", "answered", 0.0, confidence=0.3),
        Said("a", 1, "7.0", "answered", 1.0, read=(("b", 0),)),
        Said("b", 1, None, "absent", 0.0),
    )
    row = Scored("1", "", "answered", "7", 1.0, "8", 0.0, said=said)
    silent = Scored("2", "", "absent", None, 0.0)
    (record,) = records_of(Contestant("d", "debate", "d", (row, silent)))
    right = record.truth
    assert record.answers == [{"a": right, "b": "8"}, {"a": right}]  # however it is written
    assert record.reads == [{"a": (), "b": ()}, {"a": (("b", 0),)}]
    assert record.sure == [(True, 0.9), (False, 0.3)]
    assert record.voted == (False, True)
    unscored = Scored("1", "", "answered", "7", 1.0, said=(Said("a", 0, "7", "answered"),))
    with pytest.raises(InputError, match="were not scored"):
        records_of(Contestant("d", "debate", "d", (unscored,)))


def test_a_population_fitted_to_an_evaluation_predicts_another() -> None:
    voices = [Voice(name, accuracy, conforms) for name, accuracy in (("a", 0.7), ("b", 0.5), ("c", 0.5))]
    made = debate(*voices, last=0)
    first = evaluate(made, items(300), baselines=[])["crowd"]
    found = fit(records_of(first)).population
    assert isinstance(found.accuracy, dict)
    assert found.accuracy["a"] == pytest.approx(0.7, abs=0.08)
    assert found.accuracy["b"] == pytest.approx(0.5, abs=0.09)
    assert found.confidence is None
    second = evaluate(made, items(200), baselines=[], seed=1)["crowd"]
    (check,) = how_well(simulate(made, found, n=4_000), records_of(second))
    assert check.observed == pytest.approx(sum(row.score for row in second.rows) / 200)
    assert check.holds


def test_confidences_are_means_of_right_and_of_wrong_answers() -> None:
    records = [
        Record([{"a": "1"}], "1", [{}], [(True, 0.8)]),
        Record([{"a": "1"}], "1", [{}], [(True, 0.6)]),
        Record([{"a": "2"}], "1", [{}], [(False, 0.1)]),
    ]
    assert fit(records).population.confidence == (pytest.approx(0.7), pytest.approx(0.1))


def test_the_command_fits_to_an_evaluation(tmp_path: Path) -> None:
    run = CliRunner()
    out = str(tmp_path / "out")
    command = ["eval", str(QUICKSTART), "--data", "pocket:24", "-b", "none", "--store", "none", "--out", out]
    assert run.invoke(cli, command).exit_code == 0
    told = run.invoke(cli, ["simulate", str(QUICKSTART), "--from", out, "-n", "500"])
    assert told.exit_code == 0
    assert "fitted to one half of the items" in told.output
    data = json.loads(run.invoke(cli, ["simulate", str(QUICKSTART), "--from", out, "-n", "500", "--json"]).stdout)
    assert [check["round"] for check in data["checks"]] == [0, 2]
    small = ["eval", str(QUICKSTART), "--data", "pocket:4", "-b", "none", "--store", "none", "--out", out]
    assert run.invoke(cli, small).exit_code == 0
    wrong = run.invoke(cli, ["simulate", str(QUICKSTART), "--from", out])
    assert isinstance(wrong.exception, InputError)
    assert "too few" in str(wrong.exception)
