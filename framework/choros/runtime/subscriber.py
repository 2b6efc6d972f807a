"""A subscriber: reacts to the facts of others, untracked; each at least once, or exactly once with its transaction."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from choros.envelope import Envelope
from choros.errors import MessageRejected, Misconfigured
from choros.messages import Message
from choros.runtime.calling import call_handler
from choros.runtime.checking import check
from choros.runtime.effects import Effects
from choros.runtime.intake import Intake
from choros.runtime.reading import read_envelope
from choros.runtime.service import Handler, Service
from choros.runtime.telemetry import about, described, get_logger
from choros.runtime.transacting import Transacting
from choros.store.barrier import Database, Job, Row, Transaction
from choros.transport.port import Delivery, Transport
from choros.transport.topology import RETRY_LADDER, Names

log = get_logger(__name__)

Fate = Literal["handled", "repeated", "new"]


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
        # No attribute may hold a control character, so no two facts share a key.
        return "\x1f".join(("fact", self.envelope.source, self.envelope.stream, str(self.envelope.seq)))


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
        self.lag = 0.0
        """Seconds from the publication of the last fact that was handled to its end."""
        self._clock = clock
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
            if turn is None:
                batch.append(told)
            else:
                self._intake.spawn(self._in_turn(told, turn))
        await self._together(batch)

    def _read(self, delivery: Delivery) -> _Told | None:
        """What is not for us is passed over, where it is the fan-out that put it here; all else is parked."""
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

    def _settle(self, fate: str, settling: Coroutine[Any, Any, None]) -> None:
        self.counts[fate] += 1
        self._intake.spawn(settling)

    # --- handling them ---

    async def _together(self, batch: Sequence[_Told]) -> None:
        await self._transacting.together(batch, self._job, self._done, self._intake.spawn)

    async def _in_turn(self, told: _Told, turn: asyncio.Future[None]) -> None:
        await turn
        await self._together([told])

    def _job(self, told: _Told) -> Job:
        told.failure = None
        return partial(self._react, told)

    async def _react(self, told: _Told, transaction: Transaction) -> Fate:
        """Inbox row and effect together; for a handler without transaction only a look into the inbox."""
        if await transaction.read_row(told.key) is not None:
            return "repeated"
        if told.handler.transaction is None:
            return "new"
        await transaction.write_row(Row(key=told.key, state="ok"))
        await self._call(told, transaction)
        return "handled"

    async def _call(self, told: _Told, transaction: Transaction | None) -> None:
        try:
            await call_handler(told.handler, told.envelope, told.fact, transaction, self._timeout)
        except Exception as error:
            told.failure = error
            raise

    def _done(self, finished: Sequence[tuple[_Told, Any]]) -> None:
        for told, result in finished:
            if result == "new":
                self._intake.spawn(self._outside(told))
            else:
                self._end(told, result)

    async def _outside(self, told: _Told) -> None:
        """No transaction holds this together: after a crash in between, the handler runs again."""
        result: Fate | Exception = "handled"
        try:
            await self._call(told, None)
            await self._transacting.insist(told, partial(_remember, told.key))
        except Exception as error:
            if isinstance(error, Misconfigured) and error is not told.failure:
                raise
            result = error
        self._end(told, result)

    def _end(self, told: _Told, result: Fate | Exception) -> None:
        self._facts.leave(told.key)
        if isinstance(result, Exception):
            self._failed(told, result)
        else:
            self.lag = self._clock() - told.envelope.time
            self._settle(result, told.delivery.ack())

    def _failed(self, told: _Told, error: Exception) -> None:
        tried, words = told.delivery.retries + 1, described(error) | about(told.envelope)
        if tried >= self._attempts:
            log.error("choros.fact.parked", type=told.envelope.type, **words)
            reason = f"handler failed {tried} times: {type(error).__name__}"
            self._settle("parked", told.delivery.dead_letter(reason))
            return
        after = RETRY_LADDER[min(tried, len(RETRY_LADDER)) - 1]
        log.warning("choros.fact.failed", type=told.envelope.type, retries=tried, retry_in=after, **words)
        self._settle("retried", told.delivery.retry(after))


async def _remember(key: str, transaction: Transaction) -> None:
    await transaction.write_row(Row(key=key, state="ok"))
