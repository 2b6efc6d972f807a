"""What the first schema of the SQLite store left behind: rows that do not say whose they are.

It kept the name of the application without its namespace. But a saga's id is derived from both, so each row can be
told to be somebody's or not. Until that somebody is upgraded too, his rows stay, set aside.
"""

import sqlite3
from collections.abc import Mapping

from choros.sources import rerun_id_for, saga_id_for

_SET_ASIDE = (
    *(f"DROP INDEX {name}" for name in ("saga_by_wake_at", "saga_by_status", "saga_by_started_at")),
    "DROP INDEX outbox_by_channel",
    # An old process that still runs finds no table `saga`: it waits for its store, and can change nothing.
    *(f"ALTER TABLE {name} RENAME TO {name}_1" for name in ("saga", "outbox", "history")),
)
_MINE = "saga_id IN (SELECT saga_id FROM temp.mine)"
_RECORD = (
    "saga_id, saga, saga_version, start_key, digest, application, version, transition_id, "
    "status, state, started_at, updated_at, {}, received, undecided"
)
_FROM, _TO = _RECORD.format("wake_at, wake_at"), _RECORD.format("wakes_at, due_at")
_TAKE_OVER = (
    f"INSERT INTO record (scope, {_TO}, fingerprint) SELECT :scope, {_FROM}, '' FROM saga_1 WHERE {_MINE}",
    f"""INSERT INTO outbox (scope, saga_id, id, channel, at, envelope)
        SELECT :scope, saga_id, id, channel, at, envelope FROM outbox_1 WHERE {_MINE} ORDER BY number""",
    f"""INSERT INTO history (scope, saga_id, version, at, events)
        SELECT :scope, saga_id, version, at, events FROM history_1 WHERE {_MINE}""",
    *(f"DELETE FROM {name}_1 WHERE {_MINE}" for name in ("saga", "outbox", "history")),
)


def set_aside(connection: sqlite3.Connection) -> None:
    """Make room for the tables of a newer schema."""
    for statement in _SET_ASIDE:
        connection.execute(statement)


def ids_of(connection: sqlite3.Connection, scope: str) -> list[str]:
    """Ids of this application's records among those that are set aside."""
    if not _exists(connection):
        return []
    name = scope.rpartition(".")[2]
    rows = connection.execute("SELECT saga_id, saga, start_key FROM saga_1 WHERE application = ?", (name,)).fetchall()
    there = {saga_id for saga_id, _, _ in rows}
    mine: list[str] = []
    found = [saga_id for saga_id, saga, key in rows if saga_id == saga_id_for(f"{scope}.{saga}", key)]
    while found:
        mine += found
        found = [one for saga_id in found if (one := rerun_id_for(saga_id)) in there]
    return mine


def take_over(connection: sqlite3.Connection, scope: str) -> int:
    """Move this application's rows into the tables of now; says how many records there were."""
    mine = ids_of(connection, scope)
    connection.execute("CREATE TEMP TABLE mine (saga_id TEXT PRIMARY KEY)")
    connection.executemany("INSERT INTO temp.mine VALUES (?)", ((saga_id,) for saga_id in mine))
    for statement in _TAKE_OVER:
        connection.execute(statement, {"scope": scope} if ":scope" in statement else ())
    connection.execute("DROP TABLE temp.mine")
    if not left(connection):
        for name in ("saga", "outbox", "history"):
            connection.execute(f"DROP TABLE {name}_1")
    return len(mine)


def left(connection: sqlite3.Connection) -> Mapping[str, int]:
    """How many records wait for the upgrade of their own application, by its name."""
    if not _exists(connection):
        return {}
    return dict(connection.execute("SELECT application, count(*) FROM saga_1 GROUP BY application"))


def _exists(connection: sqlite3.Connection) -> bool:
    tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'saga_1'"
    return bool(connection.execute(tables).fetchone()[0])
