"""Catching up: what a subscriber's queue did not get, it reads from the fact log, everything through its inbox.

A late subscriber reads from the first fact to a mark of its own. The mark is put into the log when whoever published
past the subscriber's binding must have given up and published again, so nothing lies between log and queue. Whoever
has a bounded queue reads on from its last mark now and then, since the queue may have dropped its oldest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from choros.runtime.host.intake import Intake, Take
from choros.runtime.host.jobs import Jobs
from choros.runtime.subscriber.inbox import log_key, log_row, read_until
from choros.sources import CLOCK_SKEW, fresh_id
from choros.telemetry.logs import get_logger
from choros.transport.fact_log import MARK
from choros.transport.port import Delivery, Published, Transport
from choros.transport.topology import DELIVERY_LIMIT, Names

MARK_AGAIN = 30.0
"""Seconds after which a mark that was not met is put again: an emptied broker has lost it, and its log begins anew."""

log = get_logger(__name__)


class CatchUp:
    """Reads the fact log for one subscriber, whose queue is bound."""

    def __init__(
        self,
        transport: Transport,
        names: Names,
        queue: str,
        intake: Intake,
        jobs: Jobs,
        *,
        prefetch: int,
        publish_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._transport, self._names, self._queue = transport, names, queue
        self._intake, self._jobs, self._prefetch = intake, jobs, prefetch
        self._patience, self._clock = publish_timeout, clock
        self._key = log_key(queue)

    async def begin(
        self, take: Take, *, from_start: bool, bounded: bool, again: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Before the queue is consumed: hand all to `take` that the log holds and the queue may lack.

        With `again` the whole log is read anew, since the service has gained a type; that is awaited afterwards."""
        place = None if again else await self._place()
        if place is not None and not bounded:
            return  # it is live: what came since then lies in its queue
        if place is None and not from_start:
            await self._remember(self._clock() - self._patience)
            return
        log.info("choros.subscriber.catching_up", queue=self._queue)
        finish = await self._read(take, place, self._patience if place is None else 0.0, anew=bool(again))
        self._intake.accompany(self._end(finish, take, again))

    async def sweep(self, take: Take, every: float) -> None:
        """For a bounded queue: read on from the last mark, again and again."""
        while True:
            await asyncio.sleep(every)
            await self._end(await self._read(take, await self._place(), 0.0), take)

    async def _end(
        self, finish: Callable[[], Awaitable[bool]], take: Take, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Once all is settled, note how far we are; what a lost connection has torn away is read again."""
        while not self._intake.stopping and not await finish():
            finish = await self._read(take, None if then else await self._place(), 0.0, anew=bool(then))
        if not self._intake.stopping:
            if then:
                await then()
            log.info("choros.subscriber.caught_up", queue=self._queue)

    async def _read(
        self, take: Take, since: float | None, wait: float, *, anew: bool = False
    ) -> Callable[[], Awaitable[bool]]:
        """Hand everything to `take`, up to a mark that is put after so many seconds; what is returned waits until all
        of it is settled, and says whether it is."""
        reading = _LogReading(self._transport, self._names, take, ReadAnew if anew else _Tracked)
        until = self._clock() + wait - self._patience - CLOCK_SKEW
        while not reading.met and not self._intake.stopping:
            reader = await self._transport.replay(self._queue, self._prefetch, since)
            marking = asyncio.create_task(reading.put_marks(wait, reader.close))
            try:
                await self._intake.read(reader, partial(reading.take, close=reader.close))
            finally:
                marking.cancel()
            wait = 0.0
        return partial(self._finished, reading, until)

    async def _finished(self, reading: _LogReading, until: float) -> bool:
        whole = await reading.settled()
        if whole:
            await self._remember(until)
        return whole

    async def _place(self) -> float | None:
        return read_until(await self._jobs.value(lambda transaction: transaction.read_row(self._key)))

    async def _remember(self, until: float) -> None:
        row = log_row(self._queue, until)
        await self._jobs.value(lambda transaction: transaction.write_row(row))


class _LogReading:
    """One way through the log: what is under way, and whether the mark was met."""

    def __init__(self, transport: Transport, names: Names, take: Take, kind: type[_Tracked]) -> None:
        self._transport, self._names, self._take, self._kind = transport, names, take, kind
        self._marks: set[str] = set()
        self.met = False
        """Whether a mark of ours has come."""
        self._taken = 0
        self._torn = False
        self._open: set[_Tracked] = set()
        self._idle = asyncio.Event()

    async def put_marks(self, wait: float, close: Callable[[], Awaitable[None]]) -> None:
        """Put a mark, and another one as long as none is met.

        A reader that stands still without meeting it waits for the place where it was in a log that is no more: it
        is closed, to be opened anew."""
        await asyncio.sleep(wait)
        still = False
        while not still:
            text = fresh_id()
            self._marks.add(text)
            taken = self._taken
            there = await self._transport.mark(text) is Published.CONFIRMED
            await asyncio.sleep(MARK_AGAIN)
            still = there and self._taken == taken and not self._open
        log.warning("choros.subscriber.log_begun_anew")
        await close()

    async def take(self, deliveries: Sequence[Delivery], *, close: Callable[[], Awaitable[None]]) -> None:
        """Hand on the facts; close the reader where a mark of ours is among them."""
        facts: list[_Tracked] = []
        for delivery in deliveries:
            if delivery.exchange in (self._names.marks, self._names.retry):
                self.met = self.met or delivery.wire.headers.get(MARK) in self._marks
                await delivery.ack()
            else:
                facts.append(self._kind(delivery, self._settled))
        self._open.update(facts)
        self._taken += len(deliveries)
        if self.met:
            await close()
        await self._take(facts)

    def _settled(self, one: _Tracked, torn: bool) -> None:
        self._open.discard(one)
        self._torn = self._torn or torn
        self._idle.set()

    async def settled(self) -> bool:
        """Wait until all that was handed on is settled; whether that is all up to the mark."""
        while self._open:
            self._idle.clear()
            await self._idle.wait()
        return self.met and not self._torn


class _Tracked:
    """A delivery from the log, and the news that it is settled."""

    def __init__(self, delivery: Delivery, settled: Callable[[_Tracked, bool], None]) -> None:
        self._delivery, self._tell = delivery, settled
        self.wire, self.exchange, self.read = delivery.wire, delivery.exchange, delivery.read
        self.retries, self.waits = delivery.retries, delivery.waits
        self.returns = DELIVERY_LIMIT
        """As many as there may be: a log takes nothing back."""

    @property
    def fresh(self) -> bool:
        """What a log holds is given to each of its readers as if for the first time."""
        return not (self.retries or self.waits)

    @property
    def lost(self) -> bool:
        return self._delivery.lost

    async def ack(self) -> None:
        """It is handled, whatever becomes of the acknowledgement."""
        await self._delivery.ack()
        self._tell(self, False)

    async def retry(self, after: float, *, tried: bool = True) -> None:
        """Without its connection no copy was made."""
        await self._delivery.retry(after, tried=tried)
        self._tell(self, self._delivery.lost)

    def pass_on(self, after: float) -> None:
        """It stays where it is, and nobody can say that it was handled."""
        self._delivery.pass_on(after)
        self._tell(self, True)

    async def dead_letter(self, reason: str) -> None:
        """The same."""
        await self._delivery.dead_letter(reason)
        self._tell(self, self._delivery.lost)


class ReadAnew(_Tracked):
    """One of a log that is read anew. A broker drops old facts by whole segments only, so many of them may be older
    than the log is meant to hold, and were handled when they were young."""
