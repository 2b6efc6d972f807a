"""The decider: takes what is waiting, folds it by saga, decides, commits all as one group, then acks and publishes."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from choros.errors import ChorosError, MessageRejected, StoreMisconfigured, StoreUnreachable
from choros.runtime.host.relay import Publisher
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.runtime.orchestrator.locks import Locks
from choros.runtime.orchestrator.nesting import PASSED_ON, ForAnother
from choros.runtime.orchestrator.outboxes import Outboxes
from choros.runtime.orchestrator.timers import SOON, Timers
from choros.runtime.orchestrator.work import Due, Folded, Work, WorkDone
from choros.saga.machine.inputs import Lacking
from choros.store.sagas import NOTHING, Committed, EntryNames, Loaded, Record, Store, Transition
from choros.telemetry.logs import get_logger
from choros.transport.port import Transport

log = get_logger("choros.orchestrator")

Fold = Callable[[Sequence[Work], Loaded | None, float], Folded]
"""Folds the work on one saga into one transition: `Transitions.make`."""
_ROUTINE = frozenset({"sent", "replied", "pivot_passed", "fact_held", "fact_published", "asleep", "woken"})
"""What happens in every saga that goes well: logged for who debugs, kept in the history for everybody."""
_LOUD = {"parked": log.error, "left_standing": log.error, "undeclared_refusal": log.warning}
"""What nobody is told who does not look, and what does not pass by itself."""
FindKept = Callable[[Mapping[str, list[Work]], Mapping[str, Loaded]], Awaitable[Mapping[str, list[Work]]]]
"""Finds what is kept for sagas whose timer is due: `KeptFacts.look`."""
KEEPS_NO_MORE = "The saga keeps no more signals that come before it waits for them."
BATCH = 256
"""Inputs decided together at most."""
MOST_WAITING = 10_000
"""Inputs that may wait to be decided before whoever asks for one more is sent away: the store is away, or too slow."""


class Decider:
    """One loop over an inbox of work. Safety is the store's compare-and-set alone, so any number of these may run."""

    def __init__(
        self,
        fold: Fold,
        store: Store,
        transport: Transport,
        *,
        resend_after: float = 5.0,
        scan_every: float = 1.0,
        local: Publisher | None = None,
        local_every: float = 0.2,
        locks: Store | None = None,
    ) -> None:
        """`local` hands local commands over; without it they are left to whoever can, and looks for such so often.
        `locks` is the open store of the rows of locks, where some saga takes one."""
        self._store = store
        self._make = fold
        self.look: FindKept | None = None
        """Where sagas wait for facts."""
        self.meter: Callable[[Folded], None] | None = None
        """Told of all that is settled, where somebody counts."""
        self.outboxes: Outboxes = Outboxes(store, transport, resend_after, scan_every, local, local_every)
        self._inbox: asyncio.Queue[Work | None] = asyncio.Queue()
        self.timers: Timers = Timers(store, self.fire)
        self.locks: Locks | None = None
        """What takes and passes on the keys that sagas lock."""
        if locks is not None:
            self.locks = Locks(LockRows(locks, store), store, self.submit, self.background)
        self._illegible: set[str] = set()
        self._over: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, set[asyncio.Future[WorkDone]]] = defaultdict(set)

    def submit(self, works: Iterable[Work]) -> None:
        """Take work in; it is decided soon."""
        for work in works:
            self._inbox.put_nowait(work)

    def fire(self, saga_ids: Iterable[str]) -> None:
        """The timers of these are due."""
        self.submit(Work(saga_id, Due()) for saga_id in saga_ids)

    @property
    def deciding(self) -> bool:
        """Whether `run` has not ended."""
        return self._over is None

    async def ask(self, work: Work) -> WorkDone:
        """Take one input in and wait until it is committed; raises what it was rejected with, or what ended `run`."""
        if self._over is not None:
            raise self._over
        if self._inbox.qsize() >= MOST_WAITING:
            raise StoreUnreachable(f"{MOST_WAITING} requests wait for the store already.", "wait, then ask again.")
        work.waiter = asyncio.get_running_loop().create_future()
        self.submit([work])
        return await work.waiter

    def watch(self, saga_id: str) -> asyncio.Future[WorkDone]:
        """Resolved when this process ends the saga; another process may end it, so look into the store as well."""
        future: asyncio.Future[WorkDone] = asyncio.get_running_loop().create_future()
        self._watchers[saga_id].add(future)
        future.add_done_callback(lambda done: self._unwatch(saga_id, done))
        return future

    def _unwatch(self, saga_id: str, future: asyncio.Future[WorkDone]) -> None:
        watchers = self._watchers.get(saga_id, set())
        watchers.discard(future)
        if not watchers:
            self._watchers.pop(saga_id, None)

    async def run(self) -> None:
        """Decide until stopped; nobody waits in vain for a decider that has ended, however it did."""
        self._over = None
        over: Exception = ChorosError("Nothing is decided here any more: this client or orchestrator was stopped.")
        batch: Sequence[Work] = ()
        broken = False
        try:
            while (first := await self._inbox.get()) is not None:
                batch = [first, *self._waiting()]
                await self._process(batch)
        except Exception as error:
            over, broken = error, True
            raise
        finally:
            self._over = over
            if self._dismiss(batch, over) and broken:
                self.stop()  # whoever runs it again must find the sign

    def _dismiss(self, batch: Sequence[Work], over: Exception) -> bool:
        """Tell all that wait; whether a stop sign was among them."""
        left = [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        for work in (*batch, *left):
            if work is not None:
                work.fail(over)
        return None in left

    def _waiting(self) -> list[Work]:
        """What else is there already; the stop sign stays where it is."""
        batch: list[Work] = []
        while len(batch) < BATCH - 1 and not self._inbox.empty():
            work = self._inbox.get_nowait()
            if work is None:
                self._inbox.put_nowait(None)
                break
            batch.append(work)
        return batch

    def stop(self) -> None:
        """Let `run` return once the work taken in so far is decided."""
        self._inbox.put_nowait(None)

    async def _process(self, batch: Sequence[Work]) -> None:
        """Decide and commit; what meets a conflict is loaded and decided again, what meets a dead store waits."""
        by_saga: dict[str, list[Work]] = defaultdict(list)
        for work in batch:
            by_saga[work.saga_id].append(work)
        pause = 0.1
        while by_saga:
            try:
                by_saga = await self._round(by_saga)
            except StoreUnreachable as error:
                log.warning("choros.store.unreachable", error=error.sentence, retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                self._forget_unwanted()

    def _forget_unwanted(self) -> None:
        """While the store is away, what nobody waits for any more must not pile up."""
        for _ in range(self._inbox.qsize()):
            work = self._inbox.get_nowait()
            if work is None or work.wanted:
                self._inbox.put_nowait(work)

    async def _round(self, asked: Mapping[str, list[Work]]) -> dict[str, list[Work]]:
        """One pass: returns what met a conflict."""
        loaded = await self._recall(asked)
        if self.look:
            asked = await self.look(asked, loaded)
        by_saga = {saga_id: wanted for saga_id, works in asked.items() if (wanted := [w for w in works if w.wanted])}
        now = self._store.now()
        loaded, folded = await self._fold_all(by_saga, loaded, now)
        for folded_work in (work for fold in folded.values() if fold.transition for work in fold.done):
            folded_work.handed_over = True
        answers = await self.outboxes.commit([fold.transition for fold in folded.values() if fold.transition])
        committed = {saga_id: moved for saga_id, (moved, answer) in answers.items() if answer is Committed.OK}
        refused = [saga_id for saga_id, (_, answer) in answers.items() if answer is Committed.REFUSED]
        folded.update({saga_id: self._refused(by_saga[saga_id]) for saga_id in refused})
        settled = [f for saga_id, f in folded.items() if f.transition is None or saga_id in committed]
        for fold in settled:
            await self._settle(fold)
            if self.meter is not None:
                self.meter(fold)
        for saga_id, transition in committed.items():
            self._send(transition, loaded.get(saga_id), now)
        await self._let_go_of_timers(folded, committed)
        return {i: by_saga[i] for i, f in folded.items() if f.transition is not None and i not in committed}

    async def _fold_all(
        self, by_saga: Mapping[str, list[Work]], loaded: Mapping[str, Loaded], now: float
    ) -> tuple[Mapping[str, Loaded], dict[str, Folded]]:
        """What each comes to, and what that was decided on. Loaded again is what lacks entries, and with them; and what
        no commit will prove to be as it was recalled."""
        folded = {saga_id: self._fold(works, loaded.get(saga_id), now) for saga_id, works in by_saga.items()}
        while wanted := {
            saga_id: fold.lacking | loaded[saga_id].entries.keys()
            for saga_id, fold in folded.items()
            if fold.lacking or (not fold.transition and saga_id in loaded and loaded[saga_id].recalled)
        }:
            again = {saga_id: by_saga[saga_id] for saga_id in wanted}
            others = {saga_id: one for saga_id, one in loaded.items() if saga_id not in wanted}
            loaded = {**others, **await self._load(again, wanted)}
            folded |= {saga_id: self._fold(works, loaded.get(saga_id), now) for saga_id, works in again.items()}
        return loaded, folded

    async def _recall(self, asked: Mapping[str, list[Work]]) -> Mapping[str, Loaded]:
        """What is known here, and the rest as it is stored; also what a timer fires for, which has to know exactly what
        has left."""
        known = self.outboxes.recall(
            i for i, works in asked.items() if not any(isinstance(w.given, Due) for w in works)
        )
        left = {saga_id: works for saga_id, works in asked.items() if saga_id not in known}
        return {**known, **await self._load(left)} if left else known

    async def _load(self, asked: Mapping[str, list[Work]], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        return await self.outboxes.load(list(asked), self._fired(asked), wanted)

    @staticmethod
    def _fired(asked: Mapping[str, list[Work]]) -> Collection[str]:
        return {saga_id for saga_id, works in asked.items() if any(isinstance(work.given, Due) for work in works)}

    async def _let_go_of_timers(self, folded: Mapping[str, Folded], committed: Collection[str]) -> None:
        for saga_id, fold in folded.items():
            if fold.stuck:
                self._leave(saga_id, fold)
            elif saga_id in committed:
                self.timers.committed(saga_id)
            elif fold.transition is None:
                self.timers.moved_nothing(saga_id, fold.instance.wake_at if fold.instance else None)
        await self.timers.give_back()

    def _fold(self, works: Sequence[Work], loaded: Loaded | None, now: float) -> Folded:
        """A bug that one saga meets must not stop the others, nor a record that cannot be read."""
        if loaded and loaded.record.unreadable:
            return self._cannot_read(works, loaded.record)
        self._illegible.discard(works[0].saga_id)
        try:
            return self._make(works, loaded, now)
        except Exception as error:
            if loaded and isinstance(error, Lacking) and (lacking := error.names - loaded.entries.keys()):
                return Folded(lacking=lacking)
            told = works[0].saga_id in self.timers.failing  # one that fails again and again would fill the log
            tell = log.warning if told else log.error
            tell("choros.decision.failed", saga_id=works[0].saga_id, error=type(error).__name__ if told else error)
            reason = ChorosError(f"Deciding failed with {type(error).__name__}; this is a bug in choros.")
            return self._left_alone(works, reason)

    def _left_alone(self, works: Sequence[Work], reason: ChorosError) -> Folded:
        """Nothing can be done for this saga for now: what came for it is given back with the reason."""
        self.timers.failed(works[0].saga_id)
        return Folded(rejected=[(work, reason) for work in works])

    def _refused(self, works: Sequence[Work]) -> Folded:
        sentence = f"The store cannot take what was decided for saga {works[0].saga_id}."
        return self._left_alone(works, StoreMisconfigured(sentence, "look into the log, and at what is stored."))

    @property
    def unreadable(self) -> int:
        """How many records and messages of the outbox could not be read when they were last looked at."""
        return len(self._illegible) + self.outboxes.unreadable

    def _cannot_read(self, works: Sequence[Work], record: Record) -> Folded:
        """To commit it would overwrite what is still there."""
        self._illegible.add(record.saga_id)
        log.error("choros.record.unreadable", saga_id=record.saga_id, fields=record.unreadable)
        sentence = f"The record of saga {record.saga_id} cannot be read ({record.unreadable})."
        return self._left_alone(works, StoreMisconfigured(sentence, "restore it from a backup."))

    def _send(self, transition: Transition, before: Loaded | None, now: float) -> None:
        wake_at = transition.record.wake_at
        left = inf if wake_at is None else wake_at - now
        if left < SOON:
            self.timers.expect(left)
        self.outboxes.send(transition, before, left)

    async def _settle(self, folded: Folded) -> None:
        """The commit is there: tell whoever waits, and let the broker forget."""
        for work in (*folded.done, *folded.repeated):
            events = [event for event in folded.events if event.cause == work.id]
            if work.delivery and any(event.kind == "not_kept" for event in events):
                self._reject(work, MessageRejected(KEEPS_NO_MORE))
            elif work.delivery:
                await work.delivery.ack()
            if folded.instance:
                work.finish(WorkDone(folded.instance, events, work in folded.repeated))
        for work, error in folded.rejected:
            self._reject(work, error)
        if self.locks and folded.instance and folded.instance.lock:
            self.locks.follow(folded, folded.instance)
        self._tell(folded)

    def _leave(self, saga_id: str, folded: Folded) -> None:
        """Another worker knows it. Where its timer is handed to us all the same, look at it once in a while only."""
        log.warning("choros.saga.stuck", saga_id=saga_id, reason=folded.stuck)
        self.timers.belongs_elsewhere(saga_id)

    def _reject(self, work: Work, error: ChorosError) -> None:
        work.fail(error)
        if work.delivery and isinstance(error, ForAnother) and work.delivery.returns < len(PASSED_ON):
            work.delivery.pass_on(PASSED_ON[work.delivery.returns])
        elif work.delivery:
            log.warning(f"choros.{work.kind}.parked", saga_id=work.saga_id, reason=error.sentence)
            self.background(work.delivery.dead_letter(error.sentence))

    def background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something that the loop must not wait for."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell(self, folded: Folded) -> None:
        for event in folded.events:
            tell = log.debug if event.kind in _ROUTINE else _LOUD.get(event.kind, log.info)
            tell(
                f"choros.saga.{event.kind}", step=event.step, attempt=event.attempt, code=event.code,
                saga_id=folded.instance.saga_id if folded.instance else "",
            )  # fmt: skip
        if folded.instance and (folded.instance.terminal or folded.instance.status == "parked"):
            for future in list(self._watchers.get(folded.instance.saga_id, ())):
                if not future.done():
                    future.set_result(WorkDone(folded.instance))

    async def close(self, within: float) -> None:
        """Let what is under way finish, for so many seconds at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)
        await self.outboxes.close(within)
