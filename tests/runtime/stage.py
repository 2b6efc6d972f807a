"""A stage for orchestrators: real ones on the memory transport and store, and services that a test plays itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from choros.app.app import App
from choros.app.service import Service
from choros.messages import Closed, Done, Failure, Message, Reply
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.history import read_history
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import HistoryRow
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Consumer, Published, Transport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, ReplyOutcome, decode
from tests.patience import PATIENCE

from ..saga import shop

NAMES = Names("shop")
NEVER = 10 * PATIENCE
"""A busy machine sends nothing twice then: a service that a test plays takes the second for another command."""
AT_ONCE = 0.2
"""For who waits for what nobody has sent."""
SERVICES = {
    "charge_payment": "payment",
    "reserve_inventory": "inventory",
    "ship_order": "shipping",
    "ship_parcel": "shipping",
    "print_invoice": "printing",
}
REPLIES = {
    "charge-payment.v1": shop.CHARGED,
    "reserve-inventory.v1": shop.RESERVED,
    "ship-order.v1": shop.SHIPPED,
    "choros.close.v1": Closed(),
}


def make_app(*sagas: Saga[Any]) -> App:
    return App(
        "shop",
        sagas=sagas or (shop.order_saga,),
        services=(
            Service("payment", commands=(shop.ChargePayment, shop.RefundPayment)),
            Service("inventory", commands=(shop.ReserveInventory, shop.ReleaseInventory)),
            Service("shipping", commands=(shop.ShipOrder,)),
            Service("printing", commands=(shop.PrintInvoice,)),
            Service("notifications", facts=(shop.OrderConfirmed, shop.OrderRejected)),
        ),
    )


def reply_to(command: Envelope, reply: Message | None = None, outcome: ReplyOutcome = "ok", **more: Any) -> Envelope:
    """The envelope of a reply to a command."""
    message = reply or REPLIES.get(command.type, Done())
    source = f"/shop/{SERVICES.get(command.step, 'payment')}"
    fields: dict[str, Any] = dict(
        id=fresh_id(), kind="reply", type=message.type_name, source=source, time=time.time(),
        data=message.to_json(), to=command.reply_to, correlation_id=command.correlation_id, causation_id=command.id,
        key=command.key, saga=command.saga, saga_version=command.saga_version, step=command.step,
        attempt=command.attempt, outcome=outcome,
    )  # fmt: skip
    return Envelope(**(fields | more))


def refusal_of(command: Envelope, code: str) -> Envelope:
    return reply_to(command, Failure(code=code), "refused")


@dataclass
class Stage:
    """What a test has in hand."""

    broker: MemoryBroker
    store: MemoryStore
    transport: MemoryTransport
    app: App
    consumers: dict[str, Consumer] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def consumer(self, queue: str) -> Consumer:
        if queue not in self.consumers:
            self.consumers[queue] = await self.transport.consume(queue, 100)
        return self.consumers[queue]

    async def take(self, queue: str) -> Envelope:
        """The next message of a queue, acknowledged."""
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await (await self.consumer(queue)).receive(1)
        await delivery.ack()
        return decode(delivery.wire)

    async def command(self, service: str) -> Envelope:
        return await self.take(NAMES.service_queue(service))

    async def fact(self) -> Envelope:
        return await self.take(NAMES.subscriber_queue("notifications"))

    async def dead(self, queue: str) -> str:
        """The reason of the next parked message."""
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await (await self.consumer(NAMES.dead_queue(queue))).receive(1)
        await delivery.ack()
        return str(delivery.wire.headers["x-choros-reason"])

    async def nothing(self, queue: str, seconds: float = 0.1) -> None:
        """That no message comes."""
        await asyncio.sleep(seconds)
        assert self.broker.waiting(queue) == []

    async def answer(self, *replies: Envelope) -> None:
        results = await self.transport.send(replies)
        assert all(result is Published.CONFIRMED for result in results)

    async def carry_out(self, service: str, reply: Reply | None = None) -> Envelope:
        command = await self.command(service)
        await self.answer(reply_to(command, reply))
        return command

    async def orchestrator(
        self,
        app: App | None = None,
        store: MemoryStore | None = None,
        transport: Transport | None = None,
        **options: Any,
    ) -> Orchestrator:
        """One more orchestrator, until the test ends."""
        options = {"timers_every": 0.02, "resend_after": NEVER, **options}
        if transport is None:
            transport = MemoryTransport(self.broker, "shop")
            await transport.connect()
            self.stack.push_async_callback(transport.close)
        made = Orchestrator(app or self.app, transport=transport, store=store or self.store, **options)

        async def run() -> None:
            await made.declare()
            await made.run()

        task = asyncio.create_task(run())

        async def end() -> None:
            made.stop()
            async with asyncio.timeout(PATIENCE):
                await task

        self.stack.push_async_callback(end)
        return made

    async def client(self, store: MemoryStore | None = None, app: App | None = None) -> Client:
        return await self.stack.enter_async_context(
            Client(app or self.app, store=store or self.store, transport=self.transport)
        )


@asynccontextmanager
async def staged(*sagas: Saga[Any]) -> AsyncIterator[Stage]:
    """A broker with the topology of the shop, an open store, nobody at work yet."""
    broker, store = MemoryBroker(), MemoryStore()
    transport = MemoryTransport(broker, "shop")
    await store.open()
    await transport.connect()
    app = make_app(*sagas)
    stage = Stage(broker, store, transport, app)
    await transport.declare(
        topology("shop", services=app.participants, applications=[app.name], subscribers=app.subscribers)
    )
    try:
        async with stage.stack:
            yield stage
    finally:
        await transport.close()


def forged(envelope: Envelope, **changes: Any) -> Envelope:
    return replace(envelope, id=fresh_id(), **changes)


def kinds(row: HistoryRow) -> list[str]:
    return [one.kind for one in read_history(row.events)]


def by_place(saga: Saga[Any], state: str) -> str:
    """The state of an instance as an older choros wrote it."""
    told = json.loads(state)
    nodes = told.pop("nodes", {})
    told["steps"] = [nodes.get(path, {}) for path in saga.outline.leaves]
    over = [step.get("progress") in ("ok", "held", "published") for step in told["steps"]]
    told["cursor"] = over.index(False) if False in over else len(over)
    told["parked"] = next((node.pop("parked") for node in nodes.values() if "parked" in node), "")
    return json.dumps(told)
