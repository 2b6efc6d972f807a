"""A service that publishes is killed at every point: what it has committed leaves once, in order (rules 28, 45)."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from choros import Addresses, App
from choros.roles.addresses import connected
from choros.roles.roles import open_role, run_together, stop_all
from choros.sources import fresh_id, now
from choros.transport.port import Consumer, Published
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope
from tests.end_to_end.shop import remove
from tests.fault_cases.doomed import doomed
from tests.fault_cases.publishing import OrderPlaced, PaymentCharged, StockHeld, payment_app
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.servers]
PARTS = 3

POINTS = (
    "publish.before@1",  # committed, and not sent
    pytest.param("run.within@3", marks=pytest.mark.nightly),  # the handler is through, and nothing is committed
    pytest.param("publish.after@1", marks=pytest.mark.nightly),  # sent, and not marked
    pytest.param("ack.before@1", marks=pytest.mark.nightly),
    pytest.param("ack.after@2", marks=pytest.mark.nightly),
)


def placed(namespace: str, part: int) -> Envelope:
    """What a till publishes of one order."""
    body = OrderPlaced(order="o1", part=part)
    return Envelope(
        id=fresh_id(), kind="fact", type=body.type_name, source=f"/{namespace}/tills", time=now(), data=body.to_json(),
        stream="order o1", seq=part, correlation_id="order o1",
    )  # fmt: skip


async def heard(consumer: Consumer) -> list[Envelope]:
    """Until each part has been paid and held."""
    found: list[Envelope] = []
    wanted = {(kind.type_name, part) for kind in (PaymentCharged, StockHeld) for part in range(1, PARTS + 1)}
    async with asyncio.timeout(PATIENCE):
        while wanted:
            for delivery in await consumer.receive(50):
                await delivery.ack()
                fact = delivery.read()
                found.append(fact)
                wanted.discard((fact.type, fact.seq))
    return found


async def carried_on(app: App, addresses: Addresses) -> list[Envelope]:
    """Both services run, and somebody hears all that they publish."""
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(connected(addresses, app, "audit"))
        consumer = await listening.consume(Names(app.namespace).subscriber_queue("audit"), 100)
        parts = [
            part
            for name in ("payment", "stock")
            for part in await open_role(app, f"subscriber:{name}", addresses, stack)
        ]
        running = asyncio.create_task(run_together(parts))
        try:
            return await heard(consumer)
        finally:
            await stop_all(parts)
            await running


@pytest.mark.parametrize("failpoint", POINTS)
async def test_what_was_committed_leaves_once_and_in_order(
    amqp_url: str, namespace: str, tmp_path: Path, failpoint: str
) -> None:
    database = f"sqlite:///{tmp_path}/{{service}}.db"
    app, addresses = payment_app(namespace), Addresses(amqp_url, database=database)
    try:
        async with connected(addresses, app, "till") as transport:
            await transport.declare(app.topology + topology(namespace, publishers=["tills"]))
            facts = [placed(namespace, part) for part in range(1, PARTS + 1)]
            assert [*await transport.publish(facts)] == [Published.CONFIRMED] * PARTS
            log = tmp_path / "publishing.log"
            said = {"broker": amqp_url, "database": database}
            with doomed("publishing", app, failpoint, log, **said) as process:
                assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
            found = await carried_on(app, addresses)
            own = [fact for fact in found if fact.type == PaymentCharged.type_name]
            first = {fact.seq: fact.id for fact in reversed(own)}
            assert [fact.id for fact in own if fact.id != first[fact.seq]] == []  # again is under the same id
            order = [fact.seq for index, fact in enumerate(own) if fact.id not in [one.id for one in own[:index]]]
            assert order == sorted(order)
            assert {fact.source for fact in own} == {f"/{namespace}/service/payment"}
        with closing(sqlite3.connect(tmp_path / "payment.db")) as file:
            paid = file.execute("SELECT part, count(*) FROM payment GROUP BY part ORDER BY part").fetchall()
        assert paid == [(part, 1) for part in range(1, PARTS + 1)]
    finally:
        await remove(amqp_url, app.topology + topology(namespace, publishers=["tills"]))
