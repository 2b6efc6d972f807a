"""The tables of the SQLite store, and which of them a file holds for an application.

`user_version` says how the file is laid out. Where it was laid out by an older choros and several applications have
used it, each takes over what is its own by an upgrade of its own; `scope` notes who has.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from choros.errors import StoreMisconfigured
from choros.sources import fresh_identity
from choros.store.schema import SCHEMA_VERSION, Upgraded, other_schema
from choros.store.sqlite import version_1 as version_1
from choros.store.sqlite.file import in_transaction
from choros.store.sqlite.looks import HAS_ENDED, IS_LABEL, WAS_TERMINATED

_MORE = """INSERT OR IGNORE INTO tally VALUES (NEW.scope, NEW.saga, NEW.status, 0);
    UPDATE tally SET count = count + 1 WHERE scope = NEW.scope AND saga = NEW.saga AND status = NEW.status;"""
_LESS = "UPDATE tally SET count = count - 1 WHERE scope = OLD.scope AND saga = OLD.saga AND status = OLD.status;"
_TABLES = (
    # Scope: namespace and name of the application, for files that several share.
    """CREATE TABLE record (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, saga TEXT NOT NULL, saga_version INTEGER NOT NULL,
        start_key TEXT NOT NULL, digest TEXT NOT NULL, application TEXT NOT NULL, version INTEGER NOT NULL,
        transition_id TEXT NOT NULL, status TEXT NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL,
        updated_at REAL NOT NULL, wakes_at REAL, received TEXT NOT NULL, undecided TEXT NOT NULL,
        fingerprint TEXT NOT NULL, late INTEGER NOT NULL DEFAULT 0, due_at REAL, PRIMARY KEY (scope, saga_id))""",
    "CREATE INDEX record_by_started_at ON record (scope, started_at, saga_id)",
    # The number keeps the order of commits, whatever the clock does.
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, scope TEXT NOT NULL, saga_id TEXT NOT NULL, id TEXT NOT NULL,
        channel TEXT NOT NULL, at REAL NOT NULL, envelope TEXT NOT NULL, UNIQUE (scope, saga_id, id))""",
    "CREATE INDEX outbox_by_channel ON outbox (scope, channel, number)",
    """CREATE TABLE history (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL, events TEXT NOT NULL,
        PRIMARY KEY (scope, saga_id, version))""",
    # How far retention has come: the latest end of what was deleted.
    "CREATE TABLE scope (name TEXT PRIMARY KEY, forgotten REAL NOT NULL DEFAULT 0) WITHOUT ROWID",
)
_SINCE_3 = (
    # A timer is due when it wakes its saga; one that is claimed or was put off, later.
    """CREATE INDEX record_by_due_at ON record (scope, saga, saga_version, fingerprint, due_at, saga_id)
        WHERE due_at IS NOT NULL""",
    "CREATE INDEX record_by_group ON record (scope, saga, status, started_at, saga_id)",
    f"CREATE INDEX record_by_end ON record (scope, updated_at, saga_id) WHERE {HAS_ENDED}",
    # What is left of a record that was deleted.
    """CREATE TABLE start_key (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, saga TEXT NOT NULL, digest TEXT NOT NULL, status TEXT NOT NULL,
        ended_at REAL NOT NULL, PRIMARY KEY (scope, saga_id)) WITHOUT ROWID""",
    "CREATE INDEX start_key_by_end ON start_key (scope, ended_at)",
    # Records by saga and status, whoever writes them.
    """CREATE TABLE tally (
        scope TEXT NOT NULL, saga TEXT NOT NULL, status TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (scope, saga, status)) WITHOUT ROWID""",
    f"CREATE TRIGGER record_begins AFTER INSERT ON record BEGIN {_MORE} END",
    f"CREATE TRIGGER record_goes AFTER DELETE ON record BEGIN {_LESS} END",
    f"CREATE TRIGGER record_moves AFTER UPDATE OF status ON record WHEN OLD.status IS NOT NEW.status "
    f"BEGIN {_LESS} {_MORE} END",
)
_FROM_2 = (
    "DROP INDEX record_by_status",
    "DROP INDEX record_by_wake_at",
    # It has another name now, so that an old process that still runs can commit nothing.
    "ALTER TABLE record RENAME COLUMN wake_at TO wakes_at",
    "ALTER TABLE record ADD COLUMN due_at REAL",
    "UPDATE record SET due_at = wakes_at WHERE wakes_at IS NOT NULL",
    "ALTER TABLE record ADD COLUMN late INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE scope ADD COLUMN forgotten REAL NOT NULL DEFAULT 0",
    *_SINCE_3,
    "INSERT INTO tally SELECT scope, saga, status, count(*) FROM record GROUP BY scope, saga, status",
)


_BESIDE = (
    # What an older choros passes over; made where it is not there yet, without another schema version.
    "CREATE TABLE IF NOT EXISTS identity (only_one INTEGER PRIMARY KEY, id TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS entry (
        scope TEXT NOT NULL, saga_id TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (scope, saga_id, name)) WITHOUT ROWID""",
    # Whoever deletes the record, an older choros too, deletes its entries.
    """CREATE TRIGGER IF NOT EXISTS entries_go AFTER DELETE ON record
        BEGIN DELETE FROM entry WHERE scope = OLD.scope AND saga_id = OLD.saga_id; END""",
    f"CREATE INDEX IF NOT EXISTS record_by_termination ON record (scope, updated_at, saga_id) WHERE {WAS_TERMINATED}",
    f"CREATE INDEX IF NOT EXISTS entry_by_label ON entry (scope, name, saga_id) WHERE {IS_LABEL}",
)
_NAMES = ("identity", "entry", "entries_go", "record_by_termination", "entry_by_label")


def prepare(connection: sqlite3.Connection, path: Path, scope: str) -> None:
    """Create the tables in an empty file; refuse a file with anything else, or with what is to be upgraded first."""
    if _layout(connection) != SCHEMA_VERSION or not _is_noted(connection, scope):
        in_transaction(connection, lambda: _prepare(connection, path, scope))
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if not there.issuperset(_NAMES):
        in_transaction(connection, lambda: _set_beside(connection))


def _prepare(connection: sqlite3.Connection, path: Path, scope: str) -> None:
    version = version_of(connection, path, scope)
    if version not in (0, SCHEMA_VERSION):
        raise other_schema(f"The saga store {path}", version, SCHEMA_VERSION, f"--store sqlite:///{path}")
    if _layout(connection) == 0:
        _create(connection)
    _note(connection, scope)


def identity_of(connection: sqlite3.Connection) -> str:
    """What tells this file from every other one; it gets it where it has none yet."""
    return str(connection.execute("SELECT id FROM identity").fetchone()[0])


def _set_beside(connection: sqlite3.Connection) -> None:
    for statement in _BESIDE:
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (fresh_identity(),))


def version_of(connection: sqlite3.Connection, path: Path, scope: str) -> int:
    """How the records of this application are laid out; 0 where the file is empty."""
    layout = _layout(connection)
    if layout == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreMisconfigured(f"The database {path} holds something else than sagas.", "a file of its own.")
    if layout in (2, SCHEMA_VERSION) and not _is_noted(connection, scope) and version_1.ids_of(connection, scope):
        return 1
    return layout


def upgrade(connection: sqlite3.Connection, path: Path, scope: str) -> Upgraded:
    """In one transaction: take over what older schemas hold of this application."""
    return in_transaction(connection, lambda: _upgrade(connection, path, scope))


def _upgrade(connection: sqlite3.Connection, path: Path, scope: str) -> Upgraded:
    found = version_of(connection, path, scope)
    records = _bring_up(connection, _layout(connection), scope)
    if found not in (1, 2):
        _prepare(connection, path, scope)
        return Upgraded(found, others=version_1.left(connection))
    if found == 1:
        records = version_1.take_over(connection, scope)
    _note(connection, scope)
    return Upgraded(found, records, version_1.left(connection))


def _bring_up(connection: sqlite3.Connection, layout: int, scope: str) -> int:
    """The file's tables, which all applications share; says how many records of this one were in version 2's."""
    if layout == 1:
        version_1.set_aside(connection)
        _create(connection)
    if layout != 2:
        return 0
    _execute(connection, _FROM_2)
    return int(connection.execute("SELECT count(*) FROM record WHERE scope = ?", (scope,)).fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    _execute(connection, (*_TABLES, *_SINCE_3))


def _execute(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _layout(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_noted(connection: sqlite3.Connection, scope: str) -> bool:
    if _layout(connection) not in (2, SCHEMA_VERSION):
        return False
    return bool(connection.execute("SELECT count(*) FROM scope WHERE name = ?", (scope,)).fetchone()[0])


def _note(connection: sqlite3.Connection, scope: str) -> None:
    connection.execute("INSERT OR IGNORE INTO scope (name) VALUES (?)", (scope,))
