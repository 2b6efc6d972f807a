"""Rule 22: what the inbox has forgotten is never handled again, because by then it is too old."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.runtime import subscriber as subscribing
from choros.runtime.application import App
from choros.runtime.catching_up import CLOCK_SKEW
from choros.runtime.service import Service
from choros.runtime.subscriber import TOO_OLD, Subscriber
from choros.transport.fact_log import FactLog
from tests.facts.stage import Moved, Seen, World, eventually, ledger, moved, world

DAY = 86400.0
QUEUE = "shop.facts.ledger"


def remembering(seen: Seen, **options: Any) -> Service:
    return ledger(seen, remember=timedelta(days=30), **options)


async def settled(subscriber: Subscriber, **counts: int) -> None:
    await eventually(f"{counts}", lambda: subscriber.counts == counts)


async def forget(stage: World, now: float) -> int:
    return await stage.database.prune(now)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_fact_that_was_forgotten_is_parked_and_not_handled_again(ordered: bool) -> None:
    clock = [5.0]
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen(), ordered=ordered), clock=lambda: clock[0])
        await stage.publish(moved(1), moved(2, time=10 * DAY))
        await settled(subscriber, handled=2)
        clock[0] = 31 * DAY
        assert await forget(stage, clock[0]) == 1  # in order the mark of the stream has moved on with the second
        await stage.publish(moved(1), moved(2, time=10 * DAY))
        await settled(subscriber, **{"handled": 2, "too old": 1, "repeated": 1})
        assert stage.written() == {"s1": (1, 2)}
        assert await stage.parked(QUEUE) == [(1, TOO_OLD)]


async def test_without_the_look_at_its_age_it_would_be_handled_twice() -> None:
    """The rule taken out."""
    clock = [5.0]
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen()), clock=lambda: clock[0])
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        await forget(stage, 31 * DAY)
        clock[0] = 5.0  # as if nobody looked
        await stage.publish(moved(1))
        await settled(subscriber, handled=2)
        assert stage.written() == {"s1": (1, 1)}


async def test_a_row_is_kept_until_nobody_could_take_its_fact_for_young() -> None:
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen()), clock=lambda: 5.0)
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        assert await forget(stage, 1.0 + 30 * DAY + 2 * CLOCK_SKEW - 1) == 0
        assert await forget(stage, 1.0 + 30 * DAY + 2 * CLOCK_SKEW) == 1


async def test_a_subscriber_prunes_its_inbox_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribing, "PRUNE_SECONDS", 0.02)
    clock = [5.0]
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen()), clock=lambda: clock[0])
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        clock[0] = 40 * DAY
        tables = stage.database._rows.rows  # type: ignore[attr-defined] # it is the one in memory
        await eventually("it is forgotten", lambda: not tables)


async def test_without_remember_no_fact_is_too_old() -> None:
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen()), clock=lambda: 1e9)
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        assert await forget(stage, 1e12) == 0


def test_an_inbox_outlives_the_log() -> None:
    short = Service("late", facts=[Moved], remember=timedelta(days=6))
    with pytest.raises(DeclarationError, match="still in the fact log"):
        App("shop", services=[short], fact_log=FactLog())
    App("shop", services=[short], fact_log=FactLog(max_age=timedelta(days=6)))
    App("shop", services=[short])


def test_an_inbox_outlives_the_ladder() -> None:
    with pytest.raises(DeclarationError, match="on their way"):
        Service("late", remember=timedelta(minutes=10))
