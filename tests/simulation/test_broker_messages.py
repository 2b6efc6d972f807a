"""What can strike a single message on its way to the simulated broker."""

from __future__ import annotations

import asyncio

from choros.testing.conformance.stage import command
from choros.transport.port import Published
from choros_verify.simulation.faults import Fault, FaultKind
from tests.simulation.broker_stage import PAYMENT, Shop, simulated, taken

UNKNOWN, CONFIRMED = Published.UNKNOWN, Published.CONFIRMED


def struck(kind: FaultKind, amount: float = 0.0, nth: int = 1) -> Shop:
    """A shop where this strikes the client's first message, or another one."""
    return Shop([Fault(kind, "client", nth, amount)])


def sent(shop: Shop, count: int = 3) -> tuple[list[Published], list[str]]:
    """What the client hears of so many commands, and what lies in the queue two seconds later."""

    async def main() -> tuple[list[Published], list[str]]:
        client = await shop.process("client")
        answers = list(await client.send([command(number=number) for number in range(count)]))
        await asyncio.sleep(2)
        return answers, [wire.headers["cloudEvents_subject"][-1] for wire in shop.broker.waiting(PAYMENT)]

    return simulated(main)


def test_a_duplicate_arrives_twice() -> None:
    assert sent(struck("duplicate", nth=2)) == ([CONFIRMED] * 3, ["0", "1", "1", "2"])


def test_a_reordered_message_is_ahead_of_what_waits() -> None:
    assert sent(struck("reorder", nth=3)) == ([CONFIRMED] * 3, ["2", "0", "1"])


def test_a_delayed_message_is_confirmed_at_once_and_comes_later() -> None:
    shop = struck("delay", 30)

    async def main() -> tuple[list[Published], float, list[str]]:
        client = await shop.process("client")
        consumer = await client.consume(PAYMENT, 10)
        answers = list(await client.send([command(number=number) for number in range(3)]))
        loop = asyncio.get_running_loop()
        answered = loop.time()
        order = await taken(consumer, 3)
        assert 29 < loop.time() - answered < 31
        return answers, answered, order

    answers, answered, order = simulated(main)
    assert (answers, order) == ([CONFIRMED] * 3, ["1", "2", "0"])
    assert answered < 1


def test_what_is_returned_is_in_no_queue() -> None:
    assert sent(struck("return", nth=2)) == ([CONFIRMED, Published.RETURNED, CONFIRMED], ["0", "2"])


def test_what_is_nacked_is_in_no_queue() -> None:
    assert sent(struck("nack")) == ([Published.NACKED, CONFIRMED, CONFIRMED], ["1", "2"])


def test_a_connection_cut_before_the_message_takes_all_behind_it_too() -> None:
    answers, there = sent(struck("cut_before", nth=2))
    assert answers[1:] == [UNKNOWN, UNKNOWN]
    assert there == ["0"]


def test_a_connection_cut_after_the_message_leaves_it_there_without_an_answer() -> None:
    answers, there = sent(struck("cut_after", nth=2))
    assert answers[1:] == [UNKNOWN, UNKNOWN]
    assert there == ["0", "1"]


def test_a_cut_connection_comes_back_by_itself() -> None:
    shop = struck("cut_before")

    async def main() -> None:
        client = await shop.process("client")
        consumer = await client.consume(PAYMENT, 10)
        assert await client.send([command()]) == [UNKNOWN]
        assert not client.connected
        shop.broker.faults.calm = True
        while await client.send([command(number=7)]) != [CONFIRMED]:
            pass
        assert await taken(consumer, 1) == ["7"]
        while not client.connected:
            await asyncio.sleep(0.1)

    simulated(main)


def test_a_fault_strikes_the_process_it_names_and_only_once() -> None:
    shop = struck("nack")

    async def main() -> list[Published]:
        other, client = await shop.process("other"), await shop.process("client")
        heard = [*await other.send([command()]), *await client.send([command()])]
        return [*heard, *await client.send([command()])]

    assert simulated(main) == [CONFIRMED, Published.NACKED, CONFIRMED]
    assert shop.broker.faults.struck == [Fault("nack", "client", 1)]
    assert shop.broker.faults.occasions() == {"message other": 1, "message client": 2}
