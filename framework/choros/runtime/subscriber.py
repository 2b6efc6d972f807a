"""A subscriber: reacts to the facts of others, untracked; each at least once, or exactly once with its transaction."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from choros.envelope import Envelope
from choros.errors import MessageRejected
from choros.messages import Message
from choros.runtime.checking import check
from choros.runtime.effects import Effects
from choros.runtime.intake import Intake
from choros.runtime.reading import call_of, read_envelope
from choros.runtime.service import Handler, Service
from choros.runtime.telemetry import about, described, get_logger, speaking_of
from choros.runtime.transacting import Transacting
from choros.store.barrier import Database, Row, Transaction
from choros.transport.port import Delivery, Transport
from choros.transport.topology import RETRY_LADDER, Names

log = get_logger(__name__)

_DONE = object()
"""What a job answers when there was nothing left to do, or when it was done."""
_OPEN = object()
"""What a look into the inbox answers when the fact is new."""


@dataclass(slots=True, eq=False)
class _Told:
    """A fact that concerns this subscriber."""

    delivery: Delivery
    envelope: Envelope
    fact: Message
    handler: Handler
    failure: BaseException | None = None

    @property
    def key(self) -> str:
        """Its row in the inbox."""
        return f"fact:{self.envelope.source}:{self.envelope.stream}:{self.envelope.seq}"


class Subscriber:
    """Runs a service's reactions, on a connected transport whose topology is declared, and an open database.

    A fact whose handler fails goes through the ladder of delays and is parked after so many `attempts`; it never
    holds up another one.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        transport: Transport,
        database: Database,
        prefetch: int = 64,
        attempts: int = 6,
        clock: Callable[[], float] = time.time,
        handler_timeout: float = 300.0,
        drain: float = 10.0,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """What became of the facts so far: handled, repeated, retried, parked, or not for us (passed)."""
        self.clock = clock
        self._service = service
        self._database = database
        self._attempts = attempts
        self._timeout = handler_timeout
        names = Names(namespace)
        self._fan_out = frozenset((names.facts, names.facts_by_type, names.retry))
        self._transacting = Transacting(database)
        self._facts = Effects()
        self._queue = names.subscriber_queue(service.name)
        self._intake = Intake(transport, self._queue, prefetch, drain)

    async def run(self) -> None:
        """React to facts until stopped; raises DeclarationError or Misconfigured where that cannot work."""
        check(self._service, self._service.reactions.values(), self._database)
        log.info("choros.subscriber.started", queue=self._queue)
        await self._intake.run(self._take)
        log.info("choros.subscriber.stopped")

    async def stop(self) -> None:
        """Receive no more, finish what is under way, and return; what did not finish in time comes again."""
        await self._intake.stop()

    # --- taking facts in ---

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        batch: list[_Told] = []
        for delivery in deliveries:
            told = self._read(delivery)
            if told is None:
                continue
            turn = self._facts.enter(told.key)
            if turn is None and told.handler.transaction is not None:
                batch.append(told)
            else:
                self._intake.spawn(self._alone(told, turn))
        if batch:
            await self._together(batch)

    def _read(self, delivery: Delivery) -> _Told | None:
        """What is not for us is passed over, where it is the exchange that put it here; all else is parked."""
        try:
            envelope = read_envelope(delivery.wire)
            if envelope.kind != "fact":
                raise MessageRejected(f"A {envelope.kind} came to a subscriber's queue.")
            handler = self._service.reactions.get(envelope.type)
            if handler is not None:
                return _Told(delivery, envelope, handler.message.from_json(envelope.data), handler)
            if delivery.exchange not in self._fan_out:
                raise MessageRejected(f"The service {self._service.name} has no handler for this type of fact.")
        except MessageRejected as rejected:
            log.warning("choros.fact.parked", reason=rejected.sentence)
            self._settle("parked", delivery.dead_letter(rejected.sentence))
            return None
        self._settle("passed", delivery.ack())
        return None

    def _settle(self, fate: str, settling: Awaitable[None]) -> None:
        self.counts[fate] += 1
        self._intake.spawn(_awaited(settling))

    # --- handling them ---

    async def _together(self, batch: Sequence[_Told]) -> None:
        """Those with a transaction, once each; what the database does not do now is tried again, fact by fact."""
        results = await self._transacting.attempt(batch, [self._job(told) for told in batch])
        for told, result in zip(batch, results, strict=True):
            if result is _DONE:
                self._facts.leave(told.key)
                self._settle("handled", told.delivery.ack())
            else:
                self._intake.spawn(self._finish(told, result))

    async def _finish(self, told: _Told, result: Any) -> None: ...

    async def _alone(self, told: _Told, turn: asyncio.Future[None] | None) -> None: ...
