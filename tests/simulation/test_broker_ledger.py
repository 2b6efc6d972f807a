"""The simulated broker's ledger: whatever strikes, every copy is accounted for, and what was confirmed is there."""

from __future__ import annotations

import asyncio
import random
from typing import get_args

import pytest

from choros.testing.conformance.stage import command, fact
from choros.transport.port import Consumer, Published
from choros_verify.simulation.broker_ledger import LedgerLine
from choros_verify.simulation.broker_queue import Copy, SimQueue
from choros_verify.simulation.faults import Fault, MessageFault
from choros_verify.simulation.transport import SimTransport
from tests.simulation.broker_stage import MODES, NAMES, ONE, PAYMENT, Shop, simulated

TIMED = ("block", "restart", "cancel", "ack_timeout", "full")


def stormy(seed: int) -> Shop:
    """A shop on which everything strikes now and then."""
    chance = random.Random(seed)
    planned = [
        Fault(chance.choice(get_args(MessageFault)), "client", nth, chance.choice((0.5, 5.0)))
        for nth in range(1, 80, 4)
    ]
    return Shop(planned, MODES[seed % 2], seed)


async def storm(shop: Shop, chance: random.Random) -> None:
    """Now and then something strikes the broker, a queue, or a process's connections."""
    for _ in range(8):
        await asyncio.sleep(chance.uniform(0, 5))
        if chance.random() < 0.3:
            shop.broker.cut(chance.choice(("client", "service")))
        else:
            kind = chance.choice(TIMED)
            shop.broker.strike(Fault(kind, chance.choice((PAYMENT, ONE)), 0, chance.uniform(0, 8)))  # type: ignore[arg-type]


async def publish(client: SimTransport) -> None:
    """Commands and facts, each again until it is confirmed."""
    for number in range(30):
        sent, told = command(number=number), fact(number)
        while (await client.send([sent]))[0] is not Published.CONFIRMED:
            await asyncio.sleep(0.5)
        while (await client.publish([told]))[0] is not Published.CONFIRMED:
            await asyncio.sleep(0.5)


async def work(consumer: Consumer, chance: random.Random) -> None:
    """Take what comes: some is given back to the ladder, some parked."""
    while deliveries := await consumer.receive(5):
        for delivery in deliveries:
            await asyncio.sleep(chance.uniform(0, 0.2))
            verb = chance.random()
            if verb < 0.1:
                await delivery.retry(1)
            elif verb < 0.2:
                await delivery.dead_letter("no")
            else:
                await delivery.ack()


async def campaign(shop: Shop) -> None:
    chance = random.Random(shop.seed)
    client, service = await shop.process("client"), await shop.process("service")
    workers = [
        asyncio.create_task(work(await service.consume(queue, 3), chance))
        for queue in (PAYMENT, ONE, NAMES.subscriber_queue("two"))
    ]
    storming = asyncio.create_task(storm(shop, chance))
    await publish(client)
    await storming
    await asyncio.sleep(200)
    await service.close()
    await asyncio.gather(*workers)


@pytest.mark.parametrize("seed", range(30))
def test_in_a_storm_every_copy_is_accounted_for_and_nothing_confirmed_vanishes(seed: int) -> None:
    shop = stormy(seed)
    simulated(lambda: campaign(shop), seed)
    ledger = shop.broker.ledger
    assert shop.broker.account().balanced
    assert ledger.ended_twice() == []
    assert ledger.vanished() == []
    assert len(ledger.confirmed()) >= 60
    assert all(queue.name.endswith(".dead") for queue in shop.broker.queues() if queue.contents())


def test_the_same_seed_tells_the_same_story() -> None:
    def told(seed: int) -> list[LedgerLine]:
        shop = stormy(seed)
        simulated(lambda: campaign(shop), seed)
        ids: dict[str, str] = {}  # these come from the system here
        return [
            entry._replace(message=ids.setdefault(entry.message, str(len(ids)))) for entry in shop.broker.ledger.entries
        ]

    first, second = told(3), told(3)
    assert len(first) > 300
    assert first == second
    assert first != told(5)


def test_the_storms_reach_every_fault_and_every_end_of_a_copy() -> None:
    whats: set[str] = set()
    verdicts: set[str] = set()
    struck: set[str] = set()
    for seed in range(20):
        shop = stormy(seed)
        simulated(lambda shop=shop: campaign(shop), seed)  # type: ignore[misc]  # bound at once
        whats |= {entry.what for entry in shop.broker.ledger.entries}
        verdicts |= {entry.note for entry in shop.broker.ledger.entries if entry.what == "published"}
        struck |= {fault.kind for fault in shop.broker.faults.struck}
    assert whats >= {"published", "answered", "queued", "delivered", "returned", "acked", "dead_lettered"}
    assert verdicts >= {"confirmed", "returned", "nacked"}
    assert struck == set(get_args(MessageFault))


def test_a_broker_that_loses_a_message_on_the_quiet_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(queue: SimQueue, copy: Copy) -> None:
        if copy.number != 7:
            admit(queue, copy)

    admit = SimQueue.admit
    monkeypatch.setattr(SimQueue, "admit", careless)
    shop = Shop()
    simulated(lambda: campaign(shop))
    assert not shop.broker.account().balanced
