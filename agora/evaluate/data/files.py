"""Records from files and from Hugging Face data sets, each with the place where it stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from agora.errors import InputError, MissingError

MAX_RECORD = 20_000_000  # bytes of one record
MAX_ARRAY = 200_000_000  # bytes of a file that must be read as a whole
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
Record = tuple[str, dict[str, Any]]


def records(path: Path, split: str | None = None) -> Iterator[Record]:
    """The records of a file or of a folder written by `save_to_disk`, in order, each with 'file:line' or its number.

    Args:
        path: which; its ending says what it is.
        split: of a folder that has several.

    Raises:
        InputError: at the first record that cannot be read: where, and what is wrong.
        MissingError: if it takes an extra that is not installed.
    """
    if path.is_dir():
        yield from _saved(path, split)
        return
    kind = path.suffix.casefold()
    if kind not in ENDINGS:
        raise InputError(f"{path}: what is in it is told by its ending, which must be one of {', '.join(ENDINGS)}.")
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        elif kind in (".csv", ".tsv"):
            yield from _csv(path, "\t" if kind == ".tsv" else ",")
        elif kind == ".json" and _begins_with(path, b"["):
            yield from _array(path)
        else:
            yield from _json_lines(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def hub(name: str, config: str | None, split: str) -> Iterator[Record]:
    """The records of a split of a data set from the Hugging Face hub.

    Raises:
        InputError: if it cannot be loaded.
        MissingError: without `datasets`.
    """
    try:
        import datasets
    except ImportError:
        _needs("datasets", f"hf:{name}")
    shown = f"hf:{name}{f'/{config}' if config else ''}:{split}"
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # whatever the library and the network raise
        raise InputError(f"{shown} cannot be loaded: {' '.join(str(error).split())[:300]}.",
                         hint="Check its name, configuration and split.") from error  # fmt: skip
    for n, record in enumerate(loaded, 1):
        yield f"{shown}, record {n}", dict(record)


# ---- text ---------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8, with their ends, numbered from 1."""
    with path.open("rb") as file:
        n = 0
        while raw := file.readline(MAX_RECORD + 1):
            n += 1
            if len(raw) > MAX_RECORD:
                raise InputError(f"{path}:{n}: the record has more than {MAX_RECORD:,} bytes.",
                                 hint="One record a line.")  # fmt: skip
            if n == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield n, raw.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{path}:{n}: this is not UTF-8 text.", hint="Save the file as UTF-8.") from None


def _json_lines(path: Path) -> Iterator[Record]:
    for n, line in _lines(path):
        if line.strip():
            yield f"{path}:{n}", _object(line.strip(), f"{path}:{n}", "One JSON object a line.")


def _begins_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(mark)


def _array(path: Path) -> Iterator[Record]:
    size = path.stat().st_size
    if size > MAX_ARRAY:
        raise InputError(f"{path}: has {size:,} bytes; a JSON array has at most {MAX_ARRAY:,}.",
                         hint="Write one object a line (.jsonl) instead.")  # fmt: skip
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        n = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{n}: this is not UTF-8 text.", hint="Save the file as UTF-8.") from None
    found = _parsed(text, str(path), "It must be an array of objects.")
    for n, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise InputError(f"{path}, record {n}: this is not a JSON object.", hint="It must be an array of objects.")
        yield f"{path}, record {n}", record


def _object(text: str, where: str, hint: str) -> dict[str, Any]:
    value = _parsed(text, where, hint)
    if not isinstance(value, dict):
        raise InputError(f"{where}: this is not a JSON object.", hint=hint)
    return value


class _Unusable(Exception):
    """Valid for Python's reader of JSON, and yet no record."""


def _parsed(text: str, where: str, hint: str) -> Any:
    try:
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        at = f", line {error.lineno}" if error.lineno > 1 else ""
        raise InputError(f"{where}{at}: this is not JSON: {error.msg[:1].lower()}{error.msg[1:]} "
                         f"(column {error.colno}).", hint=hint) from None  # fmt: skip
    except _Unusable as error:
        raise InputError(f"{where}: {error}") from None
    except RecursionError:
        raise InputError(f"{where}: it is nested too deeply.") from None
    except ValueError:
        raise InputError(f"{where}: a number in it has thousands of digits.", hint="Write it as a text.") from None


def _constant(name: str) -> NoReturn:
    raise _Unusable(f"{name} is no JSON; write null, or a number.")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Unusable(f"'{twice[:60]}' stands twice in an object.")
    return found


def _csv(path: Path, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))
    reader = csv.reader((line for _, line in _lines(path)), strict=True, delimiter=delimiter)
    header: list[str] | None = None
    begin = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = 'A quote within a quoted field is written twice: "".'
            raise InputError(f"{path}:{begin}: this is not CSV: {error}.", hint=hint) from None
        where, begin = f"{path}:{begin}", reader.line_num + 1
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if header is None:
            header = _header([name.strip() for name in row], where, delimiter)
            continue
        if len(row) != len(header):
            raise InputError(f"{where}: the record has {len(row)} fields where the header names {len(header)}.",
                             hint="A field that has a comma or a line break in it stands in quotes.")  # fmt: skip
        yield where, dict(zip(header, row, strict=True))


def _header(names: list[str], where: str, delimiter: str) -> list[str]:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise InputError(
            f"{where}: the header has no '{delimiter}'.", hint="Fields are parted by commas, in a .tsv by tabs."
        )
    for name in names:
        if not name or names.count(name) > 1:
            wrong = f"'{name[:60]}' stands twice" if name else "a column has no name"
            raise InputError(f"{where}: {wrong} in the header.", hint="The first line names the columns.")
    return names


# ---- binary -------------------------------------------------------------------------------------------------------


def _needs(extra: str, what: str) -> NoReturn:
    package = {"parquet": "pyarrow"}.get(extra, extra)
    raise MissingError(f"{what}: reading it needs {package}, which is not installed.",
                       hint=f"pip install 'agora-debate[{extra}]'") from None  # fmt: skip


def _parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        _needs("parquet", str(path))
    n = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    n += 1
                    yield f"{path}, record {n}", record
    except (ValueError, NotImplementedError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"{path}: this is not Parquet that can be read: {said}.") from error


def _saved(path: Path, split: str | None) -> Iterator[Record]:
    """A folder that `save_to_disk` wrote: of one split, or of several."""
    if not (path / "dataset_dict.json").is_file() and not (path / "state.json").is_file():
        there = sorted(p.name for p in path.iterdir() if p.suffix in ENDINGS)[:5]
        hint = f"Name a file in it: {', '.join(there)}." if there else "Name a file."
        raise InputError(f"{path}: this is a folder, and no data set saved by save_to_disk.", hint=hint)
    try:
        import datasets
    except ImportError:
        _needs("datasets", str(path))
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever the library raises on a damaged folder
        raise InputError(f"{path} cannot be loaded: {' '.join(str(error).split())[:200]}.") from error
    if isinstance(loaded, dict):
        if split not in loaded:
            asked = "a split must be named" if split is None else f"there is no split '{split[:40]}'"
            raise InputError(
                f"{path}: {asked}; there are {', '.join(loaded)}.", hint=f"As in {path}:{next(iter(loaded))}."
            )
        loaded = loaded[split]
    elif split is not None:
        raise InputError(f"{path}: it has one split, which needs no name.")
    for n, record in enumerate(loaded, 1):
        yield f"{path}, record {n}", dict(record)
