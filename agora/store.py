"""The journal's database: its tables, its migrations, and what is wrong with a store in one sentence."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from agora.errors import AgoraError, MissingError, ModelError, StoreError
from agora.journal import ITEM, STALE, Entry, RunInfo, error_of, plain, process_began, reply_of
from agora.records import Reply, Usage

Row = tuple[str, dict[str, Any]]  # what it is ('new', 'run', 'call', 'event') and its columns
_METADATA = sa.MetaData()

_META = sa.Table("agora_meta", _METADATA, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))
RUNS = sa.Table(
    "agora_runs",
    _METADATA,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("created", sa.Float, nullable=False, index=True),
    sa.Column("updated", sa.Float, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("question", sa.Text),
    sa.Column("config", sa.Text),
    sa.Column("versions", sa.Text),
    sa.Column("seed", sa.BigInteger),
    sa.Column("content", sa.Boolean, nullable=False),
    sa.Column("host", sa.String),
    sa.Column("pid", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("rounds", sa.Integer),
)
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows by itself only in INTEGER columns
CALLS = sa.Table(
    "agora_calls",
    _METADATA,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String, nullable=False, index=True),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("occurrence", sa.Integer, nullable=False),
    sa.Column("hash", sa.String, nullable=False, index=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("begun", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("request", sa.Text),
    sa.Column("reply", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
    sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.Float),
)
EVENTS = sa.Table(
    "agora_events",
    _METADATA,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
)


# runs by what they took: without it every call's request and reply is read past
_COSTS = sa.Index("agora_calls_cost", CALLS.c.run, CALLS.c.usd, CALLS.c.calls, CALLS.c.input_tokens,
                  CALLS.c.output_tokens)  # fmt: skip


def _first(connection: sa.Connection) -> None:
    _METADATA.create_all(connection)


def _second(connection: sa.Connection) -> None:
    _COSTS.create(connection, checkfirst=True)


# step n takes a store from schema n to n + 1; steps are added, never changed
MIGRATIONS: list[Callable[[sa.Connection], None]] = [_first, _second]
_READABLE = 1  # schema from which on a store can be read as it is: what came after makes it faster

_PAGE = 512  # bytes of the smallest page of SQLite, and so of the smallest database

# ---- opening ----------------------------------------------------------------------------------------------------


def _parsed(url: str) -> sa.URL:
    """The URL of a store that is given as one, or as the path of a file."""
    if "://" not in url:
        return sa.URL.create("sqlite", database=url)
    try:
        return make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError("the store's URL cannot be read.", hint="Use sqlite:///FILE or postgresql://...") from None


def shown(url: str) -> str:
    """A store's path, or its URL without what may be secret: its password and its options."""
    if "://" not in url:
        return url
    try:
        return _parsed(url).set(query={}).render_as_string(hide_password=True)
    except StoreError:
        return "the store"


@contextmanager
def sentences(url: str) -> Iterator[None]:
    """What a database says, as one sentence that says what to do."""
    try:
        yield
    except AgoraError:
        raise
    except sa.exc.ArgumentError:
        raise StoreError("the store's URL cannot be read.", hint="Use sqlite:///FILE or postgresql://...") from None
    except ModuleNotFoundError as error:
        raise MissingError(
            f"{shown(url)} needs the package {error.name}.", hint="Run: pip install 'agora-debate[postgres]'"
        ) from None
    except Exception as error:  # drivers raise ValueError and TypeError for options they do not know
        said = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
        line = " ".join(said.split())[:200].rstrip(".")
        raise StoreError(f"the store {shown(url)}: {line}.", hint=_hint(said.casefold())) from None


def _hint(said: str) -> str:
    for words, hint in (
        (
            ("readonly", "read-only", "permission"),
            "Choose a place that can be written with --store, or `--store none`.",
        ),
        (("full",), "Free some space; nothing that was recorded is lost, and the run can be resumed."),
        (("locked", "busy"), "Another process holds it; try again when it is done."),
        (("not a database", "malformed"), "Choose another file with --store."),
        (("unable to open", "no such file", "not a directory", "is a directory"), "Check the path given as --store."),
    ):
        if any(word in said for word in words):
            return hint
    return "Check --store."


def connect(url: str, timeout: float) -> sa.Engine:
    """Open a store, making or migrating it where needed."""
    parsed = _parsed(url)
    kind = parsed.drivername.partition("+")[0]
    options: dict[str, Any] = {}
    if kind == "sqlite":
        parsed = parsed.set(drivername="sqlite")
        options["connect_args"] = {"timeout": timeout}
        if not parsed.database or parsed.database == ":memory:":  # it is in one connection, whatever the thread
            options["poolclass"] = sa.StaticPool
            options["connect_args"]["check_same_thread"] = False
        elif not parsed.database.startswith("file:"):
            _claim(Path(parsed.database), url)
    elif kind == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")  # the one driver of the extra
        options["pool_pre_ping"] = True
    else:
        raise StoreError(
            f"{shown(url)} is no store that can be used here.", hint="Use sqlite:///FILE or postgresql://..."
        )
    engine = sa.create_engine(parsed, **options)
    if kind == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            last = time.monotonic() + timeout
            while True:
                try:
                    cursor.execute("PRAGMA journal_mode=WAL")
                    break
                except sqlite3.OperationalError as error:
                    # of two who make one store at once, SQLite may refuse one without letting it wait
                    if "locked" not in str(error) or time.monotonic() > last:
                        raise
                    time.sleep(0.01)
            cursor.execute("PRAGMA synchronous=FULL")  # durable even when the power goes
            cursor.close()

    try:
        _migrate(engine, url)
    except sa.exc.OperationalError:
        engine.dispose()
        path = Path(parsed.database or "") if kind == "sqlite" else None
        if path is None or not path.is_file() or os.access(path.parent, os.W_OK):
            raise
        # a store that cannot be written can be read all the same
        engine = sa.create_engine(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&immutable=1&uri=true")
        try:
            _migrate(engine, url, least=_READABLE)
        except BaseException:
            engine.dispose()
            raise
        return engine
    except BaseException:
        engine.dispose()
        raise
    return engine


def _claim(path: Path, url: str) -> None:
    """Make the folder of a file, and refuse a file that is too short for a database: SQLite takes it for empty, and
    writes. Any other that is none SQLite refuses by itself.

    The file is not opened: closing it would take away the locks that other connections of this process hold on it, and
    another process that is done with it would take the log of what they write from under them.

    Raises:
        StoreError: if it would.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and 0 < path.stat().st_size < _PAGE:
        raise StoreError(f"{shown(url)} is not a database.", hint="Choose another file with --store.")


def _version(connection: sa.Connection, url: str) -> int:
    other = StoreError(f"{shown(url)} is a database of something else.", hint="Choose another file with --store.")
    tables = sa.inspect(connection).get_table_names()
    if _META.name not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise other
        return 0
    found = connection.execute(sa.select(_META.c.value).where(_META.c.key == "schema")).scalar()
    if not isinstance(found, str) or not re.fullmatch("[1-9][0-9]{0,8}", found):
        raise other
    return int(found)


def _migrate(engine: sa.Engine, url: str, least: int | None = None) -> None:
    """Take a store to this schema, unless its own is at least some other one."""
    with engine.connect() as connection:
        found = _version(connection, url)
    if found > len(MIGRATIONS):
        raise StoreError(
            f"{shown(url)} was written by a newer agora: its schema is {found}, this one knows {len(MIGRATIONS)}.",
            hint="Update agora, or choose another store with --store.",
        )
    if found >= (len(MIGRATIONS) if least is None else least):
        return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN EXCLUSIVE")  # two processes may meet here
        else:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(47110815)")
        found = _version(connection, url)
        for step in MIGRATIONS[found:]:
            step(connection)
        if found < len(MIGRATIONS):
            value = str(len(MIGRATIONS))
            if found:
                connection.execute(sa.update(_META).where(_META.c.key == "schema").values(value=value))
            else:
                connection.execute(sa.insert(_META).values(key="schema", value=value))
        connection.commit()


# ---- writing ----------------------------------------------------------------------------------------------------


def write(engine: sa.Engine, rows: Sequence[Row]) -> None:
    """Write rows in one transaction."""
    kinds: dict[str, list[dict[str, Any]]] = {"new": [], "run": [], "call": [], "event": []}
    for kind, row in rows:
        kinds[kind].append(row)
    with engine.begin() as connection:
        for kind, table in (("new", RUNS), ("event", EVENTS), ("call", CALLS)):
            if kinds[kind]:
                connection.execute(sa.insert(table), kinds[kind])
        for row in kinds["run"]:
            connection.execute(sa.update(RUNS).where(RUNS.c.id == row["id"]).values(row))


def insert(engine: sa.Engine, row: dict[str, Any]) -> bool:
    """Write a new run; False if there is one of its id, which another process has just begun."""
    try:
        write(engine, [("new", row)])
    except sa.exc.IntegrityError:
        return False
    return True


def take(engine: sa.Engine, run: str, host: str, pid: int) -> bool:
    """Make a run this process's; False if another has it. Of two who want it at once, one gets it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        query = sa.select(RUNS.c.status, RUNS.c.host, RUNS.c.pid, RUNS.c.updated).where(RUNS.c.id == run)
        now = connection.execute(query.with_for_update()).one()
        called = sa.select(sa.func.max(CALLS.c.begun + CALLS.c.seconds)).where(CALLS.c.run == run)
        updated = max(now.updated, connection.execute(called).scalar() or 0.0)
        if now.status == "running" and _alive(now.host, now.pid, updated):
            connection.rollback()
            return False
        change = {"status": "running", "host": host, "pid": pid, "updated": time.time()}
        connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(change))
        connection.commit()
        return True


# ---- reading ----------------------------------------------------------------------------------------------------

_SUMS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")


_COST = sa.func.sum(CALLS.c.usd)
# what runs can be sorted by, besides `created`
SORTS: dict[str, Any] = {
    "cost": _COST,
    "calls": sa.func.sum(CALLS.c.calls),
    "tokens": sa.func.sum(CALLS.c.input_tokens + CALLS.c.output_tokens),
    "seconds": sa.func.sum(sa.case((CALLS.c.error.is_(None), CALLS.c.seconds), else_=0.0)),
}


def runs(
    connection: sa.Connection,
    *,
    run: str | None = None,
    prefix: str | None = None,
    status: str | None = None,
    text: str | None = None,
    name: str | None = None,
    answer: str | None = None,
    since: float | None = None,
    until: float | None = None,
    least: float | None = None,
    most: float | None = None,
    sort: str = "created",
    limit: int | None = None,
    offset: int = 0,
    items: bool = True,
) -> list[RunInfo]:
    """Runs with their totals, newest first or largest first; see `Journal.runs`."""
    query = sa.select(RUNS)
    if sort != "created" or least is not None or most is not None:
        unknown = sa.func.count() - sa.func.count(CALLS.c.usd)
        sums = sa.select(CALLS.c.run, SORTS.get(sort, _COST).label("sorted"), _COST.label("cost"),
                         unknown.label("unknown")).group_by(CALLS.c.run).subquery()  # fmt: skip
        query = query.outerjoin(sums, sums.c.run == RUNS.c.id)
        cost = sa.func.coalesce(sums.c.cost, 0.0)
        if least is not None or most is not None:
            query = query.where(sa.func.coalesce(sums.c.unknown, 0) == 0)
        query = query.where(cost >= least) if least is not None else query
        query = query.where(cost <= most) if most is not None else query
        if sort != "created":
            query = query.order_by(sa.func.coalesce(sums.c.sorted, 0).desc())
    query = query.order_by(RUNS.c.created.desc(), RUNS.c.id.desc())
    if run is not None:
        query = query.where(RUNS.c.id == plain(run))
    if prefix is not None:
        query = query.where(RUNS.c.id.startswith(plain(prefix), autoescape=True)).limit(50)
    if not items:
        query = query.where(RUNS.c.id.not_like(f"{ITEM}%"))
    if status is not None:
        query = query.where(RUNS.c.status == status)
    if name is not None:
        query = query.where(RUNS.c.name == plain(name))
    if answer is not None:
        query = query.where(sa.func.lower(RUNS.c.answer) == json.dumps(answer).lower())
    if since is not None:
        query = query.where(RUNS.c.created >= since)
    if until is not None:
        query = query.where(RUNS.c.created < until)
    if text is not None:
        encoded = json.dumps(text)[1:-1]
        query = query.where(
            RUNS.c.question.icontains(encoded, autoescape=True) | RUNS.c.name.icontains(plain(text), autoescape=True)
        )
    if limit is not None:
        query = query.limit(limit)
    if offset:
        query = query.limit(limit if limit is not None else 2**31 - 1).offset(offset)
    found = connection.execute(query).mappings().all()
    totals = _totals(connection, [row["id"] for row in found])
    return [_info(row, totals.get(row["id"])) for row in found]


def names(connection: sa.Connection) -> list[str]:
    """The names of the debates that there are runs of."""
    query = sa.select(RUNS.c.name).where(RUNS.c.id.not_like(f"{ITEM}%")).distinct().order_by(RUNS.c.name).limit(200)
    return list(connection.execute(query).scalars())


def _totals(connection: sa.Connection, runs: Sequence[str]) -> dict[str, Any]:
    """The totals of the calls of runs, of those that have any."""
    totals: dict[str, Any] = {}
    for start in range(0, len(runs), 500):  # a database takes only so many parameters
        ids = runs[start : start + 500]
        sums = (
            sa.select(
                CALLS.c.run,
                *(sa.func.sum(CALLS.c[name]).label(name) for name in _SUMS),
                sa.func.sum(CALLS.c.usd).label("usd"),
                (sa.func.count() - sa.func.count(CALLS.c.usd)).label("unpriced"),
                sa.func.sum(sa.case((CALLS.c.error.is_(None), CALLS.c.seconds), else_=0.0)).label("seconds"),
                sa.func.sum(CALLS.c.attempts).label("attempts"),
                sa.func.count(CALLS.c.error).label("failed"),
                sa.func.max(CALLS.c.begun + CALLS.c.seconds).label("updated"),
            )
            .where(CALLS.c.run.in_(ids))
            .group_by(CALLS.c.run)
        )
        totals.update({row["run"]: row for row in connection.execute(sums).mappings()})
    return totals


def spent(connection: sa.Connection, *, runs: Sequence[str]) -> dict[str, Usage]:
    """What the calls of each of some runs took."""
    return {run: _usage(total) for run, total in _totals(connection, runs).items()}


def _usage(total: Any) -> Usage:
    counts = {name: int(total[name]) for name in _SUMS}
    return Usage(**counts, usd=None if total["unpriced"] else total["usd"], seconds=total["seconds"])


def _info(row: Any, total: Any) -> RunInfo:
    usage, updated = Usage(), row["updated"]
    if total is not None:
        updated = max(updated, total["updated"])
        usage = _usage(total)
    return RunInfo(
        id=row["id"],
        status=row["status"],
        question=None if row["question"] is None else json.loads(row["question"]),
        name=row["name"],
        created=row["created"],
        updated=updated,
        answer=None if row["answer"] is None else json.loads(row["answer"]),
        reason=None if row["reason"] is None else json.loads(row["reason"]),
        rounds=row["rounds"],
        usage=usage,
        attempts=int(total["attempts"]) if total else 0,
        failed=int(total["failed"]) if total else 0,
        config=None if row["config"] is None else json.loads(row["config"]),
        versions=json.loads(row["versions"] or "{}"),
        seed=row["seed"],
        content=row["content"],
        alive=row["status"] == "running" and _alive(row["host"], row["pid"], updated),
    )


def _alive(host: str | None, pid: int | None, updated: float) -> bool:
    """Whether the process that wrote last seems to be there: by its number on this machine, else by its last record."""
    name, _, began = (host or "").partition("#")
    if name != socket.gethostname() or pid is None:
        return time.time() - updated < STALE
    if pid == os.getpid():
        return False  # this process knows by itself which runs it has under way
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not began or process_began(pid) == began  # a number may be in use again


def replayable(
    connection: sa.Connection, *, run: str, failed: bool
) -> tuple[list[Entry], dict[str, Any], set[tuple[str, str, str]]]:
    """What a resumed run need not do again: its calls, the choices that depended on time, the events it has noted.

    Failures are facts that others have read of, and stay. Only where the run itself failed, those of its last round are
    forgotten, so that they are tried again.
    """
    over: tuple[float, int] = 0.0, -1  # when the last round ended that did, and its number
    if failed:
        rounds = sa.select(EVENTS.c.at, EVENTS.c.data).where(
            EVENTS.c.run == run, EVENTS.c.kind == "round", EVENTS.c.path == ""
        )
        last = connection.execute(rounds.order_by(EVENTS.c.id.desc()).limit(1)).one_or_none()
        over = over if last is None else (last.at, int(json.loads(last.data)["round"]))
    entries = []
    for row in connection.execute(sa.select(CALLS).where(CALLS.c.run == run).order_by(CALLS.c.id)).mappings():
        # agents run ahead: one may have failed in the next round before it was noted that this one is over
        if row["error"] is not None and failed:
            place = re.search(r"/(\d+)/[^/]+(?:/|$)", row["path"])
            if row["begun"] + row["seconds"] >= over[0] or (place and int(place[1]) > over[1]):
                continue
        entries.append(entry_of(row))
    noted = sa.select(EVENTS.c.kind, EVENTS.c.path, EVENTS.c.data).where(EVENTS.c.run == run)
    seen = {(kind, path, data) for kind, path, data in connection.execute(noted)}
    return entries, {path: json.loads(data) for kind, path, data in seen if kind == "choice"}, seen


def replies(connection: sa.Connection, *, runs: Sequence[str]) -> list[Entry]:
    """The calls of some runs that were answered."""
    query = sa.select(CALLS).where(CALLS.c.run.in_(runs), CALLS.c.reply.is_not(None)).order_by(CALLS.c.id)
    return [
        Entry(row["path"], row["occurrence"], row["hash"], row["model"], "", reply_of(json.loads(row["reply"])))
        for row in connection.execute(query).mappings()
    ]


def entry_of(row: Any) -> Entry:
    """A call as it was written."""
    return Entry(
        row["path"], row["occurrence"], row["hash"], row["model"], row["request"] or "",
        reply_of(json.loads(row["reply"])) if row["reply"] is not None else None,
        _error(row) if row["error"] is not None else None,
    )  # fmt: skip


def _error(row: Any) -> ModelError:
    """A recorded failure, with what it took all the same."""
    error = error_of(json.loads(row["error"]))
    if row["calls"]:
        error.usage = Usage(**{name: row[name] for name in (*_SUMS, "usd")})
    return error


def same(connection: sa.Connection, *, run: str, hash: str, nth: int) -> Reply | None:
    """The nth reply to the same request that other runs got, so that the samples of a run stay different."""
    query = (
        sa.select(CALLS.c.reply)
        .where(CALLS.c.hash == hash, CALLS.c.run != run, CALLS.c.reply.is_not(None), CALLS.c.attempts > 0)
        .order_by(CALLS.c.id)
        .offset(nth)
        .limit(1)
    )
    found = connection.execute(query).scalar()
    return None if found is None else reply_of(json.loads(found))


def calls(connection: sa.Connection, *, run: str, after: int = 0, requests: bool = True) -> list[dict[str, Any]]:
    """The calls of a run, those written after one."""
    columns = [column for column in CALLS.c if requests or column.name != "request"]
    query = sa.select(*columns).where(CALLS.c.run == run, CALLS.c.id > after).order_by(CALLS.c.id)
    names = [name for name in ("request", "reply", "error") if requests or name != "request"]
    return [_decoded(row, names) for row in connection.execute(query).mappings()]


def call(connection: sa.Connection, *, run: str, id: int) -> dict[str, Any] | None:
    """One call of a run."""
    query = sa.select(CALLS).where(CALLS.c.run == run, CALLS.c.id == id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _decoded(row, ("request", "reply", "error"))


def events(connection: sa.Connection, *, run: str, after: int = 0) -> list[dict[str, Any]]:
    """The events of a run, those written after one."""
    query = sa.select(EVENTS).where(EVENTS.c.run == run, EVENTS.c.id > after).order_by(EVENTS.c.id)
    return [_decoded(row, ("data",)) for row in connection.execute(query).mappings()]


def last(connection: sa.Connection, *, run: str) -> tuple[int, int]:
    """The ids of the last event and the last call of a run."""
    event, call = (
        connection.execute(sa.select(sa.func.max(table.c.id)).where(table.c.run == run)).scalar() or 0
        for table in (EVENTS, CALLS)
    )
    return event, call


def _decoded(row: Any, names: Sequence[str]) -> dict[str, Any]:
    data = dict(row)
    for name in names:
        if data[name] is not None:
            data[name] = json.loads(data[name])
    return data
