"""Connections to Redis are lent to one at a time, and come back whatever happened to whoever had them."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import ConnectionPool

from choros.store.redis.connections import Connections


class Line:
    """A connection that knows whether it is connected."""

    def __init__(self) -> None:
        self.connected = False

    async def disconnect(self, nowait: bool = False) -> None:
        self.connected = False


class Maker:
    """Connects as it is told to."""

    def __init__(self) -> None:
        self.made: list[Line] = []
        self.connecting: Any = lambda: asyncio.sleep(0)

    def make_connection(self) -> Line:
        self.made.append(Line())
        return self.made[-1]

    async def ensure_connection(self, line: Line) -> None:
        line.connected = True
        await self.connecting()


def lent_by(maker: Maker, count: int, timeout: float = 5.0) -> Connections:
    return Connections(cast(ConnectionPool, maker), count, timeout)


async def test_the_one_that_was_used_last_is_the_next() -> None:
    maker = Maker()
    connections = lent_by(maker, 3)
    first = await connections.take()
    connections.give_back(first)
    assert await connections.take() is first
    assert [line.connected for line in maker.made].count(True) == 1


async def test_nobody_gets_one_that_another_has() -> None:
    connections = lent_by(Maker(), 2)
    taken = [await connections.take(), await connections.take()]
    assert taken[0] is not taken[1]
    third = asyncio.create_task(connections.take())
    await asyncio.sleep(0)
    assert not third.done()
    connections.give_back(taken[1])
    assert await third is taken[1]


async def test_where_all_are_in_use_for_long_nobody_waits_for_ever() -> None:
    connections = lent_by(Maker(), 1, timeout=0.001)
    await connections.take()
    with pytest.raises(TimeoutError):
        await connections.take()


async def test_one_that_cannot_be_connected_comes_back_disconnected() -> None:
    maker = Maker()
    connections = lent_by(maker, 1)

    async def refused() -> None:
        raise ConnectionRefusedError

    maker.connecting = refused
    with pytest.raises(ConnectionRefusedError):
        await connections.take()
    assert not maker.made[0].connected
    maker.connecting = lambda: asyncio.sleep(0)
    assert await connections.take() is cast(Any, maker.made[0])


async def test_who_is_cancelled_or_never_answered_while_connecting_holds_no_place() -> None:
    maker = Maker()
    connections = lent_by(maker, 1, timeout=0.05)
    maker.connecting = asyncio.Event().wait
    taking = asyncio.create_task(connections.take())
    while not maker.made[0].connected:
        await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    with pytest.raises(TimeoutError):
        await connections.take()
    maker.connecting = lambda: asyncio.sleep(0)
    await connections.take()


async def test_all_are_disconnected_at_the_end_those_in_use_too() -> None:
    maker = Maker()
    connections = lent_by(maker, 2)
    await connections.take()
    connections.give_back(await connections.take())
    await connections.close()
    assert [line.connected for line in maker.made] == [False, False]
