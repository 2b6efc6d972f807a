"""A saga is begun by a fact: once, however often that is told, and by however many; what begins nothing is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros import App, Fact, FactStart
from choros.desk.timeline import timeline
from choros.runtime.client.account import account_of
from choros.runtime.orchestrator.facts import AppFacts
from choros.runtime.orchestrator.retention import Retention
from choros.runtime.orchestrator.work import Work
from choros.sources import fresh_id, now, saga_id_for
from choros.transport.memory import MemoryTransport
from choros.transport.sending import Post
from choros.transport.topology import RETRY_LADDER, topology
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.checkout import (
    QUEUE,
    CheckedOut,
    TillClosed,
    begun,
    checkout,
    done_with,
    place_order,
    publish,
    shop_app,
    told,
)
from tests.runtime.stage import NAMES, Stage
from tests.saga import shop

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def after_hours(fact: TillClosed) -> shop.PlaceOrder:
    return shop.PlaceOrder(order_id=f"night-{fact.till}", total=1)


def newer_app() -> App:
    first = FactStart(shop.order_saga, on=CheckedOut, start=place_order)
    return shop_app(first, FactStart(shop.order_saga, on=TillClosed, start=after_hours))


async def keys(stage: Stage, count: int) -> list[str]:
    return sorted(record.key for record in await begun(stage, count))


async def test_a_fact_begins_a_saga_that_says_so() -> None:
    async with checkout() as stage:
        await stage.orchestrator()
        fact = told(traceparent=TRACE)
        await publish(stage, fact)
        command = await stage.command("payment")
        assert (command.subject, command.causation_id, command.traceparent) == ("o1", fact.id, TRACE)
        account = await account_of(stage.store, command.correlation_id, stage.app.sagas)
        (said,) = [line.split() for line in timeline(account, shop.order_saga) if "started" in line]
        assert said == ["·", "checked-out.v1", "started", "by", "this", "fact"]


async def test_one_fact_is_one_saga() -> None:
    async with checkout() as stage:
        for _ in range(2):
            await stage.orchestrator()
        stage.broker.duplicate(QUEUE)
        fact = told()
        await publish(stage, fact, fact, replace(fact, id=fresh_id()), told(CheckedOut(order_id="o2", total=1), seq=2))
        assert await keys(stage, 2) == ["o1", "o2"]
        await done_with(stage)
        assert await keys(stage, 2) == ["o1", "o2"]
        assert stage.broker.waiting(NAMES.dead_queue(QUEUE)) == []


async def test_a_start_under_the_id_of_its_fact_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = AppFacts._begun

    def under_the_id(self: AppFacts, starts: Sequence[FactStart], fact: Fact, envelope: Envelope) -> Iterator[Work]:
        for work in real(self, starts, fact, envelope):
            work.saga_id = saga_id_for("shop.shop.order", envelope.id)
            yield work

    monkeypatch.setattr(AppFacts, "_begun", under_the_id)
    async with checkout() as stage:
        await stage.orchestrator()
        fact = told()
        await publish(stage, fact, replace(fact, id=fresh_id()))
        assert await keys(stage, 2) == ["o1", "o1"]


async def test_a_fact_for_which_nothing_is_to_be_done_is_done_with() -> None:
    async with checkout() as stage:
        await stage.orchestrator()
        await publish(stage, told(CheckedOut(order_id="o1", total=1, member=False)), told(seq=2))
        await begun(stage, 1)
        await done_with(stage)
        assert await keys(stage, 1) == ["o1"]


async def test_what_nobody_is_at_work_for_waits() -> None:
    async with checkout() as stage:
        await publish(stage, *(told(CheckedOut(order_id=f"o{n}", total=n), seq=n + 1) for n in range(300)))
        assert len(stage.broker.waiting(QUEUE)) == 300
        await stage.orchestrator(prefetch=50)
        assert len(await keys(stage, 100)) == 100  # that is how many are listed at once
        await done_with(stage)
        assert sum((await stage.store.counts()).values()) == 300


async def test_one_fact_may_begin_several_sagas() -> None:
    both = [FactStart(shop.order_saga, on=CheckedOut, start=place_order, key=key) for key in (one_key, other_key)]
    async with checkout(shop_app(*both)) as stage:
        await stage.orchestrator()
        await publish(stage, told())
        assert await keys(stage, 2) == ["o1", "o1-again"]


def one_key(fact: CheckedOut) -> str:
    return fact.order_id


def other_key(fact: CheckedOut) -> str:
    return f"{fact.order_id}-again"


# --- what begins nothing ----------------------------------------------------------------------------------------------


async def test_the_same_key_with_another_body_is_parked_and_the_saga_goes_on() -> None:
    async with checkout() as stage:
        await stage.orchestrator()
        await publish(stage, told(), told(CheckedOut(order_id="o1", total=31), seq=2))
        assert await stage.dead(QUEUE) == "saga 'order' was started under this key with another body."
        command = await stage.command("payment")
        assert shop.ChargePayment.from_json(command.data).amount == 30


async def test_what_cannot_be_read_is_parked_at_once() -> None:
    async with checkout() as stage:
        await stage.orchestrator()
        await publish(stage, told(data="{}"))
        assert "The body is no checked-out.v1" in await stage.dead(QUEUE)
        await stage.transport.declare(topology("shop", applications=["rogue"]))
        forged = Post(NAMES.facts_of("rogue"), "checked-out.v1", told())
        await stage.transport._put([forged])
        assert "not the way of the publisher that it names" in await stage.dead(QUEUE)
        given: dict[str, Any] = {"correlation_id": "s", "key": "s:x:1:do", "saga": "s", "step": "x"}
        command = told(kind="command", saga_version=1, attempt=1, **given)
        await stage.transport._put([Post(NAMES.retry, QUEUE, command)])
        assert await stage.dead(QUEUE) == "A command came to the facts of an application."
        assert not (await stage.store.find(limit=1)).records


async def test_what_no_start_can_be_made_of_is_tried_again_and_parked_at_last() -> None:
    async with checkout() as stage:
        await stage.orchestrator(timers_every=60.0, resend_after=60.0, scan_every=60.0)
        await publish(stage, told(CheckedOut(order_id="o1", total=-1)), told(CheckedOut(order_id="o2", total=1), seq=2))
        assert await keys(stage, 1) == ["o2"]
        await asyncio.sleep(sum(RETRY_LADDER))  # a moment here
        assert await stage.dead(QUEUE) == "The start of saga 'order' on CheckedOut failed: ValueError."


@pytest.mark.parametrize(("kept", "is_old"), [(timedelta(days=30), True), (timedelta(days=50), False), (None, False)])
async def test_a_fact_whose_saga_may_be_forgotten_is_parked(kept: timedelta | None, is_old: bool) -> None:
    async with checkout() as stage:
        await stage.orchestrator(retention=Retention(timedelta(days=1), kept))
        await publish(stage, told(time=now() - 40 * 86_400))
        if is_old:
            assert "it may have begun its saga already" in await stage.dead(QUEUE)
            assert not (await stage.store.find(limit=1)).records
        else:
            assert await keys(stage, 1) == ["o1"]


# --- types that are no longer acted on, or not yet --------------------------------------------------------------------


async def test_in_a_rolling_deploy_a_new_type_is_left_to_the_new_release() -> None:
    async with checkout() as stage:
        await stage.orchestrator()
        await stage.transport.declare(newer_app().topology)  # an old one is handed it first
        await publish(stage, told(TillClosed(till="t1")))
        await stage.orchestrator(newer_app())
        assert await keys(stage, 1) == ["night-t1"]


async def test_a_type_that_nobody_acts_on_any_more_is_passed_over_in_the_end() -> None:
    async with checkout(newer_app()) as stage:
        await stage.orchestrator(shop_app())
        await publish(stage, told(TillClosed(till="t1")), told(seq=2))
        assert await keys(stage, 1) == ["o1"]
        await done_with(stage)
        assert stage.broker.waiting(NAMES.dead_queue(QUEUE)) == []


# --- a store that is away, an orchestrator that ends ------------------------------------------------------------------


async def test_what_is_not_committed_stays_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    async with checkout() as stage:
        transport = MemoryTransport(stage.broker, "shop")
        await transport.connect()
        first = await stage.orchestrator(transport=transport)

        async def ended(*_: Any) -> Any:
            first.decider._over = RuntimeError("the decider is no more")
            raise first.decider._over

        monkeypatch.setattr(first._facts, "_ask", ended)
        await publish(stage, told())
        queue = stage.broker.queue(QUEUE)
        assert queue is not None
        async with asyncio.timeout(PATIENCE):
            while not (queue.lines and queue.lines[0].unsettled()):
                await asyncio.sleep(0.01)
        first.stop()
        async with asyncio.timeout(PATIENCE):
            while queue.lines:
                await asyncio.sleep(0.01)
        await transport.close()
        await stage.orchestrator()
        assert await keys(stage, 1) == ["o1"]
