"""The history of a search on disk: a JSON object a line, synced before the search goes on, and read first next time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from agora.errors import InputError
from agora.weight.searching.space import Key

FORMAT = "agora search of merges, 1"


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and what became of it.

    Attributes:
        phase: 'members', 'search' or 'random'.
        key: the point, or the name of a model that is no point.
        score: the higher the better; minus infinity where it could not be scored.
        error: why not.
        seconds: that scoring took.
        at: seconds from the beginning of its phase to its end, over all sittings.
    """

    phase: str
    key: Key
    score: float
    error: str | None = None
    seconds: float = 0.0
    at: float = 0.0


class History:
    """What a search has found so far, in memory and, where there is a file, on disk.

    Args:
        path: of the file; None keeps nothing. It is made where it is not there; its last line may be cut short, as by a
            kill, and is then dropped.
        header: what says which search this is.

    Raises:
        InputError: if the file is of another search, damaged, in use, or cannot be written.
    """

    def __init__(self, path: Path | str | None, header: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.header = {"format": FORMAT, **header}
        self.trials: dict[Key, Trial] = {}
        self.stops: dict[str, tuple[int, float]] = {}  # by phase: after how many the time was up, and how much that was
        self._file: BinaryIO | None = None
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            _locked(self._file, self.path)
            self._read()
        except OSError as error:
            self.close()
            raise InputError(f"{self.path} cannot be used: {(error.strerror or str(error)).lower()}.") from error
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        raw = self._file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if not lines and not (json.dumps(self.header) + "\n").encode().startswith(raw):
            lines = [raw]  # not the beginning of this search's first line: somebody's file
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._same(entry)
                elif "stop" in entry:
                    self.stops[entry["phase"]] = (int(entry["after"]), float(entry["stop"]))
                else:
                    self._remember(entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(f"{self.path}, line {number}: this is no history of a search.",
                                 hint="Give a file that is not there yet.") from error  # fmt: skip
        if len(whole) < len(raw):  # a line that was being written
            self._file.truncate(len(whole))
        if not lines:
            self._line(self.header)
            _sync_folder(self.path.parent if self.path else Path())

    def _same(self, entry: Mapping[str, Any]) -> None:
        if entry.get("format") != FORMAT:
            raise ValueError
        known = json.loads(json.dumps(self.header))
        other = [name for name in known if entry.get(name) != known[name]]
        if other:
            raise InputError(f"{self.path} is the history of another search: its {other[0]} differs.",
                             hint="Give a file that is not there yet.")  # fmt: skip

    def _remember(self, entry: Mapping[str, Any]) -> None:
        given = entry["key"]
        key: Key = given if isinstance(given, str) else tuple(float(value) for value in given)
        score = -math.inf if entry["score"] is None else float(entry["score"])
        self.trials[key] = Trial(entry["phase"], key, score, entry.get("error"), entry["seconds"], entry["at"])

    def add(self, trial: Trial) -> None:
        """Take a trial; when this returns it is on disk.

        Raises:
            InputError: if it cannot be written.
        """
        self.trials[trial.key] = trial
        entry: dict[str, Any] = {
            "phase": trial.phase, "key": trial.key, "score": trial.score if math.isfinite(trial.score) else None,
            "seconds": round(trial.seconds, 4), "at": round(trial.at, 4),
        }  # fmt: skip
        self._line(entry | ({"error": trial.error} if trial.error else {}))

    def stop(self, phase: str, after: int, seconds: float) -> None:
        """Note that the time of a phase was up, so that it ends there when it is gone through again."""
        self.stops[phase] = (after, seconds)
        self._line({"phase": phase, "stop": seconds, "after": after})

    def _line(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write((json.dumps(entry) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise InputError(f"{self.path} cannot be written: {why}.", hint="What it holds is kept.") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _locked(file: BinaryIO, path: Path) -> None:
    """Two searches that write one file would each lose what the other has found."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(
            f"{path} is being written by another search.", hint="Wait for it, or give another file."
        ) from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
