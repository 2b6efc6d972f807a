"""Order within a stream: never a lower number after a higher one, and a failing fact holds back its own stream only.

The mark of a stream, in the subscriber's database and in the transaction of the effect, is the highest number that was
handled. What comes below it is not handled any more. A missing number is not waited for.
"""

import asyncio
from typing import Literal

from choros.runtime.host.effects import Effects
from choros.runtime.subscriber.inbox import handled_row, highest_of, stream_key, stream_row
from choros.store.barrier import Transaction
from choros.wire.envelope import Envelope

LaneWait = Literal["again", "crowded", "stopped"]


async def is_overtaken(subscriber: str, fact: Envelope, transaction: Transaction) -> bool:
    """Whether a later fact of its stream has been handled."""
    mark = await transaction.read_row(stream_key(subscriber, fact))
    return mark is not None and highest_of(mark) > fact.seq


async def remember(subscriber: str, fact: Envelope, transaction: Transaction, *, ordered: bool, now: float) -> None:
    """Write that a fact is handled."""
    await transaction.write_row(handled_row(subscriber, fact, now))
    if ordered:
        await transaction.write_row(stream_row(subscriber, fact, now))


class HeldBack:
    """Streams whose first fact has failed and waits to be tried again, with the later ones behind it.

    They stay with this consumer, unsettled. When they take more than `room`, the stream with most behind it is told
    to give its first fact up, so that the other streams go on."""

    def __init__(self, lanes: Effects, room: int) -> None:
        self._lanes, self._room = lanes, room
        self._waiting: dict[str, asyncio.Future[LaneWait]] = {}
        self._closed = False

    async def wait(self, lane: str, seconds: float) -> LaneWait:
        """Hold this stream back for so long: then try again, unless it is crowded or time to stop."""
        if self._closed:
            return "stopped"
        self._waiting[lane] = asyncio.get_running_loop().create_future()
        self.look()
        done, _ = await asyncio.wait({self._waiting[lane]}, timeout=seconds)
        waited = self._waiting.pop(lane)
        return waited.result() if done else "again"

    def look(self) -> None:
        """Give up the first fact of the longest stream, if they have become too many."""
        held = {lane: 1 + self._lanes.behind(lane) for lane, wait in self._waiting.items() if not wait.done()}
        if sum(held.values()) > self._room:
            self._waiting[max(held, key=lambda lane: held[lane])].set_result("crowded")

    def close(self) -> None:
        """Hold nothing back any more: all of it comes again."""
        self._closed = True
        for wait in self._waiting.values():
            if not wait.done():
                wait.set_result("stopped")
