"""Under load a consumer waits for the end of a burst; what happens meanwhile must not end it."""

from __future__ import annotations

import asyncio
from typing import Any

from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.consumer import RabbitConsumer
from choros.transport.rabbitmq.pace import BUSY_RATE, WINDOW_SECONDS, Pace
from tests.patience import PATIENCE


def test_the_pace_is_the_rate_of_the_last_window() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    seen = [pace.busy]
    pace.count(int(BUSY_RATE * WINDOW_SECONDS) + 1)
    for window in (1, 2):
        now[0] = window * WINDOW_SECONDS
        seen.append(pace.busy)
    assert seen == [False, True, False]


async def test_a_connection_lost_within_a_burst_does_not_look_like_the_end() -> None:
    transport = RabbitMQTransport("amqp://127.0.0.1:1/", "shop")
    consumer = RabbitConsumer("shop.payment", 10, transport.names, transport._declarer, transport._copy)
    consumer._pace._rate = 10 * BUSY_RATE
    first, second = object(), object()
    inbox: Any = consumer._inbox
    inbox.append(first)
    receiving = asyncio.create_task(consumer.receive(10))
    await asyncio.sleep(0)
    inbox.clear()  # as a lost connection does
    await asyncio.sleep(0.05)
    assert not receiving.done()
    inbox.append(second)
    consumer._arrived.set()
    async with asyncio.timeout(PATIENCE):
        assert await receiving == [second]
    await transport.close()
