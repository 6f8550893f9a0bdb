"""A temporary PostgreSQL server for tests that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest


def _tool(name: str) -> str | None:
    """Debian keeps the server's programs off the path."""
    if found := shutil.which(name):
        return found
    return next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)


def _unprivileged() -> list[str] | None:
    """What runs a command as somebody else: PostgreSQL refuses to be run by root. None where that cannot be had."""
    if not hasattr(os, "geteuid"):
        return None
    if os.geteuid() != 0:
        return []
    import pwd

    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if setpriv := shutil.which("setpriv"):
            return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if runuser := shutil.which("runuser"):
            return [runuser, "-u", name, "--"]
    return None


@contextmanager
def running() -> Iterator[str]:
    """The address of a server for as long as the block lasts: a socket in a folder of its own. The test is skipped
    where none can be started."""
    initdb, pg_ctl, other = _tool("initdb"), _tool("pg_ctl"), _unprivileged()
    if initdb is None or pg_ctl is None or other is None:
        pytest.skip("there is no PostgreSQL server to start here")
    # pytest's folders are its user's own, and a socket's path must be short
    folder = Path(tempfile.mkdtemp(prefix="agora-pg-"))
    folder.chmod(0o777)

    def run(*command: str) -> int:
        done = subprocess.run(
            [*other, *command], cwd="/", timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "HOME": str(folder)},
        )  # fmt: skip
        return done.returncode

    data, options = str(folder / "data"), f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    try:
        if run(initdb, "-D", data, "-U", "agora", "-A", "trust", "-E", "UTF8", "--no-sync") or run(
            pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start"
        ):
            pytest.skip("no PostgreSQL server can be started here")
        try:
            yield str(folder)
        finally:
            run(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_names = (f"d{i}" for i in count())


def database(server: str) -> str:
    """The URL of a new, empty database."""
    import psycopg

    name = next(_names)
    with psycopg.connect(host=server, user="agora", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return f"postgresql://agora@/{name}?host={server}"
