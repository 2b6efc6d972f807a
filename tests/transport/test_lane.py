"""A lane alone, without a connection: what may go where, and what must wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import cast
from unittest.mock import AsyncMock, Mock

import pamqp.frame
from aiormq.abc import AbstractConnection, ChannelFrame
from pamqp import commands

from choros.testing.conformance.stage import fact
from choros.transport.port import Published
from choros.transport.rabbitmq.hearing import hearing_of
from choros.transport.rabbitmq.lane import Lane
from choros.transport.rabbitmq.tasks import end
from choros.transport.sending import Post
from choros.transport.topology import Names


async def nothing(_: AbstractConnection) -> None:
    """Repair nothing."""


async def test_a_fact_behind_one_that_is_refused_on_the_spot_does_not_overtake_it() -> None:
    """They are of two types, so of two destinations, and only the first of those is doubted."""
    first, second = replace(fact(), type="a.v1"), replace(fact(), id="second", type="b.v1", seq=2)
    posts = [Post("facts", one.type, one, (one.source, one.stream)) for one in (first, second)]
    lane = Lane("facts", nothing, detour=Names.detour_of)
    lane.sending.destination(*posts[0][:2]).doubt.late()
    publishing = asyncio.create_task(lane.publish(posts, 60.0))
    await asyncio.sleep(0)
    assert lane.sending.destinations.keys() == {("facts", "a.v1"), ("facts.detour", "a.v1")}
    assert await publishing == [Published.UNKNOWN] * 2


async def test_a_fact_of_another_stream_does_not_wait() -> None:
    first, other = replace(fact(), type="a.v1"), replace(fact(), id="other", type="b.v1", stream="other")
    posts = [Post("facts", one.type, one, (one.source, one.stream)) for one in (first, other)]
    lane = Lane("facts", nothing)
    lane.sending.destination(*posts[0][:2]).doubt.late()
    assert await lane.publish(posts, 0.05) == [Published.UNKNOWN] * 2
    assert ("facts", "b.v1") in lane.sending.destinations


async def test_whoever_tries_again_at_once_does_not_stop_everything_else() -> None:
    """The confirm that ends the doubt has to be read in between."""
    post, read = Post("commands", "payment", fact()), asyncio.Event()
    lane = Lane("orders", nothing)
    lane.sending.destination(*post[:2]).doubt.late()
    asyncio.get_running_loop().call_soon(read.set)
    for _ in range(100):
        assert await lane.publish([post], 60.0) == [Published.UNKNOWN]
    assert read.is_set()


class RefusingAtFirst:
    """A connection whose first channel nacks whatever is published, and whose second confirms it."""

    def __init__(self) -> None:
        self.channels: list[Mock] = []

    async def channel(self, **_: object) -> Mock:
        channel = Mock(number=len(self.channels) + 1)
        channel.closing = asyncio.get_running_loop().create_future()
        channel.connection.connection_tune.frame_max = 1 << 17
        channel.write_queue.put = partial(self.answer, channel)
        channel.close = AsyncMock()
        self.channels.append(channel)
        return channel

    async def answer(self, channel: Mock, frame: ChannelFrame) -> None:
        assert frame.drain_future is not None
        frame.drain_future.set_result(None)
        answer = commands.Basic.Nack if channel is self.channels[0] else commands.Basic.Ack
        said = pamqp.frame.marshal(answer(1 << 40, multiple=True), channel.number)
        assert hearing_of(cast(AbstractConnection, self)).takes(1, channel.number, said[7:-1])


async def test_a_channel_that_refuses_everything_is_replaced() -> None:
    post, connection, lane = Post("commands", "payment", fact()), RefusingAtFirst(), Lane("orders", nothing)
    serving = asyncio.create_task(lane.serve(cast(AbstractConnection, connection)))
    answers = []
    while Published.CONFIRMED not in answers:
        answers += await lane.publish([post], 60.0)
        await asyncio.sleep(0.1)
    assert len(connection.channels) == 2
    assert 5 < answers.count(Published.NACKED) < 15  # not at the first: a refusal alone is no reason
    await end({serving})
