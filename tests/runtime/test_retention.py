"""Retention: what has ended is deleted after its time, its start key later; nothing else ever is. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from choros.errors import SagaNotFound, StartConflict, StoreUnreachable, UsageError
from choros.messages import Failure
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.retention import BATCH, Retention, Sweep, too_short
from choros.saga.policy import RetryPolicy
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Forgotten, Transition
from choros.testing.conformance.records import creation, fact, stored
from tests.captured import capture_logs

from ..saga import shop
from .stage import NAMES, Stage, reply_to, staged

DAY = 86_400.0
MONTH = Retention(timedelta(days=30), timedelta(days=365))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def aged(store: MemoryStore, saga_id: str, days: float) -> None:
    """Let its last change be so many days ago."""
    record = (await store.load([saga_id]))[saga_id].record
    before = replace(
        record, version=record.version + 1, transition="aged", updated_at=record.updated_at - days * DAY, wake_at=None
    )
    await stored(store, Transition(before, record.transition))


async def shipped(stage: Stage, client: Client) -> str:
    """A saga that is completed, with its fact out."""
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    assert (await client.wait(saga_id)).status == "completed"
    await stage.fact()
    while await stage.store.unsent("facts", stage.store.now() + DAY, 1):
        await asyncio.sleep(0.1)
    return saga_id


async def over(stage: Stage) -> tuple[Client, str]:
    """A saga that ended long ago and was deleted, and a client."""
    running = await stage.orchestrator(retention=Retention(None, None))
    client = await stage.client()
    saga_id = await shipped(stage, client)
    await aged(stage.store, saga_id, 31)
    assert await Sweep(running.store, MONTH).once() == 1
    return client, saga_id


# --- what is deleted, and when ----------------------------------------------------------------------------------------


async def test_a_saga_is_deleted_a_month_after_its_end_by_whoever_runs(stage: Stage) -> None:
    await stage.orchestrator(timers_every=60, scan_every=60)
    client = await stage.client()
    saga_id = await shipped(stage, client)
    await aged(stage.store, saga_id, 29.99)
    await asyncio.sleep(200)
    assert (await client.show(saga_id)).history
    await asyncio.sleep(1000)
    account = await client.show(saga_id)
    assert (account.record.gone, account.instance.status, account.history) == (True, "completed", ())
    assert not (await stage.store.find()).records


async def test_what_is_parked_stays_for_ever() -> None:
    saga = shop.make_order_saga(RetryPolicy(attempts=1))
    async with staged(saga) as stage:
        running = await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(saga, shop.ORDER)
        for service in ("payment", "inventory"):
            await stage.carry_out(service)
        await stage.answer(reply_to(await stage.command("shipping"), Failure(code="broken"), "failed"))
        assert (await client.wait(saga_id)).status == "parked"
        await aged(stage.store, saga_id, 999)
        assert await running.sweep.once() == 0
        assert (await client.outcome(saga_id)).status == "parked"


async def test_one_whose_fact_has_not_left_stays_until_it_has() -> None:
    store = MemoryStore()
    await store.open()
    await stored(store, creation("s1", fact("f1"), status="completed", updated_at=store.now() - 40 * DAY))
    assert await Sweep(store, MONTH).once() == 0
    await store.mark_sent([("s1", "f1")])
    assert await Sweep(store, MONTH).once() == 1


async def test_for_ever_is_for_ever() -> None:
    store = MemoryStore()
    await store.open()
    await stored(store, creation("s1", status="completed", updated_at=1.0))
    assert await Sweep(store, Retention(None, None)).once() == 0
    assert await Sweep(store, Retention(None, timedelta(days=1))).once() == 0
    assert not (await store.load(["s1"]))["s1"].record.gone


# --- its start key ----------------------------------------------------------------------------------------------------


async def test_the_same_start_of_a_deleted_saga_is_that_saga_over(stage: Stage) -> None:
    client, saga_id = await over(stage)
    assert await client.start(shop.order_saga, shop.ORDER) == saga_id
    outcome = await client.run(shop.order_saga, shop.ORDER)
    assert (outcome.saga_id, outcome.status) == (saga_id, "completed")
    await stage.nothing(NAMES.service_queue("payment"))


async def test_another_body_under_its_key_is_a_conflict(stage: Stage) -> None:
    client, _ = await over(stage)
    with pytest.raises(StartConflict, match="another body"):
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="o1", total=999))


async def test_long_after_its_key_is_free_again(stage: Stage) -> None:
    client, saga_id = await over(stage)
    assert (await stage.store.forget(0.0, keys_before=stage.store.now() - 30 * DAY)).keys == 1
    assert await client.start(shop.order_saga, shop.ORDER) == saga_id
    assert (await stage.command("payment")).correlation_id == saga_id


async def test_every_act_on_a_deleted_saga_says_so(stage: Stage) -> None:
    client, saga_id = await over(stage)
    acts = [
        client.cancel(saga_id), client.pause(saga_id), client.resume(saga_id), client.retry(saga_id, "ship_order"),
        client.skip(saga_id, "ship_order", shop.SHIPPED), client.rerun(saga_id, "charge_payment"),
        client.move(saga_id, 1),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(SagaNotFound, match=f"{saga_id} ended as completed at .*deleted"):
            await act


async def test_a_late_reply_to_a_deleted_saga_is_taken_and_changes_nothing(stage: Stage) -> None:
    running = await stage.orchestrator(retention=Retention(None, None))
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    command = await stage.carry_out("payment")
    for service in ("inventory", "shipping"):
        await stage.carry_out(service)
    await stage.fact()
    while not await Sweep(running.store, Retention(timedelta(0), None)).once():
        await asyncio.sleep(0.1)
    await stage.answer(reply_to(command))
    await stage.nothing(NAMES.reply_queue("shop"))
    await stage.nothing(NAMES.dead_queue(NAMES.reply_queue("shop")))
    assert (await client.show(saga_id)).record.gone


async def test_an_unknown_saga_says_that_it_may_have_been_deleted(stage: Stage) -> None:
    client = await stage.client()
    with pytest.raises(SagaNotFound) as before:
        await client.outcome("nobody")
    assert "deleted" not in before.value.sentence
    other, _ = await over(stage)
    with pytest.raises(SagaNotFound, match=r"no saga instance nobody; sagas that ended until 20.* may be deleted"):
        await other.outcome("nobody")


# --- the sweep --------------------------------------------------------------------------------------------------------


class Counting(MemoryStore):
    """Notes each call, and may be away."""

    def __init__(self, sharing: MemoryStore | None = None) -> None:
        super().__init__(sharing)
        self.calls: list[Forgotten] = []
        self.limits: set[int] = set()
        self.away = False

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        if self.away:
            raise StoreUnreachable("away", "wait.")
        done = await super().forget(before, keys_before=keys_before, skip=skip, limit=limit)
        self.calls.append(done)
        self.limits.add(limit)
        return done


async def filled(store: MemoryStore, count: int, left: int = 0) -> None:
    old = store.now() - 40 * DAY
    await store.open()
    outbox = [(fact("f"),) if number < left else () for number in range(count)]
    await stored(
        store, *(creation(f"s{n:04}", *outbox[n], status="completed", updated_at=old + n) for n in range(count))
    )


async def test_a_sweep_takes_a_few_at_a_time_and_all_of_them() -> None:
    store = Counting()
    await filled(store, 3 * BATCH + 5, left=BATCH + 1)
    assert await Sweep(store, MONTH).once() == 2 * BATCH + 4
    assert [one.looked for one in store.calls] == [BATCH, BATCH, BATCH, 5]
    assert store.limits == {BATCH}
    assert len((await store.find(limit=999)).records) == BATCH + 1


async def test_several_orchestrators_share_the_work_and_none_fails() -> None:
    first = Counting()
    await filled(first, 10 * BATCH)
    stores = [first, Counting(first), Counting(first)]
    for store in stores[1:]:
        await store.open()
    deleted = await asyncio.gather(*(Sweep(store, MONTH).once() for store in stores))
    assert sum(deleted) == 10 * BATCH
    assert sum(len(store.calls) for store in stores) <= 11 + 2


async def test_a_store_that_is_away_is_swept_when_it_is_back() -> None:
    store = Counting()
    await filled(store, 3)
    store.away = True
    sweeping = asyncio.create_task(Sweep(store, MONTH).run())
    with capture_logs() as said:
        await asyncio.sleep(300)
    assert any(one["event"] == "choros.retention.put_off" for one in said)
    store.away = False
    await asyncio.sleep(300)
    assert not (await store.find()).records
    sweeping.cancel()


async def test_what_cannot_be_kept_so_is_refused() -> None:
    with pytest.raises(UsageError, match="less than no time"):
        Retention(timedelta(seconds=-1))
    with pytest.raises(UsageError, match="at least as long as their sagas"):
        Retention(timedelta(days=30), timedelta(days=29))
    Retention(None, timedelta(days=1))
    Retention(timedelta(0), None)


async def test_it_is_said_where_start_keys_go_before_what_services_remember() -> None:
    """Else the same start would be a new saga, answered with what was done for the old one."""
    keys = timedelta(days=40)
    (said,) = too_short(Retention(timedelta(days=1), keys), 90 * 86_400.0)
    assert "40.0 days" in said and "90.0 days" in said
    assert not too_short(Retention(timedelta(days=1), keys), keys.total_seconds())
    assert not too_short(Retention(None, None), 1e9)
