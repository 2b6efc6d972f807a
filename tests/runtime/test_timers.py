"""Due timers: shared by orchestrators, on time, and none that cannot be fired keeps another from firing.

On a clock that nothing but these tests moves, so that a busy machine is never late."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from choros.runtime.orchestrator import timers as timing
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.timers import CLAIM_SECONDS, LONGEST_PAUSE
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Work
from choros.saga.nodes import Pivot, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.sources import Source, source
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed, KnownKinds, Transition
from choros_verify.simulation.loop import SimLoop
from tests.captured import capture_logs
from tests.runtime.stage import Stage, by_place, make_app, reply_to, staged

from ..saga import shop

BEGAN = 1_700_000_000.0
EVERY = 0.2
"""Seconds between two looks, as by default."""
AGAIN = RetryPolicy(attempts=10_000, jitter=0, total=timedelta(days=365))
Play = Callable[[Stage], Awaitable[None]]


class Ticking(Source):
    """The clock of a simulated loop."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return BEGAN + self._loop.time()


def played(play: Play, *sagas: Saga[Any]) -> None:
    """Run it on virtual time alone."""
    loop = SimLoop(random.Random(1), a_step=1e-6, most_steps=20_000_000)

    async def main() -> None:
        async with staged(*sagas) as stage:
            await play(stage)

    context = copy_context()
    context.run(source.set, Ticking(loop))
    task = loop.create_task(main(), context=context)
    try:
        with capture_logs():  # whatever fails is told, and to write that takes long
            assert loop.run(task.done, 100_000.0)
        task.result()
    finally:
        loop.end()


def order_saga(timeout: float, version: int = 1) -> Saga[shop.PlaceOrder]:
    """Its first step is asked for again and again, at intervals of its timeout."""
    limit = timedelta(seconds=timeout)
    charge = Step(
        shop.charge_payment, to="payment", compensation=shop.refund_payment, retry=AGAIN, undo_retry=AGAIN,
        timeout=limit,
    )  # fmt: skip
    reserve = Step(shop.reserve_inventory, to="inventory", compensation=shop.release_inventory, timeout=limit)
    return Saga(
        "order", version=version, start=shop.PlaceOrder, key=lambda order: order.order_id,
        steps=(charge, reserve, Pivot(shop.ship_order, to="shipping")),
        completed=shop.order_confirmed, compensated=shop.order_rejected,
    )  # fmt: skip


def order(number: int) -> shop.PlaceOrder:
    return shop.PlaceOrder(order_id=f"o{number}", total=1)


class Watched(MemoryStore):
    """Counts what is asked of it. Several share one database."""

    def __init__(self, sharing: MemoryStore | None = None) -> None:
        super().__init__(sharing)
        self.became: Counter[Committed] = Counter()
        self.asked: Counter[str] = Counter()

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        answers = await super().commit(batch)
        self.became.update(answers)
        return answers

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        self.asked["mark_sent"] += 1
        await super().mark_sent(sent)

    async def due(self, now: float, known: KnownKinds, limit: int, **more: Any) -> Sequence[str]:
        self.asked["due"] += 1
        return await super().due(now, known, limit, **more)


async def at_work(stage: Stage, **options: Any) -> tuple[Orchestrator, Watched]:
    """One more orchestrator, with a view of the store for itself."""
    store = Watched(stage.store)
    await store.open()
    options = {"timers_every": EVERY, "resend_after": 5.0, **options}
    return await stage.orchestrator(stage.app, store=store, **options), store


# --- on time ----------------------------------------------------------------------------------------------------------


def gaps(times: Sequence[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in pairwise(times)]


@pytest.mark.parametrize("orchestrators", [1, 2, 3])
@pytest.mark.parametrize("timeout", [0.03, 0.2, 0.25, 0.5, 1.2, 2.5])
def test_a_timeout_is_kept_however_short_and_whoever_fires_it(timeout: float, orchestrators: int) -> None:
    async def play(stage: Stage) -> None:
        for _ in range(orchestrators):
            await at_work(stage)
        client = await stage.client()
        await asyncio.sleep(0.123)
        await client.start(stage.app.saga("order"), shop.ORDER)
        times = [(await stage.command("payment")).time for _ in range(8)]
        late = [gap - timeout for gap in gaps(times)]
        first = EVERY if timeout < EVERY else 0.0  # who starts a saga elsewhere tells nobody here
        assert min(late) >= 0 and late[0] <= first + 0.025 and max(late[1:]) <= 0.025, (timeout, late)

    played(play, order_saga(timeout))


@pytest.mark.parametrize("timeout", [0.2, 30.0])
def test_a_command_that_is_answered_in_time_costs_no_write_of_its_own(timeout: float) -> None:
    async def play(stage: Stage) -> None:
        _, store = await at_work(stage)
        client = await stage.client()
        for number in range(20):
            await client.start(stage.app.saga("order"), order(number))
            await stage.answer(reply_to(await stage.command("payment")))
            await stage.answer(reply_to(await stage.command("inventory")))
            await stage.answer(reply_to(await stage.command("shipping")))
            await asyncio.sleep(0.01)
        assert store.asked["mark_sent"] == 0

    played(play, order_saga(timeout))


def test_a_command_that_cannot_leave_still_counts_no_attempt() -> None:
    async def play(stage: Stage) -> None:
        await at_work(stage)
        stage.broker.pause()
        client = await stage.client()
        saga_id = await client.start(stage.app.saga("order"), shop.ORDER)
        await asyncio.sleep(10)
        leg = (await client.show(saga_id)).instance.state("charge_payment").leg
        assert leg is not None and leg.attempt == 1

    played(play, order_saga(0.2))


# --- shared -----------------------------------------------------------------------------------------------------------


async def overdue(stage: Stage, count: int) -> None:
    """So many sagas whose first timer is due, and nobody at work yet."""
    client = await stage.client()
    for number in range(count):
        await client.start(stage.app.saga("order"), order(number))
    await client.__aexit__(None, None, None)
    await asyncio.sleep(60)


async def fired(stage: Stage, count: int) -> None:
    """Wait until each of them was asked for a second time."""
    seen: set[str] = set()
    while len(seen) < count:
        if (command := await stage.command("payment")).attempt == 2:
            assert command.correlation_id not in seen
            seen.add(command.correlation_id)


@pytest.mark.parametrize("orchestrators", [1, 3])
def test_orchestrators_share_the_timers_and_meet_no_conflict(
    orchestrators: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "IN_HAND", 40)

    async def play(stage: Stage) -> None:
        await overdue(stage, 300)
        stores = [(await at_work(stage))[1] for _ in range(orchestrators)]
        async with asyncio.timeout(20):
            await fired(stage, 300)
        assert sum(store.became[Committed.CONFLICT] for store in stores) == 0
        assert [store.became[Committed.OK] > 50 for store in stores] == [True] * orchestrators

    played(play, order_saga(30.0))


def test_more_than_can_be_in_hand_wait_for_no_further_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "IN_HAND", 10)

    async def play(stage: Stage) -> None:
        await overdue(stage, 300)
        _, store = await at_work(stage)
        began = asyncio.get_running_loop().time()
        await fired(stage, 300)
        assert asyncio.get_running_loop().time() - began < 3 * EVERY
        assert store.asked["due"] >= 30

    played(play, order_saga(30.0))


def test_what_a_crashed_orchestrator_had_claimed_fires_when_the_claim_is_over() -> None:
    async def play(stage: Stage) -> None:
        await overdue(stage, 20)
        lost = await stage.store.due(
            stage.store.now(), stage.app.kinds, 10, claim_until=stage.store.now() + CLAIM_SECONDS
        )
        await at_work(stage)
        began = asyncio.get_running_loop().time()
        await fired(stage, 20)
        assert len(lost) == 10
        assert asyncio.get_running_loop().time() - began < CLAIM_SECONDS + EVERY + 0.1

    played(play, order_saga(30.0))


# --- what cannot be fired ---------------------------------------------------------------------------------------------


def ill(monkeypatch: pytest.MonkeyPatch, of: Callable[[str], bool]) -> list[float]:
    """Let the decision on some sagas fail; the times at which that was tried."""
    make, tried = Transitions.make, list[float]()

    def failing(self: Transitions, works: Sequence[Work], loaded: Any, now: float) -> Any:
        if loaded is not None and of(loaded.record.key):
            tried.append(now)
            raise ZeroDivisionError
        return make(self, works, loaded, now)

    monkeypatch.setattr(Transitions, "make", failing)
    return tried


@pytest.mark.parametrize("orchestrators", [1, 2])
def test_timers_that_fail_keep_no_other_from_firing(monkeypatch: pytest.MonkeyPatch, orchestrators: int) -> None:
    monkeypatch.setattr(timing, "IN_HAND", 10)
    ill(monkeypatch, lambda key: key != "o999")

    async def play(stage: Stage) -> None:
        await overdue(stage, 30)
        for _ in range(orchestrators):
            await at_work(stage)
        client = await stage.client()
        saga_id = await client.start(stage.app.saga("order"), order(999))
        await asyncio.sleep(10.5)
        leg = (await client.show(saga_id)).instance.state("charge_payment").leg
        assert leg is not None and leg.attempt == 11

    played(play, order_saga(1.0))


def test_timers_that_fail_are_tried_less_and_less_often_and_go_on_once_they_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well: list[str] = []
    tried = ill(monkeypatch, lambda key: key not in well)

    async def play(stage: Stage) -> None:
        await overdue(stage, 1)
        await stage.command("payment")
        orchestrator, _ = await at_work(stage)
        await asyncio.sleep(600)
        (said,) = orchestrator.decider.timers.noticed
        assert said == "Sagas that are due and cannot be decided: 1. The log names them."
        pauses = gaps(tried)
        assert pauses[0] < 1.5 and max(pauses) <= LONGEST_PAUSE + EVERY
        assert len(tried) < 20 and pauses == sorted(pauses[:7]) + pauses[7:]
        well.append("o0")
        assert (await stage.command("payment")).time - tried[-1] <= LONGEST_PAUSE + EVERY

    played(play, order_saga(1.0))


def test_a_timer_of_another_declaration_stays_due_for_who_has_that() -> None:
    """It is handed to others where the record is old and names no declaration."""
    ours = order_saga(30.0)
    steps = ours.steps[:2]
    theirs = make_app(Saga("order", start=shop.PlaceOrder, key=lambda order: order.order_id, steps=steps))

    async def play(stage: Stage) -> None:
        await overdue(stage, 30)
        rows = stage.store._rows.records
        old = {saga_id: by_place(ours, record.state) for saga_id, record in rows.items()}
        rows.update({one: replace(record, fingerprint="", state=old[one]) for one, record in rows.items()})
        strangers = [await at_work(replace(stage, app=theirs)) for _ in range(2)]
        await asyncio.sleep(3)
        assert [one.decider.timers.strange for one, _ in strangers] == [30, 30]
        await at_work(stage)
        began = asyncio.get_running_loop().time()
        await fired(stage, 30)
        assert asyncio.get_running_loop().time() - began < 2 * EVERY

    played(play, ours)


def test_a_timer_that_is_not_due_by_its_saga_s_own_state_fires_when_it_is() -> None:
    async def play(stage: Stage) -> None:
        client = await stage.client()
        saga_id = await client.start(stage.app.saga("order"), shop.ORDER)
        first = await stage.command("payment")
        rows = stage.store._rows.records
        rows[saga_id] = replace(rows[saga_id], wake_at=BEGAN)
        _, store = await at_work(stage)
        await asyncio.sleep(29)
        assert store.became[Committed.OK] == 0
        again = await stage.command("payment")
        assert again.attempt == 2 and 30 <= again.time - first.time < 30.1

    played(play, order_saga(30.0))
