"""A service signals a saga over RabbitMQ, and another one is parked that was not given it."""

from __future__ import annotations

import json
from dataclasses import replace

import aio_pika
import pytest

from choros import Addresses
from choros.roles.addresses import connected
from choros.roles.roles import running
from choros.transport.port import Published
from choros.transport.topology import Names, topology
from tests.end_to_end.shop import remove, until
from tests.patience import PATIENCE
from tests.runtime.test_signals_off_the_wire import LOANS, loans, signal
from tests.saga.loan import AskForLoan, Decided

pytestmark = pytest.mark.slow


async def test_signals_come_over_rabbitmq_from_choros_and_from_whoever_follows_the_page(
    amqp_url: str, namespace: str
) -> None:
    app, names = loans().within(namespace), Names(namespace)
    addresses = Addresses(amqp_url, "memory://", "memory://")
    queue = names.signal_queue(app.name)
    told = signal(to=queue, source=f"/{namespace}/branch")
    whole = app.topology + topology(namespace, signalling=["rogue"])
    try:
        async with running(app, addresses) as client, connected(addresses, app, "branch") as transport:
            await transport.declare(whole)
            saga_id = await client.start(LOANS, AskForLoan())
            sent = await transport.send([told, told, replace(told, id="another", source=f"/{namespace}/rogue")])
            assert [*sent] == [Published.CONFIRMED] * 3
            await by_hand(amqp_url, names, queue)

            async def kept() -> bool:
                return len((await client.show(saga_id)).instance.early) == 2

            async def parked() -> bool:
                return (await transport.attendance(names.dead_queue(queue))).waiting == 1

            await until("both are kept", kept, PATIENCE)
            await until("the one that was not given it is parked", parked, PATIENCE)
            assert dict((await client.show(saga_id)).instance.early)["decided"] == Decided().to_json()
    finally:
        await remove(amqp_url, whole)


async def by_hand(url: str, names: Names, queue: str) -> None:
    """As the page has it, with nothing of choros."""
    headers = {
        "cloudEvents_specversion": "1.0", "cloudEvents_id": "by-hand-1", "cloudEvents_sagakind": "signal",
        "cloudEvents_type": "countersigned.v1", "cloudEvents_source": f"/{names.namespace}/branch",
        "cloudEvents_time": "2026-11-22T12:00:00Z", "cloudEvents_saganame": "loan", "cloudEvents_subject": "l1",
    }  # fmt: skip
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(f"{names.namespace}.branch.signals", ensure=False)
        body = json.dumps({"by": "Bob"}).encode()
        message = aio_pika.Message(body, content_type="application/json", headers=dict(headers), delivery_mode=2)
        await exchange.publish(message, queue, mandatory=True)
