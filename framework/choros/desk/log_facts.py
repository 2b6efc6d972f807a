"""The facts of some flows out of the fact log, from a moment on to what is there now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress

from choros.desk.flow_tree import TracedFact
from choros.errors import BrokerMisconfigured, BrokerUnreachable, MessageRejected
from choros.runtime.host.off_the_wire import is_fanned_out, read_envelope
from choros.runtime.host.outbox_rows import stream_of
from choros.sources import fresh_id
from choros.transport.fact_log import MARK
from choros.transport.port import Delivery, Published, Transport
from choros.transport.topology import Names
from choros.wire.envelope import Envelope

PREFETCH = 500


class LogFacts:
    """Facts of flows in a broker's fact log. The whole of it is read, from that moment on, each time."""

    name = "the fact log"

    def __init__(
        self, transport: Transport, names: Names, since: float | None, told: Callable[[int], None] = lambda _: None
    ) -> None:
        """`since`: None for the whole of it. `told` hears how many facts were read."""
        self._transport, self._names, self._since, self._told = transport, names, since, told

    async def facts(self, ids: Collection[str]) -> Sequence[TracedFact]:
        """Those of these flows; raises BrokerMisconfigured where there is no log, and BrokerUnreachable."""
        return [TracedFact(one, (self.name,)) async for one in self._all() if _is_of(one, ids)]

    async def _all(self) -> AsyncIterator[Envelope]:
        """Up to a mark of ours: so a log that is written all the time has an end."""
        mark, read = fresh_id(), 0
        await self._put(mark)
        reader = await self._transport.replay(self._names.facts_log, PREFETCH, self._since)
        try:
            while deliveries := await reader.receive(PREFETCH):
                for one in deliveries:
                    if one.wire.headers.get(MARK) == mark:
                        return
                    if (fact := self._read(one)) is not None:
                        yield fact
                    await one.ack()
                read += len(deliveries)
                self._told(read)
            raise BrokerUnreachable("The reader of the fact log was closed before its end.", "the same again.")
        finally:
            await reader.close()

    async def _put(self, mark: str) -> None:
        answer = await self._transport.mark(mark)
        if answer is Published.RETURNED:
            raise BrokerMisconfigured("There is no fact log on this broker.", "App(..., fact_log=FactLog()).")
        if answer is not Published.CONFIRMED:
            raise BrokerUnreachable("The broker did not take a mark for the fact log.", "the same again.")

    def _read(self, delivery: Delivery) -> Envelope | None:
        """A fact that can be believed; marks of others, and what came by another's way, are passed over."""
        with suppress(MessageRejected):
            envelope = read_envelope(delivery.wire)
            if envelope.kind == "fact" and is_fanned_out(delivery.exchange, envelope.source, self._names):
                return envelope
        return None


def _is_of(fact: Envelope, ids: Collection[str]) -> bool:
    """Whether it is of one of these flows, or of one that belongs to it."""
    return stream_of(fact) in ids or fact.correlation_id in ids
