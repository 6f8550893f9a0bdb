"""The evaluations that the page lists, and their reports; only those that were named when the server began."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agora.calls import sentence
from agora.errors import AgoraError, InputError
from agora.serve.asked import Refused

LOG = logging.getLogger("agora.serve")
_MOST = 500  # evaluations
_REPORTS = 8  # that are kept
_Stamp = tuple[int, int]  # when a file was written, and its size


class Evaluations:
    """Evaluations in files.

    Args:
        paths: each a results.json, or a folder that has one, or whose folders have.

    Raises:
        InputError: if one of them has none.
    """

    def __init__(self, paths: Sequence[str | Path] = ()) -> None:
        self._paths = [Path(path) for path in paths]
        self._told: dict[Path, tuple[_Stamp, dict[str, Any] | None]] = {}
        self._reports: OrderedDict[tuple[Path, _Stamp], str] = OrderedDict()
        self._limiter = anyio.CapacityLimiter(1)  # a report keeps a processor busy for a while
        for path in self._paths:
            if not _files(path):
                raise InputError(f"{path} holds no evaluation.", hint="Write one with `agora eval ... --out DIR`.")

    async def listed(self) -> list[dict[str, Any]]:
        """All of them, newest first, as plain data; files that are broken are left out."""
        found = await anyio.to_thread.run_sync(self._all, limiter=self._limiter)
        return sorted(found, key=lambda one: (-one["created"], one["path"]))

    async def report(self, id: str) -> str:
        """The report of one, as HTML.

        Raises:
            Refused: if there is none.
        """
        file = next((file for file in self._files() if _id(file) == id), None)
        if file is None:
            raise Refused("there is no such evaluation.", status=404, code="not_found")
        try:
            return await anyio.to_thread.run_sync(partial(self._report, file), limiter=self._limiter)
        except AgoraError as error:
            raise Refused(error.message, status=422, hint=error.hint) from None

    def _files(self) -> list[Path]:
        return list(dict.fromkeys(file for path in self._paths for file in _files(path)))[:_MOST]

    def _all(self) -> list[dict[str, Any]]:
        made = []
        for file in self._files():
            try:
                stamp = _stamp(file)
                if self._told.get(file, (None,))[0] != stamp:
                    self._told[file] = stamp, _about(file)
            except (AgoraError, OSError) as error:
                if file not in self._told:
                    LOG.warning("%s", sentence(error))
                self._told[file] = (0, 0), None
            about = self._told[file][1]
            if about is not None:
                made.append(about)
        return made

    def _report(self, file: Path) -> str:
        from agora.evaluate import analyse, load_results
        from agora.evaluate.report.page import report

        try:
            key = file, _stamp(file)
        except OSError:
            raise Refused("there is no such evaluation.", status=404, code="not_found") from None
        if key not in self._reports:
            results = load_results(file)
            self._reports[key] = report(results, analyse(results))
            while len(self._reports) > _REPORTS:
                self._reports.popitem(last=False)
        self._reports.move_to_end(key)
        return self._reports[key]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    own = path / "results.json"
    return [own] if own.is_file() else sorted(path.glob("*/results.json"))[:_MOST]


def _id(file: Path) -> str:
    return hashlib.blake2b(str(file.resolve()).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def _stamp(file: Path) -> _Stamp:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _about(file: Path) -> dict[str, Any]:
    from agora.evaluate import load_results

    results = load_results(file)
    return {
        "id": _id(file), "data": results.data, "created": results.created, "scorer": results.scorer,
        "items": max((len(each.rows) for each in results.contestants), default=0), "path": str(file),
        "debates": [each.name for each in results.contestants if each.role == "debate"],
    }  # fmt: skip
