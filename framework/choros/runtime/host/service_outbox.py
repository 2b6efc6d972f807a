"""A service's outbox: what its handlers let leave is written with their effect, and sent from its own database.

Whichever replica has written it, a fact leaves once the one before it in its stream has: the process that commits it
sends it at once where it has that one in hand or knows it gone; else it is found by the scan, which has all in order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial

from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.handler import Handler
from choros.app.service import Service
from choros.errors import StoreUnreachable
from choros.runtime.host.handlers_outbox import HandlersOutbox
from choros.runtime.host.outbox_rows import Departure, OutboxRows, is_of, kept_message, marked
from choros.runtime.host.outgoing import Manner, Outgoing
from choros.runtime.host.relay import Relay
from choros.store.barrier import Database, Listed, NotDone, Row, Transaction
from choros.transport.permissions import Rights, publisher, signaller
from choros.transport.port import Transport
from choros.transport.topology import Names, Topology, topology
from choros.wire.envelope import Envelope

FACTS = Manner(
    "facts", in_order=True, unbound="choros.fact.unbound", mark_within=0.2, names=("stream", "key"),
    away="choros.database.unreachable",
)  # fmt: skip
SIGNALS = Manner("signals", mark_within=0.2, names=("key", "key"), away="choros.database.unreachable")
SCAN_SECONDS = 1.0
"""How often it is looked for what no process has sent."""


class ServiceOutbox:
    """What leaves a service, on its database and on a connected transport whose topology is declared."""

    def __init__(
        self, service: Service, *, namespace: str, transport: Transport, database: Database,
        clock: Callable[[], float], scan_every: float = SCAN_SECONDS, flows: FlowPart = NO_FLOWS,
    ) -> None:  # fmt: skip
        self.counts: Counter[str] = Counter()
        """What could not be sent: unconfirmed, unreadable."""
        self._service, self._names, self._clock, self._flows = service, Names(namespace), clock, flows
        kept = partial(RowsLeaving, database, service.name)
        relay = partial(Relay, scan_every=scan_every, counts=self.counts)
        self._facts_kept, self._signals_kept = kept("publishing"), kept("signalling")
        self._facts = relay(FACTS, transport.publish, self._facts_kept)
        self._signals = relay(SIGNALS, transport.send, self._signals_kept)

    def open_for(
        self, handler: Handler, about: Envelope, transaction: Transaction, written: list[Departure]
    ) -> HandlersOutbox:
        """What this handler may let leave, about the message that it handles. What it writes is added to `written`."""
        rows = OutboxRows(
            self._names.namespace, self._service.name, about, transaction, self._clock, self._flows,
            self._service.stamps,
        )  # fmt: skip
        return HandlersOutbox(self._service, handler, rows, self._names, written)

    def dispatch(self, written: Sequence[Departure]) -> None:
        """Send what was committed; what has to wait for another process's, the scan finds."""
        facts: list[Row] = []
        for one in written:
            if one.row.state == "signalling":
                self._signals.dispatch(self._signals_kept.remembered([one.row]))
            elif not one.after or self._facts.holds([one.after]) or one.after in {fact.key for fact in facts}:
                facts.append(one.row)
        self._facts.dispatch(self._facts_kept.remembered(facts))

    async def run(self) -> None:
        """Mark what has left, and look for what did not; until cancelled."""
        await asyncio.gather(self._facts.run(), self._signals.run())

    async def close(self, within: float) -> None:
        """Let what is being sent finish, for so many seconds at most."""
        await asyncio.gather(self._facts.close(within), self._signals.close(within))


def way_out(service: Service, names: Names) -> tuple[Topology, Rights]:
    """What a service needs on the broker for what leaves with its transactions."""
    needed, rights = topology(names.namespace), Rights()
    if service.publishes:
        needed, rights = topology(names.namespace, publishers=[service.name]), publisher(names, service.name)
    if service.signals:
        return needed + topology(names.namespace, signalling=[service.name]), rights | signaller(names, service.name)
    return needed, rights


class RowsLeaving:
    """The rows of one state in a service's database, as the outbox of a relay."""

    def __init__(self, database: Database, service: str, state: Listed) -> None:
        self._database, self._service, self._state = database, service, state
        self._seen: Collection[str] | None = None
        self._rows: dict[str, Row] = {}
        """Those in hand, by key."""

    def remembered(self, rows: Sequence[Row]) -> list[Outgoing]:
        """These, on their way."""
        self._rows |= {row.key: row for row in rows}
        return [Outgoing(row.key, _line_of(row), partial(kept_message, row)) for row in rows]

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        """What was already there at the last look, which whoever committed it should have sent; at the first look, all
        that is there. What is taken is the head of each stream: who was there before has the lower number."""
        found = await self._database.listed(self._state, limit)
        rows = [row for row in found if is_of(self._service, row)]
        before, self._seen = self._seen, {row.key for row in rows}
        return self.remembered([row for row in rows if before is None or row.key in before])

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        """These have left. They are kept for a while, to be published again should the broker lose them."""
        rows = [self._rows[key] for _, key in left if key in self._rows]
        (result,) = await self._database.run([partial(_mark, rows)])
        if isinstance(result, NotDone):
            raise result.why if isinstance(result.why, StoreUnreachable) else StoreUnreachable(result.why.sentence)
        for row in rows:
            self._rows.pop(row.key, None)


async def _mark(rows: Sequence[Row], transaction: Transaction) -> None:
    for row in rows:
        await transaction.write_row(marked(row))


def _line_of(row: Row) -> str:
    """What keeps its order, or what stands for itself: the key without its last part."""
    return row.key if row.state == "signalling" else row.key.rpartition("\x1f")[0]
