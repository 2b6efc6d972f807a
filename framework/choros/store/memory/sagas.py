"""A store in memory, with the semantics of the others, for tests, demos and simulations."""

from __future__ import annotations

import asyncio
from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from choros.errors import StoreUnreachable
from choros.sources import fresh_identity, now, rerun_id_for
from choros.store.paging import Position, end_of, page_of, page_of_ended
from choros.store.records import left_of, wanted_of
from choros.store.sagas import (
    ENDED,
    LABEL,
    LIVE,
    NOTHING,
    Channel,
    Committed,
    EntryNames,
    Forgotten,
    HistoryRow,
    Kind,
    KnownKinds,
    Loaded,
    Page,
    PutOff,
    Record,
    Room,
    Transition,
    Unsent,
    handed_out,
)
from choros.store.schema import SCHEMA_VERSION, Upgraded
from choros.values import replace


@dataclass(slots=True)
class _UnsentMessage:
    """A message in the outbox; the dictionary it lies in keeps the order of commits."""

    message: Unsent
    at: float


@dataclass(slots=True)
class _Rows:
    """What several MemoryStore objects may share, as processes share a database."""

    records: dict[str, Record] = field(default_factory=dict)
    outbox: dict[tuple[str, str], _UnsentMessage] = field(default_factory=dict)
    history: dict[str, list[HistoryRow]] = field(default_factory=dict)
    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    claims: dict[str, float] = field(default_factory=dict)
    """Saga id -> when its timer counts as due, where that is not its `wake_at`."""
    last_fact: dict[str, str] = field(default_factory=dict)
    """Saga id -> id of the last fact that it let go."""
    start_keys: dict[str, Record] = field(default_factory=dict)
    """What is left of records that were forgotten."""
    forgotten: float = 0.0
    identity: str = ""


class MemoryStore:
    """Saga instances in this process; `sharing` another store, it works on the same ones.

    `namespace` keeps applications apart that share them."""

    lasting = False
    """Whether what it holds, and its identity, outlive the process."""

    def __init__(
        self, sharing: MemoryStore | None = None, clock: Callable[[], float] = now, *, namespace: str = "choros"
    ) -> None:
        self._shared: defaultdict[str, _Rows] = sharing._shared if sharing else defaultdict(_Rows)
        self._rows = self._shared[namespace]
        self._clock = clock
        self._open = False

    async def open(self) -> None:
        """Let it answer."""
        self._open = True

    async def close(self) -> None:
        """Stop answering; the instances stay for whoever shares them, and for the next `open`."""
        self._open = False

    @property
    def identity(self) -> str:
        """What tells these instances from those of every other store."""
        self._rows.identity = self._rows.identity or fresh_identity()
        return self._rows.identity

    async def schema_version(self) -> int:
        """What is in memory was written by this choros."""
        return SCHEMA_VERSION

    async def upgrade(self) -> Upgraded:
        """Nothing is ever older."""
        return Upgraded(SCHEMA_VERSION)

    def now(self) -> float:
        """The clock it was given."""
        return self._clock()

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        """The records that exist among these, each with the entries wanted of it."""
        rows = await self._answering()
        known = ChainMap(rows.records, rows.start_keys)
        found = {saga_id: known[saga_id] for saga_id in saga_ids if saga_id in known}
        unsent: dict[tuple[str, Channel], set[str]] = defaultdict(set)
        for (saga_id, message_id), waiting in rows.outbox.items():
            if saga_id in found:
                unsent[saga_id, waiting.message.channel].add(message_id)
        return {
            saga_id: Loaded(
                record,
                frozenset(unsent[saga_id, "commands"] | unsent[saga_id, "local"]),
                frozenset(unsent[saga_id, "facts"]),
                entries=wanted_of(rows.entries.get(saga_id, {}), wanted.get(saga_id, ())),
            )
            for saga_id, record in found.items()
        }

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all."""
        await self._answering()
        return [self._commit(transition) for transition in batch]

    def _commit(self, transition: Transition) -> Committed:
        record, stored = transition.record, self._rows.records.get(transition.record.saga_id)
        expected = (record.version - 1, transition.previous)
        if expected != ((stored.version, stored.transition) if stored else (0, "")):
            return Committed.CONFLICT
        if record.saga_id in self._rows.start_keys:
            return Committed.CONFLICT
        self._rows.records[record.saga_id] = record
        self._rows.claims.pop(record.saga_id, None)
        self._forget((record.saga_id, message_id) for message_id in transition.sent)
        for message in transition.outbox:
            waiting = _UnsentMessage(
                replace(message, saga_id=record.saga_id), self._committed_at(record.saga_id, message)
            )
            self._rows.outbox[record.saga_id, message.id] = waiting
        for name, text in transition.entries.items():
            self._write_entry(record.saga_id, name, text)
        if transition.history:
            row = HistoryRow(record.version, record.updated_at, transition.history)
            self._rows.history.setdefault(record.saga_id, []).append(row)
        return Committed.OK

    def _write_entry(self, saga_id: str, name: str, text: str) -> None:
        entries = self._rows.entries.setdefault(saga_id, {})
        entries[name] = text
        if not text:
            del entries[name]

    def _committed_at(self, saga_id: str, message: Unsent) -> float:
        """Now; but whatever the clock does, no fact is taken for older than one of its saga that has not left."""
        if message.channel != "facts":
            return self.now()
        rows = self._rows
        last = rows.outbox.get((saga_id, rows.last_fact.get(saga_id, "")))
        rows.last_fact[saga_id] = message.id
        return max(self.now(), last.at if last else 0.0)

    def _forget(self, sent: Iterable[tuple[str, str]]) -> None:
        for pair in sent:
            self._rows.outbox.pop(pair, None)

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take messages out of their outboxes."""
        await self._answering()
        self._forget(sent)

    async def unsent(self, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
        """What is unsent on this channel, oldest first."""
        rows = await self._answering()
        waiting = (
            waiting.message
            for waiting in rows.outbox.values()
            if waiting.message.channel == channel and waiting.at < before
        )
        return list(islice(waiting, limit))

    async def due(
        self,
        now: float,
        known: KnownKinds,
        limit: int,
        *,
        claim_until: float | None = None,
        passing_over: Collection[str] = (),
    ) -> Sequence[str]:
        """Ids of records whose timer is due, most overdue first."""
        await self._answering()
        due = sorted(one for one in self._timers(known) if one[0] <= now and one[1] not in passing_over)
        found = [saga_id for _, saga_id in due[:limit]]
        if claim_until is not None:
            self._rows.claims.update(dict.fromkeys(found, claim_until))
        return found

    def _timers(self, known: KnownKinds) -> Iterator[tuple[float, str]]:
        """When each timer counts as due that this worker may be handed."""
        kinds = handed_out(known)
        for saga_id, record in self._rows.records.items():
            if record.kind in kinds and (at := self._due_at(saga_id, record)) is not None:
                yield at, saga_id

    def _due_at(self, saga_id: str, record: Record | None) -> float | None:
        if record is None or record.wake_at is None:
            return None
        return self._rows.claims.get(saga_id, record.wake_at)

    async def put_off(self, timers: Sequence[PutOff]) -> None:
        rows = await self._answering()
        for one in timers:
            if self._due_at(one.saga_id, rows.records.get(one.saga_id)) == one.claimed:
                rows.claims[one.saga_id] = one.until

    async def next_due(self, known: KnownKinds) -> float | None:
        """When the next timer is due."""
        await self._answering()
        return min(self._timers(known), default=(None, ""))[0]

    async def find(self, *, saga: str = "", status: str = "", limit: int = 50, cursor: str = "") -> Page:
        rows, after = await self._answering(), Position.parse(cursor)
        found = [
            record
            for record in rows.records.values()
            if saga in ("", record.saga) and status in ("", record.status) and after.precedes(record)
        ]
        return page_of(found, limit)

    async def ended(self, since: float, *, limit: int = 50, cursor: str = "") -> Page:
        """Records that have ended, the oldest change first."""
        rows, after = await self._answering(), Position.after(since, cursor)
        return page_of_ended((one for one in _over(rows) if end_of(one) > after), limit)

    async def labelled(self, label: str, *, limit: int = 50, after: str = "") -> Sequence[str]:
        """Ids of the records with this label."""
        rows = await self._answering()
        name = LABEL + label
        return sorted(saga_id for saga_id, there in rows.entries.items() if name in there and saga_id > after)[:limit]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        rows = await self._answering()
        return Counter((record.saga, record.status) for record in rows.records.values())

    async def live(self) -> Mapping[Kind, int]:
        """How many records that have not ended there are of each kind."""
        rows = await self._answering()
        return Counter(record.kind for record in rows.records.values() if record.status in LIVE)

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended."""
        rows = await self._answering()
        return min((record.started_at for record in rows.records.values() if record.status in LIVE), default=None)

    async def history(self, saga_id: str) -> Sequence[HistoryRow]:
        rows = await self._answering()
        return list(rows.history.get(saga_id, ()))

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records that have ended before that moment."""
        rows = await self._answering()
        return self._forget_ended(rows, before, keys_before, skip, limit)

    def _forget_ended(self, rows: _Rows, before: float, keys_before: float, skip: int, limit: int) -> Forgotten:
        old = sorted((record for record in _over(rows) if record.updated_at < before), key=end_of)
        looked = old[skip : skip + limit]
        busy = {saga_id for saga_id, _ in rows.outbox}
        deleted = [one for one in looked if one.saga_id not in busy and rerun_id_for(one.saga_id) not in rows.records]
        for record in deleted:
            self._delete(rows, record)
        expired = [saga_id for saga_id, one in rows.start_keys.items() if one.updated_at < keys_before]
        for saga_id in expired:
            del rows.start_keys[saga_id]
        return Forgotten(len(looked), len(deleted), len(looked) - len(deleted), len(expired))

    def _delete(self, rows: _Rows, record: Record) -> None:
        del rows.records[record.saga_id]
        rows.history.pop(record.saga_id, None)
        rows.entries.pop(record.saga_id, None)
        rows.last_fact.pop(record.saga_id, None)
        rows.start_keys[record.saga_id] = left_of(
            record.saga_id, record.saga, record.digest, record.status, record.updated_at
        )
        rows.forgotten = max(rows.forgotten, record.updated_at)

    async def forgotten(self) -> float:
        """The latest end of all records that were deleted."""
        return (await self._answering()).forgotten

    async def room(self) -> Room | None:
        """Memory has no limit of its own here."""
        return None

    async def _answering(self) -> _Rows:
        # A real database answers later: whoever else is ready runs in between, as it would there.
        await asyncio.sleep(0)
        if not self._open:
            raise StoreUnreachable("This saga store is not open.", "await store.open() before using it.")
        return self._rows


def _over(rows: _Rows) -> Iterator[Record]:
    return (record for record in rows.records.values() if record.status in ENDED)
