"""The relay: sends what a commit put into the outbox, and finds what a crash left there.

There are two, one for commands and one for facts, so that facts can never stop commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from math import inf

from choros.errors import StoreUnreachable
from choros.runtime.host.pacing import BackingOff, Clock, Complaints, monotonic
from choros.store.sagas import Channel, Store, Unsent
from choros.telemetry.logs import get_logger
from choros.transport.port import Published
from choros.wire.envelope import Envelope, is_sendable

log = get_logger("choros.relay")

Publisher = Callable[[Sequence[Envelope]], Awaitable[Sequence[Published]]]
SCAN_LIMIT = 500
PLACE_SECONDS = 1.0
"""A batch of commands whose confirms take longer lets another one begin: its destination may not answer at all."""


class Relay:
    """Publishes outbox entries at least once: right after their commit, and again by a scan until confirmed."""

    def __init__(
        self,
        channel: Channel,
        publish: Publisher,
        store: Store,
        *,
        scan_every: float = 1.0,
        resend_after: float = 5.0,
        concurrency: int = 8,
        clock: Clock = monotonic,
    ) -> None:
        self._channel: Channel = channel
        self._publish = publish
        self._store = store
        self._scan_every = scan_every
        self._resend_after = resend_after
        # Facts of one saga leave in order, so their batches must not overtake each other.
        self._slots = asyncio.Semaphore(concurrency if channel == "commands" else 1)
        self._waiting: list[Unsent] = []
        self._held: set[str] = set()
        self._confirmed: dict[str, list[str]] = {}
        self._being_marked: dict[str, list[str]] = {}
        self._pressing: dict[str, float] = {}
        """By when it shall be marked that these have left."""
        self._early: asyncio.TimerHandle | None = None
        self._flushing = asyncio.Lock()
        self._behind: dict[str, list[Unsent]] = {}
        self._failing = BackingOff(clock)
        self._complaints = Complaints(clock)
        self._unreadable: dict[str, str] = {}
        self._passed_over = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed_scan = False

    def dispatch(self, entries: Sequence[Unsent], *, note_within: float = inf) -> None:
        """Publish these soon; returns at once. A fact waits behind an earlier one of its saga that has not left.
        In so many seconds it shall be marked that they have left, where that is sooner than anyway."""
        fresh = [entry for entry in entries if entry.id not in self._held]
        ready = [read for entry in fresh if (read := self._read(entry))]
        if note_within < self._scan_every:
            by = asyncio.get_running_loop().time() + max(0.0, note_within)
            self._pressing.update((entry.id, by) for entry in ready)
        self._held.update(entry.id for entry in ready)
        self._publish_soon(ready)

    def _read(self, entry: Unsent) -> Unsent | None:
        """The entry with its message. One that cannot be read stays in the outbox, for a newer choros or a person; a
        fact behind one stays there too, for it must not overtake it."""
        if entry.id in self._unreadable or (self._channel == "facts" and entry.saga_id in self._unreadable.values()):
            return None
        try:
            return replace(entry, message=entry.message or Envelope.loads(entry.envelope))
        except Exception as error:  # whatever is stored there: the others go out
            self._pass_over(entry, str(error) if isinstance(error, ValueError) else type(error).__name__)
            return None

    def _pass_over(self, entry: Unsent, reason: str) -> None:
        self._unreadable[entry.id] = entry.saga_id
        log.error("choros.outbox.unreadable", saga_id=entry.saga_id, message_id=entry.id, reason=reason)

    @property
    def unreadable(self) -> Collection[str]:
        """Ids of entries that were found at the last scan and cannot be read here."""
        return self._unreadable.keys()

    def holds(self, ids: Collection[str]) -> bool:
        """Whether all of these are in this relay's hands."""
        return self._held.issuperset(ids)

    def _publish_soon(self, entries: Sequence[Unsent]) -> None:
        if entries and not self._waiting:
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._waiting += entries

    def _again(self) -> None:
        """Facts that did not leave, and those behind them; of each saga its first decides when."""
        due = self._failing.due(entries[0].id for entries in self._behind.values())
        sagas = [saga_id for saga_id, entries in self._behind.items() if entries[0].id in due]
        earlier = [entry for saga_id in sagas for entry in self._behind.pop(saga_id)]
        if self._waiting:  # their task is there already; it takes the earlier ones first
            self._waiting = earlier + self._waiting
        else:
            self._publish_soon(earlier)

    async def _drain(self) -> None:
        async with self._place():
            waiting, self._waiting = self._waiting, []
            entries = [entry for entry in waiting if entry.saga_id not in self._behind]
            for entry in waiting:
                if entry.saga_id in self._behind:
                    self._behind[entry.saga_id].append(entry)
            results = await self._sent(entries) if entries else ()
        for entry, result in zip(entries, results, strict=True):
            self._settle(entry, result)

    async def _sent(self, entries: Sequence[Unsent]) -> Sequence[Published]:
        """What became of each. Where the transport fails over one of them, each goes by itself; a fact does not follow
        one of its saga that has not left."""
        try:
            return await self._publish([entry.message for entry in entries if entry.message])
        except Exception as error:
            log.error("choros.publish.failed", error=error, count=len(entries), channel=self._channel)
        if len(entries) == 1:
            return [Published.UNKNOWN]
        results: list[Published] = []
        stopped: set[str] = set()
        for entry in entries:
            results += [Published.UNKNOWN] if entry.saga_id in stopped else await self._sent([entry])
            if self._channel == "facts" and results[-1] not in (Published.CONFIRMED, Published.RETURNED):
                stopped.add(entry.saga_id)
        return results

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A place among those who publish; of commands, one that is given up early where confirms are slow."""
        await self._slots.acquire()
        held = [self._slots.release]
        early = asyncio.get_running_loop().call_later(PLACE_SECONDS, lambda: held and held.pop()())
        if self._channel == "facts":
            early.cancel()
        try:
            yield
        finally:
            early.cancel()
            if held:
                held.pop()()

    def _settle(self, entry: Unsent, result: Published) -> None:
        to = entry.message.to or entry.message.type if entry.message else ""  # a fact goes where its type leads
        unbound = self._channel == "facts" and result is Published.RETURNED
        by = self._pressing.pop(entry.id, None)
        if result is Published.CONFIRMED or unbound:
            self._confirmed.setdefault(entry.saga_id, []).append(entry.id)
            self._failing.left(entry.id, to)
            if not unbound and self._complaints.complains_of(to) and not self._failing.holds_for(to):
                self._complaints.over(to)
            self._flush_by(by)
        elif result is not Published.RETURNED and entry.message and not is_sendable(entry.message):
            self._pass_over(entry, "it cannot be sent")
            self._held.discard(entry.id)
        else:
            self._failing.failed(entry.id, to, result)
            if self._channel == "facts":
                self._behind.setdefault(entry.saga_id, []).append(entry)
            else:
                self._held.discard(entry.id)  # the scan finds it again
        if result is not Published.CONFIRMED:
            event = "choros.fact.unbound" if unbound else "choros.publish.unconfirmed"
            self._complaints.note(event, to, result, saga_id=entry.saga_id, message_id=entry.id)

    def _flush_by(self, moment: float | None) -> None:
        if moment is None or (self._early and self._early.when() <= moment):
            return
        if self._early:
            self._early.cancel()
        self._early = asyncio.get_running_loop().call_at(moment, self._flush_early)

    def _flush_early(self) -> None:
        self._early = None
        task = asyncio.create_task(self._flush_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush_quietly(self) -> None:
        with contextlib.suppress(StoreUnreachable):  # it is tried again, where that is said
            await self.flush()

    def confirmed(self, saga_ids: Iterable[str]) -> set[str]:
        """Those entries of these sagas that have left, as far as that is known here and not marked yet."""
        known = self._confirmed, self._being_marked
        return {entry for saga_id in saga_ids for entries in known for entry in entries.get(saga_id, ())}

    def take_confirmed(self, saga_id: str) -> tuple[str, ...]:
        """Entries of this saga that are confirmed; the caller takes them out of the outbox with its commit."""
        return tuple(self._confirmed.pop(saga_id, ()))

    def give_back(self, saga_id: str, ids: Sequence[str]) -> None:
        """The commit that was to take these out did not happen; ids of another relay are passed over."""
        mine = [entry for entry in ids if entry in self._held]
        if mine:
            self._confirmed.setdefault(saga_id, []).extend(mine)

    def forget(self, ids: Sequence[str]) -> None:
        """These have left the outbox."""
        self._held.difference_update(ids)

    async def run(self, *, scan: bool = True) -> None:
        """Mark what is confirmed, and scan for what nobody sent; until cancelled."""
        while True:
            await asyncio.sleep(self._scan_every)
            self._complaints.tell()
            try:
                self._again()
                await self.flush()
                if scan:
                    await self._scan()
                elif self._channel == "commands":
                    self._failing.keep(())  # what did not leave is the affair of those who scan
                self._failed_scan = False
            except StoreUnreachable as error:
                if not self._failed_scan:
                    log.warning("choros.store.unreachable", error=error.sentence)
                self._failed_scan = True

    async def flush(self) -> None:
        """Take what is confirmed out of the outbox."""
        async with self._flushing:
            confirmed, self._confirmed = self._confirmed, {}
            pairs = [(saga_id, entry) for saga_id, entries in confirmed.items() for entry in entries]
            if not pairs:
                return
            self._being_marked = confirmed
            try:
                await self._store.mark_sent(pairs)
            except StoreUnreachable:
                for saga_id, entries in confirmed.items():
                    self.give_back(saga_id, entries)
                raise
            finally:
                self._being_marked = {}
            self.forget([entry for _, entry in pairs])

    async def _scan(self) -> None:
        before = self._store.now() - self._resend_after
        # Commands that nobody takes stay the oldest: the scan has to look past them.
        limit = SCAN_LIMIT + len(self._failing) + self._passed_over
        left = await self._store.unsent(self._channel, before, limit)
        ids = {entry.id for entry in left}
        self._unreadable = {one: saga_id for one, saga_id in self._unreadable.items() if one in ids}
        if self._channel == "commands":
            self._failing.keep(ids)
        due = self._failing.due(entry.id for entry in left if entry.id not in self._held)
        fresh = [entry for entry in left if entry.id in due]
        self.dispatch(fresh)
        self._passed_over = sum(entry.id not in self._held for entry in fresh)
        if resent := len(fresh) - self._passed_over:
            log.info("choros.outbox.resent", count=resent, channel=self._channel)

    async def close(self, within: float) -> None:
        """Let what is being published finish, for so many seconds at most, and mark it."""
        if self._early:
            self._early.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)
        self._complaints.tell(all_of_them=True)
        with contextlib.suppress(StoreUnreachable, TimeoutError):
            async with asyncio.timeout(within):
                await self.flush()
