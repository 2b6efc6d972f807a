"""A process is killed at every point of a signal, as who tells it and as who takes it off the broker: it happened once,
or not at all, and repeated it is answered as it was."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from choros import Addresses, App, Client
from choros.roles.addresses import connected
from choros.roles.roles import client_of, running
from choros.runtime.orchestrator.history import read_history
from choros.sources import saga_id_for
from choros.transport.port import Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope
from tests.end_to_end.shop import remove, until
from tests.fault_cases.doomed import doomed
from tests.fault_cases.telling import ID, telling_app
from tests.patience import PATIENCE
from tests.runtime.test_signals_off_the_wire import TWICE
from tests.runtime.test_signals_off_the_wire import signal as told
from tests.saga.loan import AskForLoan, Decided

pytestmark = [pytest.mark.slow, pytest.mark.servers]
SAID = {"first": "signalled", "second": "kept"}
"""The answer to what comes in time, and to what comes early."""


async def said_of(client: Client, saga_id: str) -> list[str]:
    """What stands of signals in its history."""
    kinds = [event.kind for row in (await client.show(saga_id)).history for event in read_history(row.events)]
    return [kind for kind in kinds if kind in ("signalled", "kept", "too_late")]


@pytest.mark.parametrize(
    ("failpoint", "wait"),
    [
        ("commit.after@2", "first"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("commit.before@2", "first"), ("commit.before@2", "second"), ("commit.after@2", "second"))
        ),
    ],
)
async def test_what_a_client_tells_happened_once_or_not_at_all(
    store_url: str, namespace: str, tmp_path: Path, failpoint: str, wait: str
) -> None:
    app, addresses = telling_app(namespace), Addresses("memory://", store_url, "memory://")
    log = tmp_path / "telling.log"
    with doomed("telling", app, failpoint, log, store=store_url, wait=wait) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
    saga_id = saga_id_for(f"{app.scope}.{TWICE.name}", AskForLoan().loan)
    async with client_of(app, addresses) as client:
        happened = failpoint == "commit.after@2"
        assert await said_of(client, saga_id) == [SAID[wait]] * happened
        answers = [await client.signal(saga_id, Decided(), wait=wait, id=ID) for _ in range(2)]
        assert answers == [SAID[wait]] * 2
        assert await said_of(client, saga_id) == [SAID[wait]]
        at_work = "second" if wait == "first" else "first"
        assert (await client.show(saga_id)).instance.state(at_work).progress == "awaiting", "it counted for one wait"


def sent(namespace: str) -> Envelope:
    """What a branch of the bank sends, and sends again."""
    queue = Names(namespace).signal_queue(namespace)
    return told(id=ID, source=f"/{namespace}/branch", saga=TWICE.name, step="first", to=queue)


async def send(app: App, addresses: Addresses) -> None:
    async with connected(addresses, app, "branch") as transport:
        await transport.declare(app.topology)
        assert [*await transport.send([sent(app.namespace)])] == [Published.CONFIRMED]


async def taken(app: App, addresses: Addresses) -> None:
    """Nothing waits in the queue."""
    async with connected(addresses, app, "look") as transport:

        async def nothing_waits() -> bool:
            seen = await transport.attendance(Names(app.namespace).signal_queue(app.name))
            return seen.state == "there" and not seen.waiting

        await until("the queue is empty", nothing_waits, PATIENCE)


@pytest.mark.parametrize(
    ("store_url", "failpoint"),
    [
        ("sqlite", "commit.after@1"),
        *(
            pytest.param(store, point, marks=pytest.mark.long)
            for store, point in (("redis", "commit.before@1"), ("sqlite", "ack.before@1"), ("redis", "ack.after@1"))
        ),
        pytest.param("postgresql", "commit.after@1", marks=pytest.mark.nightly),
    ],
    indirect=["store_url"],
)
async def test_what_a_service_sends_is_taken_once(
    amqp_url: str, store_url: str, namespace: str, tmp_path: Path, failpoint: str
) -> None:
    app, addresses = telling_app(namespace), Addresses(amqp_url, store_url, "memory://")
    try:
        async with client_of(app, addresses) as client:
            saga_id = await client.start(TWICE, AskForLoan())
            await send(app, addresses)
            log = tmp_path / "told.log"
            at = {"broker": addresses.broker, "store": addresses.store}
            with doomed("told", app, failpoint, log, **at, told="signal") as process:
                assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL, log.read_text()[-3000:]
            async with running(app, addresses):

                async def went_on() -> bool:
                    return "signalled" in await said_of(client, saga_id)

                await until("it goes on", went_on, PATIENCE)
                await send(app, addresses)
                await taken(app, addresses)
            assert await said_of(client, saga_id) == ["signalled"]
            assert (await client.signal(saga_id, Decided(), wait="first", id=ID)) == "signalled", "as it was answered"
    finally:
        await remove(amqp_url, app.topology)
