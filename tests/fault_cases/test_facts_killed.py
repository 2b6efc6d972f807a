"""An orchestrator is killed at every point of a fact: it begins one saga, and answers a wait once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from choros import Addresses, App
from choros.roles.addresses import connected, opened_store
from choros.roles.roles import client_of, running
from choros.runtime.orchestrator.history import read_history
from choros.sources import fresh_id
from choros.store.sagas import Store
from choros.transport.port import Published
from choros.transport.topology import Names, Topology, topology
from choros.values import replace
from choros.wire.envelope import Envelope
from tests.end_to_end.shop import remove, until
from tests.fault_cases.doomed import doomed
from tests.fault_cases.told import invoice_app
from tests.patience import PATIENCE
from tests.runtime.checkout import CheckedOut, shop_app, told
from tests.runtime.test_kept_facts import FIRST, paid
from tests.saga.invoice import Order

pytestmark = pytest.mark.slow

POINTS = [
    ("sqlite", "commit.after@1"),
    *(
        pytest.param("redis", point, marks=pytest.mark.nightly)
        for point in ("commit.before@1", "commit.after@1", "ack.before@1", "ack.after@2")
    ),
    *(pytest.param("postgresql", point, marks=pytest.mark.nightly) for point in ("commit.before@1", "commit.after@1")),
]


def at(addresses: Addresses) -> dict[str, str]:
    return {"broker": addresses.broker, "store": addresses.store}


async def publish(app: App, addresses: Addresses, needed: Topology, *facts: Envelope) -> None:
    async with connected(addresses, app, "till") as transport:
        await transport.declare(needed)
        assert [*await transport.publish(facts)] == [Published.CONFIRMED] * len(facts)


async def emptied(app: App, addresses: Addresses) -> None:
    """Nothing waits in the queue, and the last that was handed out is settled."""
    async with connected(addresses, app, "look") as transport:

        async def nothing_waits() -> bool:
            seen = await transport.attendance(Names(app.namespace).application_facts(app.name))
            return seen.state == "there" and not seen.waiting

        await until("the queue is empty", nothing_waits, PATIENCE)


async def begun(store: Store) -> list[str]:
    return sorted(record.key for record in (await store.find(limit=100)).records)


@pytest.mark.parametrize(("store_url", "failpoint"), POINTS, indirect=["store_url"])
async def test_each_fact_begins_one_saga(
    amqp_url: str, store_url: str, namespace: str, tmp_path: Path, failpoint: str
) -> None:
    app, addresses = shop_app(namespace=namespace), Addresses(amqp_url, store_url, "memory://")
    needed = app.topology + topology(namespace, applications=["tills"])
    facts = [told(CheckedOut(order_id=f"o{n}", total=n), seq=n + 1, source=f"/{namespace}/tills") for n in range(1, 4)]
    try:
        await publish(app, addresses, needed, *facts)
        log = tmp_path / "told.log"
        with doomed("told", app, failpoint, log, **at(addresses), told="begin") as process:
            assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
        async with running(app, addresses), opened_store(addresses, app) as store:

            async def all_begun() -> bool:
                return len(await begun(store)) >= 3

            await until("all are begun", all_begun, PATIENCE)
            await publish(app, addresses, needed, *facts, replace(facts[0], id=fresh_id(), seq=9))
            await emptied(app, addresses)
        async with opened_store(addresses, app) as store:
            assert await begun(store) == ["o1", "o2", "o3"]
    finally:
        await remove(amqp_url, needed)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("store_url", "failpoint"),
    [
        ("sqlite", "commit.before@1"),
        ("redis", "commit.after@1"),
        ("sqlite", "commit.after@2"),
        ("redis", "ack.before@1"),
        ("postgresql", "commit.after@1"),
    ],
    indirect=["store_url"],
)
async def test_who_waits_is_told_once(
    amqp_url: str, store_url: str, namespace: str, tmp_path: Path, failpoint: str
) -> None:
    """It looks what is kept, keeps the fact, and tells the saga: killed before or after each, and before it is done."""
    app, addresses = invoice_app(namespace), Addresses(amqp_url, store_url, "memory://")
    needed = app.topology + topology(namespace, applications=["bank"])
    fact = paid(source=f"/{namespace}/bank")
    try:
        await publish(app, addresses, needed, fact)
        async with client_of(app, addresses) as client:
            saga_id = await client.start(FIRST, Order())
            log = tmp_path / "told.log"
            with doomed("told", app, failpoint, log, **at(addresses), told="answer") as process:
                assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
            async with running(app, addresses):

                async def told_it() -> bool:
                    return bool((await client.show(saga_id)).instance.state("hand_over").leg)

                await until("it goes on", told_it, PATIENCE)
                await publish(app, addresses, needed, fact)
                await emptied(app, addresses)
            said = [one.kind for row in (await client.show(saga_id)).history for one in read_history(row.events)]
            assert said.count("signalled") == 1
    finally:
        await remove(amqp_url, needed)
