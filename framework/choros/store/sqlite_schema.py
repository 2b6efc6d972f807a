"""The tables of the SQLite store, and the version that says which ones a file holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from choros.errors import StoreMisconfigured
from choros.store.schema import other_schema
from choros.store.sqlite_file import in_transaction

SCHEMA_VERSION = 2
_TABLES = (
    # Scope: namespace and name of the application, for files that several share.
    """CREATE TABLE record (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, saga TEXT NOT NULL, saga_version INTEGER NOT NULL,
        start_key TEXT NOT NULL, digest TEXT NOT NULL, application TEXT NOT NULL, version INTEGER NOT NULL,
        transition_id TEXT NOT NULL, status TEXT NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL,
        updated_at REAL NOT NULL, wake_at REAL, received TEXT NOT NULL, undecided TEXT NOT NULL,
        fingerprint TEXT NOT NULL, PRIMARY KEY (scope, saga_id))""",
    """CREATE INDEX record_by_wake_at ON record (scope, saga, saga_version, fingerprint, wake_at, saga_id)
        WHERE wake_at IS NOT NULL""",
    "CREATE INDEX record_by_status ON record (scope, status, started_at, saga_id, saga)",
    "CREATE INDEX record_by_started_at ON record (scope, started_at, saga_id)",
    # The number keeps the order of commits, whatever the clock does.
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, scope TEXT NOT NULL, saga_id TEXT NOT NULL, id TEXT NOT NULL,
        channel TEXT NOT NULL, at REAL NOT NULL, envelope TEXT NOT NULL, UNIQUE (scope, saga_id, id))""",
    "CREATE INDEX outbox_by_channel ON outbox (scope, channel, number)",
    """CREATE TABLE history (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL, events TEXT NOT NULL,
        PRIMARY KEY (scope, saga_id, version)) WITHOUT ROWID""",
)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file; refuse a file that holds anything else."""
    if _version(connection) != SCHEMA_VERSION:
        in_transaction(connection, lambda: _create(connection, path))


def _create(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)  # read again: another process may have been first
    if version == SCHEMA_VERSION:
        return
    if version:
        raise other_schema(f"The saga store {path}", version, SCHEMA_VERSION, f"--store sqlite:///{path}")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreMisconfigured(f"The database {path} holds something else than sagas.", "a file of its own.")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
