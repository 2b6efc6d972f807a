"""Under load a consumer waits for the end of a burst; what happens meanwhile must not end it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from choros.transport.arrivals import BUSY_RATE, WINDOW_SECONDS, Arrivals, Pace
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.consumer import RabbitConsumer
from tests.patience import PATIENCE


def test_the_pace_is_the_rate_of_the_last_window() -> None:
    pace = Pace()
    seen = [pace.is_busy(0.0)]
    pace.count(int(BUSY_RATE * WINDOW_SECONDS) + 1, 0.0)
    seen += [pace.is_busy(window * WINDOW_SECONDS) for window in (1, 2)]
    assert seen == [False, True, False]


async def test_a_connection_lost_within_a_burst_does_not_look_like_the_end() -> None:
    transport = RabbitMQTransport("amqp://127.0.0.1:1/", "shop")
    consumer = RabbitConsumer("shop.payment", 10, transport.names, transport._declarer, transport._copy)
    loop, first, second = asyncio.get_running_loop(), object(), object()
    pace, arrivals = consumer._pace, cast(Arrivals[Any], consumer.arrivals)
    assert pace is not None
    pace._rate, pace._since = 10 * BUSY_RATE, loop.time()
    arrivals.came(first)
    receiving = asyncio.create_task(consumer.receive(10))
    await asyncio.sleep(0)
    arrivals.waiting.clear()  # as a lost connection does
    await asyncio.sleep(0.05)
    assert not receiving.done()
    arrivals.came(second)
    async with asyncio.timeout(PATIENCE):
        assert await receiving == [second]
    await transport.close()
