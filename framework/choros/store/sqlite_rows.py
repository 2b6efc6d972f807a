"""The statements of the SQLite store: transitions into rows, rows into records."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from choros.store.paging import Position, page_of
from choros.store.port import Channel, Committed, Entry, HistoryRow, Known, Loaded, Page, Record, Transition

_COLUMNS = (
    "saga_id, saga, saga_version, start_key, digest, application, version, transition_id, "
    "status, state, started_at, updated_at, wake_at, received, undecided"
)
_MARKS = ", ".join("?" * 15)
_INSERT = f"INSERT INTO saga ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (saga_id) DO NOTHING"
_UPDATE = f"UPDATE saga SET ({_COLUMNS}) = ({_MARKS}) WHERE saga_id = ? AND version = ? AND transition_id = ?"
_HISTORY = "INSERT INTO history (saga_id, version, at, events) VALUES (?, ?, ?, ?)"
_ENTRY = """INSERT OR REPLACE INTO outbox (saga_id, id, channel, saga, saga_version, at, envelope)
    WITH new (saga_id, id, channel, saga, saga_version, at, envelope) AS (VALUES (?, ?, ?, ?, ?, ?, ?))
    SELECT saga_id, id, channel, saga, saga_version,
        iif(channel = 'facts', max(at, coalesce((SELECT max(outbox.at) FROM outbox
            WHERE outbox.saga_id = new.saga_id AND outbox.channel = new.channel), 0)), at), envelope FROM new"""
"""Whatever the clock does, no fact is taken for older than one of its saga that has not left."""
_SENT = "DELETE FROM outbox WHERE saga_id = ? AND id = ?"
_THESE = "IN (SELECT value FROM json_each(?))"  # one statement for any number of ids
_KNOWN = "(saga, saga_version) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"


def write(connection: sqlite3.Connection, transition: Transition, now: float) -> Committed:
    """Write one transition, if the version it was decided on is still the last one."""
    record = transition.record
    if not _write_record(connection, transition):
        return Committed.CONFLICT
    delete_sent(connection, ((record.saga_id, entry_id) for entry_id in transition.sent))
    if transition.outbox:
        connection.executemany(_ENTRY, [_from_entry(record, entry, now) for entry in transition.outbox])
    if transition.history:
        connection.execute(_HISTORY, (record.saga_id, record.version, record.updated_at, transition.history))
    return Committed.OK


def _write_record(connection: sqlite3.Connection, transition: Transition) -> bool:
    record = transition.record
    if record.version == 1 and not transition.previous:
        return connection.execute(_INSERT, _from_record(record)).rowcount == 1
    expected = (record.saga_id, record.version - 1, transition.previous)
    return connection.execute(_UPDATE, (*_from_record(record), *expected)).rowcount == 1


def delete_sent(connection: sqlite3.Connection, sent: Iterable[tuple[str, str]]) -> None:
    """Take entries out of the outbox."""
    connection.executemany(_SENT, sent)


def _from_entry(record: Record, entry: Entry, now: float) -> tuple[object, ...]:
    return record.saga_id, entry.id, entry.channel, record.saga, record.saga_version, now, entry.envelope


def _from_record(record: Record) -> tuple[object, ...]:
    return (
        record.saga_id,
        record.saga,
        record.saga_version,
        record.key,
        record.digest,
        record.application,
        record.version,
        record.transition,
        record.status,
        record.state,
        record.started_at,
        record.updated_at,
        record.wake_at,
        json.dumps(record.received),
        json.dumps(record.undecided),
    )


def _to_record(row: Sequence[Any]) -> Record:
    saga_id, saga, saga_version, key, digest, application, version, transition, *rest = row
    status, state, started_at, updated_at, wake_at, received, undecided = rest
    return Record(
        saga_id=saga_id,
        saga=saga,
        saga_version=saga_version,
        key=key,
        digest=digest,
        application=application,
        version=version,
        transition=transition,
        status=status,
        state=state,
        started_at=started_at,
        updated_at=updated_at,
        wake_at=wake_at,
        received=tuple(json.loads(received)),
        undecided=tuple(json.loads(undecided)),
    )


def load(connection: sqlite3.Connection, saga_ids: Sequence[str]) -> dict[str, Loaded]:
    """Records with their unsent ids, both from the same moment."""
    ids = (json.dumps(saga_ids),)
    connection.execute("BEGIN")
    try:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM saga WHERE saga_id {_THESE}", ids).fetchall()
        entries = connection.execute(f"SELECT saga_id, channel, id FROM outbox WHERE saga_id {_THESE}", ids).fetchall()
    finally:
        connection.execute("COMMIT")
    unsent: dict[tuple[str, Channel], set[str]] = defaultdict(set)
    for saga_id, channel, entry_id in entries:
        unsent[saga_id, channel].add(entry_id)
    return {row[0]: _to_loaded(_to_record(row), unsent) for row in rows}


def _to_loaded(record: Record, unsent: Mapping[tuple[str, Channel], set[str]]) -> Loaded:
    commands, facts = unsent.get((record.saga_id, "commands"), ()), unsent.get((record.saga_id, "facts"), ())
    return Loaded(record, frozenset(commands), frozenset(facts))


def unsent(
    connection: sqlite3.Connection, channel: Channel, before: float, known: Known, limit: int
) -> Sequence[Entry]:
    """Entries in the order of their commits."""
    statement = (
        "SELECT id, channel, envelope, saga_id FROM outbox INDEXED BY outbox_by_channel "
        f"WHERE channel = ? AND at < ? AND {_KNOWN} ORDER BY number LIMIT ?"
    )
    return [Entry(*row) for row in connection.execute(statement, (channel, before, _pairs(known), limit))]


def due(connection: sqlite3.Connection, now: float, known: Known, limit: int) -> Sequence[str]:
    """Ids, most overdue first."""
    statement = f"SELECT saga_id FROM saga WHERE wake_at <= ? AND {_KNOWN} ORDER BY wake_at, saga_id LIMIT ?"
    return [saga_id for (saga_id,) in connection.execute(statement, (now, _pairs(known), limit))]


def _pairs(known: Known) -> str:
    return json.dumps(list(known))


def find(connection: sqlite3.Connection, saga: str, status: str, since: float, limit: int, after: Position) -> Page:
    """A page, and one record more to know whether another page follows."""
    conditions: dict[str, str | float] = {"saga = ?": saga, "status = ?": status, "updated_at >= ?": since}
    chosen = {condition: value for condition, value in conditions.items() if value}
    where = " AND ".join(["(started_at, saga_id) < (?, ?)", *chosen])
    statement = f"SELECT {_COLUMNS} FROM saga WHERE {where} ORDER BY started_at DESC, saga_id DESC LIMIT ?"
    values = (after.started_at, after.saga_id, *chosen.values(), limit + 1)
    return page_of(map(_to_record, connection.execute(statement, values)), limit)


def counts(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Records by saga and status."""
    rows = connection.execute("SELECT saga, status, count(*) FROM saga GROUP BY saga, status")
    return {(saga, status): count for saga, status, count in rows}


def history(connection: sqlite3.Connection, saga_id: str) -> Sequence[HistoryRow]:
    """One row for each transition that said something."""
    statement = "SELECT version, at, events FROM history WHERE saga_id = ? ORDER BY version"
    return [HistoryRow(*row) for row in connection.execute(statement, (saga_id,))]
