"""Rules 3 and 22: what the inbox has forgotten is never handled again: it lies behind the horizon, and is parked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros.app.app import App
from choros.app.memory import memory_for
from choros.app.service import Service
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import DeclarationError
from choros.runtime.host.retention import sweep
from choros.runtime.subscriber.facts import TOO_OLD
from choros.runtime.subscriber.inbox import types_key
from choros.runtime.subscriber.subscriber import Subscriber
from choros.transport.fact_log import FactLog
from tests.facts.stage import Moved, Seen, World, eventually, ledger, moved, world

DAY = 86400.0
QUEUE = "shop.facts.ledger"


def remembering(seen: Seen, **options: Any) -> Service:
    return ledger(seen, remember=timedelta(days=30), **options)


async def settled(subscriber: Subscriber, **counts: int) -> None:
    await eventually(f"{counts}", lambda: subscriber.counts == counts)


async def forget(stage: World, now: float) -> int:
    return await sweep(stage.database, now, {"facts": 30 * DAY})


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_fact_that_was_forgotten_is_parked_and_not_handled_again(ordered: bool) -> None:
    clock = [5.0]
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen(), ordered=ordered), clock=lambda: clock[0])
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        clock[0] = 10 * DAY
        await stage.publish(moved(2, time=10 * DAY))
        await settled(subscriber, handled=2)
        assert await forget(stage, 31 * DAY) == 1  # in order the mark of the stream has moved on with the second
        await stage.publish(moved(1), moved(2, time=10 * DAY))
        await settled(subscriber, **{"handled": 2, "too old": 1, "repeated": 1})
        assert stage.written() == {"s1": (1, 2)}
        assert await stage.parked(QUEUE) == [(1, TOO_OLD)]


async def test_a_row_is_kept_for_so_long_and_no_longer() -> None:
    async with world() as stage:
        subscriber = await stage.start(remembering(Seen()), clock=lambda: 5.0)
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        assert await forget(stage, 5.0 + 30 * DAY) == 0
        assert await forget(stage, 5.1 + 30 * DAY) == 1


@pytest.mark.parametrize(("options", "days"), [({"remember": timedelta(days=30)}, 30), ({}, 8)])
async def test_a_subscriber_forgets_by_itself(options: dict[str, Any], days: int) -> None:
    clock = [0.0]
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen(), **options), clock=lambda: clock[0], prune_every=0.02)
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        clock[0] = DAY
        await stage.publish(moved(2))
        await settled(subscriber, handled=2)
        tables = stage.database._rows.rows  # type: ignore[attr-defined] # it is the one in memory
        clock[0] = days * DAY + 6.0
        await eventually("the first is forgotten", lambda: len(tables.keys() - {types_key("ledger")}) == 1)


async def test_a_longer_memory_does_not_bring_back_what_was_forgotten() -> None:
    """By its own age the fact would be young enough; that it was forgotten is what counts."""
    async with world() as stage:
        subscriber = await stage.start(ledger(Seen()), clock=lambda: 5.0)
        await stage.publish(moved(1))
        await settled(subscriber, handled=1)
        assert await sweep(stage.database, 2 * DAY, {"facts": DAY}) == 1
        await stage.publish(moved(1))
        await settled(subscriber, **{"handled": 1, "too old": 1})
        assert stage.written() == {"s1": (1,)}


async def test_a_subscriber_that_was_away_for_long_has_missed_nothing() -> None:
    """What it never heard is younger than all that it has forgotten, however old it has become in the queue."""
    async with world() as stage:
        first = await stage.start(ledger(Seen()), clock=lambda: 5.0)
        await stage.publish(moved(1))
        await settled(first, handled=1)
        await stage.stop(first)
        await stage.publish(moved(2, time=2.0))
        assert await forget(stage, 100 * DAY) == 1
        late = await stage.start(ledger(Seen()), clock=lambda: 100 * DAY)
        await settled(late, handled=1)
        assert stage.written() == {"s1": (1, 2)}


def test_an_inbox_is_kept_for_a_day_longer_than_the_log() -> None:
    service = ledger(Seen())
    assert memory_for(service, NOTHING_SET, FactLog(max_age=timedelta(days=3))) == timedelta(days=4)
    assert memory_for(service, NOTHING_SET) == timedelta(days=8)
    assert memory_for(remembering(Seen()), NOTHING_SET) == timedelta(days=30)
    with pytest.raises(DeclarationError, match="still in the fact log"):
        memory_for(service, Settings(remember=timedelta(days=6)), FactLog())


def test_an_inbox_outlives_the_log() -> None:
    short = Service("late", facts=[Moved], remember=timedelta(days=6))
    with pytest.raises(DeclarationError, match="still in the fact log"):
        App("shop", services=[short], fact_log=FactLog())
    App("shop", services=[short], fact_log=FactLog(max_age=timedelta(days=6)))
    App("shop", services=[short])


def test_an_inbox_outlives_the_ladder() -> None:
    with pytest.raises(DeclarationError, match="on their way"):
        Service("late", remember=timedelta(minutes=10))
