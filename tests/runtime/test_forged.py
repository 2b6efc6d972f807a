"""Who said it is known by the exchange that it came through: nobody answers or tells in another's name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Transaction
from choros.transport.memory.transport import unshared
from choros.transport.port import Published
from choros.wire.envelope import Envelope, encode

from ..saga import shop
from .participant_stage import Paid, Unpaid, eventually, fact, stage_for
from .stage import NAMES, Stage, reply_to, staged

REPLIES = NAMES.reply_queue("shop")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def charging(stage: Stage) -> tuple[str, Envelope]:
    """A saga whose payment is commanded, and the answer that payment would give."""
    await stage.orchestrator()
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    return saga_id, reply_to(await stage.command("payment"))


async def put(stage: Stage, exchange: str, reply: Envelope) -> None:
    """As somebody would who may write there."""
    wire = unshared(encode(reply))
    assert await stage.transport.post(exchange, REPLIES, wire) is Published.CONFIRMED


# --- replies ----------------------------------------------------------------------------------------------------------


async def test_a_reply_by_the_way_of_another_than_it_names_is_parked(stage: Stage) -> None:
    _, real = await charging(stage)
    await put(stage, NAMES.replies_of("inventory"), real)
    assert await stage.dead(REPLIES) == (
        "It came through shop.inventory.replies, which is not the way of the service that it names."
    )
    await stage.answer(real)
    await stage.command("inventory")


async def test_a_reply_of_another_service_than_was_commanded_is_parked(stage: Stage) -> None:
    saga_id, real = await charging(stage)
    await stage.answer(replace(real, source="/shop/inventory"))
    assert await stage.dead(REPLIES) == "The reply is of another service than payment, which was commanded."
    assert (await (await stage.client()).show(saga_id)).instance.cursor == 0
    await stage.answer(real)
    await stage.command("inventory")


async def test_a_forged_reply_that_was_set_aside_decides_nothing_later(stage: Stage) -> None:
    """Judged by a declaration that comes late, when nobody knows any more which way it came."""
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    real = reply_to(await stage.command("payment"))
    await stage.answer(replace(real, id="forged", source="/shop/inventory"))
    await stage.orchestrator(app=App("shop"))
    await eventually_received(stage, saga_id, "forged")
    await stage.orchestrator()
    await stage.nothing(NAMES.service_queue("inventory"))
    await stage.answer(real)
    await stage.command("inventory")


async def eventually_received(stage: Stage, saga_id: str, reply_id: str) -> None:
    while reply_id not in (await stage.store.load([saga_id]))[saga_id].record.received:
        await stage.nothing(NAMES.service_queue("inventory"), 0.01)


@pytest.mark.parametrize("source", ["/shop/payment", "/elsewhere"])
async def test_a_service_from_before_is_still_understood(stage: Stage, source: str) -> None:
    """It knows of no exchange of its own. Whoever may write to that of all is believed."""
    _, real = await charging(stage)
    await put(stage, NAMES.replies, replace(real, source=source))
    await stage.command("inventory")


# --- facts ------------------------------------------------------------------------------------------------------------


async def test_a_fact_by_the_way_of_another_publisher_is_parked() -> None:
    heard: list[str] = []
    service = Service("notifications")

    @service.on(Paid)
    async def paid(told: Paid, db: Transaction) -> None:
        heard.append(told.order)

    queue = NAMES.subscriber_queue("notifications")
    async with stage_for(service, kind=Subscriber) as stage:
        forged = encode(fact(Paid(order="forged")))
        await stage.put(forged, NAMES.facts_of("other"), "paid.v1")
        await stage.put(encode(fact(Paid(order="from before"), seq=2)), NAMES.facts, "paid.v1")
        await stage.publish(fact(Paid(order="true")))
        await eventually(lambda: stage.counts == {"parked": 1, "handled": 2})
        assert heard == ["from before", "true"]
        assert stage.parked(queue) == [
            "It came through shop.other.facts, which is not the way of the publisher that it names."
        ]


async def test_what_is_put_into_the_queue_itself_is_handled_if_it_is_known() -> None:
    """By the default exchange: so a person puts something back, who may write there."""
    service = Service("notifications")

    @service.on(Paid)
    async def paid(told: Paid, db: Transaction) -> None:
        pass

    queue = NAMES.subscriber_queue("notifications")
    async with stage_for(service, kind=Subscriber) as stage:
        for told in (Paid(order="put back"), Unpaid(order="unknown")):
            stage.broker._queues[queue].put(unshared(encode(fact(told))), "")
        await eventually(lambda: stage.counts == {"parked": 1, "handled": 1})
        assert stage.parked(queue) == ["The service notifications has no handler for this type of fact."]


# --- nobody puts anything into another's queue ------------------------------------------------------------------------


async def test_what_is_parked_or_put_aside_goes_through_an_exchange_that_leads_to_this_queue_alone() -> None:
    async with stage_for(Service("notifications"), kind=Subscriber, start=False) as stage:
        mine = NAMES.subscriber_queue("notifications")
        for exchange in (mine + ".dead", mine + ".retry"):
            for key in ("", NAMES.subscriber_queue("other"), NAMES.retry_queue(NAMES.subscriber_queue("other"), 1)):
                await stage.outside.post(exchange, key, encode(fact(Paid(order="o"))))
        filled = {name for name, queue in stage.broker._queues.items() if queue.ready}
        assert filled == {NAMES.dead_queue(mine)}
