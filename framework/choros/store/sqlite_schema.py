"""The tables of the SQLite store, and which of them a file holds for an application.

`user_version` says how the file is laid out. Where it was laid out by an older choros and several applications have
used it, each takes over what is its own by an upgrade of its own; `scope` notes who has.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from choros.errors import StoreMisconfigured
from choros.store import sqlite_version_1 as version_1
from choros.store.schema import Upgraded, other_schema
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
    "CREATE TABLE scope (name TEXT PRIMARY KEY) WITHOUT ROWID",
)


def prepare(connection: sqlite3.Connection, path: Path, scope: str) -> None:
    """Create the tables in an empty file; refuse a file with anything else, or with what is to be upgraded first."""
    if not _is_noted(connection, scope):
        in_transaction(connection, lambda: _prepare(connection, path, scope))


def _prepare(connection: sqlite3.Connection, path: Path, scope: str) -> None:
    version = version_of(connection, path, scope)
    if version not in (0, SCHEMA_VERSION):
        raise other_schema(f"The saga store {path}", version, SCHEMA_VERSION, f"--store sqlite:///{path}")
    if _layout(connection) == 0:
        _create(connection)
    _note(connection, scope)


def version_of(connection: sqlite3.Connection, path: Path, scope: str) -> int:
    """How the records of this application are laid out; 0 where the file is empty."""
    layout = _layout(connection)
    if layout == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreMisconfigured(f"The database {path} holds something else than sagas.", "a file of its own.")
    if layout == SCHEMA_VERSION and not _is_noted(connection, scope) and version_1.ids_of(connection, scope):
        return 1
    return layout


def upgrade(connection: sqlite3.Connection, path: Path, scope: str) -> Upgraded:
    """In one transaction: take over what older schemas hold of this application."""
    return in_transaction(connection, lambda: _upgrade(connection, path, scope))


def _upgrade(connection: sqlite3.Connection, path: Path, scope: str) -> Upgraded:
    found, layout = version_of(connection, path, scope), _layout(connection)
    if found != 1:
        _prepare(connection, path, scope)
        return Upgraded(found, others=version_1.left(connection))
    if layout == 1:
        version_1.set_aside(connection)
        _create(connection)
    records = version_1.take_over(connection, scope)
    _note(connection, scope)
    return Upgraded(found, records, version_1.left(connection))


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _layout(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_noted(connection: sqlite3.Connection, scope: str) -> bool:
    if _layout(connection) != SCHEMA_VERSION:
        return False
    return bool(connection.execute("SELECT count(*) FROM scope WHERE name = ?", (scope,)).fetchone()[0])


def _note(connection: sqlite3.Connection, scope: str) -> None:
    connection.execute("INSERT OR IGNORE INTO scope VALUES (?)", (scope,))
