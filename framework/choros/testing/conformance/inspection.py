"""What it is to look into a queue: a suite for adapters of the transport port, to be mixed into `TransportConformance`.

class TestMyTransport(TransportConformance, LookingConformance): ...
"""

import asyncio
from abc import ABC, abstractmethod

from choros.testing.conformance.stage import (
    PATIENCE,
    Stage,
    assert_silent,
    command,
    misconfigured,
    receive,
    receive_and_ack,
)
from choros.transport.inspection import Look, LookingTransport
from choros.transport.port import Delivery, Published
from choros.wire.envelope import Wire, decode

VERY_MANY = 120
"""More than an adapter may want to have in memory at once."""


class LookingConformance(ABC):
    """It takes nothing out, disturbs the order of nothing, and has an end."""

    times = 3
    """How often one looks. RabbitMQ 4 gives up, after 20 deliveries, what lies in a queue that sets no other limit."""

    @abstractmethod
    def open(self, namespace: str) -> LookingTransport:
        """A new transport for this namespace, not yet connected."""

    async def operator(self, stage: Stage) -> LookingTransport:
        """One more connected transport."""
        transport = self.open(stage.namespace)
        stage.opened.append(transport)
        await transport.connect()
        return transport

    async def test_looking_shows_everything_in_order_however_often_and_takes_nothing_out(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 3)
        transport = await self.operator(stage)
        for _ in range(self.times):
            look = await transport.look(queue)
            assert [await _number(look) for _ in range(4)] == [0, 1, 2, None]
            await look.close()
        parked = await receive_and_ack(await transport.consume(queue, 9), 3)
        assert [one.subject for one in parked] == ["order-0", "order-1", "order-2"]

    async def test_what_is_acknowledged_is_gone_and_the_rest_is_back(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 3)
        transport = await self.operator(stage)
        look = await transport.look(queue)
        shown = [await look.take() for _ in range(3)]
        assert shown[1] is not None
        await shown[1].ack()
        await look.close()
        look = await transport.look(queue)
        assert [await _number(look) for _ in range(3)] == [0, 2, None]

    async def test_of_very_many_some_are_acknowledged_on_the_way(self, stage: Stage) -> None:
        queue = await _with_parked(stage, VERY_MANY)
        transport = await self.operator(stage)
        look, left = await transport.look(queue), list[int]()
        async with asyncio.timeout(PATIENCE):
            while shown := await look.take():
                number = int(decode(shown.wire).subject.removeprefix("order-"))
                if number % 3:
                    await shown.ack()
                else:
                    left.append(number)
            await look.close()
        assert left == [*range(0, VERY_MANY, 3)]
        look = await transport.look(queue)
        assert {await _number(look) for _ in range(len(left) + 1)} == {*left, None}

    async def test_two_who_look_at_once_are_shown_each_message_once(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 3)
        one, two = await self.operator(stage), await self.operator(stage)
        first, second = await one.look(queue), await two.look(queue)
        shown = [await _number(look) for look in (first, second, first, second, first, second, first, second)]
        assert sorted(number for number in shown if number is not None) == [0, 1, 2]
        await second.close()
        await first.close()
        again = await two.look(queue)
        assert {await _number(again) for _ in range(4)} == {0, 1, 2, None}

    async def test_very_many_are_shown_in_their_order_and_keep_it(self, stage: Stage) -> None:
        queue = await _with_parked(stage, VERY_MANY)
        transport = await self.operator(stage)
        for _ in range(2):
            look = await transport.look(queue)
            assert [await _number(look) for _ in range(VERY_MANY + 1)] == [*range(VERY_MANY), None]
            await look.close()

    async def test_what_comes_while_somebody_looks_is_left_for_the_next_time(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 2)
        transport = await self.operator(stage)
        look = await transport.look(queue)
        assert await _number(look) == 0
        await _with_parked(stage, 1)
        assert [await _number(look) for _ in range(2)] == [1, None]

    async def test_a_lost_connection_gives_everything_back(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 2)
        lost = await self.operator(stage)
        look = await lost.look(queue)
        shown = [await look.take() for _ in range(2)]
        await lost.close()
        assert shown[0] is not None
        await shown[0].ack()  # which does nothing any more
        consumer = await (await self.operator(stage)).consume(queue, 9)
        await receive_and_ack(consumer, 2)
        assert shown[0].lost

    async def test_a_queue_that_is_empty_or_not_there(self, stage: Stage) -> None:
        queue = await _with_parked(stage, 0)
        transport = await self.operator(stage)
        look = await transport.look(queue)
        assert await look.take() is None
        await look.close()
        nowhere = await transport.look(f"{queue}.nowhere")
        assert "nowhere" in str(await misconfigured(nowhere.take()))
        await nowhere.close()

    async def test_any_message_can_be_put_anywhere(self, stage: Stage) -> None:
        await _with_parked(stage, 0)
        transport = await self.operator(stage)
        consumer = await transport.consume(stage.names.service_queue("payment"), 9)
        wire = Wire(b"\xff{", {"x-any": "header"}, content_type="text/plain", reply_to="there")
        assert await transport.post(stage.names.commands, "payment", wire) is Published.CONFIRMED
        (delivery,) = await receive(consumer)
        found = delivery.wire
        assert (found.body, found.headers, found.reply_to) == (wire.body, wire.headers, wire.reply_to)
        assert await transport.post(stage.names.commands, "nobody", wire) is Published.RETURNED
        await assert_silent(consumer, 0.05)


async def _with_parked(stage: Stage, count: int) -> str:
    """The name of a queue of dead letters, to which so many have come."""
    transport = await stage.transport(stage.shop())
    queue = stage.names.service_queue("payment")
    await transport.send([command(number=number) for number in range(count)])
    consumer = await transport.consume(queue, count + 1)
    for delivery in await receive(consumer, count):
        await delivery.dead_letter("no such order")
    await consumer.close()
    return stage.names.dead_queue(queue)


async def _number(look: Look) -> int | None:
    shown: Delivery | None = await look.take()
    return None if shown is None else int(decode(shown.wire).subject.removeprefix("order-"))
