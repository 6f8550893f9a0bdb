"""Results in files and frames: JSON without loss, lines and Parquet of rows, pandas frames."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agora.errors import InputError, MissingError
from agora.evaluate.records import Contestant, Results, Said, Scored
from agora.lettering import clean

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
_ROUNDS = 100_000  # no debate has more; a hostile file must not make us build lists of a billion
_HINT = "Give a results.json that `agora eval --out` has written."
Table = Literal["rows", "said"]


# ---- JSON -------------------------------------------------------------------------------------------------------


def to_json(results: Results) -> str:
    """Results as one JSON object; `from_json` gives equal ones. What has its default is left out."""
    return json.dumps({"agora_results": VERSION, **_lean(results)}, allow_nan=False)


def from_json(text: str | bytes, name: str = "the results") -> Results:
    """Results of JSON.

    Args:
        text: as `to_json` writes it.
        name: of the file, for errors.

    Raises:
        InputError: if it is no such JSON, of a later version, or its figures are impossible.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        said = getattr(error, "msg", None) or "not text, or nested too deeply, or with numbers that are none"
        raise InputError(f"{name}: this is no JSON ({said}).", hint=_HINT) from None
    if not isinstance(found, dict) or "agora_results" not in found:
        raise InputError(f"{name}: these are no results of an evaluation.", hint=_HINT)
    version = found.pop("agora_results")
    if version != VERSION:
        raise InputError(
            f"{name}: results of version {version!r:.20}; this agora reads version {VERSION}.",
            hint="Read them with the agora that wrote them, or evaluate again.",
        )
    try:
        results = TypeAdapter(Results).validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = clean(".".join(str(part) for part in first["loc"]))[:120]
        raise InputError(f"{name}: {where}: {clean(first['msg'])[:160].lower()}.", hint=_HINT) from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply.", hint=_HINT) from None
    _check(results, name)
    return results


def save(results: Results, path: str | Path) -> None:
    """Write results: .json without loss; .jsonl and .parquet as rows, .said.jsonl and .said.parquet as what was said.
    A file that is there is replaced only once the new one is whole.

    Args:
        results: to be written.
        path: its suffix says how.

    Raises:
        InputError: if the suffix is another one, or the file cannot be written.
        MissingError: if Parquet is asked for and pyarrow is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower()
    what: Table = "said" if path.stem.endswith(".said") else "rows"
    if kind == ".json":
        write(path, to_json(results).encode())
    elif kind == ".jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in rows(results, what)).encode())
    elif kind == ".parquet":
        write(path, parquet(results, what))
    else:
        raise InputError(f"{path}: results are written as .json, .jsonl or .parquet.", hint="Give one of these.")


def load(path: str | Path) -> Results:
    """Results of a file, or of the results.json in a folder.

    Raises:
        InputError: if it cannot be read or holds no results.
    """
    path = Path(path)
    try:
        file = path / "results.json" if path.is_dir() else path
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        said = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputError(f"{path}: the results cannot be read: {said}.", hint="Check the path.") from None
    return from_json(content, str(file))


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except (OSError, ValueError) as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        said = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputError(f"{path} cannot be written: {said}.", hint="Check the path.") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _lean(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        made = {}
        for name, default in _fields(value.__class__):
            own = getattr(value, name)
            if own != default or type(own) is not type(default):
                made[name] = own if isinstance(own, (str, int, float)) else _lean(own)
        return made
    if isinstance(value, Mapping):
        return {str(key): _lean(own) for key, own in value.items()}
    return [_lean(own) for own in value] if isinstance(value, (tuple, list)) else value


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, f.default) for f in dataclasses.fields(kind))


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _check(results: Results, name: str) -> None:
    """What types do not say."""
    names = [c.name for c in results.contestants]
    if len(set(names)) < len(names):
        raise InputError(f"{name}: two contestants have the same name.", hint=_HINT)
    for contestant in results.contestants:
        items = set()
        for row in contestant.rows:
            where = f"{name}: {contestant.name!r:.60}, item {row.item!r:.60}"
            if row.item in items:
                raise InputError(f"{where}: it stands there twice.", hint=_HINT)
            items.add(row.item)
            if wrong := _wrong(row):
                raise InputError(f"{where}: {wrong}.", hint=_HINT)


def _wrong(row: Scored) -> str | None:
    """What is impossible about a row."""
    shares = {"score": row.score, "initial_score": row.initial_score, "confidence": row.confidence,
              "likelihood": row.likelihood, "share": row.share}  # fmt: skip
    for said in row.said:
        if not 0 <= said.round < _ROUNDS:
            return f"round {said.round}"
        if any(value is not None and not 0 <= value <= 1 for value in (said.score, said.confidence, said.likelihood)):
            return f"a figure of {said.agent!r:.40} is not between 0 and 1"
    for key, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            return f"{key} is {value}, not between 0 and 1"
    if (row.answer is None) == (row.status == "answered"):
        return f"{row.status} does not fit its answer"
    amounts = [row.seconds, *(v for v in dataclasses.astuple(row.usage) if v is not None)]
    if not all(0 <= value < math.inf for value in amounts) or not 0 <= row.rounds < _ROUNDS:
        return "usage, rounds and seconds are at least 0 and finite"
    return None if all(map(math.isfinite, row.extra.values())) else "extra figures are finite"


# ---- rows, frames, Parquet --------------------------------------------------------------------------------------


def rows(results: Results, what: Table = "rows") -> Iterator[dict[str, Any]]:
    """Results as flat rows, all with the same keys.

    Args:
        results: to be told.
        what: 'rows', one for each contestant and item; 'said', one for each agent and round of these.
    """
    extras = list(dict.fromkeys(key for c in results.contestants for row in c.rows for key in row.extra))
    for contestant in results.contestants:
        for row in contestant.rows:
            if what == "rows":
                yield _row(contestant, row, extras)
            else:
                yield from (_said(contestant, row, said) for said in row.said)


def _row(contestant: Contestant, row: Scored, extras: list[str]) -> dict[str, Any]:
    usage = row.usage
    return {
        "contestant": contestant.name, "role": contestant.role, "of": contestant.of, "item": row.item,
        "group": row.group, "status": row.status, "answer": row.answer, "score": row.score, "right": row.right,
        "initial": row.initial, "initial_score": row.initial_score, "confidence": row.confidence,
        "likelihood": row.likelihood, "share": row.share, "rounds": row.rounds, "stop": row.stop,
        "calls": usage.calls, "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens, "usd": usage.usd, "seconds": row.seconds, "error": row.error,
        "run": row.run, **{f"extra_{key}": row.extra.get(key) for key in extras},
    }  # fmt: skip


def _said(contestant: Contestant, row: Scored, said: Said) -> dict[str, Any]:
    return {
        "contestant": contestant.name, "item": row.item, "group": row.group, "agent": said.agent, "round": said.round,
        "status": said.status, "answer": said.answer, "score": said.score, "right": said.right,
        "confidence": said.confidence, "likelihood": said.likelihood, "kept": said.kept,
        "read": [f"{agent}@{index}" for agent, index in said.read],
    }  # fmt: skip


def to_frame(results: Results, what: Table = "rows") -> pd.DataFrame:
    """Results as a pandas frame.

    Args:
        results: to be told.
        what: 'rows', one for each contestant and item; 'said', one for each agent and round of these.

    Raises:
        MissingError: if pandas is not installed.
    """
    pandas = _needs("pandas")
    frame: pd.DataFrame = pandas.DataFrame.from_records(list(rows(results, what)))
    return frame


def parquet(results: Results, what: Table = "rows") -> bytes:
    """Results as a Parquet file.

    Raises:
        MissingError: if pyarrow is not installed.
    """
    arrow, writer = _needs("pyarrow"), _needs("pyarrow.parquet")
    told = [{key: _encodable(value) for key, value in row.items()} for row in rows(results, what)]
    out = arrow.BufferOutputStream()
    writer.write_table(arrow.Table.from_pylist(told), out)
    return bytes(out.getvalue().to_pybytes())


def _encodable(value: Any) -> Any:
    """Text without lone surrogates, which no file in UTF-8 can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _needs(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingError(
            f"this needs {package}, which is not installed.", hint="Install it with: pip install 'agora-debate[frame]'."
        ) from None
