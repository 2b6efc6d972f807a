"""Replies on their way: what a participant's database keeps of them, and until when a command waits for its own."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from choros.runtime.host.outgoing import REPLIES, Outgoing
from choros.runtime.host.relay import Relay
from choros.runtime.participant.answers import Answer, kept
from choros.store.barrier import Database
from choros.transport.port import Carrier, Delivery, Published
from choros.wire.envelope import Envelope

_BETWEEN = "\x1f"
"""Between the keys of rows that one reply is kept in; none holds a control character."""
UNROUTABLE_AFTER = 20.0
"""Seconds after which a command is parked whose reply no queue takes, or one that does not answer: else it would hold
its place for ever, and with it the commands of others. Its stored reply stays in the scan."""
UNROUTABLE_FOR = 60.0
"""Seconds for which replies to such a queue are then not waited for at all."""


class DatabaseOutbox:
    """The stored replies of a database, as the outbox of a relay."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: set[str] | None = None

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        """What was already there at the last look; the first time, everything."""
        rows = await self._database.unsent(limit)
        before, self._seen = self._seen, {row.key for row in rows}
        due = [row for row in rows if before is None or row.key in before]
        if others := [row.key for row in due if not row.owes_reply]:  # an older choros took them for replies
            await self._database.mark_sent(others)
        return [Outgoing(row.key, row.key, partial(kept, row)) for row in due if row.owes_reply]

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        """These have left."""
        await self._database.mark_sent([key for keys, _ in left for key in keys.split(_BETWEEN)])


class ReplyOutbox:
    """Sends replies until each is confirmed. Only then is its command acknowledged (semantics 14)."""

    def __init__(
        self, transport: Carrier, database: Database, counts: Counter[str], exchange: str, scan_every: float
    ) -> None:
        """`exchange` is the one that replies go to."""
        self._transport, self._exchange = transport, exchange
        self.relay = Relay(REPLIES, self._send, DatabaseOutbox(database), scan_every=scan_every, counts=counts)
        self._awaited: set[Outgoing] = set()
        self._stuck: dict[str, float] = {}
        """Since when only that destination can be to blame."""
        self._gone: dict[str, float] = {}

    async def deliver(self, answer: Answer, leave: Callable[[], Delivery]) -> tuple[Delivery, str]:
        """Send it again and again until the broker has it, or it is waited for no longer: then that is why. What it
        settles is what `leave` answers at that moment."""
        settled: asyncio.Future[tuple[Delivery, str]] = asyncio.get_running_loop().create_future()
        key = next(iter(answer.keys), "")
        id = key if key and not self.relay.holds([key]) else answer.reply.id  # another asker's may be under way
        reply = Outgoing(id, _BETWEEN.join(answer.keys), lambda: answer.reply, partial(_settle, settled, leave))
        self._awaited.add(reply)
        try:
            self.relay.dispatch([reply])
            return await settled
        finally:
            self._awaited.discard(reply)
            reply.told = None

    async def _send(self, replies: Sequence[Envelope]) -> Sequence[Published]:
        published = await self._transport.send(replies)
        now = asyncio.get_running_loop().time()
        for reply, fate in zip(replies, published, strict=True):
            self._note(reply.to, self._why_stuck(reply.to, fate), now)
        return published

    def _note(self, to: str, why: str, now: float) -> None:
        """Who has waited long enough finds out that a queue is gone; whoever comes next need not."""
        if why and now - self._stuck.setdefault(to, now) >= UNROUTABLE_AFTER:
            self._gone = {name: until for name, until in self._gone.items() if until > now} | {to: now + UNROUTABLE_FOR}
            del self._stuck[to]
        elif not why:
            self._stuck.pop(to, None)
            self._gone.pop(to, None)
        if self._gone.get(to, 0.0) > now:
            for reply in self._awaited:
                if reply.destination == to:
                    reply.tell(why)

    def _why_stuck(self, to: str, fate: Published) -> str:
        """Why only this reply's queue is to blame; empty where it may be the broker, for whose return all wait."""
        if fate is Published.RETURNED:
            return "No queue takes the reply."
        health, queue = self._transport.health, f"{self._exchange}:{to}"
        silent = fate is Published.UNKNOWN and health.state == "connected" and queue in health.unconfirmed
        return "The queue of the reply does not answer." if silent else ""


def _settle(settled: asyncio.Future[tuple[Delivery, str]], leave: Callable[[], Delivery], why: str) -> None:
    if not settled.done():
        settled.set_result((leave(), why))
