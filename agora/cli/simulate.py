"""The command that predicts a debate before anything is paid for: simulate."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agora.cli import views
from agora.cli.options import JSON, SET, question_of

if TYPE_CHECKING:
    from agora.simulate import Check, Population, Simulation, Spread
    from agora.text.debate import Debate

_PER = "NUMBER | AGENT=NUMBER,..."


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-q", "--question", help="A typical question, to count tokens; default: the file's.")
@click.option("--accuracy", metavar=_PER, default="0.6", show_default=True, help="How often first answers are right.")
@click.option("--correlation", type=float, default=0.0, help="Of the errors of two agents on one question, 0 to 1.")
@click.option("--conformity", metavar=_PER, default="0", help="How often what was read most is taken over.")
@click.option(
    "--persuasion", type=float, default=0.0, help="-1 to 1: right answers so much more often, wrong ones less."
)
@click.option("--abstention", metavar=_PER, default="0", help="How often a turn gives no answer that can be read.")
@click.option("--options", type=int, help="Number of possible answers; default: those of a choice or yes-no, else 4.")
@click.option("--concentration", type=float, help="Answers are drawn anew from Dirichlet beliefs of so many counts.")
@click.option("--confidence", metavar="RIGHT,WRONG", help="Mean confidences of right and wrong answers; default: 0.8.")
@click.option("--latency", type=float, help="Seconds a call takes, to predict how long a debate takes.")
@click.option(
    "--from", "stored", type=click.Path(path_type=Path), help="An evaluation's folder: the agents are fitted to it."
)
@click.option("-n", "count", type=int, default=10_000, show_default=True, help="Debates to simulate.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A .svg of the accuracy by round.")
@SET
@JSON
def simulate(
    file: Path,
    question: str | None,
    accuracy: str,
    correlation: float,
    conformity: str,
    persuasion: float,
    abstention: str,
    options: int | None,
    concentration: float | None,
    confidence: str | None,
    latency: float | None,
    stored: Path | None,
    count: int,
    seed: int,
    out: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Predict the debate in FILE with simulated agents: accuracy by round, calls, cost. Nothing is sent.

    Agents are right with their accuracy, and take over what they have read most often, where it is another answer,
    with their conformity. All that is taken for granted stands under the result.
    """
    from agora import config
    from agora.errors import InputError
    from agora.simulate import Population
    from agora.simulate import simulate as predict

    if out is not None and out.suffix.lower() != ".svg":
        raise InputError(f"{out}: a picture is a .svg.", hint="Give -o one of these.")
    missing: list[str] = []
    debate, given = config.load(file, settings, lenient=True, missing=missing)
    asked = question_of(question) if question is not None else given
    fitted = _fitted(stored, debate, file, seed) if stored is not None else None
    people = fitted.whole if fitted is not None else Population(
        _per(accuracy, "accuracy"), correlation, _per(conformity, "conformity"), persuasion,
        _per(abstention, "abstention"), options, concentration, _pair(confidence),
    )  # fmt: skip
    made = predict(debate, people, n=count, seed=seed, question=asked, latency=latency)
    if out is not None:
        _draw(made, out)
    if as_json:
        checks = {"checks": [asdict(check) for check in fitted.checks]} if fitted is not None else {}
        print(json.dumps({**made.plain(), **checks}))
        return
    plural = "s" * (made.debates != 1)
    click.echo(f"{file}: {made.debates:,} debate{plural} of {len(debate.agents):,} simulated agents, seed {seed}")
    _print(made)
    if fitted is not None:
        _told(fitted)
    for note in missing:
        click.echo(f"  unknown   {views.short(note, 300)}")
    if out is not None:
        click.echo(f"  picture   {out}")


@dataclass(frozen=True)
class _Fit:
    """A population fitted to an evaluation, and how well one fitted to a half of it, by seed, predicts the other."""

    whole: Population
    half: int
    unexplained: float
    checks: list[Check]


def _fitted(stored: Path, debate: Debate, file: Path, seed: int) -> _Fit:
    from agora.cli.evaluate import stored_results
    from agora.errors import InputError
    from agora.simulate import fit, how_well, records_of
    from agora.simulate import simulate as predict

    results = stored_results(stored)
    names = {debate.name, file.stem}
    found = [c for c in results.debates if c.name in names] or list(results.debates)
    if len(found) != 1:
        told = ", ".join(c.name for c in found[:5])
        raise InputError(f"{stored}: there are {len(found)} debates ({told}), and none is called '{file.stem}'.")
    records = records_of(found[0])
    if len(records) < 20:
        raise InputError(f"{stored}: {len(records)} items are too few to fit agents to.", hint="Evaluate 20 or more.")
    strangers = {name for record in records for name in record.answers[0]} - {agent.name for agent in debate.agents}
    if strangers:
        raise InputError(f"{stored}: '{sorted(strangers)[0]}' is no agent of {file}.")
    random.Random(seed).shuffle(records)
    halves = records[::2], records[1::2]
    checks = how_well(predict(debate, fit(halves[0]).population, n=4_000, seed=seed), halves[1])
    made = fit(records)
    return _Fit(made.population, len(halves[1]), made.unexplained, checks)


def _told(fitted: _Fit) -> None:
    rows = [("fitted to one half of the items", "predicted", "95% of evaluations", "the other half")]
    for check in fitted.checks:
        told = f"{check.observed:.3f}{'' if check.holds else ', MISSED'}"
        rows.append(
            (f"vote after round {check.round}", f"{check.predicted:.3f}", f"[{check.low:.3f}, {check.high:.3f}]", told)
        )
    _columns(rows)
    click.echo(f"  of the later answers {fitted.unexplained:.1%} are of a kind that simulated agents never give")


def _per(text: str, name: str) -> float | dict[str, float]:
    """'0.6', 'ann=0.7,bob=0.5' or '0.6,ann=0.7', where the first is for all others."""
    from agora.errors import InputError

    found: dict[str, float] = {}
    for part in text.split(","):
        who, sign, value = part.rpartition("=")
        key = who.strip() if sign else "*"
        if not key or key in found:
            raise InputError(f"--{name}: '{text[:60]}' names an agent twice, or nobody.", hint=f"Write {_PER}.")
        found[key] = _number(value, name)
    return found["*"] if list(found) == ["*"] else found


def _pair(text: str | None) -> tuple[float, float] | None:
    from agora.errors import InputError

    if text is None:
        return None
    right, *rest = (_number(part, "confidence") for part in text.split(","))
    if len(rest) > 1:
        raise InputError("--confidence: needs two numbers, RIGHT,WRONG.")
    return right, rest[0] if rest else right


def _number(text: str, name: str) -> float:
    from agora.errors import InputError

    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{name}: '{text.strip()[:40]}' is no number.", hint=f"Write {_PER}.") from None


def _draw(made: Simulation, out: Path) -> None:
    from agora.drawing import curve_svg
    from agora.errors import InputError

    beside = {"one agent": made.single_by_round[0].mean, "any agent (oracle)": made.oracle.mean}
    votes = [share.mean for share in made.by_round]
    svg = curve_svg(
        votes, votes, beside, along="rounds (accuracy of the vote)", first=0,
        bands=[(share.low, share.high) for share in made.by_round],
    )  # fmt: skip
    try:
        out.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {(error.strerror or str(error)).lower()}.") from error


def _print(made: Simulation) -> None:
    rows = [("accuracy after round", "vote", "95% interval", "one agent")]
    for index, (vote, single) in enumerate(zip(made.by_round, made.single_by_round, strict=True)):
        if index <= 12 or index == len(made.by_round) - 1:
            name = f"{index}{' (no debate)' * (index == 0)}"
            rows.append((name, f"{vote.mean:.3f}", f"[{vote.low:.3f}, {vote.high:.3f}]", f"{single.mean:.3f}"))
    _columns(rows)
    rows = [("of the debates", "share", "95% interval", "")]
    shares = {
        "verdict right": made.accuracy, "no verdict": made.undecided, "somebody's first answer right": made.oracle,
        "all end with one wrong answer": made.wrong_consensus,
    }  # fmt: skip
    if made.over_budget is not None:
        shares["more calls than the budget has"] = made.over_budget
    shares |= {f"ended by: {views.short(name, 44)}": share for name, share in made.reasons.items()}
    rows += [(name, f"{s.mean:.3f}", f"[{s.low:.3f}, {s.high:.3f}]", "") for name, s in shares.items()]
    _columns(rows)
    rows = [("of a debate", "mean", "95% of debates", "error of the mean")]
    figures: dict[str, tuple[Spread | None, str]] = {
        "rounds": (made.rounds, ".2f"), "calls": (made.calls, ",.1f"), "tokens in": (made.input_tokens, ",.0f"),
        "tokens out": (made.output_tokens, ",.0f"), "cost, USD": (made.usd, ".4f"), "seconds": (made.seconds, ",.1f"),
    }  # fmt: skip
    figures |= {f"agents {name}": (spread, ".3f") for name, spread in made.transitions.items()}
    for name, (s, form) in figures.items():
        if s is not None:
            rows.append((name, format(s.mean, form), f"[{s.low:{form}}, {s.high:{form}}]", f"{s.error:.2g}"))
    _columns(rows)
    for word, lines in (("assumed", made.assumptions), ("note", made.notes)):
        for line in lines:
            click.echo(f"  {word:9} {views.short(line, 300)}")


def _columns(rows: list[tuple[str, str, str, str]]) -> None:
    click.echo("")
    views.columns([("  " + name, *rest) for name, *rest in rows], (False, True, True, True))
