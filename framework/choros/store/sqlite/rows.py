"""The statements of the SQLite store: transitions into rows, rows into records."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from choros.store.records import history_row_of, left_of, listed, record_of, wanted_of
from choros.store.sagas import (
    NOTHING,
    Channel,
    Committed,
    EntryNames,
    HistoryRow,
    KnownKinds,
    Loaded,
    PutOff,
    Record,
    Transition,
    Unsent,
    handed_out,
)

_FIXED = ("saga", "key", "digest", "application", "started_at")
_CHANGING = (
    "saga_version", "version", "transition", "status", "state", "updated_at", "wake_at", "fingerprint", "late",
    "received", "undecided",
)  # fmt: skip
_NAMED = {"key": "start_key", "transition": "transition_id", "wake_at": "wakes_at"}
"""Columns that are not called as the field is."""


def _columns(fields: Iterable[str]) -> str:
    return ", ".join(_NAMED.get(field, field) for field in fields)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


COLUMNS = _columns(("saga_id", *_FIXED, *_CHANGING))
# What was forgotten must not begin anew as long as its start key is kept.
_INSERT = f"""INSERT INTO record (scope, {COLUMNS}, due_at) SELECT {_marks(len(_FIXED + _CHANGING) + 3)}
    WHERE NOT EXISTS (SELECT 1 FROM start_key WHERE scope = ? AND saga_id = ?)
    ON CONFLICT (scope, saga_id) DO NOTHING"""
# Only what can change: an index on anything else is left alone.
_UPDATE = f"""UPDATE record SET ({_columns(_CHANGING)}, due_at) = ({_marks(len(_CHANGING) + 1)})
    WHERE scope = ? AND saga_id = ? AND version = ? AND transition_id = ?"""
_HISTORY = "INSERT INTO history (scope, saga_id, version, at, events) VALUES (?, ?, ?, ?, ?)"
_UNSENT = """INSERT OR REPLACE INTO outbox (scope, saga_id, id, channel, at, envelope)
    VALUES (:scope, :saga_id, :id, :channel,
        iif(:channel = 'facts', max(:now, coalesce((SELECT max(at) FROM outbox
            WHERE scope = :scope AND saga_id = :saga_id AND +channel = :channel), 0)), :now),
        :envelope)"""
"""Whatever the clock does, no fact is taken for older than one of its saga that has not left. The plus keeps SQLite
from reading all that have not left, of all sagas."""
_ENTRY = "INSERT OR REPLACE INTO entry (scope, saga_id, name, text) VALUES (?, ?, ?, ?)"
_NO_ENTRY = "DELETE FROM entry WHERE scope = ? AND saga_id = ? AND name = ?"
_SENT = "DELETE FROM outbox WHERE scope = ? AND saga_id = ? AND id = ?"
THESE = "scope = ? AND saga_id IN (SELECT value FROM json_each(?))"
"""One statement for any number of ids."""
_RECORDS = f"SELECT {COLUMNS} FROM record WHERE {THESE}"
_OUTBOX = f"SELECT saga_id, channel, id FROM outbox WHERE {THESE}"
_ENTRIES = "SELECT name, text FROM entry WHERE scope = ? AND saga_id = ? AND typeof(text) = 'text'"
_SOME_ENTRIES = f"{_ENTRIES} AND name IN (SELECT value FROM json_each(?))"
_KEYS = f"SELECT saga_id, saga, digest, status, ended_at FROM start_key WHERE {THESE}"


def write(connection: sqlite3.Connection, scope: str, transition: Transition, now: float) -> Committed:
    """Write one transition, if the version it was decided on is still the last one."""
    record = transition.record
    if not _write_record(connection, scope, transition):
        return Committed.CONFLICT
    delete_sent(connection, scope, ((record.saga_id, message_id) for message_id in transition.sent))
    if transition.outbox:
        these = {"scope": scope, "saga_id": record.saga_id, "now": now}
        outbox = (these | {"id": e.id, "channel": e.channel, "envelope": e.envelope} for e in transition.outbox)
        connection.executemany(_UNSENT, outbox)
    for name, text in transition.entries.items():
        place = scope, record.saga_id, name
        connection.execute(*((_ENTRY, (*place, text)) if text else (_NO_ENTRY, place)))
    if transition.history:
        row = scope, record.saga_id, record.version, record.updated_at, transition.history
        connection.execute(_HISTORY, row)
    return Committed.OK


def _write_record(connection: sqlite3.Connection, scope: str, transition: Transition) -> bool:
    record = transition.record
    if record.version == 1 and not transition.previous:
        values = (scope, record.saga_id, *_fixed(record), *_changing(record), record.wake_at, scope, record.saga_id)
        return connection.execute(_INSERT, values).rowcount == 1
    expected = (scope, record.saga_id, record.version - 1, transition.previous)
    return connection.execute(_UPDATE, (*_changing(record), record.wake_at, *expected)).rowcount == 1


def delete_sent(connection: sqlite3.Connection, scope: str, sent: Iterable[tuple[str, str]]) -> None:
    """Take messages out of the outbox."""
    connection.executemany(_SENT, ((scope, *pair) for pair in sent))


_fixed, _changing_of = attrgetter(*_FIXED), attrgetter(*_CHANGING)


def _changing(record: Record) -> tuple[object, ...]:
    *values, received, undecided = _changing_of(record)
    return (*values, json.dumps(received), json.dumps(undecided))


def to_record(row: Sequence[Any]) -> Record:
    """The record in a row of `COLUMNS`."""
    saga_id, *values, received, undecided = row
    return record_of(
        saga_id, dict(zip(_FIXED + _CHANGING, (*values, listed(received), listed(undecided)), strict=True))
    )


def load(
    connection: sqlite3.Connection, scope: str, saga_ids: Sequence[str], wanted: EntryNames = NOTHING
) -> dict[str, Loaded]:
    """Records with their unsent ids and entries, and what is left of forgotten ones, all from the same moment."""
    ids = (scope, json.dumps(saga_ids))
    connection.execute("BEGIN")
    try:
        rows = connection.execute(_RECORDS, ids).fetchall()
        outbox = connection.execute(_OUTBOX, ids).fetchall()
        keys = connection.execute(_KEYS, ids).fetchall() if len(rows) < len(saga_ids) else ()
        beside = {saga_id: _entries(connection, scope, saga_id, names) for saga_id, names in wanted.items()}
    finally:
        connection.execute("COMMIT")
    unsent: dict[tuple[str, Channel], set[str]] = defaultdict(set)
    for saga_id, channel, message_id in outbox:
        unsent[saga_id, channel].add(message_id)
    left = {key[0]: Loaded(left_of(*key)) for key in keys}
    return left | {row[0]: _to_loaded(to_record(row), unsent, beside.get(row[0], {})) for row in rows}


def _to_loaded(record: Record, unsent: Mapping[tuple[str, Channel], set[str]], entries: Mapping[str, str]) -> Loaded:
    saga_id = record.saga_id
    commands = frozenset(unsent.get((saga_id, "commands"), ())) | unsent.get((saga_id, "local"), frozenset())
    return Loaded(record, commands, frozenset(unsent.get((saga_id, "facts"), ())), entries=entries)


def _entries(
    connection: sqlite3.Connection, scope: str, saga_id: str, names: Collection[str] | None
) -> Mapping[str, str]:
    if names is None:
        return dict(connection.execute(_ENTRIES, (scope, saga_id)))
    return wanted_of(dict(connection.execute(_SOME_ENTRIES, (scope, saga_id, json.dumps([*names])))), names)


def unsent(connection: sqlite3.Connection, scope: str, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
    """Entries in the order of their commits."""
    statement = (
        "SELECT id, channel, envelope, saga_id FROM outbox INDEXED BY outbox_by_channel "
        "WHERE scope = ? AND channel = ? AND at < ? ORDER BY number LIMIT ?"
    )
    return [Unsent(*row) for row in connection.execute(statement, (scope, channel, before, limit))]


_OF_A_KIND = "record INDEXED BY record_by_due_at WHERE scope = ? AND saga = ? AND saga_version = ? AND fingerprint = ?"
_DUE = f"""SELECT due_at, saga_id FROM {_OF_A_KIND} AND due_at <= ?
    AND saga_id NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at, saga_id LIMIT ?"""
_NEXT = f"SELECT min(due_at) FROM {_OF_A_KIND} AND due_at IS NOT NULL"
_CLAIM = f"UPDATE record SET due_at = ? WHERE {THESE}"
_PUT_OFF = "UPDATE record SET due_at = ? WHERE scope = ? AND saga_id = ? AND due_at = ?"


def due(
    connection: sqlite3.Connection, scope: str, now: float, known: KnownKinds, limit: int, passing_over: Collection[str]
) -> Sequence[str]:
    """Ids, most overdue first. Asked kind by kind: those that nobody may decide here are never read."""
    bounds = now, json.dumps(list(passing_over)), limit
    asked = [(scope, kind.saga, kind.version, kind.fingerprint, *bounds) for kind in handed_out(known)]
    found = merge(*(connection.execute(_DUE, values).fetchall() for values in asked))
    return [saga_id for _, saga_id in islice(found, limit)]


def claim(connection: sqlite3.Connection, scope: str, saga_ids: Sequence[str], until: float | None) -> None:
    """Their timers do not count as due before that moment."""
    connection.execute(_CLAIM, (until, scope, json.dumps(saga_ids)))


def put_off(connection: sqlite3.Connection, scope: str, timers: Sequence[PutOff]) -> None:
    """Set timers that are still claimed so."""
    connection.executemany(_PUT_OFF, [(one.until, scope, one.saga_id, one.claimed) for one in timers])


def next_due(connection: sqlite3.Connection, scope: str, known: KnownKinds) -> float | None:
    """When the next timer is due."""
    asked = [(scope, kind.saga, kind.version, kind.fingerprint) for kind in handed_out(known)]
    found = (connection.execute(_NEXT, values).fetchone()[0] for values in asked)
    return min((at for at in found if at is not None), default=None)


def history(connection: sqlite3.Connection, scope: str, saga_id: str) -> Sequence[HistoryRow]:
    """One row for each transition that said something."""
    statement = "SELECT version, at, events FROM history WHERE scope = ? AND saga_id = ? ORDER BY version"
    return [history_row_of(*row) for row in connection.execute(statement, (scope, saga_id))]
