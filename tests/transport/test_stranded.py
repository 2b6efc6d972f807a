"""A node that is cut off from its cluster answers everything and confirms nothing; RabbitMQ 4.3 does not close it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiormq.abc import AbstractConnection

from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.link import Link
from choros.transport.rabbitmq.stranded import LEAVE_SECONDS, StrandedWatch
from choros.transport.rabbitmq.tasks import end

NOWHERE = cast(AbstractConnection, None)


class Publisher:
    """Plays a lane."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.silent = False


class Shore:
    """A process whose node we are, and when it left."""

    def __init__(self) -> None:
        self.lanes = Publisher(), Publisher()
        self.left: list[float] = []
        self.stranded = StrandedWatch(
            self.lanes, lambda: self.left.append(asyncio.get_running_loop().time() - self.begun)
        )

    async def lives(self, seconds: float) -> None:
        """On one connection, for so long."""
        self.left.clear()
        self.begun = asyncio.get_running_loop().time()
        serving = asyncio.create_task(self.stranded.serve(NOWHERE))
        await asyncio.sleep(seconds)
        await end({serving})


async def test_a_node_on_which_nothing_is_confirmed_is_left() -> None:
    shore = Shore()
    await shore.lives(100)
    assert shore.left == []  # at rest, nothing is expected
    shore.lanes[0].silent = True
    await shore.lives(LEAVE_SECONDS + 4)
    assert len(shore.left) == 1


async def test_a_queue_that_is_silent_while_others_confirm_makes_nobody_leave() -> None:
    shore = Shore()
    shore.lanes[0].silent = True

    async def confirm() -> None:
        while True:
            await asyncio.sleep(LEAVE_SECONDS / 2)
            shore.lanes[1].confirmed += 1

    confirming = asyncio.create_task(confirm())
    await shore.lives(300)
    await end({confirming})
    assert shore.left == []


async def test_where_leaving_does_not_help_it_is_done_ever_more_rarely_until_something_is_confirmed() -> None:
    shore = Shore()
    shore.lanes[0].silent = True
    await shore.lives(4000)
    assert 12 < len(shore.left) < 18, shore.left
    asyncio.get_running_loop().call_later(1.5, setattr, shore.lanes[1], "confirmed", 1)
    await shore.lives(LEAVE_SECONDS + 6)
    assert len(shore.left) == 1


async def test_all_connections_to_a_silent_node_leave_it_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only consumes is answered there, and hears nothing."""
    transport = RabbitMQTransport("amqp://one,two,three/", "ns")
    left: list[Link] = []
    monkeypatch.setattr(Link, "leave", lambda link: left.append(link))
    assert transport._out.address.host == transport._in.address.host == transport._telling.address.host
    transport._leave(transport._out)
    assert left == [transport._out, transport._in, transport._telling]
    left.clear()
    transport._in._nodes.turn()
    transport._leave(transport._out)
    assert left == [transport._out, transport._telling]
