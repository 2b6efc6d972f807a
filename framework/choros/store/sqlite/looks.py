"""Looking for records in the SQLite store: each look reads what it hands out and little more, however many there are.

How many there are of each saga and status the table `tally` says, which triggers keep. So a list of one saga, or of one
status, is merged from its groups, each in the order of one index.
"""

import sqlite3
from collections.abc import Iterator
from heapq import merge
from itertools import islice

from choros.store.paging import Position, page_of, page_of_ended
from choros.store.sagas import LABEL, LIVE, Kind, Page, Record
from choros.store.sqlite.rows import COLUMNS, to_record

_BEFORE = "(started_at, saga_id) < (?, ?) ORDER BY started_at DESC, saga_id DESC LIMIT ?"
_ALL = f"SELECT {COLUMNS} FROM record INDEXED BY record_by_started_at WHERE scope = ? AND {_BEFORE}"
_OF_A_GROUP = (
    f"SELECT {COLUMNS} FROM record INDEXED BY record_by_group WHERE scope = ? AND saga = ? AND status = ? AND {_BEFORE}"
)
_LIVE = """SELECT saga_version, fingerprint, count(*) FROM record INDEXED BY record_by_group
    WHERE scope = ? AND saga = ? AND status = ? GROUP BY saga_version, fingerprint"""
_FIRST = """SELECT min(started_at) FROM record INDEXED BY record_by_group
    WHERE scope = ? AND saga = ? AND status = ?"""
IS_LABEL = f"substr(name, 1, {len(LABEL)}) = '{LABEL}'"
"""Word for word as the index on labels has it."""
_LABELLED = f"""SELECT saga_id FROM entry INDEXED BY entry_by_label
    WHERE scope = ? AND {IS_LABEL} AND name = ? AND saga_id > ? ORDER BY saga_id LIMIT ?"""
HAS_ENDED = "status IN ('completed', 'compensated')"
"""Word for word as the index on ended records has it; an older choros on the same file looks by that, too."""
WAS_TERMINATED = "status = 'terminated'"
"""Of those there are few: they have an index of their own."""
BY_END = (("record_by_end", HAS_ENDED), ("record_by_termination", WAS_TERMINATED))
"""Both indexes, by which records that have ended are found in order, and what each holds."""
_ENDED = [
    f"""SELECT {COLUMNS} FROM record INDEXED BY {index}
    WHERE scope = ? AND {what} AND (updated_at, saga_id) > (?, ?) ORDER BY updated_at, saga_id LIMIT ?"""
    for index, what in BY_END
]


def find(connection: sqlite3.Connection, scope: str, saga: str, status: str, limit: int, after: Position) -> Page:
    """A page, and one record more to know whether another page follows."""
    before = (after.at, after.saga_id, limit + 1)
    if not saga and not status:
        return page_of(map(to_record, connection.execute(_ALL, (scope, *before))), limit)
    groups = [group for group in counts(connection, scope) if saga in ("", group[0]) and status in ("", group[1])]
    return page_of(_of_groups(connection, scope, groups, before), limit)


def _of_groups(
    connection: sqlite3.Connection, scope: str, groups: list[tuple[str, str]], before: tuple[float, str, int]
) -> Iterator[Record]:
    for group in groups:
        yield from map(to_record, connection.execute(_OF_A_GROUP, (scope, *group, *before)))


def ended(connection: sqlite3.Connection, scope: str, limit: int, after: Position) -> Page:
    """A page of those that have ended, the oldest change first."""
    found = [connection.execute(look, (scope, after.at, after.saga_id, limit + 1)) for look in _ENDED]
    records = merge(*(map(to_record, rows) for rows in found), key=lambda one: (one.updated_at, one.saga_id))
    return page_of_ended(islice(records, limit + 1), limit)


def labelled(connection: sqlite3.Connection, scope: str, label: str, limit: int, after: str) -> list[str]:
    """Ids of the records with this label."""
    return [saga_id for (saga_id,) in connection.execute(_LABELLED, (scope, LABEL + label, after, limit))]


def counts(connection: sqlite3.Connection, scope: str) -> dict[tuple[str, str], int]:
    """Records by saga and status."""
    rows = connection.execute("SELECT saga, status, count FROM tally WHERE scope = ? AND count > 0", (scope,))
    return {(saga, status): count for saga, status, count in rows}


def live(connection: sqlite3.Connection, scope: str) -> dict[Kind, int]:
    """Records that have not ended, by kind: those that have ended cost nothing."""
    found: dict[Kind, int] = {}
    for saga, status in counts(connection, scope):
        for version, fingerprint, count in connection.execute(_LIVE, (scope, saga, status)) if status in LIVE else ():
            kind = Kind(saga, version, fingerprint)
            found[kind] = found.get(kind, 0) + count
    return found


def oldest(connection: sqlite3.Connection, scope: str) -> float | None:
    """When the first of the records began that have not ended."""
    groups = [group for group in counts(connection, scope) if group[1] in LIVE]
    firsts = [connection.execute(_FIRST, (scope, *group)).fetchone()[0] for group in groups]
    return min((first for first in firsts if first is not None), default=None)
