"""Sagas under a lock, as real orchestrators and clients run them: one at a time for each key."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from choros import App, Lock, UsageError
from choros.errors import OutcomePending
from choros.runtime.client.client import Client
from choros.runtime.orchestrator import lock_rows
from choros.runtime.orchestrator import locks as at_work
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.machine import locks as machine
from choros.store.memory.sagas import MemoryStore
from tests.patience import PATIENCE
from tests.runtime.locking import LOCK, locked_saga, locking, order
from tests.runtime.stage import refusal_of, reply_to

KEY: Any = LOCK.key


async def test_rule_46_one_at_a_time_in_the_order_in_which_they_asked() -> None:
    async with locking() as on:
        await on.orchestrator()
        client = await on.client()
        ids = []
        for number in range(4):
            ids.append(await client.start(on.saga, order(f"a/{number}")))
            await on.holds("a", *ids)
        for number, saga_id in enumerate(ids):
            await on.holds("a", *ids[number:])
            assert await on.finish() == saga_id
        await on.holds("a", "")


async def test_other_keys_are_free() -> None:
    async with locking() as on:
        await on.orchestrator()
        client = await on.client()
        first, second = [await client.start(on.saga, order(f"{key}/1")) for key in "ab"]
        await on.begun(first)
        await on.begun(second)


async def test_the_key_of_one_that_is_undone_is_free_when_that_is_over() -> None:
    async with locking() as on:
        await on.orchestrator()
        client = await on.client()
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        second = await client.start(on.saga, order("a/2"))
        await on.stage.carry_out("payment")
        await on.stage.answer(refusal_of(await on.stage.command("inventory"), "sold_out"))
        refund = await on.stage.command("payment")
        assert refund.type == "refund-payment.v1"
        await on.holds("a", first, second)
        await on.stage.nothing("shop.payment")
        await on.stage.answer(reply_to(refund))
        await on.begun(second)


async def test_a_client_alone_takes_the_lock_and_passes_it_on() -> None:
    async with locking() as on:
        client = await on.client()
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        second = await client.start(on.saga, order("a/2"))
        await on.holds("a", first, second)
        assert await client.terminate(second) == "terminated"
        await on.holds("a", first)


async def test_refused_and_joined() -> None:
    refusing = locked_saga(Lock("item", key=KEY, when_taken="refuse"), "refusing")
    joining = locked_saga(Lock("item", key=KEY, when_taken="join"), "joining")
    async with locking(None, refusing, joining) as on:
        await on.orchestrator()
        client = await on.client()
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        outcome = await client.run(refusing, order("a/2"))
        assert (outcome.status, outcome.failure and outcome.failure.code) == ("compensated", "locked")
        assert (await on.stage.fact()).type == "order-rejected.v1"
        assert await client.start(joining, order("a/3")) == first
        assert await client.start(joining, order("a/3")) == first
        with pytest.raises(OutcomePending, match=first):
            await client.run(joining, order("a/4"), timeout=timedelta(seconds=0.1))
        await on.holds("a", first)
        await on.finish()
        await on.holds("a", "")
        alone = await client.start(joining, order("a/5"))
        assert (await client.outcome(alone)).status == "running"
        with pytest.raises(UsageError, match="may join another one"):
            await client.signal_or_start(joining, order("a/6"), None)  # type: ignore[arg-type]


async def test_a_full_queue_refuses() -> None:
    async with locking(locked_saga(Lock("item", key=KEY, within=timedelta(hours=1), most=1))) as on:
        await on.orchestrator()
        client = await on.client()
        first, second = [await client.start(on.saga, order(f"a/{number}")) for number in (1, 2)]
        await on.holds("a", first, second)
        outcome = await client.run(on.saga, order("a/3"))
        assert (outcome.status, outcome.failure and outcome.failure.code) == ("compensated", "locked")
        await client.cancel(second)
        await on.holds("a", first)
        third = await client.start(on.saga, order("a/4"))
        await on.holds("a", first, third)


async def test_two_keys_are_taken_in_one_order_whoever_names_them_how() -> None:
    async with locking() as on:
        await on.orchestrator()
        client = await on.client()
        first = await client.start(on.saga, order("a+b/1"))
        await on.begun(first)
        second = await client.start(on.saga, order("b+a/2"))
        await on.holds("a", first, second)
        await on.holds("b", first)
        third = await client.start(on.saga, order("b/3"))
        await on.holds("b", first, third)
        await on.finish()
        await on.holds("a", second)
        await on.holds("b", third, second)
        assert await on.finish() == third
        await on.begun(second)
        assert await on.finish() == second
        await on.holds("a", "")
        await on.holds("b", "")


# --- what a crash leaves ---


def forgetful(process: Client | Orchestrator) -> None:
    """From now on this process does nothing behind its commits, as if it was killed after each of them."""
    decider = process.decider if isinstance(process, Orchestrator) else process._decider
    assert decider.locks
    decider.locks.follow = lambda *_: None  # type: ignore[method-assign]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at now and then is looked at very often."""
    monkeypatch.setattr(at_work, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(lock_rows, "LOOK_AFTER", 0.02)
    monkeypatch.setattr(machine, "ASK_AGAIN", 0.02)


@pytest.mark.usefixtures("often")
async def test_one_that_nobody_asked_for_asks_by_its_own_timer() -> None:
    async with locking() as on:
        client = await on.client()
        forgetful(client)
        saga_id = await client.start(on.saga, order("a/1"))
        await on.orchestrator()
        await on.begun(saga_id)


async def test_what_nobody_has_passed_on_is_found_by_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with locking() as on:
        client, made = await on.client(), await on.orchestrator()
        first, second, third = [await client.start(on.saga, order(f"a/{number}")) for number in (1, 2, 3)]
        await on.holds("a", first, second, third)
        forgetful(client)
        forgetful(made)
        assert await client.cancel(second) == "compensating"
        assert await on.finish() == first
        assert (await client.wait(first)).status == "completed"
        await on.holds("a", first, second, third)
        assert made.decider.locks
        monkeypatch.setattr(made.decider.locks.rows.store, "now", lambda: time.time() + 60)
        await made.decider.locks.look()
        await on.begun(third)


@pytest.mark.usefixtures("often")
async def test_what_was_passed_on_to_one_that_was_never_told_is_found_too() -> None:
    async with locking() as on:
        client = await on.client()
        forgetful(client)
        second = await client.start(on.saga, order("a/2"))
        await on.rows.ask("item:a", "s1", 9)
        await on.rows.ask("item:a", second, 9)
        await on.rows.leave("item:a", "s1")
        await on.holds("a", second)
        await on.orchestrator()
        await on.begun(second)


async def test_a_key_that_its_holder_has_left_behind_is_free() -> None:
    """Also where there is no such saga at all."""
    async with locking() as on:
        client = await on.client()
        await on.rows.ask("item:a", "a-saga-that-is-no-more", 100)
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        await on.holds("a", first)


async def test_at_rest_nothing_is_looked_at() -> None:
    async with locking() as on:
        client = await on.client()
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        assert await on.rows_in.next_due([lock_rows.KIND]) is None


@pytest.mark.usefixtures("often")
async def test_who_waits_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_work, "LONG", 0.0)
    async with locking() as on:
        client = await on.client()
        first, second = [await client.start(on.saga, order(f"a/{number}")) for number in (1, 2)]
        await on.holds("a", first, second)
        locks = (await on.orchestrator()).decider.locks
        assert locks
        async with asyncio.timeout(PATIENCE):
            while not locks.noticed:
                await asyncio.sleep(0.01)
        [said] = locks.noticed
        assert said.startswith(f"item:a has been locked by saga {first}, which is running, for ")
        await client.cancel(second)
        async with asyncio.timeout(PATIENCE):
            while locks.noticed:
                await asyncio.sleep(0.01)


async def test_an_application_with_locks_needs_a_store_for_them() -> None:
    async with locking() as on:
        with pytest.raises(UsageError, match="have no store"):
            Client(on.stage.app, store=on.stage.store, transport=on.stage.transport)
        assert App("shop").locks is False
        assert on.stage.app.lock_scope == "shop.shop.locks"


async def test_two_processes_that_ask_at_once_are_both_in_the_row() -> None:
    async with locking() as on:
        other = MemoryStore(on.stage.store, namespace="choros.locks")
        await other.open()
        here, there = on.rows, LockRows(other, on.stage.store)
        client = await on.client()
        first = await client.start(on.saga, order("a/1"))
        await on.begun(first)
        committed = other.commit

        async def meanwhile(batch: Any) -> Any:
            other.commit = committed  # type: ignore[method-assign]
            await here.ask("item:a", "s2", 9)
            return await committed(batch)

        other.commit = meanwhile  # type: ignore[method-assign]
        await there.ask("item:a", "s3", 9)
        await on.holds("a", first, "s2", "s3")
