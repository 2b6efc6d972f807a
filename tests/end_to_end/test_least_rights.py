"""What facts begin and answer, and what a service signals, with users who may do what is printed and no more."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from choros import Addresses, App, FactStart, Service
from choros.cli.topology import rights_of
from choros.roles.addresses import connected, opened_store
from choros.roles.roles import open_role, run_together, stop_all
from choros.transport.port import Published
from choros.transport.topology import Names, topology
from tests.end_to_end import least
from tests.end_to_end.shop import remove, until
from tests.patience import PATIENCE
from tests.runtime.test_kept_facts import FIRST, ordered, paid
from tests.runtime.test_signals_off_the_wire import signal
from tests.saga.invoice import HandOver, InvoicePaid
from tests.saga.loan import Decided

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]


def invoices(namespace: str) -> App:
    """A fact begins a saga that waits for it; and a branch may signal."""
    services = [Service("van", commands=(HandOver,)), Service("branch", signals=(Decided,))]
    return App(namespace, sagas=(FIRST,), services=services, starts=[FactStart(FIRST, on=InvoicePaid, start=ordered)])


def url_of(url: str, namespace: str, user: str) -> str:
    return url.replace("guest:guest", f"{namespace}-{user}:{least.PASSWORD}")


async def test_facts_and_signals_need_these_and_nothing_else(amqp_url: str, namespace: str, tmp_path: Path) -> None:
    app, names, store = invoices(namespace), Names(namespace), f"sqlite:///{tmp_path}/sagas.db"
    whole = app.topology + topology(namespace, applications=["bank"])
    columns = ("user", "vhost", "configure", "write", "read")
    granted = [(f"{namespace}-{role}", "/", *rights.patterns) for role, rights in rights_of(app)]
    rows = [dict(zip(columns, row, strict=True)) for row in granted]
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(connected(Addresses(amqp_url), app, "admin"))
        await admin.declare(whole)
        stack.push_async_callback(remove, amqp_url, whole)
        await asyncio.to_thread(least.permit, tmp_path, rows)
        users = least.Least(amqp_url, namespace, tmp_path, {})
        stack.callback(least.dismiss, users, [role for role, _ in rights_of(app)])
        mine = Addresses(url_of(amqp_url, namespace, "orchestrator"), store, "memory://")
        parts = await open_role(app, "orchestrator", mine, stack)
        running = asyncio.create_task(run_together(parts))
        try:
            kept = await stack.enter_async_context(opened_store(mine, app))
            assert [*await admin.publish([paid(source=f"/{namespace}/bank")])] == [Published.CONFIRMED]

            async def answered() -> bool:
                return (await admin.attendance(names.service_queue("van"))).waiting == 1

            await until("the saga is begun, and answered", answered, PATIENCE)
            assert [record.key for record in (await kept.find()).records] == ["p1"]
            branch = Addresses(url_of(amqp_url, namespace, "branch"))
            speaker = await stack.enter_async_context(connected(branch, app, "branch"))
            queue = names.signal_queue(app.name)
            told = signal(source=f"/{namespace}/branch", to=queue, saga="first", subject="p1")
            assert [*await speaker.send([told])] == [Published.CONFIRMED]

            async def parked() -> bool:
                return (await admin.attendance(names.dead_queue(queue))).waiting == 1

            await until("what it does not wait for is parked", parked, PATIENCE)
        finally:
            await stop_all(parts)
            await running
