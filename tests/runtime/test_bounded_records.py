"""A record and its history do not grow without bound, whatever is sent to a saga and however long it waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from choros.messages import Failure
from choros.runtime.orchestrator.history import MOST_ATTEMPTS, MOST_LATE, read_history
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Due, Unjudged, Work
from choros.saga.policy import RetryPolicy
from choros.store.sagas import Loaded

from ..saga import shop
from .stage import Stage, kinds, make_app, reply_to, staged

AGAIN = RetryPolicy(attempts=10**9, initial=timedelta(seconds=1), factor=1.0, total=timedelta(days=9999))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def test_a_paused_saga_leaves_no_trace_of_its_timeouts(stage: Stage) -> None:
    await stage.orchestrator(timers_every=5)
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await client.pause(saga_id)
    before = await client.show(saga_id)
    await asyncio.sleep(600)
    after = await client.show(saga_id)
    assert after.record.version > before.record.version
    assert after.history == before.history
    assert len(after.record.received) == len(before.record.received)


async def test_late_replies_to_an_ended_saga_are_bounded(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    command = await stage.carry_out("payment")
    for service in ("inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    ended = await client.show(saga_id)
    for _ in range(30):
        await stage.answer(*(reply_to(command) for _ in range(10)))
        await asyncio.sleep(0.01)
    account = await client.show(saga_id)
    assert account.record.late == MOST_LATE
    assert account.record.version <= ended.record.version + MOST_LATE
    assert len(account.record.received) <= len(ended.record.received) + MOST_LATE
    assert sum(kinds(row).count("late_reply") for row in account.history) == MOST_LATE
    assert not stage.broker.waiting("shop.replies.shop")


async def test_a_late_reply_beyond_the_bound_keeps_nothing_else_from_counting(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    first = await stage.carry_out("payment")
    second = await stage.command("inventory")
    await stage.answer(*(reply_to(first) for _ in range(2 * MOST_LATE)))
    await stage.answer(reply_to(first), reply_to(second), reply_to(first))
    await stage.carry_out("shipping")
    assert (await client.wait(saga_id)).status == "completed"


async def test_a_command_that_is_tried_for_ever_is_told_ever_less(stage: Stage) -> None:
    saga = shop.make_order_saga(AGAIN)
    async with staged(saga) as other:
        await other.orchestrator(timers_every=0.5)
        client = await other.client()
        saga_id = await client.start(saga, shop.ORDER)
        for service in ("payment", "inventory"):
            await other.carry_out(service)
        for _ in range(140):
            await other.answer(reply_to(await other.command("shipping"), Failure(code="broken"), "failed"))
        account = await client.show(saga_id)
        told = [event for row in account.history for event in read_history(row.events)]
        attempts = [event.attempt for event in told if event.kind == "failed"]
        assert attempts == [*range(1, MOST_ATTEMPTS + 1), 128]
        assert len(account.record.received) < MOST_ATTEMPTS + 10
        await other.carry_out("shipping")
        assert (await client.wait(saga_id)).status == "completed"


async def test_a_failure_of_a_high_attempt_that_comes_again_counts_once(stage: Stage) -> None:
    """Its id is not kept: the attempt that is awaited answers for it."""
    saga = shop.make_order_saga(AGAIN)
    async with staged(saga) as other:
        await other.orchestrator(timers_every=0.5)
        client = await other.client()
        saga_id = await client.start(saga, shop.ORDER)
        for service in ("payment", "inventory"):
            await other.carry_out(service)
        for _ in range(MOST_ATTEMPTS + 1):
            await other.answer(reply_to(await other.command("shipping"), Failure(code="broken"), "failed"))
        failure = reply_to(await other.command("shipping"), Failure(code="broken"), "failed")
        await other.answer(failure)
        while not ((leg := (await client.show(saga_id)).instance.state("ship_order").leg) and leg.waiting):
            await asyncio.sleep(0)
        await other.answer(failure)
        while not (account := await client.show(saga_id)).record.late:
            await asyncio.sleep(0)
        assert account.instance.state("ship_order").leg == leg
        assert leg.attempt == MOST_ATTEMPTS + 2


async def test_replies_to_an_ended_saga_that_nobody_here_knows_are_not_kept(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    command = await stage.carry_out("payment")
    for service in ("inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    record = (await stage.store.load([saga_id]))[saga_id].record
    strange = replace(record, fingerprint="of another declaration")
    reply = reply_to(command)
    folded = Transitions(make_app()).make([Work(saga_id, Unjudged(reply))], Loaded(strange), 0.0)
    assert (folded.transition, [work.id for work in folded.done]) == (None, [reply.id])


async def test_nothing_happened_is_no_row_and_a_row_is_never_empty(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    loaded = (await stage.store.load([saga_id]))[saga_id]
    late = Work(saga_id, Due())
    folded = Transitions(make_app()).make(
        [late], replace(loaded, unsent=frozenset({"one"})), loaded.record.started_at + 99
    )
    assert folded.transition is not None and folded.transition.history == ""
    assert all(json.loads(row.events) for row in (await client.show(saga_id)).history)
