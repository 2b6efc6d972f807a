"""Handing over within one process: local commands to their services, and the answers back, with no broker in between.

Nothing here outlives the process. A command counts as sent once it is here: one that is lost with the process is asked
for again by its timer. An answer counts as sent only once it is decided on: till then it is in the service's database.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from choros.sources import now
from choros.telemetry.logs import get_logger
from choros.transport.port import Health, Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire, encode

log = get_logger(__name__)

MOST_WAITING = 10_000
"""Commands that may wait for one service; more are left in the outbox."""
PATIENCE = 10.0
"""Seconds for which an answer waits to be decided on, before it is sent again."""


class Handover:
    """The carrier between one orchestrator and the services that it carries out itself."""

    def __init__(self, names: Names, handled: Mapping[str, Collection[str]]) -> None:
        """`handled` says which types of commands each service carries out here, by its name."""
        self._names, self._handled = names, handled
        self._lines: defaultdict[str, _Passage] = defaultdict(_Passage)
        self._ending = False
        self._health = Health("connected", now())

    @property
    def health(self) -> Health:
        """It is always there."""
        return self._health

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        """Hand commands over, and answers: of these it waits until each is settled, for so long as patience lasts.

        A command is RETURNED that nobody here handles, or not now; an answer to another store's orchestrator is none of
        ours, so nobody ever settles it."""
        answers = [self._put(message, message.to) for message in messages if message.kind == "reply"]
        if answers:
            await asyncio.wait([one.settled for one in answers], timeout=PATIENCE)
        told = iter(answers)
        return [next(told).became() if one.kind == "reply" else self._hand_over(one) for one in messages]

    def _hand_over(self, command: Envelope) -> Published:
        queue = self._names.service_queue(command.to)
        line, known = self._lines[queue], command.type in self._handled.get(command.to, ())
        if not known or not line.open or self._ending or len(line.waiting) >= MOST_WAITING:
            return Published.RETURNED
        self._put(command, queue)
        return Published.CONFIRMED

    def _put(self, message: Envelope, queue: str) -> "Handed":
        return self._lines[queue].put(message, self._names.way_of(message.kind, message.source))

    async def consume(self, queue: str, prefetch: int) -> "HandoverConsumer":
        """Take what is handed over to a service, or the answers that name this queue."""
        return HandoverConsumer(self._lines[queue], prefetch)

    async def end(self, within: float) -> None:
        """Take no more commands, and let what is being carried out be answered, for so many seconds at most."""
        self._ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while under_way := [one.settled for line in self._lines.values() for one in line.taken]:
                    await asyncio.wait(under_way)


class _Passage:
    """What waits for one consumer, and what it has taken and not settled."""

    def __init__(self) -> None:
        self.waiting: deque[Handed] = deque()
        self.taken: set[Handed] = set()
        self.open = False
        self.came = asyncio.Event()
        self._known: dict[str, Handed] = {}

    def put(self, message: Envelope, way: str) -> "Handed":
        """One that is here already is not put here twice."""
        handed = self._known.get(message.id)
        if handed is None:
            handed = self._known[message.id] = Handed(message, way, self)
            self.put_back(handed)
        return handed

    def put_back(self, handed: "Handed") -> None:
        self.taken.discard(handed)
        self.waiting.append(handed)
        self.came.set()

    def forget(self, handed: "Handed") -> None:
        self.taken.discard(handed)
        del self._known[handed.envelope.id]
        self.came.set()

    def withdraw(self, handed: "Handed") -> None:
        """Unless somebody has taken it."""
        if handed not in self.taken:
            self.waiting.remove(handed)
            self.forget(handed)

    def take(self, most: int) -> "list[Handed]":
        took = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        self.taken.update(took)
        return took

    def close(self) -> None:
        self.open = False
        self.came.set()


class HandoverConsumer:
    """Takes what is handed over on one line."""

    def __init__(self, line: _Passage, prefetch: int) -> None:
        self._line, self._prefetch = line, prefetch
        line.open = True

    async def receive(self, limit: int) -> "Sequence[Handed]":
        """Wait for at least one, then take all that are waiting, at most `limit`; none once it is closed."""
        line = self._line
        while line.open:
            if took := line.take(min(limit, self._prefetch - len(line.taken))):
                return took
            line.came.clear()
            await line.came.wait()
        return []

    async def close(self) -> None:
        """Take no more."""
        self._line.close()

    async def drop(self) -> None:
        """Take no more; what is not settled waits again."""
        self._line.close()
        for handed in list(self._line.taken):
            self._line.put_back(handed)


class Handed:
    """A message that was handed over; a `Delivery` of the port."""

    retries, waits, lost = 0, 0, False

    def __init__(self, envelope: Envelope, exchange: str, line: _Passage) -> None:
        self.envelope = envelope
        self.exchange = exchange
        """By whose way it would have come."""
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.returns = 0
        self._line = line

    @property
    def wire(self) -> Wire:
        """As it would go out."""
        return encode(self.envelope)

    @property
    def fresh(self) -> bool:
        """Whether nobody had it before."""
        return not self.returns

    def read(self) -> Envelope:
        """As it was handed over."""
        return self.envelope

    def became(self) -> Published:
        """What has become of it; what nobody has taken is taken back."""
        if self.settled.done():
            return Published.CONFIRMED
        self._line.withdraw(self)
        return Published.UNKNOWN

    async def ack(self) -> None:
        """Done with."""
        if not self.settled.done():
            self.settled.set_result(None)
            self._line.forget(self)

    async def retry(self, after: float, *, tried: bool = True) -> None:
        """Later again."""
        self.pass_on(after)

    def pass_on(self, after: float) -> None:
        """Later again."""
        self.returns += 1
        asyncio.get_running_loop().call_later(after, self._line.put_back, self)

    async def dead_letter(self, reason: str) -> None:
        """There is no queue for a person to look into: the log is all that says so."""
        log.error("choros.local.dropped", type=self.envelope.type, key=self.envelope.key, reason=reason)
        await self.ack()
