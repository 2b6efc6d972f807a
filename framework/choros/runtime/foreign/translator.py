"""A translator: reads what others publish, and publishes it as facts, each under an identity that is the same for ever.

A message leaves its queue once its fact is confirmed. Killed in between, it is translated again, into the same fact;
whoever has handled that passes over it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from choros.app.foreign import ForeignFacts
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import MessageRejected
from choros.runtime.host.intake import Intake
from choros.sources import full_jitter, now
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.port import Delivery, Published, Transport
from choros.transport.topology import Names
from choros.wire.envelope import Envelope
from choros.wire.foreign import ForeignMessage

log = get_logger(__name__)

TAKEN = (Published.CONFIRMED, Published.RETURNED)
"""A fact that no queue takes counts as published (rule 20)."""
_Translated = tuple[Delivery, Envelope]


class Translator:
    """Translates what comes from one exchange of theirs, on a connected transport whose topology is declared."""

    def __init__(
        self,
        foreign: ForeignFacts,
        *,
        namespace: str,
        transport: Transport,
        settings: Settings = NOTHING_SET,
        clock: Callable[[], float] = now,
    ) -> None:
        self._foreign, self._namespace, self._transport, self._clock = foreign, namespace, transport, clock
        self.queue: str = foreign.exchange.queue(Names(namespace))
        """Where what they publish comes from."""
        self._intake = Intake(transport, self.queue, settings.number("prefetch"), settings.seconds("drain"))
        self.counts: Counter[str] = Counter()
        """What became of the messages so far: translated, passed (nothing to us), parked."""

    @property
    def last_delivery(self) -> float | None:
        """When the last one came."""
        return self._intake.last_delivery

    async def run(self) -> None:
        """Translate until stopped."""
        log.info("choros.foreign.started", facts=self._foreign.name)
        await self._intake.run(self._take)
        log.info("choros.foreign.stopped", facts=self._foreign.name)

    async def stop(self) -> None:
        """Receive no more, finish what is under way, and return; what did not leave in time comes again."""
        await self._intake.stop()

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        read = [(delivery, fact) for delivery in deliveries if (fact := await self._read(delivery))]
        if read:
            self._intake.spawn(self._publish(read))

    async def _read(self, delivery: Delivery) -> Envelope | None:
        message = ForeignMessage.of(delivery.wire, delivery.exchange)
        try:
            fact = self._foreign.envelope(message, self._namespace, self._clock())
        except MessageRejected as rejected:
            self.counts["parked"] += 1
            log.warning("choros.foreign.parked", facts=self._foreign.name, reason=rejected.sentence)
            self._intake.spawn(delivery.dead_letter(rejected.sentence))
            return None
        if fact is None:
            self.counts["passed"] += 1
            self._intake.spawn(delivery.ack())
        return fact

    async def _publish(self, read: Sequence[_Translated]) -> None:
        """Again and again, what does not leave."""
        delays = full_jitter()
        while read:
            answers = await self._transport.publish([fact for _, fact in read])
            left = [one for one, answer in zip(read, answers, strict=True) if answer not in TAKEN]
            for (delivery, _), answer in zip(read, answers, strict=True):
                if answer in TAKEN:
                    self.counts["translated"] += 1
                    await delivery.ack()
            if read := left:
                log.warning("choros.foreign.not_taken", facts=len(read), **about(read[0][1]))
                await asyncio.sleep(next(delays))
