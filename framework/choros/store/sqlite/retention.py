"""Deleting what has ended from a SQLite file. The pages that become free are used again: the file stays as it is."""

import json
import sqlite3
from heapq import merge
from itertools import islice

from choros.sources import rerun_id_for
from choros.store.sagas import Forgotten
from choros.store.sqlite.looks import BY_END
from choros.store.sqlite.rows import THESE

_OLD = [
    f"""SELECT updated_at, saga_id FROM record INDEXED BY {index} WHERE scope = ? AND {what} AND updated_at < ?
    ORDER BY updated_at, saga_id LIMIT ?"""
    for index, what in BY_END
]
_LEFT = f"""INSERT OR REPLACE INTO start_key (scope, saga_id, saga, digest, status, ended_at)
    SELECT scope, saga_id, saga, digest, status, updated_at FROM record WHERE {THESE}"""
_NOTED = f"""UPDATE scope SET forgotten = max(forgotten,
    (SELECT coalesce(max(updated_at), 0) FROM record WHERE {THESE})) WHERE name = ?"""
_EXPIRED = """DELETE FROM start_key WHERE (scope, saga_id) IN (
    SELECT scope, saga_id FROM start_key INDEXED BY start_key_by_end WHERE scope = ? AND ended_at < ? LIMIT ?)"""


def forget(
    connection: sqlite3.Connection, scope: str, before: float, keys_before: float, skip: int, limit: int
) -> Forgotten:
    """One small part of it, for one transaction; keys beyond theirs go as well."""
    found = [connection.execute(look, (scope, before, skip + limit)) for look in _OLD]
    looked = [saga_id for _, saga_id in islice(merge(*found), skip, skip + limit)]
    deleted = _delete(connection, scope, looked) if looked else 0
    keys = connection.execute(_EXPIRED, (scope, keys_before, limit)).rowcount
    return Forgotten(len(looked), deleted, len(looked) - deleted, keys)


def _delete(connection: sqlite3.Connection, scope: str, looked: list[str]) -> int:
    unsent = _ids(connection, scope, "outbox", looked)
    run_again = _ids(connection, scope, "record", [rerun_id_for(one) for one in looked])
    free = [one for one in looked if one not in unsent and rerun_id_for(one) not in run_again]
    these = (scope, json.dumps(free))
    connection.execute(_LEFT, these)
    connection.execute(_NOTED, (*these, scope))
    for table in ("history", "record"):
        connection.execute(f"DELETE FROM {table} WHERE {THESE}", these)
    return len(free)


def _ids(connection: sqlite3.Connection, scope: str, table: str, saga_ids: list[str]) -> set[str]:
    """Which of these a table has."""
    found = connection.execute(f"SELECT saga_id FROM {table} WHERE {THESE}", (scope, json.dumps(saga_ids)))
    return {saga_id for (saga_id,) in found}


def forgotten(connection: sqlite3.Connection, scope: str) -> float:
    """The latest end of what was deleted."""
    row = connection.execute("SELECT forgotten FROM scope WHERE name = ?", (scope,)).fetchone()
    return float(row[0]) if row else 0.0
