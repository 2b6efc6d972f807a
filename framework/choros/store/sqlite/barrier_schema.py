"""The tables of the barrier in a participant's SQLite file, which schema each namespace has there, and the way up.

The file is the participant's, so its `user_version` is not ours to use. Rows of version 1 belong to nobody in
particular: several services may have written them. They stay, and each namespace takes its own copy of all of them.
Those of version 2 stay where they are; the table has columns more, which a process of that version never looks at.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from choros.errors import ChorosError, StoreMisconfigured
from choros.sources import now
from choros.store.barrier import LISTED, SCHEMA_VERSION, Carry, Row, grown_old
from choros.store.schema import other_schema

_COLUMNS_1 = ["key", "state", "reply", "prune_at", "unsent"]
_COLUMNS_2 = ["namespace", *_COLUMNS_1]
_COLUMNS = [*_COLUMNS_2, "began", "since", "memory"]
IS_LISTED = {state: f"state = '{state}'" for state in LISTED}
"""Which rows the index on each of these holds; word for word in who looks by it."""
_BY_STATE = tuple(
    f"CREATE INDEX IF NOT EXISTS choros_barrier_{state} ON choros_barrier (namespace, since) WHERE {IS_LISTED[state]}"
    for state in LISTED
)
_TABLES = (
    # `unsent` numbers the replies that no broker has confirmed, in the order of their writing.
    """CREATE TABLE IF NOT EXISTS choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, began REAL, since REAL, memory TEXT, PRIMARY KEY (namespace, key))""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL""",
    # `memory` is where a row is forgotten for its age.
    """CREATE INDEX IF NOT EXISTS choros_barrier_aging ON choros_barrier (namespace, memory, since)
        WHERE memory IS NOT NULL""",
    *_BY_STATE,
    """CREATE TABLE IF NOT EXISTS choros_horizon (
        namespace TEXT NOT NULL, memory TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (namespace, memory))
        WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID""",
)
_SET_OLD_ASIDE = (
    "DROP INDEX IF EXISTS choros_barrier_unsent",
    "DROP INDEX IF EXISTS choros_barrier_forget_at",
    "ALTER TABLE choros_barrier RENAME TO choros_barrier_1",
)
_WIDEN = (
    "ALTER TABLE choros_barrier ADD COLUMN began REAL",
    "ALTER TABLE choros_barrier ADD COLUMN since REAL",
    "ALTER TABLE choros_barrier ADD COLUMN memory TEXT",
)
_OLD = ("choros_barrier", "choros_barrier_1")
"""Where rows of version 1 lie: as they were written, or set aside when the first namespace was upgraded."""
_OURS = "FROM choros_barrier WHERE namespace = ?"
_COPY = """INSERT OR REPLACE INTO choros_barrier (namespace, key, state, reply, prune_at, unsent)
    VALUES (?, ?, ?, ?, ?, ?)"""
_AGE = "UPDATE choros_barrier SET prune_at = ?, began = ?, since = ?, memory = ? WHERE namespace = ? AND key = ?"


def prepare(connection: sqlite3.Connection, path: Path, namespace: str) -> None:
    """In a transaction: create what is missing; raises StoreMisconfigured where this namespace is to be upgraded."""
    version = version_of(connection, path, namespace)
    if version not in (0, SCHEMA_VERSION):
        raise other_schema(f"The barrier in {path}", version, SCHEMA_VERSION, f"--database sqlite:///{path}")
    if version == 0:
        _create(connection, path, namespace)
    else:  # beside the schema: who does not look by it needs not know of it
        for statement in _BY_STATE:
            connection.execute(statement)


def version_of(connection: sqlite3.Connection, path: Path, namespace: str) -> int:
    """Which schema this namespace has in the file; 0 where it has none yet, and there are no rows to take over."""
    noted: tuple[int] | None = None
    if _columns(connection, "choros_schema"):
        noted = connection.execute("SELECT version FROM choros_schema WHERE namespace = ?", (namespace,)).fetchone()
    if noted is not None:
        return noted[0]
    if _columns(connection, "choros_barrier") not in ([], _COLUMNS, _COLUMNS_2, _COLUMNS_1):
        raise _foreign(path)
    return 1 if any(True for table in _OLD for _ in _old_rows(connection, table, limit=1)) else 0


def upgrade(connection: sqlite3.Connection, path: Path, namespace: str, carry: Carry) -> int:
    """In a transaction: bring the rows of an older version up, and say how many there are; those of version 1 come
    under the keys of this one."""
    version = version_of(connection, path, namespace)
    if version not in (1, 2):
        prepare(connection, path, namespace)
        return 0
    _create(connection, path, namespace)
    count = _carry_over(connection, namespace, carry) if version == 1 else 0
    _grow_old(connection, namespace)
    return count or connection.execute(f"SELECT count(*) {_OURS}", (namespace,)).fetchone()[0]


def _carry_over(connection: sqlite3.Connection, namespace: str, carry: Carry) -> int:
    """Copy the rows of version 1; says how many there are."""
    count = 0
    for key, state, reply, prune_at, unsent in _old_rows(connection, "choros_barrier_1"):
        for new in carry(Row(key=key, state=state, content=reply, prune_at=prune_at)):
            values = (namespace, new, state, reply, prune_at, unsent if new == key else None)
            connection.execute(_COPY, values)
        count += 1
    return count


def _grow_old(connection: sqlite3.Connection, namespace: str) -> None:
    """Let those rows grow old from now on that may."""
    found = connection.execute(f"SELECT key, state, reply, prune_at, began {_OURS}", (namespace,))
    for key, state, reply, prune_at, began in found.fetchall():
        row = grown_old(Row(key=key, state=state, content=reply, prune_at=prune_at, began=began), now())
        if row is not None:
            connection.execute(_AGE, (row.prune_at, row.began, row.since, row.memory, namespace, key))


def _create(connection: sqlite3.Connection, path: Path, namespace: str) -> None:
    columns = _columns(connection, "choros_barrier")
    first = _SET_OLD_ASIDE if columns == _COLUMNS_1 else _WIDEN if columns == _COLUMNS_2 else ()
    for statement in (*first, *_TABLES):
        connection.execute(statement)
    if _columns(connection, "choros_barrier") != _COLUMNS:
        raise _foreign(path)
    connection.execute("INSERT OR REPLACE INTO choros_schema VALUES (?, ?)", (namespace, SCHEMA_VERSION))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]


def _old_rows(connection: sqlite3.Connection, table: str, limit: int = -1) -> Sequence[tuple[Any, ...]]:
    if _columns(connection, table) != _COLUMNS_1:
        return ()
    return connection.execute(f"SELECT {', '.join(_COLUMNS_1)} FROM {table} LIMIT ?", (limit,)).fetchall()


def _foreign(path: Path) -> ChorosError:
    return StoreMisconfigured(
        f"The table choros_barrier in {path} has columns that this choros does not know.",
        "the version of choros that created it.",
    )
