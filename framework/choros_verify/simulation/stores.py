"""Saga store and databases of a simulated world: as the ones in memory, with faults, and with processes that crash."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.store.barrier import LEAVING, Job, JobResult, NotDone, Row, Transaction
from choros.store.memory.barrier import BarrierRows, MemoryDatabase, MemoryTransaction, Undo, take_back
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed, Forgotten, Record, Transition
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.keeping import LEDGER, Deed, Deleted, OnCommit
from choros_verify.simulation.processes import Process, running

MOST_LOST = 8
"""Commits that a `lose` can take back at most."""
T = TypeVar("T")


def _away(name: str, what: str) -> StoreUnreachable:
    return StoreUnreachable(f"{name} {what} (simulated).")


def _nothing() -> None:
    pass


class Perils:
    """What may strike the writes to one store or database, and the commits that it may yet forget.

    `shared`: those of another process's view of it, which forgets the same."""

    def __init__(self, faults: Faults, name: str, shared: Perils | None) -> None:
        self._faults = faults
        self._name = name
        self._past: deque[Callable[[], None]] = shared._past if shared else deque(maxlen=MOST_LOST)
        self.loses = any(fault.kind == "lose" and fault.target == name for fault in faults.planned)
        """Whether it ever forgets anything."""

    def strike(self) -> Sequence[Fault]:
        """One more write; raises StoreUnreachable if it is refused, StoreMisconfigured if that is denied."""
        self.ask()
        struck = self._faults.count("write", self._name)
        if any(fault.kind == "deny" for fault in struck):
            raise StoreMisconfigured(f"{self._name} denies it (simulated).", "wait for the new password.")
        if any(fault.kind == "refuse" for fault in struck):
            raise _away(self._name, "refuses")
        return struck

    def ask(self) -> None:
        """Whatever is asked of it; raises StoreUnreachable while it does not answer."""
        if self._faults.away[self._name]:
            raise _away(self._name, "does not answer")

    def call(self) -> None:
        """A handler makes a call; raises StoreUnreachable if it is lost."""
        if self._faults.count("call", self._name):
            raise _away(self._name, "has lost a call")

    def remember(self, take_back: Callable[[], None]) -> None:
        """How to undo the commit that is about to be made."""
        self._past.append(take_back)

    async def after(self, struck: Sequence[Fault]) -> None:
        """What strikes once the write is there."""
        for fault in struck:
            if fault.kind == "lose":
                for _ in range(min(int(fault.amount) or 1, len(self._past))):
                    self._past.pop()()
            elif fault.kind == "stall":
                await asyncio.sleep(fault.amount)
        if any(fault.kind == "unknown" for fault in struck):
            raise _away(self._name, "took the write, and the answer was lost")


# --- the saga store ---------------------------------------------------------------------------------------------------


class SimStore(MemoryStore):
    """One process's view of the saga store. `sharing` another one, it works on the same records."""

    def __init__(
        self,
        faults: Faults,
        sharing: SimStore | None = None,
        *,
        name: str = "store",
        on_commit: OnCommit | None = None,
        namespace: str = "choros",
        identity: str = "1",
    ) -> None:
        super().__init__(sharing, namespace=namespace)
        view = partial(SimStore, faults, self, name=name, on_commit=on_commit)
        self._view = partial(view, namespace=namespace, identity=identity)
        self._rows.identity = identity  # the same in every run: it is in the name of a queue, which faults may strike
        self._perils: Perils = Perils(faults, name, sharing._perils if sharing else None)
        self._on_commit = on_commit
        self._deleted: dict[str, Deleted] = sharing._deleted if sharing else {}

    def view(self) -> SimStore:
        """What a process that starts sees of it."""
        return self._view()

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all; a fault may strike before, or after."""
        try:
            struck = self._perils.strike()
        except StoreUnreachable:
            await asyncio.sleep(0)
            raise
        await self._answering()
        self._remember()
        results = [self._commit(transition) for transition in batch]
        for transition, result in zip(batch, results, strict=True):
            if result is Committed.OK and self._on_commit:
                process = running.get()
                self._on_commit(process.name if process else "world", transition)
        await self._perils.after(struck)
        return results

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take entries out of their outboxes; a fault may strike before, or after."""
        struck = self._perils.strike()
        self._remember()
        await super().mark_sent(sent)
        await self._perils.after(struck)

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records that have ended before that moment; a fault may strike before, or after."""
        struck = self._perils.strike()
        self._remember()
        done = await super().forget(before, keys_before=keys_before, skip=skip, limit=limit)
        await self._perils.after(struck)
        return done

    def _delete(self, rows: Any, record: Record) -> None:
        sends = any(saga_id == record.saga_id for saga_id, _ in rows.outbox)
        self._deleted[record.saga_id] = Deleted(asyncio.get_running_loop().time(), record, sends)
        super()._delete(rows, record)

    def deleted(self) -> Mapping[str, Deleted]:
        """What retention has deleted, as it was, also of applications beside this one."""
        return {saga_id: one for saga_id, one in self._deleted.items() if saga_id in self._rows.start_keys}

    def records(self) -> Mapping[str, Record]:
        """What there is and what was deleted, as it was, for whoever looks from outside."""
        return {saga_id: one.record for saga_id, one in self.deleted().items()} | self._rows.records

    def outbox(self) -> Collection[tuple[str, str]]:
        """(saga id, entry id) of all that no broker has confirmed."""
        return self._rows.outbox.keys()

    async def _answering(self) -> Any:
        rows = await super()._answering()
        self._perils.ask()
        return rows

    def _remember(self) -> None:
        if not self._perils.loses:
            return
        rows = self._rows
        histories = {key: list(value) for key, value in rows.history.items()}
        entries = {key: dict(value) for key, value in rows.entries.items()}
        before = dict(rows.records), dict(rows.outbox), histories, dict(rows.start_keys), entries

        def take_back() -> None:
            rows.records, rows.outbox, rows.history, rows.start_keys, rows.entries = before

        self._perils.remember(take_back)


# --- databases --------------------------------------------------------------------------------------------------------


class Turnstile(asyncio.Lock):
    """A lock that lets go of whoever crashed: its writes are taken back, and the next one enters."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = False
        self._holder: Process | None = None
        self._take_back: Callable[[], None] | None = None
        self._queue: deque[tuple[Process | None, asyncio.Future[None]]] = deque()

    def locked(self) -> bool:
        """Whether somebody is inside."""
        return self._inside

    async def acquire(self) -> Literal[True]:
        """Enter, once all who came before have left."""
        if not self._inside:
            self._inside, self._holder = True, running.get()
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = running.get(), turn
        self._queue.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise
        return True

    def release(self) -> None:
        """Leave; the next one who is alive and still waits enters."""
        self._inside, self._holder, self._take_back = False, None, None
        while self._queue:
            process, turn = self._queue.popleft()
            if not turn.done() and (process is None or process.alive):
                self._inside, self._holder = True, process
                turn.set_result(None)
                return

    def writing(self, take_back: Callable[[], None]) -> None:
        """How to undo what the one inside has written."""
        self._take_back = take_back

    def crashed(self, process: Process) -> None:
        """This process is no more: nothing of its transaction stays."""
        if self._inside and self._holder is process:
            if self._take_back:
                self._take_back()
            self.release()


class SimTransaction(MemoryTransaction):
    """What handlers of a simulated service get; a fault may strike at each of their calls."""

    on_call: Callable[[], None] = staticmethod(_nothing)

    def _call(self) -> None:
        self.standing.check()
        try:
            self.on_call()
        except StoreUnreachable as error:
            self.standing.lose(error)
            raise


class SimDatabase(MemoryDatabase):
    """One process's view of a service's database. `sharing` another one, it works on the same tables."""

    def __init__(
        self, faults: Faults, sharing: SimDatabase | None = None, *, name: str = "database", namespace: str = "choros"
    ) -> None:
        super().__init__(sharing, namespace=namespace)
        self._view = partial(SimDatabase, faults, self, namespace=namespace)
        if sharing is None:
            self._tables.lock = Turnstile()
        self._perils: Perils = Perils(faults, name, sharing._perils if sharing else None)

    def view(self, name: str) -> SimDatabase:
        """What a process that starts sees of it, by the name that faults call it there."""
        return self._view(name=name)

    @property
    def transaction_type(self) -> type[Transaction]:
        """What handlers get."""
        return SimTransaction

    @property
    def turnstile(self) -> Turnstile:
        """What a transaction goes through."""
        assert isinstance(self._tables.lock, Turnstile)
        return self._tables.lock

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """As one transaction; where the database must not be used, none of them is done."""
        try:
            return await super().run(jobs)
        except StoreMisconfigured as denied:
            return [NotDone(denied)] * len(jobs)

    def _check_open(self) -> None:
        super()._check_open()
        self._perils.ask()

    async def _in_turn(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """As one transaction; a fault may strike as it is committed, or after."""
        async with self._tables.lock:
            self._remember()
            undo: Undo = []
            self.turnstile.writing(partial(take_back, undo))
            try:
                results = [await self._run_one(undo, job) for job in jobs]
                struck = self._perils.strike()
            except BaseException:
                take_back(undo)
                raise
            self.turnstile.writing(_nothing)  # it is committed
            await self._perils.after(struck)
            return results

    def _begin(self, undo: Undo) -> SimTransaction:
        transaction = SimTransaction(self._tables, self._rows, undo)
        transaction.on_call = self._perils.call
        return transaction

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed; a fault may strike before, or after."""
        struck = self._perils.strike()
        await super().mark_sent(keys)
        await self._perils.after([fault for fault in struck if fault.kind != "lose"])  # this is no commit

    def owes(self) -> bool:
        """Whether a reply is not confirmed, or what a handler has published."""
        return bool(self._rows.unsent) or any(row.state in LEAVING for row in self._rows.listed.values())

    def rows(self) -> Mapping[str, Row]:
        """The barrier's rows right now, for whoever looks from outside."""
        return self._rows.rows

    def deeds(self) -> Sequence[Deed]:
        """What handlers have written into the ledger."""
        lines: tuple[Deed, ...] = self.items.get(LEDGER, ())
        return lines

    def crashed(self, process: Process) -> None:
        """Take back what a process was in the middle of."""
        self.turnstile.crashed(process)

    def _remember(self) -> None:
        if not self._perils.loses:
            return
        items, barrier = dict(self._tables.items), {name: _copied(one) for name, one in self._tables.barrier.items()}

        def restore() -> None:
            self._tables.items, self._tables.barrier = items, defaultdict(BarrierRows, barrier)

        self._perils.remember(restore)


def _copied(rows: BarrierRows) -> BarrierRows:
    return BarrierRows(dict(rows.rows), dict(rows.unsent), dict(rows.listed), dict(rows.horizons))


class MemoryKeeping:
    """Stores and databases that cost next to nothing, for the most of the runs."""

    def __init__(self, faults: Faults, on_commit: OnCommit) -> None:
        self._faults, self._on_commit = faults, on_commit
        self._stores: dict[str, SimStore] = {}
        self._databases: dict[str, SimDatabase] = {}

    def sagas(self, name: str, namespace: str, identity: str) -> SimStore:
        """The store of that name."""
        made = partial(SimStore, self._faults, self._stores.get(name), name=name, on_commit=self._on_commit)
        store = made(namespace=namespace, identity=identity)
        self._stores.setdefault(name, store)
        return store

    def rows(self, name: str, namespace: str) -> SimDatabase:
        """The database of that name."""
        database = SimDatabase(self._faults, self._databases.get(name), name=name, namespace=namespace)
        self._databases.setdefault(name, database)
        return database

    async def write(self, db: SimTransaction, deed: Deed) -> None:
        """One line more."""
        lines: tuple[Deed, ...] = ()
        with suppress(StoreUnreachable):
            lines = await db.get(LEDGER, ())
        with suppress(StoreUnreachable):
            await db.put(LEDGER, (*lines, deed))

    def crashed(self, process: Process) -> None:
        """Take back what a process was in the middle of."""
        for database in self._databases.values():
            database.crashed(process)

    def end(self) -> None:
        """There is nothing."""
