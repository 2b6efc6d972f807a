"""Whatever strikes a connection of the RabbitMQ adapter, at whatever frame: who asks has an answer or an error of ours.

The client ends what waits on a lost connection by cancelling it, or with an `Exception` of no kind. Once that came
through to whoever asked: a process that was about to declare its topology ended without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import pytest

from choros.errors import BrokerUnreachable, ChorosError
from choros.testing.conformance.stage import command, fact
from choros.transport.port import Consumer, Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros_verify.simulation.faults import Fault, FrameFault
from tests.every_day import every_day
from tests.simulation.broker_stage import PAYMENT, shop
from tests.simulation.frame_stage import FrameStage, on_frames

LAST = 130
"""The number of the last frame that a round sends, or one behind it."""
Asking = Callable[[RabbitMQTransport], Awaitable[Any]]


async def looked(transport: RabbitMQTransport) -> None:
    look = await transport.look(PAYMENT)
    await look.take()
    await look.close()


async def consumed(transport: RabbitMQTransport) -> None:
    consumer = await transport.consume(PAYMENT, 5)
    await consumer.close()


async def opened(transport: RabbitMQTransport) -> None:
    await transport.connect()
    await transport.declare(shop())


ROUND: tuple[Asking, ...] = (
    lambda transport: transport.connect(),
    lambda transport: transport.declare(shop()),
    lambda transport: transport.send([command(number=1)]),
    lambda transport: transport.publish([fact()]),
    lambda transport: transport.attendance(PAYMENT),
    looked,
    consumed,
    lambda transport: transport.close(),
)


async def whole_round(transport: RabbitMQTransport) -> int:
    """Ask for everything, one after the other; how often that failed with an error of ours."""
    failed = 0
    for ask in ROUND:
        try:
            await ask(transport)
        except ChorosError:
            failed += 1
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("kind", every_day(get_args(FrameFault), ("close_channel", "slow_read")))
def test_whoever_asks_has_an_answer(kind: FrameFault) -> None:
    for nth in range(1, LAST, 9):
        stage = FrameStage(Fault(kind, "one", nth, 3.0 if kind in ("slow_read", "late_answer") else 0.0), seed=nth)
        failed = on_frames(lambda stage=stage: whole_round(stage.transport()), nth)  # type: ignore[misc]
        assert stage.broker.faults.struck, f"there is no frame {nth}"
        assert failed < len(ROUND)


def test_a_round_that_nothing_strikes_goes_well() -> None:
    stage = FrameStage()
    assert on_frames(lambda: whole_round(stage.transport())) == 0
    sent = stage.broker.faults.occasions()["frame one"]
    assert sent > LAST - 40


def test_declaring_on_a_connection_that_falls_silent_is_answered() -> None:
    stage = FrameStage()

    async def main() -> None:
        transport = stage.transport()
        await transport.connect()
        for pipe in stage.pipes.of("one"):
            pipe.half_open()
        with pytest.raises(BrokerUnreachable):
            await transport.declare(shop())
        await asyncio.sleep(60)
        await transport.declare(shop())  # on the next one
        await transport.close()

    on_frames(main)


@pytest.mark.slow
def test_a_broker_that_ends_while_somebody_connects_is_away_and_not_misconfigured() -> None:
    """It says so in the handshake, where the client only says that this was no answer to what it asked."""

    async def main(stage: FrameStage, after: float) -> None:
        asyncio.get_running_loop().call_later(after, stage.broker.restart, 1000.0)
        with pytest.raises(BrokerUnreachable):
            await opened(stage.transport())

    for nth in range(40):
        on_frames(lambda nth=nth: main(FrameStage(seed=nth), nth / 2000), nth)  # type: ignore[misc]


@pytest.mark.slow
def test_what_arrives_while_a_connection_is_cut_comes_to_the_broker_behind_what_was_before() -> None:
    """A cut lets some of the bytes arrive that are under way: in the middle of the frame that was struck, once."""
    for nth in range(100, 115):
        stage = FrameStage(Fault("cut_frame", "one", nth), seed=nth)

        async def main(stage: FrameStage = stage) -> None:
            transport = stage.transport()
            await opened(transport)
            await asyncio.gather(*(transport.send([command(number=number)]) for number in range(40)))
            await transport.close()

        on_frames(main, nth)  # which asks whether anything was left for nobody to catch


@pytest.mark.slow
def test_a_channel_on_which_nothing_is_answered_does_not_keep_a_destination_for_ever() -> None:
    """Not even where only confirms were asked for: for that question the client has no time limit of its own."""
    quiet = FrameStage()
    on_frames(lambda: opened(quiet.transport()))
    before = quiet.broker.faults.occasions()["frame one"]

    async def main(stage: FrameStage) -> None:
        transport = stage.transport()
        await opened(transport)
        answers = [(await transport.send([command(number=1)]))[0]]
        while answers[-1] is not Published.CONFIRMED and asyncio.get_running_loop().time() < 120:
            await asyncio.sleep(1)
            answers += await transport.send([command(number=1)])
        await transport.close()
        assert answers[-1] is Published.CONFIRMED, answers

    for nth in range(before + 1, before + 6):
        on_frames(lambda nth=nth: main(FrameStage(Fault("no_answer", "one", nth))), nth)  # type: ignore[misc]


@pytest.mark.slow
def test_a_channel_that_the_broker_never_looks_at_again_does_not_hold_what_was_delivered() -> None:
    """RabbitMQ's own limit for acknowledgements, after which the queue has it back, is half an hour."""

    async def main(stage: FrameStage) -> int:
        one, two = stage.transport(), stage.transport("two")
        await opened(one)
        await two.connect()
        before = stage.broker.faults.occasions()["frame one"]
        consumer = await one.consume(PAYMENT, 5)
        taking = asyncio.create_task(acknowledged(consumer))
        queue = stage.broker.queue(PAYMENT)
        for number in range(5):
            await two.send([command(number=number)])
            await asyncio.sleep(1)
        async with asyncio.timeout(120):
            while queue.contents():
                await asyncio.sleep(1)
        await consumer.close()
        await taking
        await one.close()
        await two.close()
        return before

    before = on_frames(lambda: main(FrameStage()))
    for nth in range(before + 1, before + 12):
        on_frames(lambda nth=nth: main(FrameStage(Fault("no_answer", "one", nth))), nth)  # type: ignore[misc]  # mypy reads no default of a lambda


async def acknowledged(consumer: Consumer) -> None:
    while deliveries := await consumer.receive(5):
        for delivery in deliveries:
            await delivery.ack()
