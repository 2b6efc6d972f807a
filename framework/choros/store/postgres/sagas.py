"""The PostgreSQL store: one statement for a batch of transitions, shared by any number of orchestrators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from choros import sources
from choros.errors import StoreUnreachable
from choros.store.clock import ServerClock
from choros.store.paging import Position
from choros.store.postgres import retention as forgetting
from choros.store.postgres import rows as rows
from choros.store.postgres import schema as postgres_schema
from choros.store.postgres.looks import Looks
from choros.store.postgres.server import PostgresServer
from choros.store.postgres.writer import Commits, Marks
from choros.store.records import history_row_of
from choros.store.sagas import (
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
    Room,
    Transition,
    Unsent,
)
from choros.store.schema import Upgraded
from choros.store.together import Together
from choros.values import replace


class PostgresStore:
    """Saga instances in a PostgreSQL database. `namespace` keeps applications apart that share it.

    What a commit survives is what the server is configured for: with `fsync` and `synchronous_commit` on, as they are
    unless somebody has changed them, a crash and a power cut; a failover to a standby that is not synchronous may take
    acknowledged sagas back to an earlier state.
    """

    lasting = True
    """Whether what it holds, and its identity, outlive the process."""

    def __init__(self, url: str, namespace: str = "choros", *, connections: int = 4, timeout: float = 10.0) -> None:
        self._server, self._scope = PostgresServer(url, connections, timeout), namespace
        self._clock = ServerClock()
        self._looks = Looks(self._server, namespace)
        self._loads = Together(self._load_for_all, weigh=len)
        self._opened: Commits | None = None
        self.identity = ""
        """What tells what is stored here from every other store."""

    async def open(self) -> None:
        """Connect, refuse a server that could forget what it acknowledged, and create what is missing."""
        if self._opened is None:
            await self._server.check()
            await postgres_schema.prepare(self._server)
            self.identity = await postgres_schema.identity_of(self._server)
            self._opened = Commits(self._server, self._scope)
            await self._server.ask(rows.TIME)  # the first answer to a statement is slow: the next one says the time
            asked_at = sources.now()
            self._clock.said((await self._server.ask(rows.TIME))[0][0], asked_at)

    async def schema_version(self) -> int:
        """How what is stored is laid out, 0 where nothing is."""
        return await postgres_schema.version_of(self._server)

    async def upgrade(self) -> Upgraded:
        """Create what is not there; no older layout is known yet."""
        return await postgres_schema.upgrade(self._server)

    async def close(self) -> None:
        """Write what waits and close every connection."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await self._loads.close()
            await opened.close()
        await self._server.close()

    def now(self) -> float:
        """The server's clock: this machine's and a difference that every look for due timers measures anew."""
        return self._clock.now()

    @property
    def _writer(self) -> Commits:
        if self._opened is None:
            raise StoreUnreachable(
                f"The saga store at {self._server.name} is not open.", "await store.open() before using it."
            )
        return self._opened

    # --- records ---

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        """The records that exist among these, each with the entries wanted of it."""
        return await (self._load(saga_ids, wanted) if wanted else self._loads.ask(saga_ids))

    async def _load_for_all(self, asked: Sequence[Sequence[str]]) -> Sequence[Mapping[str, Loaded]]:
        loaded = await self._load(list({saga_id for saga_ids in asked for saga_id in saga_ids}), NOTHING)
        return [{one: loaded[one] for one in saga_ids if one in loaded} for saga_ids in asked]

    async def _load(self, saga_ids: Sequence[str], wanted: EntryNames) -> Mapping[str, Loaded]:
        if not saga_ids:
            return {}
        marks, ids = self._writer.marks(), list(saga_ids)
        beside = rows.wanted(wanted) if wanted else ()
        statement = rows.LOAD_WITH_ENTRIES if wanted else rows.LOAD
        found = await self._server.ask(statement, self._scope, ids, *beside)
        loaded = (rows.to_loaded(row, wanted) for row in found)
        return {one.record.saga_id: _without(marks, one) for one in loaded}

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all, in one statement with whoever else is waiting. Where the answer is
        lost it may have happened."""
        return await self._writer.commit(batch) if batch else ()

    async def history(self, saga_id: str) -> Sequence[HistoryRow]:
        """What happened to a record, oldest first."""
        return [history_row_of(*row) for row in await self._server.ask(rows.HISTORY, self._scope, saga_id)]

    # --- what waits ---

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take messages out of their outboxes: at once for this object, on disk with the next commit or soon."""
        self._writer.mark_sent(sent)

    async def unsent(self, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
        """What is unsent on this channel, oldest first."""
        marks = self._writer.marks()
        found = await self._server.ask(rows.UNSENT, self._scope, channel, before, limit + len(marks))
        return [one for one in (Unsent(*row) for row in found) if (one.saga_id, one.id) not in marks][:limit]

    async def due(
        self,
        now: float,
        known: KnownKinds,
        limit: int,
        *,
        claim_until: float | None = None,
        passing_over: Collection[str] = (),
    ) -> Sequence[str]:
        """Ids of records whose timer is due, most overdue first; on the way the server's time."""
        given = self._scope, *rows.kinds(known), now, list(passing_over), limit
        asked_at = sources.now()
        if claim_until is None:
            (_, time), *found = await self._server.ask(rows.DUE, *given)
        else:
            (_, time), *found = await self._server.ask(rows.CLAIM, *given, claim_until)
        self._clock.said(time, asked_at)
        return [saga_id for saga_id, _ in found]

    async def put_off(self, timers: Sequence[PutOff]) -> None:
        """Set timers that are still claimed so."""
        if timers:
            arrays = ([getattr(one, name) for one in timers] for name in ("saga_id", "claimed", "until"))
            await self._server.ask(rows.PUT_OFF, self._scope, *arrays)

    async def next_due(self, known: KnownKinds) -> float | None:
        """When the next timer is due."""
        ((at,),) = await self._server.ask(rows.NEXT, self._scope, *rows.kinds(known))
        return None if at is None else float(at)

    # --- looks ---

    async def find(self, *, saga: str = "", status: str = "", limit: int = 50, cursor: str = "") -> Page:
        """Records, last started first."""
        return await self._looks.find(saga, status, limit, Position.parse(cursor))

    async def ended(self, since: float, *, limit: int = 50, cursor: str = "") -> Page:
        """Records that have ended, the oldest change first."""
        return await self._looks.ended(limit, Position.after(since, cursor))

    async def labelled(self, label: str, *, limit: int = 50, after: str = "") -> Sequence[str]:
        """Ids of the records with this label."""
        return await self._looks.labelled(label, limit, after)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many records there are by (saga, status)."""
        return await self._looks.counts()

    async def live(self) -> Mapping[Kind, int]:
        """How many records that have not ended there are of each kind."""
        return await self._looks.live()

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended."""
        return await self._looks.oldest()

    # --- retention ---

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records that have ended before that moment, some at a time."""
        return await forgetting.forget(self._server, self._scope, before, keys_before, skip, limit)

    async def forgotten(self) -> float:
        """The latest end of all records that were deleted."""
        return await forgetting.forgotten(self._server, self._scope)

    async def room(self) -> Room | None:
        """Its disk is not ours to see."""
        return None


def _without(marks: Marks, loaded: Loaded) -> Loaded:
    if not marks:
        return loaded
    marked = frozenset(one for saga_id, one in marks if saga_id == loaded.record.saga_id)
    return replace(loaded, unsent=loaded.unsent - marked, unsent_facts=loaded.unsent_facts - marked)
