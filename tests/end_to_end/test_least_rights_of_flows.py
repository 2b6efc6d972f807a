"""Rule 38 on a broker, with users who may do what is printed and create nothing: who begins a flow, and each of its
services, asks for all queues that the flow needs, and says nothing before they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from choros import Addresses, App, BrokerMisconfigured, FactLog, publisher_of
from choros.cli.topology import rights_of
from choros.roles.addresses import connected
from choros.roles.roles import open_role, run_together, stop_all
from choros.transport.inspection import LookingTransport
from tests.end_to_end import least
from tests.end_to_end.shop import remove
from tests.end_to_end.test_least_rights import url_of
from tests.runtime.test_flow_identity import Placed
from tests.runtime.test_flows_begun import Ends, shop

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]
TAKING_PART = ("payment", "orders")


@asynccontextmanager
async def permitted(app: App, url: str, folder: Path) -> AsyncIterator[LookingTransport]:
    """A user for each role; on the broker is nothing yet. Hands out an administrator, who declares."""
    columns, granted = ("user", "vhost", "configure", "write", "read"), rights_of(app)
    rows = [
        dict(zip(columns, (f"{app.namespace}-{role}", "/", *rights.patterns), strict=True)) for role, rights in granted
    ]
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(connected(Addresses(url), app, "admin"))
        stack.push_async_callback(remove, url, app.topology)
        await asyncio.to_thread(least.permit, folder, rows)
        stack.callback(least.dismiss, least.Least(url, app.namespace, folder, {}), [role for role, _ in granted])
        yield admin


@asynccontextmanager
async def at_work(app: App, url: str, folder: Path, roles: Sequence[str]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        parts = []
        for role in roles:
            mine = Addresses(url_of(url, app.namespace, role), "memory://", f"sqlite:///{folder}/{{service}}.db")
            parts += await open_role(app, f"subscriber:{role}", mine, stack)
        running = asyncio.create_task(run_together(parts))
        try:
            yield
        finally:
            await stop_all(parts)
            await running


async def begin(app: App, url: str, order: str) -> None:
    mine = Addresses(url_of(url, app.namespace, "till"))
    async with publisher_of(app, "till", mine) as publisher:
        await publisher.begin(app.choreography("order"), Placed(order=order))


async def test_rule_38_nothing_is_said_before_all_queues_are_there(
    amqp_url: str, namespace: str, tmp_path: Path
) -> None:
    ends = Ends()
    app = shop(namespace, ends, FactLog())
    async with permitted(app, amqp_url, tmp_path) as admin:
        with pytest.raises(BrokerMisconfigured):
            await begin(app, amqp_url, "o1")
        await admin.declare(app.topology)
        async with at_work(app, amqp_url, tmp_path, [*TAKING_PART, "witness"]):
            await begin(app, amqp_url, "o1")
            assert await ends.next() == "o1"
        await lose(amqp_url, f"{namespace}.facts.orders")
        with pytest.raises(BrokerMisconfigured, match=rf"{namespace}\.facts\.orders"):
            await begin(app, amqp_url, "o2")
        with pytest.raises(BrokerMisconfigured, match=rf"{namespace}\.facts\.orders"):
            async with at_work(app, amqp_url, tmp_path, ["payment"]):
                pass
        assert (await admin.attendance(f"{namespace}.facts.payment")).waiting == 0


async def lose(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection:
        await (await connection.channel()).queue_delete(queue)
