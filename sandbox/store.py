"""What the demo remembers: the lines of the reliable chat, and how far each job is. One SQLite file for all processes.

A channel layer moves messages and is no database. What must still be there later is written down by whoever handles
it. Every function opens the file for itself, and blocks for the moment that takes: call them through `in_thread`.
"""

import asyncio
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "AT_ONCE",
    "add_job",
    "change_job",
    "in_thread",
    "job",
    "keep_line",
    "latest_jobs",
    "lines_after",
    "now",
    "prepare",
]

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 200
"""Lines that are read at once; also how many a new page is shown."""

JOBS_SHOWN = 12

SCHEMA = """
CREATE TABLE IF NOT EXISTS lines (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
    at TEXT NOT NULL, server TEXT NOT NULL, keeper TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, title TEXT NOT NULL, seconds REAL NOT NULL,
    step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    workers TEXT NOT NULL DEFAULT '[]'
);
"""


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call one of the functions below without holding up the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)


def now() -> str:
    """The time, as it is stored."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def prepare(path: Path) -> None:
    """Make the file, before several processes open it."""
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)


@contextmanager
def opened(*, to_write: bool = False) -> Iterator[sqlite3.Connection]:
    """The file, in a transaction of its own: a process that dies in it has written nothing. One writes at a time."""
    path = Path(os.getenv("SANDBOX_STORE") or Path(tempfile.gettempdir(), "fast-channels-sandbox.sqlite"))
    if not path.exists():
        prepare(path)
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE" if to_write else "BEGIN")
        with connection:
            yield connection


# Lines


def keep_line(line: dict[str, Any], keeper: str) -> dict[str, Any]:
    """Write a line down, and return it with its number. One that was written down before stays as it is."""
    values = {**line, "at": now(), "keeper": keeper}
    with opened(to_write=True) as connection:
        known = connection.execute("SELECT * FROM lines WHERE id = :id", values).fetchone()
        if known is None:
            known = connection.execute(
                "INSERT INTO lines (id, name, text, at, server, keeper)"
                " VALUES (:id, :name, :text, :at, :server, :keeper) RETURNING *",
                values,
            ).fetchone()
        return dict(known)


def lines_after(seq: int | None) -> list[dict[str, Any]]:
    """The next lines after the one with the number `seq`, or the latest ones; `AT_ONCE` at most, in order."""
    with opened() as connection:
        if seq is None:
            latest = connection.execute("SELECT * FROM lines ORDER BY seq DESC LIMIT ?", (AT_ONCE,)).fetchall()
            return [dict(row) for row in reversed(latest)]
        rows = connection.execute("SELECT * FROM lines WHERE seq > ? ORDER BY seq LIMIT ?", (seq, AT_ONCE))
        return [dict(row) for row in rows]


# Jobs


def add_job(identifier: str, title: str, seconds: float, steps: int) -> dict[str, Any]:
    """Write down a job that waits for a worker."""
    with opened(to_write=True) as connection:
        connection.execute(
            "INSERT INTO jobs (id, title, seconds, steps) VALUES (?, ?, ?, ?)", (identifier, title, seconds, steps)
        )
    return job(identifier)


def change_job(identifier: str, *, state: str, step: int | None = None, worker: str = "") -> dict[str, Any]:
    """Write down how far a job is, and who works on it."""
    with opened(to_write=True) as connection:
        workers = json.loads(_row(connection, identifier)["workers"])
        if worker and worker not in workers[-1:]:
            workers.append(worker)
        connection.execute(
            "UPDATE jobs SET state = ?, step = coalesce(?, step), workers = ? WHERE id = ?",
            (state, step, json.dumps(workers), identifier),
        )
        return _as_job(_row(connection, identifier))


def job(identifier: str) -> dict[str, Any]:
    """One job.

    Raises:
        KeyError: there is none with this id.
    """
    with opened() as connection:
        return _as_job(_row(connection, identifier))


def latest_jobs() -> list[dict[str, Any]]:
    """The latest jobs, oldest first."""
    with opened() as connection:
        rows = connection.execute("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (JOBS_SHOWN,)).fetchall()
        return [_as_job(row) for row in reversed(rows)]


def _row(connection: sqlite3.Connection, identifier: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute("SELECT * FROM jobs WHERE id = ?", (identifier,)).fetchone()
    if row is None:
        raise KeyError(identifier)
    return row


def _as_job(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "workers": json.loads(row["workers"])}
