"""The relay: sends what a commit has left in an outbox, until a broker has it, and finds what a crash left there.

Commands, facts and replies each have one of their own, so that facts can never stop commands.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from math import inf
from typing import Any

from choros.errors import StoreUnreachable
from choros.runtime.host.outgoing import Lines, Manner, MessageOutbox, Outgoing
from choros.runtime.host.pacing import BackingOff, Clock, Complaints, monotonic
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.port import Published
from choros.transport.sending import one_by_one
from choros.wire.envelope import Envelope, is_sendable

log = get_logger("choros.relay")

Publisher = Callable[[Sequence[Envelope]], Awaitable[Sequence[Published]]]
SCAN_LIMIT = 500
PLACE_SECONDS = 1.0
"""A batch whose confirms take longer lets another one begin: its destination may not answer at all."""
AGAIN_SECONDS = 0.5
"""How often it is looked whose pause is over, while anything waits here for the end of one."""


class Relay:
    """Publishes at least once: right after the commit, and again until it is confirmed."""

    def __init__(
        self,
        manner: Manner,
        publish: Publisher,
        outbox: MessageOutbox,
        *,
        scan_every: float = 1.0,
        concurrency: int = 8,
        clock: Clock = monotonic,
        counts: Counter[str] | None = None,
    ) -> None:
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._manner, self._publish, self._outbox, self._scan_every = manner, publish, outbox, scan_every
        self._places = asyncio.Semaphore(1 if manner.in_order else concurrency)
        self._waiting: list[Outgoing] = []
        self._held: set[str] = set()
        self._lines = Lines(in_order=manner.in_order)
        self._confirmed: dict[str, set[str]] = {}
        """By group."""
        self._marking, self._mark_waits = asyncio.Lock(), False
        self._failing = BackingOff(clock)
        self._complaints = Complaints(clock)
        self._unreadable: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: asyncio.TimerHandle | None = None
        self._early_at = inf  # kept here: on uvloop the handle of a moment that has passed does not know it
        self._retrying: asyncio.TimerHandle | None = None
        self._passed_over, self._away = 0, False

    # --- taking in ---

    def dispatch(self, outgoing: Iterable[Outgoing], *, mark_within: float = inf) -> None:
        """Publish these soon; returns at once. One that has to keep its order waits behind an earlier one that has not
        left. In so many seconds it shall be marked that they have left, where that is sooner than anyway."""
        ready = [one for one in outgoing if self._read(one)]
        within = min(mark_within, self._manner.mark_within)
        if self._manner.mark_within and within < self._scan_every:
            by = asyncio.get_running_loop().time() + max(0.0, within)
            for one in ready:
                one.mark_by = by
        self._held.update(one.id for one in ready)
        self._publish_soon(ready)

    def _read(self, one: Outgoing) -> bool:
        """Whether it can be read. If not, it stays in the outbox, for a newer choros or a person, and so does what must
        not overtake it."""
        known = one.id in self._unreadable
        if self._manner.in_order and not known and one.group in self._unreadable.values():
            return False
        try:
            one.message = one.read()
        except Exception as error:  # whatever is stored there: the others go out
            self._pass_over(one, str(error) if isinstance(error, ValueError) else type(error).__name__)
            return False
        if known and is_sendable(one.message):  # somebody has mended it
            del self._unreadable[one.id]
        return one.id not in self._unreadable

    def _pass_over(self, one: Outgoing, reason: str) -> None:
        if one.id not in self._unreadable:
            self._unreadable[one.id] = one.group
            self._counts["unreadable"] += 1
            group, id = self._manner.names
            log.error(self._manner.unreadable, reason=reason, **{group: one.group, id: one.id})
        one.tell("The message cannot be sent.")

    @property
    def unreadable(self) -> Collection[str]:
        """Ids of messages that were found at the last scan and cannot be read here."""
        return self._unreadable.keys()

    def holds(self, ids: Collection[str]) -> bool:
        """Whether all of these are in hand here."""
        return self._held.issuperset(ids)

    def forget(self, ids: Iterable[str]) -> None:
        """These have left the outbox, or are no affair of this relay for now; ids of another one are passed over."""
        self._held.difference_update(ids)

    # --- sending ---

    def _publish_soon(self, outgoing: Sequence[Outgoing]) -> None:
        if outgoing and not self._waiting:
            self._spawn(self._drain())
        self._waiting += outgoing

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        """In a place among those who publish; where order does not matter, one that is given up early if confirms are
        slow."""
        await self._places.acquire()
        held = [self._places.release]
        later = asyncio.get_running_loop().call_later
        early = None if self._manner.in_order else later(PLACE_SECONDS, lambda: held and held.pop()())
        try:
            waiting, self._waiting = self._waiting, []
            going = self._lines.going(waiting)
            results = await self._sent(going) if going else ()
        finally:
            if early:
                early.cancel()
            if held:
                held.pop()()
        for one, result in zip(going, results, strict=True):
            self._settle(one, result)
        if not self._manner.mark_within:
            self._mark_soon()

    async def _sent(self, going: Sequence[Outgoing]) -> Sequence[Published]:
        """What became of each. Where the transport fails over one of them, each goes by itself, but does not follow one
        in its line that has not left."""
        try:
            return await self._publish([one.message for one in going if one.message])
        except Exception as error:
            log.error("choros.publish.failed", error=error, count=len(going), channel=self._manner.channel)
        if len(going) == 1:
            return [Published.UNKNOWN]
        return await one_by_one(going, self._lines.of, self._sent)

    def _settle(self, one: Outgoing, result: Published) -> None:
        unbound = self._manner.unbound if result is Published.RETURNED else ""
        if result is Published.CONFIRMED or unbound:
            self._leaves(one, unbound)
        elif result is not Published.RETURNED and one.message and not is_sendable(one.message):
            self._pass_over(one, "it cannot be sent")
            self.forget([one.id])
        else:
            self._stays(one, result)
        if result is not Published.CONFIRMED:
            said = about(one.message) if one.message else {}
            self._complaints.note(unbound or self._manner.unconfirmed, one.destination, result, **said)

    def _leaves(self, one: Outgoing, unbound: str) -> None:
        to = one.destination
        if one.group:
            self._confirmed.setdefault(one.group, set()).add(one.id)
            self._mark_by(one.mark_by)
        else:
            self.forget([one.id])
        self._failing.left(one.id, to)
        if not unbound and self._complaints.complains_of(to) and not self._failing.holds_for(to):
            self._complaints.over(to)
        one.tell("")

    def _stays(self, one: Outgoing, result: Published) -> None:
        self._counts["unconfirmed"] += 1
        self._failing.failed(one.id, one.destination, result)
        if self._manner.in_order or one.told:
            self._lines.keep(one)
            self._try_again_soon()
        else:
            self.forget([one.id])  # the scan finds it again

    def _try_again_soon(self) -> None:
        if self._retrying is None:
            self._retrying = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again)

    def _again(self) -> None:
        self._retrying = None
        self._complaints.tell()
        self.forget([one.id for one in self._lines.unwanted()])  # what of these is stored, the scan finds
        earlier = self._lines.again(self._failing.due)
        if self._waiting:  # their task is there already; it takes the earlier ones first
            self._waiting = earlier + self._waiting
        else:
            self._publish_soon(earlier)
        if self._lines:
            self._try_again_soon()

    # --- marking ---

    def confirmed(self, groups: Iterable[str]) -> set[str]:
        """What of these groups has left, as far as that is known here and not marked yet."""
        return {one for group in groups for one in self._confirmed.get(group, ())}

    def take_confirmed(self, group: str) -> Collection[str]:
        """What of this group has left; the caller takes it out of the outbox with its commit."""
        return self._confirmed.pop(group, ())

    def give_back(self, group: str, ids: Iterable[str]) -> None:
        """The commit that was to take these out did not happen; ids of another relay are passed over."""
        if mine := self._held.intersection(ids):
            self._confirmed.setdefault(group, set()).update(mine)

    def _mark_by(self, moment: float) -> None:
        if moment >= self._early_at:
            return
        if self._early:
            self._early.cancel()
        self._early_at, self._early = moment, asyncio.get_running_loop().call_at(moment, self._mark_soon)

    def _mark_soon(self) -> None:
        self._early_at, self._early = inf, None
        if not self._mark_waits:  # else the one that waits marks this as well
            self._mark_waits = True
            self._spawn(self._flush_quietly())

    async def _flush_quietly(self) -> None:
        with contextlib.suppress(StoreUnreachable):  # it is tried again, where that is said
            await self.flush()

    async def flush(self) -> None:
        """Take what is confirmed out of the outbox."""
        async with self._marking:
            self._mark_waits = False
            left = [(group, one) for group, ids in self._confirmed.items() for one in ids]
            if left:
                await self._outbox.mark_sent(left)
            for group, one in left:  # a commit may have taken them meanwhile
                self._confirmed.get(group, set()).discard(one)
                if not self._confirmed.get(group):
                    self._confirmed.pop(group, None)
            self.forget([one for _, one in left])

    # --- looking after it ---

    async def run(self, *, scan: bool = True) -> None:
        """Mark what is confirmed, and scan for what nobody sent; until cancelled. Whoever does not scan leaves what
        did not leave to those who do."""
        while True:
            self._complaints.tell()
            try:
                await self.flush()
                if scan:
                    await self._scan()
                else:
                    self._failing.keep(self._held)
                self._away = False
            except StoreUnreachable as error:
                if not self._away:
                    log.warning(self._manner.away, error=error.sentence)
                self._away = True
            await asyncio.sleep(self._scan_every)

    async def _scan(self) -> None:
        # What nobody takes, or reads, stays the oldest: the scan has to look past it.
        left = await self._outbox.unsent(SCAN_LIMIT + len(self._failing) + self._passed_over)
        ids = {one.id for one in left}
        self._unreadable = {one: group for one, group in self._unreadable.items() if one in ids}
        self._failing.keep({*ids, *self._held})
        due = self._failing.due(one.id for one in left if one.id not in self._held)
        fresh = [one for one in left if one.id in due]
        self.dispatch(fresh)
        self._passed_over = sum(one.id not in self._held for one in fresh)
        if resent := len(fresh) - self._passed_over:
            log.info(self._manner.resent, count=resent, channel=self._manner.channel)

    async def close(self, within: float) -> None:
        """Let what is being published finish, for so many seconds at most, and mark it."""
        for timer in (self._early, self._retrying):
            if timer is not None:
                timer.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)
        for task in set(self._tasks):
            task.cancel()
        self._complaints.tell(all_of_them=True)
        with contextlib.suppress(StoreUnreachable, TimeoutError):
            async with asyncio.timeout(within):
                await self.flush()
