"""What is handed over within one process: a command that is taken counts as sent, an answer only once it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from choros.messages import Close
from choros.transport import handover as room
from choros.transport.handover import Handed, Handover
from choros.transport.port import Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE

NAMES = Names("shop")
QUEUE, MINE = NAMES.service_queue("orders"), f"{NAMES.replies}.shop.one"
CONFIRMED, RETURNED, UNKNOWN = Published.CONFIRMED, Published.RETURNED, Published.UNKNOWN


def command(id: str = "c1", **changes: Any) -> Envelope:
    given: dict[str, Any] = dict(
        id=id, kind="command", type="record-order.v1", source="/shop/shop", time=0.0, data="{}", to="orders",
        correlation_id="s1", key="s1:record_order:1:do", step="record_order", reply_to=MINE,
        saga="order", saga_version=1, attempt=1,
    )  # fmt: skip
    return Envelope(**(given | changes))


def reply(id: str = "r1", **changes: Any) -> Envelope:
    given: dict[str, Any] = dict(
        id=id, kind="reply", type="choros.done.v1", source="/shop/orders", time=0.0, data="{}", to=MINE,
        correlation_id="s1", key="s1:record_order:1:do", step="record_order", outcome="ok",
    )  # fmt: skip
    return Envelope(**(given | changes))


def made() -> Handover:
    return Handover(NAMES, {"orders": {"record-order.v1", Close.type_name}})


async def taken(consumer: room.HandoverConsumer, limit: int = 10) -> Sequence[Handed]:
    async with asyncio.timeout(PATIENCE):
        return await consumer.receive(limit)


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_a_command_comes_as_it_was_handed_over_and_counts_as_sent_at_once() -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 64)
    assert await handover.send([command("c1"), command("c2")]) == [CONFIRMED, CONFIRMED]
    first, second = await taken(orders)
    assert (first.read(), second.read()) == (command("c1"), command("c2"))
    assert (first.exchange, first.wire.read(), first.returns) == (NAMES.commands, replace(command("c1"), to=""), 0)
    assert (first.retries, first.waits, first.lost, handover.health.state) == (0, 0, False, "connected")


@pytest.mark.parametrize(
    "stranger", [command(to="payment"), command(type="another.v1"), command(to="payment", type=Close.type_name)]
)
async def test_rule_44_what_nobody_here_handles_is_left_to_whoever_does(stranger: Envelope) -> None:
    handover = made()
    await handover.consume(QUEUE, 64)
    await handover.consume(NAMES.service_queue("payment"), 64)
    assert await handover.send([stranger, command()]) == [RETURNED, CONFIRMED]


async def test_before_its_service_is_at_work_and_after_it_a_command_is_left_in_its_outbox() -> None:
    handover = made()
    assert await handover.send([command()]) == [RETURNED]
    orders = await handover.consume(QUEUE, 64)
    await orders.close()
    assert await handover.send([command()]) == [RETURNED]
    assert await taken(orders) == []


async def test_no_more_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 2)
    handover = made()
    orders = await handover.consume(QUEUE, 64)
    assert await handover.send([command(str(n)) for n in range(3)]) == [CONFIRMED, CONFIRMED, RETURNED]
    await taken(orders)
    assert await handover.send([command("3")]) == [CONFIRMED]


async def test_a_copy_that_is_sent_while_the_first_is_here_is_that_one() -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 64)
    await handover.send([command(), command()])
    (one,) = await taken(orders)
    await handover.send([command()])
    await one.ack()
    await one.ack()
    await handover.send([command(), command("c2")])
    assert [each.envelope.id for each in await taken(orders)] == ["c1", "c2"]


async def test_no_more_are_taken_than_may_be_unsettled() -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 2)
    await handover.send([command(str(n)) for n in range(4)])
    (first,) = await taken(orders, 1)
    (second,) = await taken(orders)
    waiting = asyncio.create_task(taken(orders))
    await asyncio.sleep(0)
    assert not waiting.done()
    await second.ack()
    assert [one.envelope.id for one in await waiting] == ["2"]
    await first.ack()
    assert [one.envelope.id for one in await taken(orders)] == ["3"]


async def test_what_is_given_back_comes_again_and_says_so() -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 1)
    await handover.send([command()])
    (one,) = await taken(orders)
    one.pass_on(0.0)
    (again,) = await taken(orders)
    assert (again.envelope.id, again.returns) == ("c1", 1)
    await again.retry(0.0)
    (once_more,) = await taken(orders)
    assert once_more.returns == 2
    await orders.drop()
    (back,) = await taken(await handover.consume(QUEUE, 1))
    assert back.envelope.id == "c1"


async def test_what_is_parked_is_dropped_and_the_log_says_it(caplog: pytest.LogCaptureFixture) -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 64)
    await handover.send([command()])
    (one,) = await taken(orders)
    await one.dead_letter("It cannot be read.")
    assert "choros.local.dropped" in caplog.text
    await handover.send([command()])
    assert len(await taken(orders)) == 1


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_an_answer_counts_as_sent_only_once_it_is_settled() -> None:
    handover = made()
    mine = await handover.consume(MINE, 500)
    sending = asyncio.create_task(handover.send([reply("r1"), reply("r2")]))
    first, second = await taken(mine)
    await first.ack()
    await asyncio.sleep(0)
    assert (sending.done(), first.exchange) == (False, NAMES.replies_of("orders"))
    await second.dead_letter("No saga of this id is known here.")
    assert await sending == [CONFIRMED, CONFIRMED]


async def test_rule_44_an_answer_that_is_not_settled_in_time_is_sent_again_and_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.01)
    handover = made()
    mine = await handover.consume(MINE, 500)
    assert await handover.send([reply()]) == [UNKNOWN]  # nobody has taken it: it is taken back
    sending = asyncio.create_task(handover.send([reply()]))
    (one,) = await taken(mine)
    assert await sending == [UNKNOWN]  # it is in hand
    again = asyncio.create_task(handover.send([reply()]))
    await asyncio.sleep(0)
    await one.ack()
    assert await again == [CONFIRMED]


async def test_an_answer_to_somebody_else_stays_where_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.01)
    handover = made()
    mine = await handover.consume(MINE, 500)
    assert await handover.send([reply(to=f"{NAMES.replies}.shop.two")]) == [UNKNOWN]
    sending = asyncio.create_task(handover.send([reply("r2")]))
    (one,) = await taken(mine)
    await one.ack()
    assert (one.envelope.id, await sending) == ("r2", [CONFIRMED])


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_at_the_end_it_takes_no_command_and_waits_for_those_that_are_in_hand() -> None:
    handover = made()
    orders, mine = await handover.consume(QUEUE, 64), await handover.consume(MINE, 500)
    await handover.send([command()])
    (one,) = await taken(orders)
    ending = asyncio.create_task(handover.end(PATIENCE))
    await asyncio.sleep(0)
    assert await handover.send([command("c2")]) == [RETURNED]
    answering = asyncio.create_task(handover.send([reply()]))
    (answer,) = await taken(mine)
    await answer.ack()
    await answering
    assert not ending.done()
    await one.ack()
    async with asyncio.timeout(PATIENCE):
        await ending


async def test_it_waits_no_longer_than_it_may() -> None:
    handover = made()
    orders = await handover.consume(QUEUE, 64)
    await handover.send([command()])
    await taken(orders)
    async with asyncio.timeout(PATIENCE):
        await handover.end(0.01)
