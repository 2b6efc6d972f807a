"""A broker that goes away in the middle of the handshake is away, and nothing worse."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import aiormq
import pytest
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from choros import Addresses
from choros.errors import BrokerUnreachable
from choros.roles.addresses import connected
from choros.transport.rabbitmq import link as link_module
from choros.transport.rabbitmq.failures import explained
from choros.transport.rabbitmq.link import Link
from tests.chaos.voyages import app
from tests.patience import PATIENCE


async def test_a_stream_that_ends_within_the_handshake_is_an_unreachable_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiormq then raises StopAsyncIteration, which an async generator on its way turns into a RuntimeError."""

    async def ended(*_: object, **__: object) -> None:
        raise StopAsyncIteration

    monkeypatch.setattr(aiormq, "connect", ended)
    with pytest.raises(BrokerUnreachable, match=r"does not answer \(it closed the connection\)"):
        async with connected(Addresses("amqp://127.0.0.1:1/"), app, "test"):
            pass


async def cancelled_by_the_client() -> None:
    """What aiormq does to a future of its own, while somebody awaits it."""
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


class Wire:
    """As much of a connection as a link looks at."""

    def __init__(self) -> None:
        self.closing = asyncio.get_running_loop().create_future()
        self.is_closed = False

    async def close(self, _: object) -> None:
        self.is_closed = True


class Dialling:
    """Plays `aiormq.connect`: each dial is met by the next of these, then by a connection."""

    def __init__(self, *met: Awaitable[None]) -> None:
        self.met = list(met)
        self.made: list[Wire] = []

    async def connect(self, *_: object, **__: object) -> Wire:
        if self.made and self.met:
            await self.met.pop(0)
        self.made.append(Wire())
        return self.made[-1]


async def nothing(_: AbstractConnection) -> None:
    """Prepare nothing."""


async def until(dialling: Dialling, connections: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(dialling.made) < connections:
            await asyncio.sleep(0.01)


async def test_a_first_connection_has_more_time_than_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the process ends: on a machine on which everything starts at once, a broker answers late."""
    dialling = Dialling()

    async def slowly(*_: object, **__: object) -> Wire:
        await asyncio.sleep(12.0)
        return await dialling.connect()

    monkeypatch.setattr(aiormq, "connect", slowly)
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0)
    await link.open()
    assert link.connection is not None
    await link.close()


async def test_a_broker_that_drops_a_first_connection_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling, drops = Dialling(), [ConnectionResetError()]

    async def dropping(*_: object, **__: object) -> Wire:
        if drops:
            raise drops.pop()
        return await dialling.connect()

    monkeypatch.setattr(aiormq, "connect", dropping)
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0)
    await link.open()
    assert link.connection is not None
    await link.close()


def test_how_a_client_ends_its_work_does_not_hide_why() -> None:
    failure = AMQPConnectionError("Server connection reset")
    failure.__cause__ = asyncio.CancelledError()
    assert "(AMQPConnectionError)" in str(explained(failure, URL("amqp://127.0.0.1:1/")))


async def test_a_broker_that_says_nothing_is_said_to_be_too_slow() -> None:
    gone = asyncio.Event()

    async def hush(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    silence = await asyncio.start_server(hush, "127.0.0.1", 0)
    port = silence.sockets[0].getsockname()[1]
    with pytest.raises(BrokerUnreachable, match=r"does not answer \(no answer in time\)"):
        await Link((URL(f"amqp://127.0.0.1:{port}/?name=test"),), nothing, 0.05).open()
    await gone.wait()
    silence.close()
    await silence.wait_closed()


async def test_a_cancellation_that_nobody_asked_for_ends_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling(cancelled_by_the_client(), cancelled_by_the_client())
    monkeypatch.setattr(aiormq, "connect", dialling.connect)
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0)
    await link.open()
    dialling.made[0].closing.set_result(None)
    await until(dialling, 2)
    assert dialling.met == []
    await link.close()
    assert dialling.made[1].is_closed


async def test_a_connection_that_could_never_be_had_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one for facts is opened when the others are there already; the broker may allow this user no third."""
    dialling, refused = Dialling(), True

    async def connect(*of: object, **more: object) -> Wire:
        if refused:
            raise ConnectionRefusedError
        return await dialling.connect(*of, **more)

    monkeypatch.setattr(aiormq, "connect", connect)
    changes: list[bool] = []
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0, lambda: changes.append(link.lost))
    link.open_soon()
    async with asyncio.timeout(PATIENCE):
        while not changes:
            await asyncio.sleep(0.01)
        assert set(changes) == {True}
        refused = False
        while changes[-1]:
            await asyncio.sleep(0.01)
    await link.close()


async def test_a_cancellation_that_nobody_asked_for_costs_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = Dialling()
    monkeypatch.setattr(aiormq, "connect", dialling.connect)
    trouble = [cancelled_by_the_client(), cancelled_by_the_client()]
    served: list[AbstractConnection] = []

    async def prepare(_: AbstractConnection) -> None:
        if len(dialling.made) == 1:
            await trouble.pop()

    class Guest:
        async def serve(self, connection: AbstractConnection) -> None:
            served.append(connection)
            if len(dialling.made) == 2:
                await trouble.pop()
            await asyncio.Event().wait()

    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), prepare, 5.0)
    link.add(Guest())
    await link.open()
    await until(dialling, 3)
    async with asyncio.timeout(PATIENCE):
        while len(served) < 2:
            await asyncio.sleep(0.01)
    assert (trouble, link.connection is served[1]) == ([], True)
    await link.close()


@pytest.mark.parametrize(("stable", "begun_anew"), [(60.0, 1), (0.0, 4)])
async def test_the_pauses_grow_while_no_connection_lasts(
    monkeypatch: pytest.MonkeyPatch, stable: float, begun_anew: int
) -> None:
    """Else a broker that takes connections and drops them at once is dialled many times a second."""
    dialling, begun = Dialling(), []

    def delays() -> Iterator[float]:
        begun.append(True)
        return iter([0.0] * 9)

    monkeypatch.setattr(aiormq, "connect", dialling.connect)
    monkeypatch.setattr(link_module, "full_jitter", delays)
    monkeypatch.setattr(link_module, "_STABLE_SECONDS", stable)
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0)
    await link.open()
    for number in (1, 2, 3):
        await asyncio.sleep(0.01)
        dialling.made[-1].closing.set_result(None)
        await until(dialling, number + 1)
    assert len(begun) == begun_anew
    await link.close()


async def test_a_link_that_is_closed_while_it_dials_is_closed_even_if_that_is_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`wait_for` of Python 3.11, which aiormq uses, can swallow a cancellation."""
    dialled = asyncio.Event()

    async def swallowing() -> None:
        dialled.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("away") from None

    dialling = Dialling(swallowing())
    monkeypatch.setattr(aiormq, "connect", dialling.connect)
    link = Link((URL("amqp://127.0.0.1:1/?name=test"),), nothing, 5.0)
    await link.open()
    dialling.made[0].closing.set_result(None)
    await dialled.wait()
    await link.close()
    assert link._supervisor is not None and link._supervisor.done()
    assert len(dialling.made) == 1


@asynccontextmanager
async def hanging_up() -> AsyncIterator[tuple[URL, list[int]]]:
    """A broker that takes connections and cuts them; what it has taken is counted."""
    taken: list[int] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(len(await reader.read(1 + len(taken))))
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        yield URL(f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/?name=test"), taken


async def test_a_connection_that_did_not_come_up_leaves_nothing_to_do_for_whoever_collects_it() -> None:
    """aio-pika's begins to close itself then; collected in a thread, nobody awaits that."""
    async with hanging_up() as (address, taken):
        away = Link((URL("amqp://127.0.0.1:1/?name=test"), address), nothing, 5.0)
        gc.disable()
        try:
            for _ in range(4):
                with pytest.raises(BrokerUnreachable):
                    await away.open()
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                await asyncio.to_thread(gc.collect)
        finally:
            gc.enable()
    assert len(taken) == 4
    assert [str(one.message) for one in said] == []
