"""The shop, whose order saga is begun by a fact that the tills of another application publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from choros import App, Fact, FactStart
from choros.sources import fresh_id, now
from choros.store.sagas import Record
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.stage import NAMES, Stage, make_app, staged
from tests.saga import shop

QUEUE = NAMES.application_facts("shop")


class CheckedOut(Fact):
    order_id: str
    total: int
    member: bool = True


class TillClosed(Fact):
    till: str


def place_order(fact: CheckedOut) -> shop.PlaceOrder | None:
    """Only members' orders are carried out."""
    if fact.total < 0:
        raise ValueError("nobody is paid for buying")
    return shop.PlaceOrder(order_id=fact.order_id, total=fact.total) if fact.member else None


def shop_app(*starts: FactStart, namespace: str = "shop") -> App:
    app = make_app()
    begun = starts or (FactStart(shop.order_saga, on=CheckedOut, start=place_order),)
    return App(namespace, sagas=app.sagas.values(), services=app.services.values(), starts=begun)


def told(fact: Fact | None = None, *, stream: str = "till-1", seq: int = 1, **more: Any) -> Envelope:
    """A fact as a till puts it out."""
    said = fact or CheckedOut(order_id="o1", total=30)
    fields: dict[str, Any] = {
        "id": fresh_id(), "kind": "fact", "type": said.type_name, "source": "/shop/tills", "time": now(),
        "data": said.to_json(), "stream": stream, "seq": seq,
    }  # fmt: skip
    return Envelope(**fields | more)


@asynccontextmanager
async def checkout(app: App | None = None) -> AsyncIterator[Stage]:
    """A stage on which everything is declared, and nobody is at work yet."""
    async with staged() as stage:
        stage.app = app or shop_app()
        await stage.transport.declare(stage.app.topology)
        await stage.transport.declare(topology("shop", applications=["tills"]))
        yield stage


async def publish(stage: Stage, *facts: Envelope) -> None:
    answers = await stage.transport.publish(facts)
    assert all(answer is Published.CONFIRMED for answer in answers)


async def begun(stage: Stage, count: int) -> Sequence[Record]:
    """The sagas that there are, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while len(records := (await stage.store.find(limit=100)).records) < count:
            await asyncio.sleep(0.01)
    return records


async def done_with(stage: Stage) -> None:
    """Until no fact lies in the queue, or is at work."""
    queue = stage.broker.queue(QUEUE)
    assert queue is not None
    async with asyncio.timeout(PATIENCE):
        while queue.ready or any(line.unsettled() for line in queue.lines):
            await asyncio.sleep(0.01)
