"""What can strike the simulated broker as a whole, one of its queues, or one process's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from choros.errors import BrokerUnreachable
from choros.testing.conformance.stage import command, fact, misconfigured
from choros.transport.port import Consumer, Published
from choros.transport.topology import Subscription, topology
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import NEVER
from choros_verify.simulation.faults import Fault, FaultKind
from choros_verify.simulation.transport import SimTransport
from tests.simulation.broker_stage import NAMES, ONE, PAYMENT, Shop, numbers, simulated, taken

UNKNOWN, CONFIRMED, NACKED = Published.UNKNOWN, Published.CONFIRMED, Published.NACKED


async def confirmed(client: SimTransport, number: int) -> None:
    """Send it until it is taken."""
    while await client.send([command(number=number)]) != [CONFIRMED]:
        await asyncio.sleep(0.2)


async def opened(shop: Shop, prefetch: int = 10) -> tuple[SimTransport, SimTransport, Consumer]:
    """A client, and a service that consumes."""
    client, service = await shop.process("client"), await shop.process("service")
    return client, service, await service.consume(PAYMENT, prefetch)


def strike(shop: Shop, kind: FaultKind, target: str = "broker", amount: float = 0.0) -> None:
    shop.broker.strike(Fault(kind, target, 0, amount))


def test_a_blocked_broker_answers_no_publish_but_takes_acknowledgements_and_publishes_late() -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop, prefetch=1)
        await client.send([command(number=number) for number in range(2)])
        strike(shop, "block", amount=60)
        states = [client.health.state]
        assert await client.send([command(number=7)]) == [UNKNOWN]
        assert await taken(consumer, 2) == ["0", "1"]
        await asyncio.sleep(1)
        assert shop.broker.account().ends == {"acked": 2}
        assert await taken(consumer, 1) == ["7"]  # though nobody ever heard that it was taken
        assert asyncio.get_running_loop().time() > 60
        assert [*states, client.health.state] == ["blocked", "connected"]

    simulated(main)


def test_what_waits_unsent_when_its_time_is_up_is_never_sent() -> None:
    shop = Shop()

    async def main() -> None:
        client = await shop.process("client")
        strike(shop, "restart", amount=20)
        assert await client.send([command()]) == [UNKNOWN]
        await asyncio.sleep(60)
        assert client.connected
        assert not shop.broker.waiting(PAYMENT)

    simulated(main)


def test_a_restart_keeps_what_was_confirmed() -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop)
        await client.send([command(number=number) for number in range(2)])
        (held, *_) = await consumer.receive(1)
        strike(shop, "restart", amount=5)
        assert not client.connected
        await held.ack()  # too late
        assert await taken(consumer, 2) == ["0", "1"]
        assert asyncio.get_running_loop().time() > 5

    simulated(main)


def test_a_restart_may_lose_what_was_not_confirmed_and_never_what_was() -> None:
    def run(seed: int) -> tuple[Published, int, bool]:
        shop = Shop(seed=seed)

        async def main() -> tuple[Published, int, bool]:
            client = await shop.process("client")
            sending = asyncio.create_task(client.send([command()]))
            await asyncio.sleep(0.001 * (seed % 8))
            strike(shop, "restart", amount=1)
            (answer,) = await sending
            lost = bool(shop.broker.account().ends)
            return answer, len(shop.broker.waiting(PAYMENT)), lost

        return simulated(main, seed)

    came_to = {run(seed) for seed in range(60)}
    assert came_to == {(UNKNOWN, 0, False), (UNKNOWN, 0, True), (UNKNOWN, 1, False), (CONFIRMED, 1, False)}


def test_nobody_connects_while_the_broker_is_away() -> None:
    shop = Shop()

    async def main() -> None:
        strike(shop, "restart", amount=5)
        with pytest.raises(BrokerUnreachable):
            await shop.process("client")
        await asyncio.sleep(5)
        await shop.process("client")

    simulated(main)


def test_an_emptied_broker_gets_its_queues_back_from_those_who_remember_them() -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop)
        await client.send([command(number=1)])
        strike(shop, "empty", amount=5)
        assert not shop.broker.queues()
        await confirmed(client, 2)
        assert await taken(consumer, 1) == ["2"]
        assert len(shop.broker.queues()) == len(shop.declared.queues)
        assert len(shop.broker.ledger.vanished()) == 1
        assert shop.broker.account().balanced

    simulated(main)


def test_a_queue_that_nobody_remembers_is_a_fault_and_no_silence() -> None:
    shop = Shop()

    async def main() -> None:
        await shop.process("client")
        stranger = SimTransport(shop.broker, "ns", "stranger")
        await stranger.connect()
        consumer = await stranger.consume(PAYMENT, 1)
        shop.broker.delete_queue(PAYMENT)
        assert PAYMENT in str(await misconfigured(consumer.receive(1)))

    simulated(main)


@pytest.mark.parametrize("kind", ["cancel", "ack_timeout"])
def test_a_consumer_that_the_broker_ended_consumes_again_by_itself(kind: FaultKind) -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop)
        await client.send([command(number=1)])
        (held,) = await consumer.receive(1)
        strike(shop, kind, PAYMENT)
        await asyncio.sleep(1)
        await held.ack()  # too late
        assert await taken(consumer, 1) == ["1"]

    simulated(main)


def test_a_deleted_queue_is_declared_and_consumed_again() -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop)
        shop.broker.delete_queue(PAYMENT)
        assert await client.send([command()]) == [Published.RETURNED]
        await confirmed(client, 3)
        assert await taken(consumer, 1) == ["3"]

    simulated(main)


def test_a_full_queue_refuses_a_fact_that_the_others_keep() -> None:
    shop = Shop()

    async def main() -> None:
        client = await shop.process("client")
        strike(shop, "full", ONE, 10)
        assert await client.publish([fact(1), fact(2), fact(1, "other")]) == [NACKED, UNKNOWN, NACKED]
        assert len(shop.broker.waiting(NAMES.subscriber_queue("two"))) == 2
        assert await client.send([command()]) == [CONFIRMED]
        await asyncio.sleep(10)
        assert await client.publish([fact(1)]) == [CONFIRMED]
        assert len(shop.broker.waiting(ONE)) == 1

    simulated(main)


def test_a_lost_connection_returns_what_was_not_settled() -> None:
    shop = Shop()

    async def main() -> None:
        client, _, consumer = await opened(shop)
        await client.send([command(number=number) for number in range(3)])
        held = await consumer.receive(2)
        shop.broker.cut("service")
        await held[0].ack()
        await held[1].dead_letter("too late")
        assert await taken(consumer, 3) == ["0", "1", "2"]
        assert client.connected

    simulated(main)


def test_an_acknowledgement_on_its_way_when_the_connection_is_lost_may_arrive_or_not() -> None:
    def run(seed: int) -> int:
        shop = Shop(seed=seed)

        async def main() -> int:
            client, _, consumer = await opened(shop)
            await client.send([command()])
            await (await consumer.receive(1))[0].ack()
            shop.broker.cut("service")
            await asyncio.sleep(5)
            return len(await consumer.receive(1)) if shop.broker.queue(PAYMENT).contents() else 0

        return simulated(main, seed)

    assert {run(seed) for seed in range(20)} == {0, 1}


def test_a_message_on_its_way_when_the_connection_is_lost_may_arrive_or_not_and_is_unknown() -> None:
    def run(seed: int) -> int:
        shop = Shop(seed=seed)

        async def main() -> int:
            client = await shop.process("client")
            sending = asyncio.create_task(client.send([command(), command()]))
            await asyncio.sleep(0.0002)
            shop.broker.cut("client")
            assert await sending == [UNKNOWN, UNKNOWN]
            return len(shop.broker.waiting(PAYMENT))

        return simulated(main, seed)

    assert {run(seed) for seed in range(30)} == {0, 1, 2}


def test_a_message_on_its_way_when_its_process_crashes_may_arrive_or_not() -> None:
    def run(seed: int) -> int:
        shop = Shop(seed=seed)

        async def main() -> int:
            client = await shop.process("client")
            sending = asyncio.create_task(client.send([command(), command()]))
            await asyncio.sleep(0.0002)
            shop.broker.drop("client")
            await asyncio.sleep(60)
            assert not sending.done()
            sending.cancel()
            return len(shop.broker.waiting(PAYMENT))

        return simulated(main, seed)

    assert {run(seed) for seed in range(30)} == {0, 1, 2}


def test_a_process_that_crashes_before_it_has_written_a_message_never_sends_it() -> None:
    shop = Shop()

    async def main() -> None:
        client = await shop.process("client")

        def crash(process: str, wire: Wire) -> Sequence[Fault]:
            shop.broker.drop(process)
            return ()

        shop.broker.meddle = crash
        sending = asyncio.create_task(client.send([command()]))
        await asyncio.sleep(60)
        assert not sending.done()
        sending.cancel()
        assert not any(entry.what == "published" for entry in shop.broker.ledger.entries)

    simulated(main)


def test_a_delayed_message_is_gone_with_its_queue() -> None:
    shop = Shop([Fault("delay", "client", 1, 30)])

    async def main() -> None:
        client = await shop.process("client")
        assert await client.send([command()]) == [CONFIRMED]
        shop.broker.delete_queue(PAYMENT)
        await asyncio.sleep(60)
        assert shop.broker.account().ends == {"deleted": 1}
        assert shop.broker.account().balanced

    simulated(main)


def test_a_swallowed_message_is_confirmed_and_counts_as_asked_for() -> None:
    shop = Shop()

    async def main() -> None:
        client = await shop.process("client")
        shop.broker.meddle = lambda process, wire: [Fault("delay", process, 0, NEVER)]
        assert await client.send([command()]) == [CONFIRMED]
        assert not shop.broker.waiting(PAYMENT)
        assert shop.broker.ledger.vanished() == []

    simulated(main)


@pytest.mark.parametrize("kind", ["restart", "block"])
def test_a_second_outage_does_not_end_the_first(kind: FaultKind) -> None:
    shop = Shop(patience=0.5)

    async def main() -> float:
        client = await shop.process("client")
        strike(shop, kind, amount=60)
        strike(shop, kind, amount=5)
        await confirmed(client, 1)
        return asyncio.get_running_loop().time()

    assert simulated(main) > 60


def test_a_process_that_is_gone_hears_nothing_more_and_gives_everything_back() -> None:
    shop = Shop()

    async def main() -> None:
        client, service, consumer = await opened(shop)
        await client.send([command(number=1)])
        assert numbers(await consumer.receive(1)) == ["1"]
        orphan = asyncio.create_task(service.send([command(number=2)]))
        receiving = asyncio.create_task(_receive(consumer))
        await asyncio.sleep(0)
        shop.broker.drop("service")
        await asyncio.sleep(60)
        assert not orphan.done()
        assert not receiving.done()
        assert not service.connected
        again = await (await shop.process("service")).consume(PAYMENT, 10)
        assert (await taken(again, 1)) == ["1"]
        orphan.cancel()
        receiving.cancel()

    simulated(main)


async def _receive(consumer: Consumer) -> object:
    return await consumer.receive(1)


def test_a_missing_exchange_costs_the_channel_and_is_repaired() -> None:
    shop = Shop()

    async def main() -> None:
        client = await shop.process("client")
        shop.broker.clear()
        assert await client.send([command(), command()]) == [UNKNOWN, UNKNOWN]
        await confirmed(client, 1)
        assert client.connected

    simulated(main)


def test_an_ordered_subscriber_has_one_active_consumer_and_the_next_takes_over() -> None:
    shop = Shop(declared=topology("ns", applications=["app"], subscribers=[Subscription("one", ordered=True)]))

    async def main() -> None:
        first, second = await shop.process("first"), await shop.process("second")
        active, idle = await first.consume(ONE, 2), await second.consume(ONE, 2)
        await first.publish([fact(seq) for seq in range(1, 7)])
        waiting = asyncio.create_task(_receive(idle))
        assert len(await active.receive(9)) == 2
        await asyncio.sleep(10)
        assert not waiting.done()
        shop.broker.drop("first")
        await waiting
        assert not shop.broker.ledger.ended_twice()

    simulated(main)
