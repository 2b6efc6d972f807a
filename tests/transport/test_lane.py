"""A lane alone, without a connection: what may go where, and what must wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiormq.abc import AbstractConnection

from choros.testing.stage import fact
from choros.transport.port import Published
from choros.transport.rabbitmq.lane import Lane, Post


async def nothing(_: AbstractConnection) -> None:
    """Repair nothing."""


async def test_a_fact_behind_one_that_is_refused_on_the_spot_does_not_overtake_it() -> None:
    """They are of two types, so of two destinations, and only the first of those is doubted."""
    first, second = replace(fact(), type="a.v1"), replace(fact(), id="second", type="b.v1", seq=2)
    posts = [Post("facts", one.type, one, (one.source, one.stream)) for one in (first, second)]
    lane = Lane("facts", nothing, detour="detour")
    lane._way(posts[0]).doubt.late()
    publishing = asyncio.create_task(lane.publish(posts, 60.0))
    await asyncio.sleep(0)
    assert lane._ways.keys() == {("facts", "a.v1"), ("detour", "a.v1")}
    assert await publishing == [Published.UNKNOWN] * 2


async def test_a_fact_of_another_stream_does_not_wait() -> None:
    first, other = replace(fact(), type="a.v1"), replace(fact(), id="other", type="b.v1", stream="other")
    posts = [Post("facts", one.type, one, (one.source, one.stream)) for one in (first, other)]
    lane = Lane("facts", nothing)
    lane._way(posts[0]).doubt.late()
    assert await lane.publish(posts, 0.05) == [Published.UNKNOWN] * 2
    assert ("facts", "b.v1") in lane._ways


async def test_whoever_tries_again_at_once_does_not_stop_everything_else() -> None:
    """The confirm that ends the doubt has to be read in between."""
    post, read = Post("commands", "payment", fact()), asyncio.Event()
    lane = Lane("orders", nothing)
    lane._way(post).doubt.late()
    asyncio.get_running_loop().call_soon(read.set)
    for _ in range(100):
        assert await lane.publish([post], 60.0) == [Published.UNKNOWN]
    assert read.is_set()
