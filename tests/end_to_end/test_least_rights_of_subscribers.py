"""Each process with a queue of its own, a singleton, and foreign facts, with users who may do what is printed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aio_pika
import pytest

from choros import Addresses, App, Fact, ForeignFacts, Service
from choros.cli.topology import rights_of
from choros.roles.addresses import connected
from choros.roles.roles import open_role, run_together, stop_all
from choros.transport.topology import Names
from tests.end_to_end import least
from tests.end_to_end.shop import remove
from tests.end_to_end.test_least_rights import url_of
from tests.facts.stage import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]


class Paid(Fact, name="least.paid"):
    invoice: str


def application(namespace: str, theirs: str, heard: dict[str, list[str]]) -> App:
    web, solo = Service("web", replicas="every"), Service("solo", replicas="singleton")

    @web.on(Paid)
    async def see(paid: Paid) -> None:
        heard["web"].append(paid.invoice)

    @solo.on(Paid)
    async def file(paid: Paid) -> None:
        heard["solo"].append(paid.invoice)

    foreign = ForeignFacts("billing", exchange=theirs, events={"paid": Paid})
    return App(namespace, services=[web, solo], foreign=[foreign])


async def test_they_need_these_and_nothing_else(amqp_url: str, namespace: str, tmp_path: Path) -> None:
    heard, theirs, names = {"web": list[str](), "solo": list[str]()}, f"{namespace}-theirs", Names(namespace)
    app = application(namespace, theirs, heard)
    columns = ("user", "vhost", "configure", "write", "read")
    granted = [(f"{namespace}-{role}", "/", *rights.patterns) for role, rights in rights_of(app)]
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(connected(Addresses(amqp_url), app, "admin"))
        channel = await (await stack.enter_async_context(await aio_pika.connect(amqp_url))).channel()
        exchange = await channel.declare_exchange(theirs, "topic")
        stack.push_async_callback(exchange.delete)
        await admin.declare(app.topology)
        await admin.declare(app.foreign["billing"].exchange.theirs(names))
        stack.push_async_callback(remove, amqp_url, app.topology)
        await asyncio.to_thread(least.permit, tmp_path, [dict(zip(columns, row, strict=True)) for row in granted])
        stack.callback(
            least.dismiss, least.Least(amqp_url, namespace, tmp_path, {}), [role for role, _ in rights_of(app)]
        )
        parts = []
        for role, user in (("subscriber:web", "web"), ("subscriber:web", "web"), ("subscriber:solo", "solo"),
                           ("foreign:billing", "foreign-billing")):  # fmt: skip
            mine = Addresses(url_of(amqp_url, namespace, user), database="memory://")
            parts += await open_role(app, role, mine, stack)
        running = asyncio.create_task(run_together(parts))
        try:
            headers = {"specversion": "1.0", "id": "e1", "source": "/b", "type": "paid"}
            event = {f"cloudEvents_{name}": value for name, value in headers.items()}
            await exchange.publish(aio_pika.Message(b'{"invoice":"i1"}', headers=dict(event)), "x")
            await eventually("all hear", lambda: heard == {"web": ["i1", "i1"], "solo": ["i1"]})
        finally:
            await stop_all(parts)
            await running
