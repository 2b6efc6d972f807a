"""Where RabbitMQ 3.10 and 4.3 differ, and what a quorum queue promises in both."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest

from choros.testing.conformance.stage import command
from choros.transport.leased import LeasedDelivery
from choros.transport.port import Consumer
from choros.transport.topology import Binding, Exchange, Queue, Topology
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_channel import SimChannel
from choros_verify.simulation.broker_queue import LineEnds, Mode
from tests.simulation.broker_stage import MODES, NAMES, PAYMENT, Shop, shop, simulated

QUORUM = {"x-queue-type": "quorum"}
DEAD_PAYMENT = NAMES.dead_queue(PAYMENT)


def limited(limit: int) -> Topology:
    """The shop with this delivery limit."""
    whole = shop()
    queues = (
        Queue(q.name, {**q.arguments, "x-delivery-limit": limit}) if "x-delivery-limit" in q.arguments else q
        for q in whole.queues
    )
    return replace(whole, queues=tuple(queues))


async def next_of(consumer: Consumer) -> LeasedDelivery:
    (delivery,) = await consumer.receive(1)
    assert isinstance(delivery, LeasedDelivery)
    return delivery


@pytest.mark.parametrize(("mode", "deliveries"), [("3.10", 4), ("4.3", 10)])
def test_giving_back_unread_counts_towards_the_limit_in_3_10_alone(mode: Mode, deliveries: int) -> None:
    stage = Shop(mode=mode, declared=limited(3))

    async def main() -> int:
        client = await stage.process("client")
        consumer = await client.consume(PAYMENT, 1)
        await client.send([command()])
        for count in range(10):
            if stage.broker.waiting(DEAD_PAYMENT):
                return count
            (await next_of(consumer)).give_back()
            await asyncio.sleep(1)
        return 10

    assert simulated(main) == deliveries


@pytest.mark.parametrize("mode", MODES)
def test_what_goes_back_because_it_failed_counts_towards_the_limit(mode: Mode) -> None:
    """A queue of commands has no ladder, so `retry` gives it back."""
    stage = Shop(mode=mode, declared=limited(3))

    async def main() -> int:
        client = await stage.process("client")
        consumer = await client.consume(PAYMENT, 1)
        await client.send([command()])
        for count in range(10):
            if stage.broker.waiting(DEAD_PAYMENT):
                return count
            await (await next_of(consumer)).retry(0.0)
            await asyncio.sleep(1)
        return 10

    assert simulated(main) == 4


@pytest.mark.parametrize("mode", MODES)
def test_a_lost_connection_counts_towards_the_limit(mode: Mode) -> None:
    stage = Shop(mode=mode, declared=limited(2))

    async def main() -> None:
        client = await stage.process("client")
        consumer = await client.consume(PAYMENT, 1)
        await client.send([command()])
        for count in range(3):
            assert (await next_of(consumer)).wire.headers.get("x-delivery-count", 0) == count
            stage.broker.cut("client")
            await asyncio.sleep(5)
        (parked,) = stage.broker.waiting(DEAD_PAYMENT)
        assert parked.headers["x-first-death-reason"] == "delivery_limit"
        assert stage.broker.account().balanced

    simulated(main)


@pytest.mark.parametrize(("mode", "kept"), [("3.10", 1), ("4.3", 0)])
def test_4_3_puts_a_limit_on_a_quorum_queue_that_declares_none(mode: Mode, kept: int) -> None:
    broker = SimBroker(mode=mode)

    async def main() -> int:
        plain(broker, QUORUM)
        for _ in range(21):
            channel, _ = watching(broker, "q")
            await asyncio.sleep(0.1)
            channel.lose()
        return len(broker.waiting("q"))

    assert simulated(main) == kept
    assert broker.ledger.entries[-1].what == ("returned" if kept else "dropped")


@pytest.mark.parametrize("mode", MODES)
def test_what_is_parked_survives_any_number_of_looks(mode: Mode) -> None:
    stage = Shop(mode=mode)

    async def main() -> None:
        client = await stage.process("client")
        consumer = await client.consume(PAYMENT, 1)
        await client.send([command()])
        await (await next_of(consumer)).dead_letter("for a person")
        parked = await client.consume(DEAD_PAYMENT, 1)
        for _ in range(30):
            assert await parked.receive(1)
            stage.broker.cut("client")
        await asyncio.sleep(5)
        assert len(stage.broker.queue(DEAD_PAYMENT).contents()) == 1

    simulated(main)


@pytest.mark.parametrize(("mode", "order"), [("3.10", "231"), ("4.3", "123")])
def test_without_a_limit_3_10_puts_what_comes_back_behind_the_others(mode: Mode, order: str) -> None:
    broker = SimBroker(mode=mode)

    async def main() -> str:
        plain(broker, QUORUM, b"1", b"2", b"3")
        channel, _ = watching(broker, "q", prefetch=1)
        await asyncio.sleep(0.1)
        channel.lose()
        return b"".join(wire.body for wire in broker.waiting("q")).decode()

    assert simulated(main) == order


@pytest.mark.parametrize("mode", MODES)
def test_a_classic_queue_knows_no_limit_and_keeps_its_order(mode: Mode) -> None:
    broker = SimBroker(mode=mode)

    async def main() -> str:
        plain(broker, {"x-delivery-limit": 1}, b"1", b"2")
        for _ in range(5):
            channel, _ = watching(broker, "q")
            channel.lose()
        return b"".join(wire.body for wire in broker.waiting("q")).decode()

    assert simulated(main) == "12"


@pytest.mark.parametrize(("mode", "heard"), [("3.10", ["channel"]), ("4.3", ["slow"])])
def test_a_timed_out_acknowledgement_costs_the_channel_in_3_10_and_one_consumer_in_4_3(
    mode: Mode, heard: list[str]
) -> None:
    broker = SimBroker(mode=mode, ack_timeout=600)

    async def main() -> tuple[list[str], int]:
        names = ("slow", "quick")
        broker.declare(Topology("ns", queues=tuple(Queue(name, QUORUM) for name in names)))
        ends: list[str] = []
        channel = SimChannel(broker.setting, "service", lambda: ends.append("channel"))
        for name in names:
            channel.consume(broker.queue(name), 5, LineEnds(lambda *_: None, partial(ends.append, name)))
        broker.queue("slow").put(Wire(b"", {}), "")
        await asyncio.sleep(599)
        assert ends == []
        await asyncio.sleep(2)
        return ends, sum(len(broker.queue(name).lines) for name in names)

    assert simulated(main) == (heard, 0 if mode == "3.10" else 1)
    assert len(broker.waiting("slow")) == 1


def test_a_lost_channel_gives_nothing_to_its_own_other_consumer() -> None:
    broker = SimBroker()

    async def main() -> int:
        plain(broker, QUORUM)
        channel, _ = watching(broker, "q")
        channel.consume(broker.queue("q"), 10, LineEnds(lambda *_: None, lambda: None))
        await asyncio.sleep(1)
        channel.lose()
        (copy,) = broker.queue("q").contents()
        return copy.returns

    assert simulated(main) == 1


@pytest.mark.parametrize(("mode", "classic_too"), [("3.10", True), ("4.3", False)])
def test_4_3_times_out_on_quorum_queues_alone(mode: Mode, classic_too: bool) -> None:
    broker = SimBroker(mode=mode, ack_timeout=600)

    async def main() -> None:
        plain(broker, {}, b"1")
        watching(broker, "q")
        await asyncio.sleep(601)

    simulated(main)
    assert bool(broker.waiting("q")) is classic_too


@pytest.mark.parametrize("mode", MODES)
def test_a_dead_letter_waits_for_its_grave_when_it_may_not_be_lost(mode: Mode) -> None:
    broker = SimBroker(mode=mode)
    careful = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

    async def main() -> None:
        plain(broker, {**QUORUM, **careful, "x-message-ttl": 1000, "x-dead-letter-exchange": "grave"}, b"1")
        await asyncio.sleep(2)
        assert [copy.wire.body for copy in broker.queue("q").contents()] == [b"1"]
        assert not broker.waiting("q")
        broker.declare(Topology("ns", (Exchange("grave", "fanout"),), (Queue("g"),), (Binding("grave", "g"),)))
        assert [wire.body for wire in broker.waiting("g")] == [b"1"]

    simulated(main)
    assert broker.account().ends == {"dead_lettered": 1}


def test_a_dead_letter_refused_for_a_while_is_buried_later() -> None:
    stage = Shop(declared=limited(1))

    async def main() -> None:
        client = await stage.process("client")
        consumer = await client.consume(PAYMENT, 1)
        await client.send([command()])
        stage.broker.fill(DEAD_PAYMENT, 100)
        for _ in range(2):
            await consumer.receive(1)
            stage.broker.cut("client")
        await asyncio.sleep(50)
        assert not stage.broker.waiting(DEAD_PAYMENT)
        await asyncio.sleep(150)
        assert len(stage.broker.waiting(DEAD_PAYMENT)) == 1
        assert stage.broker.account().balanced

    simulated(main)


@pytest.mark.parametrize("careless", [{}, {"x-dead-letter-strategy": "at-least-once", "x-overflow": "drop-head"}])
def test_a_dead_letter_is_lost_at_most_once_and_in_silence(careless: Mapping[str, str | int]) -> None:
    broker = SimBroker()

    async def main() -> None:
        plain(broker, {**QUORUM, **careless, "x-message-ttl": 1000, "x-dead-letter-exchange": "grave"}, b"1")
        await asyncio.sleep(2)

    simulated(main)
    assert broker.account().ends == {"dropped": 1}
    assert broker.account().balanced


def plain(broker: SimBroker, arguments: Mapping[str, str | int], *bodies: bytes) -> None:
    """One queue, with these in it, or with one message."""
    broker.declare(Topology("ns", queues=(Queue("q", dict(arguments)),)))
    for body in bodies or (b"",):
        broker.queue("q").put(Wire(body, {}), "")


def watching(broker: SimBroker, queue: str, prefetch: int = 10) -> tuple[SimChannel, list[bytes]]:
    """A channel whose consumer settles nothing."""
    seen: list[bytes] = []
    channel = SimChannel(broker.setting, "watcher", lambda: None)
    channel.consume(broker.queue(queue), prefetch, LineEnds(lambda tag, wire, _: seen.append(wire.body), lambda: None))
    return channel, seen
