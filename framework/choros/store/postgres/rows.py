"""The statements of commit, load and timers: transitions into arrays, rows into records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from choros.store.postgres.tables import OURS
from choros.store.records import left_of, listed, record_of, wanted_of
from choros.store.sagas import EntryNames, KnownKinds, Loaded, Record, Transition, handed_out

_FIXED = ("saga", "key", "digest", "application", "started_at")
_CHANGING = (
    "saga_version", "version", "transition", "status", "state", "updated_at", "wake_at", "fingerprint", "late",
    "received", "undecided",
)  # fmt: skip
_NAMED = {"key": "start_key", "transition": "transition_id", "wake_at": "wakes_at"}
"""Columns that are not called as the field is."""
_TYPES = {
    "started_at": "float8", "updated_at": "float8", "wake_at": "float8", "saga_version": "int", "version": "int",
    "late": "int",
}  # fmt: skip


def _columns(fields: Iterable[str], of: str = "") -> str:
    return ", ".join(of + _NAMED.get(field, field) for field in fields)


def _arrays(types: Iterable[str], first: int) -> str:
    return ", ".join(f"${number}::{one}[]" for number, one in enumerate(types, first))


COLUMNS = _columns(("saga_id", *_FIXED, *_CHANGING))
_GIVEN = ("saga_id", *_FIXED, *_CHANGING, "previous", "history")
_NOW = "extract(epoch FROM statement_timestamp())::float8"
_AFTER = len(_GIVEN) + 2
COMMIT = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest({_arrays((_TYPES.get(one, "text") for one in _GIVEN), 2)}) AS g ({_columns(_GIVEN)})
), moved AS (
    UPDATE @record AS r
    SET ({_columns(_CHANGING)}, due_at) = ROW ({_columns(_CHANGING, "g.")}, g.wakes_at)
    FROM given AS g JOIN @record AS old ON old.saga_id = g.saga_id AND {OURS.format("old")}
    WHERE r.saga_id = g.saga_id AND {OURS.format("r")} AND (g.version > 1 OR g.previous <> '')
        AND r.version = g.version - 1 AND r.transition_id = g.previous AND old.version = g.version - 1
    RETURNING r.saga_id, old.saga, old.status, old.saga_version, old.fingerprint
), begun AS (
    INSERT INTO @record (scope, {COLUMNS}, due_at)
    SELECT $1, {COLUMNS}, wakes_at FROM given WHERE version = 1 AND previous = ''
    ON CONFLICT (saga_id, scope) DO NOTHING
    RETURNING saga_id
), done AS MATERIALIZED (
    SELECT saga_id FROM moved UNION ALL SELECT saga_id FROM begun
), sent AS (
    DELETE FROM @outbox AS o
    USING unnest({_arrays(("text", "text", "bool"), _AFTER)}) AS s (saga_id, id, surely)
    WHERE o.saga_id = s.saga_id AND o.id = s.id AND {OURS.format("o")}
        AND (s.surely OR s.saga_id IN (SELECT saga_id FROM done))
), unsent AS (
    INSERT INTO @outbox (scope, saga_id, id, channel, envelope, at)
    SELECT $1, u.saga_id, u.id, u.channel, u.envelope, CASE WHEN u.channel <> 'facts' THEN {_NOW} ELSE
        greatest({_NOW}, (SELECT max(o.at) FROM @outbox AS o
            WHERE o.saga_id = u.saga_id AND {OURS.format("o")} AND o.channel = 'facts')) END
    FROM unnest({_arrays(["text"] * 4, _AFTER + 3)}) WITH ORDINALITY AS u (saga_id, id, channel, envelope, place)
        JOIN done USING (saga_id)
    ORDER BY u.place
    ON CONFLICT (saga_id, id, scope) DO UPDATE
    SET channel = excluded.channel, envelope = excluded.envelope, at = excluded.at
), beside AS MATERIALIZED (
    SELECT e.* FROM unnest({_arrays(["text"] * 3, _AFTER + 7)}) AS e (saga_id, name, text) JOIN done USING (saga_id)
), written AS (
    INSERT INTO @entry (scope, saga_id, name, text) SELECT $1, saga_id, name, text FROM beside WHERE text <> ''
    ON CONFLICT (saga_id, name, scope) DO UPDATE SET text = excluded.text
), taken_away AS (
    DELETE FROM @entry AS e USING beside AS b
    WHERE b.text = '' AND e.saga_id = b.saga_id AND e.name = b.name AND {OURS.format("e")}
), told AS (
    INSERT INTO @history (scope, saga_id, version, at, events)
    SELECT $1, saga_id, version, updated_at, history FROM given JOIN done USING (saga_id) WHERE history <> ''
), counted AS (
    INSERT INTO @tally (scope, saga, status, saga_version, fingerprint, count)
    SELECT $1, saga, status, saga_version, fingerprint, sum(more) FROM (
        SELECT saga, status, saga_version, fingerprint, 1 AS more FROM given JOIN done USING (saga_id)
        UNION ALL SELECT saga, status, saga_version, fingerprint, -1 FROM moved
    ) AS changed
    GROUP BY saga, status, saga_version, fingerprint HAVING sum(more) <> 0
)
SELECT saga_id FROM done"""
"""All of a batch, in one statement and hence in one transaction of one round trip: who is not among the answers met a
conflict, and nothing of it is stored. Whatever the clock does, no fact is taken for older than one of its saga that has
not left. What the record was comes from `old`: a commit that succeeds rests on a version that was there before it."""

_values = attrgetter("saga_id", *_FIXED, *_CHANGING)


def given(scope: str, batch: Sequence[Transition], marks: Iterable[tuple[str, str]]) -> list[object]:
    """What COMMIT is given: of each saga one transition at most, in the order of their ids, as locks are taken."""
    ordered = sorted(batch, key=lambda one: one.record.saga_id)
    outbox = {
        (one.record.saga_id, each.id): (one.record.saga_id, each.id, each.channel, each.envelope)
        for one in batch
        for each in one.outbox
    }
    sent = [(*mark, True) for mark in marks]
    sent += [(one.record.saga_id, message, False) for one in ordered for message in one.sent]
    entries = [(one.record.saga_id, *entry) for one in ordered for entry in one.entries.items()]
    return [
        scope,
        *_turned([_row(one) for one in ordered], len(_GIVEN)),
        *_turned([one for one in sent if one[:2] not in outbox], 3),
        *_turned(list(outbox.values()), 4),
        *_turned(entries, 3),
    ]


def _row(transition: Transition) -> tuple[object, ...]:
    *values, received, undecided = _values(transition.record)
    return (*values, json.dumps(received), json.dumps(undecided), transition.previous, transition.history)


def _turned(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """One array for each column."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


# --- records ----------------------------------------------------------------------------------------------------------

_LOAD = f"""SELECT {COLUMNS}, gone,
    ARRAY(SELECT o.channel || ':' || o.id FROM @outbox AS o
        WHERE o.saga_id = r.saga_id AND {OURS.format("o")}){{beside}}
    FROM @record AS r WHERE r.saga_id = ANY($2::text[]) AND {OURS.format("r")}"""
_OF_IT = f"SELECT ARRAY[e.name, e.text] AS entry FROM @entry AS e WHERE e.saga_id = r.saga_id AND {OURS.format('e')}"
_ALL = f"{_OF_IT} AND r.saga_id = ANY($3::text[])"
# The limit lets no planner read all entries once for each name.
_SOME = f"""SELECT found.entry FROM unnest($5::text[]) AS n (name) CROSS JOIN LATERAL (
        {_OF_IT} AND e.name = n.name LIMIT 1) AS found WHERE r.saga_id = ANY($4::text[])"""
LOAD = _LOAD.format(beside="")
LOAD_WITH_ENTRIES = _LOAD.format(beside=f", ARRAY({_ALL} UNION ALL {_SOME})")


def wanted(names: EntryNames) -> tuple[list[str], list[str], list[str]]:
    """What LOAD_WITH_ENTRIES is given: ids of those of which all are wanted, of which some are, and the names."""
    every = [saga_id for saga_id, some in names.items() if some is None]
    some = {saga_id: its for saga_id, its in names.items() if its is not None}
    return every, [*some], sorted({name for its in some.values() for name in its})


def to_record(row: Sequence[Any]) -> Record:
    """The record in a row of COLUMNS."""
    saga_id, *values, received, undecided = row
    return record_of(
        saga_id, dict(zip(_FIXED + _CHANGING, (*values, listed(received), listed(undecided)), strict=True))
    )


def to_loaded(row: Sequence[Any], names: EntryNames) -> Loaded:
    """What is in a row of LOAD."""
    *columns, gone, unsent = row[:-1] if names else row
    record = to_record(columns)
    if gone:
        return Loaded(left_of(record.saga_id, record.saga, record.digest, record.status, record.updated_at))
    facts = frozenset(one.removeprefix("facts:") for one in unsent if one.startswith("facts:"))
    commands = frozenset(one.partition(":")[2] for one in unsent if not one.startswith("facts:"))
    return Loaded(record, commands, facts, entries=_entries(row[-1], record.saga_id, names) if names else {})


def _entries(found: Iterable[tuple[str, str]], saga_id: str, names: EntryNames) -> Mapping[str, str]:
    return wanted_of(dict(found), names[saga_id]) if saga_id in names else {}


# --- what waits -------------------------------------------------------------------------------------------------------

UNSENT = """SELECT id, channel, envelope, saga_id FROM @outbox
    WHERE scope = $1 AND channel = $2 AND at < $3 ORDER BY number LIMIT $4"""
HISTORY = f"""SELECT version, at, events FROM @history AS h WHERE h.saga_id = $2 AND {OURS.format("h")}
    ORDER BY version"""
_KINDS = "unnest($2::text[], $3::int[], $4::text[]) AS k (saga, saga_version, fingerprint)"
_OF_A_KIND = """@record AS r WHERE r.scope = $1 AND r.saga = k.saga AND r.saga_version = k.saga_version
        AND r.fingerprint = k.fingerprint"""
_DUE = f"""SELECT found.due_at, found.saga_id FROM {_KINDS} CROSS JOIN LATERAL (
        SELECT r.due_at, r.saga_id FROM {_OF_A_KIND} AND r.due_at <= $5 AND r.saga_id <> ALL ($6::text[])
        ORDER BY r.due_at, r.saga_id LIMIT $7{{locked}}) AS found
    ORDER BY found.due_at, found.saga_id LIMIT $7"""
_TIME = "extract(epoch FROM clock_timestamp())::float8"
TIME = f"SELECT {_TIME}"
DUE = f"SELECT NULL, {_TIME} UNION ALL SELECT found.saga_id, 0 FROM ({_DUE.format(locked='')}) AS found"
CLAIM = f"""WITH found AS MATERIALIZED ({_DUE.format(locked=" FOR NO KEY UPDATE SKIP LOCKED")}), claimed AS (
        UPDATE @record AS r SET due_at = $8 FROM found WHERE r.saga_id = found.saga_id AND {OURS.format("r")})
    SELECT NULL, {_TIME} UNION ALL SELECT found.saga_id, 0 FROM found"""
"""Both answer with the server's clock first."""
NEXT = f"""SELECT min(first.due_at) FROM {_KINDS} CROSS JOIN LATERAL (
        SELECT r.due_at FROM {_OF_A_KIND} AND r.due_at IS NOT NULL ORDER BY r.due_at LIMIT 1) AS first"""
PUT_OFF = f"""UPDATE @record AS r SET due_at = p.until
    FROM unnest($2::text[], $3::float8[], $4::float8[]) AS p (saga_id, claimed, until)
    WHERE r.saga_id = p.saga_id AND {OURS.format("r")} AND r.due_at IS NOT DISTINCT FROM p.claimed"""


def kinds(known: KnownKinds) -> tuple[list[str], list[int], list[str]]:
    """The kinds whose timers a worker is handed, as arrays."""
    every = sorted(handed_out(known))
    return [one.saga for one in every], [one.version for one in every], [one.fingerprint for one in every]
