"""What can be changed in a debate: parameters, and how values of them become a debate."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from agora import config
from agora.config.reading import override, parse, parted, read, spelled_out
from agora.errors import InputError, StoreError
from agora.text.debate import Debate
from agora.tune.editing import rewritten

MOST = 200  # parameters
TRIED = 50  # values of all that is open, to see whether one of them can be had at all
Values = Mapping[str, Any]


class _Kept(str):
    """A choice that changes nothing."""


KEPT: Final = _Kept("as in the file")


@dataclass(frozen=True)
class Parameter:
    """One thing that can be changed.

    Attributes:
        name: of it.
        start: its value at the start.
        choices: all it can be, the start among them; or
        low, high: the range of a number,
        step: of which it is a multiple above `low`; None is any.
        when: whether it means anything, given the values of those before it.
    """

    name: str
    start: Any
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    when: Callable[[Values], bool] | None = None

    def suggest(self, trial: Any) -> Any:
        """A value from an Optuna trial. Choices are told to it by number, as they can be anything."""
        if self.choices:
            return self.choices[trial.suggest_categorical(self.name, tuple(range(len(self.choices))))]
        if self.step is not None:
            return self._stepped(trial.suggest_int(self.name, 0, self.steps))
        return self._short(trial.suggest_float(self.name, self.low, self.high))

    def told(self, value: Any) -> Any:
        """What Optuna knows a value as."""
        if self.choices:
            return next(i for i, one in enumerate(self.choices) if _text(one) == _text(value))
        return round((value - self.low) / self.step) if self.step is not None else value

    def drawn(self, rng: random.Random) -> Any:
        """Any value."""
        if self.choices:
            return rng.choice(self.choices)
        if self.step is not None:
            return self._stepped(rng.randint(0, self.steps))
        return self._short(rng.uniform(self.low, self.high))

    def _short(self, value: float) -> float:
        """A number as one would write it, within the range."""
        return min(self.high, max(self.low, float(f"{value:.4g}")))

    @property
    def steps(self) -> int:
        """How many steps there are above `low`."""
        return int((self.high - self.low) / (self.step or 1.0) + 1e-9)

    def _stepped(self, n: int) -> float:
        value = self.low + (self.step or 1.0) * n
        return round(value) if float(value).is_integer() and float(self.step or 1.0).is_integer() else value


@dataclass(frozen=True)
class Built:
    """A debate that a space has made.

    Attributes:
        debate: itself.
        key: the same for the same debate, whatever its values are called.
        text: its file; None where there is none.
    """

    debate: Debate
    key: str
    text: str | None = None


@dataclass(frozen=True)
class Space:
    """Parameters, and what makes a debate of their values.

    Attributes:
        parameters: in the order in which they are asked for.
        build: values -> debate; raises InputError where these do not fit together.
        about: what is searched, in a few words.
        early: given each agent's importance (agora.text.importance), values to try before others.
        notes: what a reader must know of it.
    """

    parameters: tuple[Parameter, ...]
    build: Callable[[Values], Built]
    about: str = ""
    early: Callable[[Mapping[str, float]], Sequence[Values]] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.parameters:
            hint = "Leave values open in the file, `{choose: [a, b]}`, or say --over KEY=A,B."
            raise InputError("nothing can be tuned here.", hint=hint)
        if len(self.parameters) > MOST:
            raise InputError(f"{len(self.parameters)} parameters are too many to tune; at most {MOST}.")
        names = [one.name for one in self.parameters]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"'{twice[:60]}' is left open twice.")

    @property
    def start(self) -> dict[str, Any]:
        """The values of the start."""
        return self._filled(lambda one: one.start)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Values from an Optuna trial."""
        return self._filled(lambda one: one.suggest(trial))

    def drawn(self, rng: random.Random) -> dict[str, Any]:
        """Any values."""
        return self._filled(lambda one: one.drawn(rng))

    def told(self, values: Values) -> dict[str, Any]:
        """What Optuna knows values as."""
        return {one.name: one.told(values[one.name]) for one in self.parameters if one.name in values}

    def _filled(self, value: Callable[[Parameter], Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for one in self.parameters:
            if one.when is None or one.when(made):
                made[one.name] = value(one)
        return made

    @classmethod
    def of(cls, parameters: Sequence[Parameter], build: Callable[[Values], Debate]) -> Space:
        """A space of debates that are made in Python; what a run costs is known again by the debate's values."""

        def made(values: Values) -> Built:
            return Built(build(values), _text(values))

        return cls(tuple(parameters), made)


# ---- of a file --------------------------------------------------------------------------------------------------

Apply = Callable[[dict[str, Any], Any], None]  # puts a value into the data of a file


class FileSpace:
    """Makes a space of a debate file: of what it leaves open and of `over`, else of what is usual.

    A value is left open as in recipes of merges: `{choose: [a, b]}`, or `{search: [low, high]}`, with `step: s` or
    without. The start has the first of the choices, and the middle of a range.

    Args:
        file: its path.
        over: 'KEY=A,B,C': a dotted key, and values that it can have beside the file's own.
        settings: 'KEY=VALUE', set before all else.
        asked: 'KEY=VALUE', set after all else, and not written into the file.
    """

    def __init__(
        self, file: Path, over: Sequence[str] = (), settings: Sequence[str] = (), asked: Sequence[str] = ()
    ) -> None:
        self.file, self.asked = file, list(asked)
        self.text = read(file)
        self.data, _ = parse(self.text, str(file))
        if settings:
            override(self.data, settings)
        self.open: list[tuple[Parameter, Apply]] = []
        self._marked: dict[str, tuple[str | int, ...]] = {}  # name -> where it stands open
        self._markers()
        for given in over:
            self._over(given)

    def space(self) -> Space:
        """The space.

        Raises:
            InputError: if nothing can be tuned, the start is no debate, or a key of `over` can have none of its values.
        """
        from agora.tune.usual import usual

        if self.open:
            about = "what is left open: " + ", ".join(one.name for one, _ in self.open)
            space = Space(tuple(one for one, _ in self.open), self.build, about)
            self.build(space.start)
            for one, _ in self.open:
                if one.choices[:1] == (KEPT,):
                    self._possible(space, one)
            return space
        found = usual(self)
        self.open = list(found.open)
        about = "what is usual: " + ", ".join(dict.fromkeys(found.about))
        return Space(tuple(one for one, _ in self.open), self.build, about, found.early, found.notes)

    def build(self, values: Values) -> Built:
        """The debate that values make of the file.

        Raises:
            InputError: if these do not fit together.
        """
        return self.built(self.filled(values))

    def filled(self, values: Values) -> dict[str, Any]:
        """The file's data with values."""
        from agora.weight.searching.parameters import filled

        # all at once: a dropped item of a list moves those after it
        marked = {path: copy.deepcopy(values[name]) for name, path in self._marked.items()}
        data: dict[str, Any] = filled(copy.deepcopy(self.data), (), marked)
        for one, apply in self.open:
            if one.name in values and values[one.name] is not KEPT:
                apply(data, copy.deepcopy(values[one.name]))
        return data

    def built(self, data: Mapping[str, Any]) -> Built:
        """The debate of data.

        Raises:
            InputError: if it is none.
        """
        text = rewritten(self.text, data, str(self.file))
        debate, _ = config.loads(text, str(self.file), self.asked, self.file.parent)
        return Built(debate, _text(data), text)

    def _possible(self, space: Space, one: Parameter) -> None:
        """See that a key has a value, beside the file's own, that makes a debate, alone or with what else is open: a
        mistake is to be found before anything is paid for."""
        draws, others = random.Random(one.name), one.choices[1:]
        tried = [space.start] * len(others) + [space.drawn(draws) for _ in range(TRIED)] * (len(self.open) > 1)
        why = ""
        for values, value in zip(tried, itertools.cycle(others), strict=False):
            try:
                self.build({**values, one.name: value})
                return
            except StoreError:
                raise
            except InputError as error:
                why = why or error.message.rstrip(".")
        raise InputError(f"--over {one.name[:60]}: none of its values makes a debate: {why}.")

    def _markers(self) -> None:
        from agora.weight.searching.parameters import places

        for free in places(self.data):
            choices, start = free.choices or (), None
            if choices:
                start = choices[0]
            elif free.step is None:
                start = (free.low + free.high) / 2
            else:
                start = free.value(int((free.high - free.low) / free.step / 2 + 1e-9))

            self._marked[free.name] = free.path
            one = Parameter(free.name, start, tuple(choices), free.low, free.high, free.step)
            self.open.append((one, lambda data, value: None))  # see `filled`

    def _over(self, given: str) -> None:
        key, equals, text = given.partition("=")
        key = key.strip()
        try:
            values = [yaml.safe_load(value) for value in parted(text) if value] if equals else None
        except yaml.YAMLError:
            values = None
        if not key or not isinstance(values, list) or not values or len(given) > 10_000:
            raise InputError(f"--over: '{given[:60]}' is not KEY=VALUE,VALUE.")

        def apply(data: dict[str, Any], value: Any) -> None:
            try:
                override(data, [f"{key}={json.dumps(value)}"])
            except InputError as error:
                raise InputError(error.message.replace("--set", "--over"), hint=error.hint) from None

        for value in values:
            apply(copy.deepcopy(self.data), value)  # a key that leads nowhere is found now
        own = _at(self.data, key)
        others = [value for value in values if _text(value) != _text(own)]
        choices = [KEPT, *{_text(value): value for value in others}.values()]
        if len(choices) > 1:
            self.open.append((Parameter(key, KEPT, tuple(choices)), apply))


def _at(data: Any, key: str) -> Any:
    """What stands at a dotted key."""
    data = copy.deepcopy(data)
    spelled_out(data)
    for name in key.split("."):
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
