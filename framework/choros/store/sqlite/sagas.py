"""The embedded store: one SQLite file, write-ahead log, an fsync for every commit, shared by several processes."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TypeVar

from choros import sources
from choros.errors import StoreUnreachable
from choros.store.paging import Position
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
from choros.store.sqlite import looks as looks
from choros.store.sqlite import retention as forgetting
from choros.store.sqlite import rows as rows
from choros.store.sqlite import schema as sqlite_schema
from choros.store.sqlite.file import connect, named, room_on_disk
from choros.store.sqlite.writer import Writer
from choros.store.together import Together
from choros.values import replace

T = TypeVar("T")


class _Opened:
    """One writer and one reader, each with a connection: whatever waits for a lock or for the disk does so in a thread,
    and so does all reading."""

    def __init__(self, path: Path, scope: str, kind: type[sqlite3.Connection]) -> None:
        writing = connect(path, kind)
        try:
            sqlite_schema.prepare(writing, path, scope)
            self.identity = sqlite_schema.identity_of(writing)
            self.reading = connect(path, kind, reading=True)
        except BaseException:
            writing.close()
            raise
        self._scope = scope
        self.writer = Writer(writing, path, scope)
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="choros-sqlite-reader")
        self.loads = Together(self._load_for_all, weigh=len)

    async def _load_for_all(self, asked: Sequence[Sequence[str]]) -> Sequence[Mapping[str, Loaded]]:
        loaded = await self.load(list({saga_id for saga_ids in asked for saga_id in saga_ids}), NOTHING)
        return [{one: loaded[one] for one in saga_ids if one in loaded} for saga_ids in asked]

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames) -> Mapping[str, Loaded]:
        """What is on file, without what is marked."""
        marks = self.writer.marks()
        loaded = await asyncio.get_running_loop().run_in_executor(
            self.reader, rows.load, self.reading, self._scope, saga_ids, wanted
        )
        return {saga_id: _without(marks, one) for saga_id, one in loaded.items()}

    async def close(self) -> None:
        """Write what waits and let go of the file."""
        await self.loads.close()
        await self.writer.close()
        await asyncio.get_running_loop().run_in_executor(self.reader, self.reading.close)
        self.reader.shutdown()


class SqliteStore:
    """Saga instances in a SQLite file. A commit it has answered survives a crash and a power cut.

    `namespace` keeps applications apart that share the file."""

    lasting = True
    """Whether what it holds, and its identity, outlive the process."""

    def __init__(
        self,
        path: str | PathLike[str],
        namespace: str = "choros",
        *,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        """`connection`: what reaches the file, for a world without threads."""
        self.path = Path(path)
        self._scope, self._kind = namespace, connection
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """Open or create the file."""
        if self._opened is None:
            try:
                self._opened = await asyncio.to_thread(_Opened, self.path, self._scope, self._kind)
            except sqlite3.Error as error:
                raise named(error, self.path) from error

    @property
    def identity(self) -> str:
        """What tells this file from every other one."""
        return self._open.identity

    async def schema_version(self) -> int:
        """How this application's records are laid out, 0 for an empty file."""
        return await self._apart(sqlite_schema.version_of)

    async def upgrade(self) -> Upgraded:
        """Take over what an older choros has stored, in one transaction."""
        return await self._apart(sqlite_schema.upgrade)

    async def _apart(self, ask: Callable[[sqlite3.Connection, Path, str], T]) -> T:
        """Ask on a connection for this alone: it may be a file that cannot be opened yet."""

        def asking() -> T:
            with closing(connect(self.path, self._kind)) as connection:
                return ask(connection, self.path, self._scope)

        try:
            return await asyncio.to_thread(asking)
        except sqlite3.Error as error:
            raise named(error, self.path) from error

    async def close(self) -> None:
        """Write what waits and let go of the file."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def now(self) -> float:
        """This machine's clock: all processes that share the file live on it."""
        return sources.now()

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        """The records that exist among these, each with the entries wanted of it."""
        try:
            return await (self._open.load(saga_ids, wanted) if wanted else self._open.loads.ask(saga_ids))
        except sqlite3.Error as error:
            raise named(error, self.path) from error

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all, in one SQLite transaction with whoever else is waiting."""
        return await self._open.writer.commit(batch)

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take messages out of their outboxes: at once for this object, on disk with the next commit or soon."""
        self._open.writer.mark_sent(sent)

    async def unsent(self, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
        """What is unsent on this channel, oldest first."""
        marks = self._open.writer.marks()
        wanted = limit + len(marks)
        found = await self._read(lambda connection: rows.unsent(connection, self._scope, channel, before, wanted))
        return [one for one in found if (one.saga_id, one.id) not in marks][:limit]

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

        def look(connection: sqlite3.Connection) -> Sequence[str]:
            return rows.due(connection, self._scope, now, known, limit, passing_over)

        def claim(connection: sqlite3.Connection) -> Sequence[str]:
            found = look(connection)
            rows.claim(connection, self._scope, found, claim_until)
            return found

        found = await self._read(look)  # mostly nothing is due, and then nothing is written
        return await self._open.writer.do(claim) if found and claim_until is not None else found

    async def put_off(self, timers: Sequence[PutOff]) -> None:
        if timers:
            await self._open.writer.do(lambda connection: rows.put_off(connection, self._scope, timers))

    async def next_due(self, known: KnownKinds) -> float | None:
        """When the next timer is due."""
        return await self._read(lambda connection: rows.next_due(connection, self._scope, known))

    async def find(self, *, saga: str = "", status: str = "", limit: int = 50, cursor: str = "") -> Page:
        after = Position.parse(cursor)
        return await self._read(lambda connection: looks.find(connection, self._scope, saga, status, limit, after))

    async def ended(self, since: float, *, limit: int = 50, cursor: str = "") -> Page:
        """Records that have ended, the oldest change first."""
        after = Position.after(since, cursor)
        return await self._read(lambda connection: looks.ended(connection, self._scope, limit, after))

    async def labelled(self, label: str, *, limit: int = 50, after: str = "") -> Sequence[str]:
        """Ids of the records with this label."""
        return await self._read(lambda connection: looks.labelled(connection, self._scope, label, limit, after))

    async def counts(self) -> Mapping[tuple[str, str], int]:
        return await self._read(lambda connection: looks.counts(connection, self._scope))

    async def live(self) -> Mapping[Kind, int]:
        """How many records that have not ended there are of each kind."""
        return await self._read(lambda connection: looks.live(connection, self._scope))

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended."""
        return await self._read(lambda connection: looks.oldest(connection, self._scope))

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records that have ended before that moment, in one short transaction of its own."""
        given = before, keys_before, skip, limit
        return await self._open.writer.do(lambda connection: forgetting.forget(connection, self._scope, *given))

    async def forgotten(self) -> float:
        """The latest end of all records that were deleted."""
        return await self._read(lambda connection: forgetting.forgotten(connection, self._scope))

    async def room(self) -> Room | None:
        """The disk that the file lies on."""
        return await asyncio.to_thread(room_on_disk, self.path)

    async def history(self, saga_id: str) -> Sequence[HistoryRow]:
        return await self._read(lambda connection: rows.history(connection, self._scope, saga_id))

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise StoreUnreachable(f"The saga store {self.path} is not open.", "await store.open() before using it.")
        return self._opened

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._open
        try:
            return await asyncio.get_running_loop().run_in_executor(opened.reader, query, opened.reading)
        except sqlite3.Error as error:
            raise named(error, self.path) from error


def _without(marks: frozenset[tuple[str, str]], loaded: Loaded) -> Loaded:
    if not marks:
        return loaded
    marked = frozenset(one for saga_id, one in marks if saga_id == loaded.record.saga_id)
    return replace(loaded, unsent=loaded.unsent - marked, unsent_facts=loaded.unsent_facts - marked)
