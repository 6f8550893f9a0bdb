"""What each preset must do, written down from its paper: tests/presets/NAME.yaml; and how that is compared.

A case says what every agent answers, call by call, and then, for each call there must be, what its prompt must show:

    preset: society-of-minds
    letters: {n: 3, r: 2}            # the values of the formula's letters in this case
    replies:                         # agent -> what it says, call by call (a number or word is 'Answer: ...'); the last
      a: [1, 2]                      # one is said again. Models that are no agents go by their role: select, judge, ...
      b: ["Answer: 2\\nConfidence: 70%"]
    calls:                           # 'AGENT ROUND PHASE': the earlier turns whose text its prompt shows; no others
      a 0 answer: []
      a 1 revise: [b.0, c.0, a.0]    # AGENT.ROUND, or AGENT.ROUND.PHASE where it spoke more than once in that round
      b 1 revise: [(a.0), b.0]       # (...): it was read, but its text is not shown (its answer alone is)
      (moderator) 0 select: [a.0]    # a model that is no agent; the second such call of a round is 'select#2'
    says:                            # optional: call -> texts that its prompt must have; `never` likewise
      a 1 revise: [confidence 70%]
    answer: "2"                      # the verdict's; null is an abstention
    stop: unanimous                  # these two must stand in the verdict's reason
    decide: plurality
    settings: [moderator.stop=rounds(1)]   # optional changes, as --set
    question: What is it?            # optional

A case may hold several runs of one preset: a list of such mappings. Every reply carries a mark of its own, so what was
shown is found in the prompts themselves, not in what the engine says of them.
"""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agora import calls, config
from agora.config import presets
from agora.model import Model, Settings
from agora.records import Message, Reply, Usage, Verdict
from agora.text.engine import MODERATOR

FOLDER = Path(__file__).parent / "presets"
_NO_DIGITS = str.maketrans("0123456789", "abcdefghij")


def cases() -> list[tuple[str, dict[str, Any]]]:
    """(id, case) of every file."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        runs = given if isinstance(given, list) else [given]
        found += [(path.stem if len(runs) == 1 else f"{path.stem}-{i}", run) for i, run in enumerate(runs, 1)]
    return found


@dataclass
class Recording:
    """One run of a preset with scripted voices."""

    verdict: Verdict | None = None
    prompts: dict[str, str] = field(default_factory=dict)  # call -> all that was sent
    marks: dict[str, str] = field(default_factory=dict)  # call -> the mark in its reply
    models: dict[str, str] = field(default_factory=dict)  # call -> the model that was asked
    temperatures: dict[str, float | None] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return sum(map(len, self.prompts.values()))

    def shown(self) -> dict[str, set[str]]:
        """Call -> whose texts its prompt shows, and in parentheses whose turns were read without their text."""
        assert self.verdict is not None
        short = self._short()
        found = {
            call: {short[other] for other, mark in self.marks.items() if mark in prompt}
            for call, prompt in self.prompts.items()
        }
        for turn in (t for r in self.verdict.rounds for t in r.turns if t.kept is None):
            call = f"{turn.agent} {turn.round} {turn.phase}"
            for name, round, phase in turn.reads:
                read = short.get(f"{name} {round} {phase}")
                if read is not None and call in found and read not in found[call]:
                    found[call].add(f"({read})")
        return found

    def _short(self) -> dict[str, str]:
        spoke = Counter(tuple(call.split(" ")[:2]) for call in self.marks)
        made = {}
        for call in self.marks:
            who, round, phase = call.split(" ", 2)
            name = phase if who == MODERATOR else who
            once = spoke[who, round] == 1 or who == MODERATOR
            made[call] = f"{name}.{round}" if once else f"{name}.{round}.{phase}"
        return made


def record(case: Mapping[str, Any], *, more_text: int = 0, more_question: int = 0) -> Recording:
    """Run a case.

    Args:
        case: as above.
        more_text: so many more characters in every reply.
        more_question: so many more in the question.
    """
    recording = Recording()
    count: Counter[str] = Counter()
    roles: Counter[str] = Counter()

    def voice(model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
        who, round, *rest = calls.current().path.split("/")
        phase = "/".join(rest)
        if who == MODERATOR:
            roles[f"{round} {phase}"] += 1
            n = roles[f"{round} {phase}"]
            call, by = f"{MODERATOR} {round} {phase}" + (f"#{n}" if n > 1 else ""), phase
        else:
            call, by = f"{who} {round} {phase}", who
        script = case["replies"].get(by, case["replies"].get(by.rpartition("-")[0], []))
        script = script if isinstance(script, list) else [script]
        i = count[by]
        count[by] += 1
        said = script[min(i, len(script) - 1)] if script else "nothing"
        said = said if isinstance(said, str) and (":" in said or "{" in said) else f"Answer: {said}"
        mark = f"<<{call.translate(_NO_DIGITS)}>>"  # a figure in it could be read as an answer
        recording.prompts[call] = "\n".join(m.content for m in messages)
        recording.marks[call] = mark
        recording.models[call] = model.name
        recording.temperatures[call] = settings.temperature
        return Reply(f"{mark} {'x' * more_text}\n{said}", model=model.name, usage=Usage(1, 1, 1))

    debate = _debate(case)
    question = case.get("question", "What is it?") + "y" * more_question
    with calls.scope(stand_in=voice):
        recording.verdict = debate.run(question)
    return recording


def _debate(case: Mapping[str, Any]) -> Any:
    """The preset with a scripted model in the place of each of its models, so that its own words are put to them."""
    data = yaml.safe_load(presets.text(case["preset"]))
    for name in data["models"]:
        data["models"][name] = {"scripted": "not asked", "name": f"of {name}"}
    return config.loads(yaml.safe_dump(data, sort_keys=False), case["preset"], case.get("settings", ()))[0]


# ---- formulas ---------------------------------------------------------------------------------------------------

_SIGNS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip


def value(formula: str, letters: Mapping[str, float]) -> float:
    """A formula's value: numbers, letters, + - * / ** and parentheses, min and max."""

    def of(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                return letters[name]
            case ast.BinOp(left=left, op=sign, right=right):
                return _SIGNS[type(sign)](of(left), of(right))
            case ast.Call(func=ast.Name(id="min" | "max" as name), args=args):
                return (min if name == "min" else max)(map(of, args))
        raise AssertionError(f"{formula}: not a formula")

    return of(ast.parse(re.sub(r"^at most ", "", formula), mode="eval").body)
