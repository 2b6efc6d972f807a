"""Replies on their way: published with confirm, then the command is acknowledged; what a crash left is sent again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from choros.errors import StoreUnreachable
from choros.runtime.participant.answers import Answer, UnreadableRow, stored
from choros.sources import full_jitter
from choros.store.barrier import Database, Row
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.port import Delivery, Published, Transport
from choros.wire.envelope import is_sendable

log = get_logger(__name__)

SCAN_LIMIT = 500
UNROUTABLE_AFTER = 20.0
"""Seconds after which a command is parked whose reply no queue takes, or one that does not answer: else it would hold
its place for ever, and with it the commands of others. Its stored reply stays in the scan."""
UNROUTABLE_FOR = 60.0
"""Seconds for which replies to such a queue are then not waited for at all."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A reply, and what it settles."""

    answer: Answer
    release: Callable[[], Delivery | None] = _nothing
    """Called once it is done with, for the delivery to settle; None where none waits."""


class ReplyOutbox:
    """Sends replies until each is confirmed. Only then is its command acknowledged (semantics 14)."""

    def __init__(self, transport: Transport, database: Database, counts: Counter[str], exchange: str) -> None:
        """`exchange` is the one that replies go to."""
        self._transport = transport
        self._exchange = exchange
        self._database = database
        self._counts = counts
        self._in_flight: Counter[str] = Counter()
        self._seen: set[str] | None = None
        self._failing: set[str] = set()
        self._unreadable: set[str] = set()
        self._gone: dict[str, float] = {}

    async def deliver(self, outgoing: Sequence[Outgoing]) -> None:
        """Send these, again and again until the broker has them all; later ones do not wait for them."""
        keys = [key for one in outgoing for key in one.answer.keys]
        self._in_flight.update(keys)
        try:
            await self._until_confirmed(list(outgoing))
        finally:
            self._in_flight.subtract(keys)
            self._in_flight = +self._in_flight

    async def _until_confirmed(self, left: list[Outgoing]) -> None:
        delays, loop = full_jitter(), asyncio.get_running_loop()
        missed: float | None = None
        while left:
            published = await self._send(left)
            failed = [(one, fate) for one, fate in zip(left, published, strict=True) if fate is not Published.CONFIRMED]
            self._note(failed)
            now = loop.time()
            stuck = any(self._why_stuck(one, fate) for one, fate in failed)
            missed = (now if missed is None else missed) if stuck else None
            left = await self._park_unroutable(failed, now, missed is not None and now - missed >= UNROUTABLE_AFTER)
            if left:
                await asyncio.sleep(next(delays))

    async def _send(self, outgoing: Sequence[Outgoing]) -> Sequence[Published]:
        """Send once, and settle what the broker has confirmed."""
        published = await self._transport.send([one.answer.reply for one in outgoing])
        sent: list[str] = []
        for one, fate in zip(outgoing, published, strict=True):
            if fate is Published.CONFIRMED:
                sent += one.answer.keys
                self._gone.pop(one.answer.reply.to, None)
                if (delivery := one.release()) is not None:
                    await delivery.ack()
        await self._mark(sent)
        return published

    async def _mark(self, keys: Sequence[str]) -> None:
        if keys:
            try:
                await self._database.mark_sent(keys)
            except StoreUnreachable as error:  # they are sent once more, which does no harm
                log.warning("choros.database.unreachable", error=type(error).__name__)

    def _note(self, failed: Sequence[tuple[Outgoing, Published]]) -> None:
        for one, fate in failed:
            self._counts["unconfirmed"] += 1
            log.warning("choros.reply.unconfirmed", published=fate.value, **about(one.answer.reply))

    async def _park_unroutable(
        self, failed: Sequence[tuple[Outgoing, Published]], now: float, waited: bool
    ) -> list[Outgoing]:
        """Who has waited long enough finds out that a queue is gone; whoever comes next need not."""
        left: list[Outgoing] = []
        for one, fate in failed:
            to, why = one.answer.reply.to, self._why_stuck(one, fate)
            if why and (waited or self._gone.get(to, 0.0) > now) and (delivery := one.release()) is not None:
                if waited:
                    self._gone = {name: until for name, until in self._gone.items() if until > now}
                    self._gone[to] = now + UNROUTABLE_FOR
                self._counts["parked"] += 1
                await delivery.dead_letter(why)
            else:
                left.append(one)
        return left

    def _why_stuck(self, one: Outgoing, fate: Published) -> str:
        """Why only this reply's queue is to blame; empty where it may be the broker, for whose return all wait."""
        if fate is Published.RETURNED:
            return "No queue takes the reply."
        if fate is Published.NACKED and not is_sendable(one.answer.reply):
            return "The reply cannot be sent."
        health, queue = self._transport.health, f"{self._exchange}:{one.answer.reply.to}"
        silent = fate is Published.UNKNOWN and health.state == "connected" and queue in health.unconfirmed
        return "The queue of the reply does not answer." if silent else ""

    # --- what a crash left ---

    async def keep_scanning(self, every: float) -> None:
        """Send stored replies that were never confirmed: all at the start, later those that lie there for long."""
        while True:
            try:
                await self.scan()
            except StoreUnreachable as error:
                log.warning("choros.database.unreachable", error=type(error).__name__)
            await asyncio.sleep(every)

    async def scan(self) -> None:
        """Send what was already there at the last scan and is not on its way; the first time, everything."""
        # Replies that nobody takes, or reads, stay the oldest: the scan has to look past them.
        rows = await self._database.unsent(SCAN_LIMIT + len(self._failing | self._unreadable))
        due = [row for row in rows if not self._in_flight[row.key] and (self._seen is None or row.key in self._seen)]
        self._seen = {row.key for row in rows}
        self._failing &= self._seen
        self._unreadable &= self._seen
        await self._mark([row.key for row in due if row.state == "intent"])  # these keep a command, not a reply
        left = self._readable([row for row in due if row.state != "intent"])
        if left:
            log.info("choros.reply.resent", count=len(left))
            published = await self._send(left)
            lost = [one for one, fate in zip(left, published, strict=True) if fate is not Published.CONFIRMED]
            self._failing.update(key for one in lost for key in one.answer.keys)

    def _readable(self, rows: Sequence[Row]) -> list[Outgoing]:
        """Those that this version can send; each other one is named once, and stays for a version that knows it."""
        left: list[Outgoing] = []
        for row in rows:
            try:
                left.append(Outgoing(stored(row)))
            except UnreadableRow:
                if row.key not in self._unreadable:
                    self._counts["unreadable"] += 1
                    log.error("choros.reply.unreadable", key=row.key)
                self._unreadable.add(row.key)
        return left
