"""The statements of the SQLite store: transitions into rows, rows into records."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any

from choros.store.paging import Position, page_of
from choros.store.port import (
    LIVE,
    Channel,
    Committed,
    Entry,
    HistoryRow,
    Kind,
    Known,
    Loaded,
    Page,
    Record,
    Transition,
    handed_out,
)
from choros.store.reading import history_row_of, listed, record_of

_COLUMNS = (
    "saga_id, saga, saga_version, start_key, digest, application, version, transition_id, "
    "status, state, started_at, updated_at, wake_at, received, undecided, fingerprint"
)
_MARKS = ", ".join("?" * 17)
_INSERT = f"INSERT INTO record (scope, {_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (scope, saga_id) DO NOTHING"
_UPDATE = f"""UPDATE record SET (scope, {_COLUMNS}) = ({_MARKS})
    WHERE scope = ? AND saga_id = ? AND version = ? AND transition_id = ?"""
_HISTORY = "INSERT INTO history (scope, saga_id, version, at, events) VALUES (?, ?, ?, ?, ?)"
_ENTRY = """INSERT OR REPLACE INTO outbox (scope, saga_id, id, channel, at, envelope)
    VALUES (:scope, :saga_id, :id, :channel,
        iif(:channel = 'facts', max(:now, coalesce(
            (SELECT max(at) FROM outbox WHERE scope = :scope AND saga_id = :saga_id AND channel = :channel), 0)), :now),
        :envelope)"""
"""Whatever the clock does, no fact is taken for older than one of its saga that has not left."""
_SENT = "DELETE FROM outbox WHERE scope = ? AND saga_id = ? AND id = ?"
_THESE = "scope = ? AND saga_id IN (SELECT value FROM json_each(?))"  # one statement for any number of ids


def write(connection: sqlite3.Connection, scope: str, transition: Transition, now: float) -> Committed:
    """Write one transition, if the version it was decided on is still the last one."""
    record = transition.record
    if not _write_record(connection, scope, transition):
        return Committed.CONFLICT
    delete_sent(connection, scope, ((record.saga_id, entry_id) for entry_id in transition.sent))
    if transition.outbox:
        connection.executemany(_ENTRY, [_from_entry(scope, record, entry, now) for entry in transition.outbox])
    if transition.history:
        row = scope, record.saga_id, record.version, record.updated_at, transition.history
        connection.execute(_HISTORY, row)
    return Committed.OK


def _write_record(connection: sqlite3.Connection, scope: str, transition: Transition) -> bool:
    record = transition.record
    if record.version == 1 and not transition.previous:
        return connection.execute(_INSERT, (scope, *_from_record(record))).rowcount == 1
    expected = (scope, record.saga_id, record.version - 1, transition.previous)
    return connection.execute(_UPDATE, (scope, *_from_record(record), *expected)).rowcount == 1


def delete_sent(connection: sqlite3.Connection, scope: str, sent: Iterable[tuple[str, str]]) -> None:
    """Take entries out of the outbox."""
    connection.executemany(_SENT, ((scope, *pair) for pair in sent))


def _from_entry(scope: str, record: Record, entry: Entry, now: float) -> dict[str, object]:
    return {
        "scope": scope,
        "saga_id": record.saga_id,
        "id": entry.id,
        "channel": entry.channel,
        "now": now,
        "envelope": entry.envelope,
    }


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
        record.fingerprint,
    )


def _to_record(row: Sequence[Any]) -> Record:
    saga_id, *values, received, undecided, fingerprint = row
    return record_of(saga_id, [*values, listed(received), listed(undecided), fingerprint])


def load(connection: sqlite3.Connection, scope: str, saga_ids: Sequence[str]) -> dict[str, Loaded]:
    """Records with their unsent ids, both from the same moment."""
    ids = (scope, json.dumps(saga_ids))
    connection.execute("BEGIN")
    try:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM record WHERE {_THESE}", ids).fetchall()
        entries = connection.execute(f"SELECT saga_id, channel, id FROM outbox WHERE {_THESE}", ids).fetchall()
    finally:
        connection.execute("COMMIT")
    unsent: dict[tuple[str, Channel], set[str]] = defaultdict(set)
    for saga_id, channel, entry_id in entries:
        unsent[saga_id, channel].add(entry_id)
    return {row[0]: _to_loaded(_to_record(row), unsent) for row in rows}


def _to_loaded(record: Record, unsent: Mapping[tuple[str, Channel], set[str]]) -> Loaded:
    commands, facts = unsent.get((record.saga_id, "commands"), ()), unsent.get((record.saga_id, "facts"), ())
    return Loaded(record, frozenset(commands), frozenset(facts))


def unsent(connection: sqlite3.Connection, scope: str, channel: Channel, before: float, limit: int) -> Sequence[Entry]:
    """Entries in the order of their commits."""
    statement = (
        "SELECT id, channel, envelope, saga_id FROM outbox INDEXED BY outbox_by_channel "
        "WHERE scope = ? AND channel = ? AND at < ? ORDER BY number LIMIT ?"
    )
    return [Entry(*row) for row in connection.execute(statement, (scope, channel, before, limit))]


def due(connection: sqlite3.Connection, scope: str, now: float, known: Known, limit: int) -> Sequence[str]:
    """Ids, most overdue first. Asked kind by kind: those that nobody may decide here are never read."""
    statement = (
        "SELECT wake_at, saga_id FROM record INDEXED BY record_by_wake_at WHERE scope = ? AND saga = ? "
        "AND saga_version = ? AND fingerprint = ? AND wake_at <= ? ORDER BY wake_at, saga_id LIMIT ?"
    )
    asked = [(scope, kind.saga, kind.version, kind.fingerprint, now, limit) for kind in handed_out(known)]
    found = merge(*(connection.execute(statement, values).fetchall() for values in asked))
    return [saga_id for _, saga_id in islice(found, limit)]


def find(
    connection: sqlite3.Connection, scope: str, saga: str, status: str, since: float, limit: int, after: Position
) -> Page:
    """A page, and one record more to know whether another page follows."""
    conditions: dict[str, str | float] = {"saga = ?": saga, "status = ?": status, "updated_at >= ?": since}
    chosen = {condition: value for condition, value in conditions.items() if value}
    where = " AND ".join(["scope = ?", "(started_at, saga_id) < (?, ?)", *chosen])
    statement = f"SELECT {_COLUMNS} FROM record WHERE {where} ORDER BY started_at DESC, saga_id DESC LIMIT ?"
    values = (scope, after.started_at, after.saga_id, *chosen.values(), limit + 1)
    return page_of(map(_to_record, connection.execute(statement, values)), limit)


def counts(connection: sqlite3.Connection, scope: str) -> dict[tuple[str, str], int]:
    """Records by saga and status."""
    rows = connection.execute(
        "SELECT saga, status, count(*) FROM record WHERE scope = ? GROUP BY saga, status", (scope,)
    )
    return {(saga, status): count for saga, status, count in rows}


def live(connection: sqlite3.Connection, scope: str) -> dict[Kind, int]:
    """Records that have not ended, by kind; found by the index of statuses, so those that have ended cost nothing."""
    rows = connection.execute(
        "SELECT saga, saga_version, fingerprint, count(*) FROM record INDEXED BY record_by_status"
        " WHERE scope = ? AND status IN (SELECT value FROM json_each(?)) GROUP BY saga, saga_version, fingerprint",
        (scope, json.dumps(LIVE)),
    )
    return {Kind(saga, version, fingerprint): count for saga, version, fingerprint, count in rows}


def history(connection: sqlite3.Connection, scope: str, saga_id: str) -> Sequence[HistoryRow]:
    """One row for each transition that said something."""
    statement = "SELECT version, at, events FROM history WHERE scope = ? AND saga_id = ? ORDER BY version"
    return [history_row_of(*row) for row in connection.execute(statement, (scope, saga_id))]
