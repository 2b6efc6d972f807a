"""What is said to the barrier's tables: the same to PostgreSQL and to SQLite, with `:names` for its values.

The layout is the one of `store/sqlite/`, so a file may change from one adapter to the other.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from choros.sources import now
from choros.store.barrier import AT_ONCE, FORGETTABLE, LISTED, MEMORIES, Row

_ROW = "key, state, reply, prune_at, began, since"
_ENDED = ", ".join(map(repr, sorted(FORGETTABLE)))
NOT_WRITTEN = ""
"""The state of a row that only holds the place of its key: it is there within one transaction, and never after it."""

READ = f"""INSERT INTO choros_barrier (namespace, key, state, reply) VALUES (:namespace, :key, '{NOT_WRITTEN}', '')
    ON CONFLICT (namespace, key) DO UPDATE SET state = choros_barrier.state RETURNING {_ROW}"""
"""Insert or lock, and read, in one statement: whoever comes second waits here, and sees what the first has committed.
With a snapshot that is older than that, the database refuses it, and the job runs again."""
WRITE = """INSERT INTO choros_barrier (namespace, key, state, reply, prune_at, began, since, memory, unsent)
    VALUES (:namespace, :key, :state, :reply, :prune_at, :began, :since, :memory, :unsent)
    ON CONFLICT (namespace, key) DO UPDATE SET
        state = excluded.state, reply = excluded.reply, prune_at = excluded.prune_at, began = excluded.began,
        since = excluded.since, memory = excluded.memory, unsent = excluded.unsent"""
_NOW = "(SELECT at FROM choros_horizon WHERE namespace = :namespace AND memory = '{}')"
WRITE_AND_LOOK = f"{WRITE} RETURNING {', '.join(map(_NOW.format, MEMORIES))}"
"""The same, and how far rows are forgotten by now, in the order of `MEMORIES`."""
LET_GO = f"DELETE FROM choros_barrier WHERE namespace = :namespace AND key = :key AND state = '{NOT_WRITTEN}'"
UNSENT = f"""SELECT {_ROW} FROM choros_barrier
    WHERE namespace = :namespace AND unsent IS NOT NULL ORDER BY unsent, key LIMIT :most"""
ROWS_IN = {
    state: f"""SELECT {_ROW} FROM choros_barrier
    WHERE namespace = :namespace AND state = '{state}' ORDER BY since, key LIMIT :most"""
    for state in LISTED
}
REMEMBERED = f"""SELECT {_ROW} FROM choros_barrier WHERE namespace = :namespace AND memory = :memory
    AND since >= :since AND (since > :since OR key > :after) ORDER BY since, key LIMIT :most"""
SENT = "UPDATE choros_barrier SET unsent = NULL WHERE namespace = :namespace AND key = :key"
PRUNE = f"""DELETE FROM choros_barrier WHERE namespace = :namespace AND prune_at <= :now AND state IN ({_ENDED})
    AND key IN (SELECT key FROM choros_barrier WHERE namespace = :namespace AND prune_at <= :now
        AND state IN ({_ENDED}) LIMIT {AT_ONCE}) RETURNING key"""
FORGET = f"""DELETE FROM choros_barrier
    WHERE namespace = :namespace AND memory = :memory AND since < :before AND unsent IS NULL
    AND key IN (SELECT key FROM choros_barrier WHERE namespace = :namespace AND memory = :memory AND since < :before
        AND unsent IS NULL ORDER BY since LIMIT {AT_ONCE}) RETURNING began"""

HORIZON = "SELECT at FROM choros_horizon WHERE namespace = :namespace AND memory = :memory"
HELD_HORIZON = f"{HORIZON} FOR SHARE"
"""The same where the snapshot is older than this statement: refused where the horizon has moved since."""
MOVE_HORIZON = """UPDATE choros_horizon SET at = CASE WHEN at < :at THEN :at ELSE at END
    WHERE namespace = :namespace AND memory = :memory"""
NEW_HORIZON = """INSERT INTO choros_horizon (namespace, memory, at) VALUES (:namespace, :memory, :at)
    ON CONFLICT (namespace, memory) DO NOTHING"""
VERSION = "SELECT version FROM choros_schema WHERE namespace = :namespace"
NEW_VERSION = """INSERT INTO choros_schema (namespace, version) VALUES (:namespace, :version)
    ON CONFLICT (namespace) DO NOTHING"""

NEW_START = """INSERT INTO choros_barrier (namespace, key, state, reply, began, since)
    VALUES (:namespace, :key, 'publishing', :reply, :began, :since)
    ON CONFLICT (namespace, key) DO NOTHING RETURNING key"""
OLD_START = "SELECT reply FROM choros_barrier WHERE namespace = :namespace AND key = :key"
_VALUE = re.compile(r":(\w+)")


@cache
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`, `$2`, ... for its values, and which value each of them is."""
    names = tuple(dict.fromkeys(_VALUE.findall(statement)))
    return _VALUE.sub(lambda found: f"${names.index(found[1]) + 1}", statement), names


def columns_of(row: Row) -> dict[str, Any]:
    """What `WRITE` is given, but the namespace."""
    return {
        "key": row.key,
        "state": row.state,
        "reply": row.content,
        "prune_at": row.prune_at,
        "began": row.began,
        "since": row.ages_from,
        "memory": row.memory,
        "unsent": int(now() * 1e6) if row.owes_reply else None,  # in this order they are sent again
    }


def to_row(found: Sequence[Any]) -> Row | None:
    """The row that `READ` has come to; None where it only holds the place of its key."""
    key, state, reply, prune_at, began, since = found
    if state == NOT_WRITTEN:
        return None
    return Row(key=key, state=state, content=reply, prune_at=prune_at, began=began, since=since or 0.0)
