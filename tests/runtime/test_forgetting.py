"""Rule 3, retention: rows go, and the horizon with them; what comes later is not done again, nor called nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from choros.app.settings import NOTHING_SET, Settings
from choros.errors import StoreMisconfigured, UsageError
from choros.messages import FORGOTTEN, Failure
from choros.runtime.host.retention import Ages, forgotten_until, keep_forgetting, sweep
from choros.store.barrier import NEVER, Database
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import (
    NOW,
    Charge,
    Refund,
    Stage,
    close,
    command,
    eventually,
    make_service,
    stage_for,
)

DAY = 86_400.0
AGES: Ages = {"commands": 90 * DAY, "facts": 8 * DAY}


@pytest.fixture
def calls() -> list[str]:
    """The keys of every handler run."""
    return []


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, calls: list[str]) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "payment.db")
    async with stage_for(make_service(calls), database) as stage:
        yield stage


def do(saga: str = "s1", began: float | None = NOW) -> Envelope:
    """A `do` without a deadline, as a pivot has it."""
    return command(Charge(order=saga), saga=saga, began=began, not_after=None)


def undo(saga: str = "s1", began: float | None = NOW) -> Envelope:
    return command(Refund(order=saga), "undo", saga=saga, began=began, not_after=None)


async def later(stage: Stage, days: float) -> int:
    """So many days later everything that is old enough is forgotten."""
    await stage.idle()
    await stage.database.inner.run([])  # with the next commit at the latest, what is confirmed is known to be
    stage.clock[0] = NOW + days * DAY
    return await sweep(stage.database, stage.clock[0], AGES)


def what(reply: Envelope) -> tuple[str, str]:
    return reply.outcome or "", Failure.from_json(reply.data).code if reply.outcome != "ok" else reply.type


async def test_ninety_days_later_the_row_goes_and_not_before(stage: Stage) -> None:
    await stage.ask(do())
    assert await later(stage, 90) == 0
    assert await later(stage, 90.1) == 1
    assert (await stage.row(do().key), await forgotten_until(stage.database, "commands")) == (None, NOW)


async def test_rule_3_a_late_do_is_not_done_again(stage: Stage, calls: list[str]) -> None:
    order = do()
    await stage.ask(order)
    await later(stage, 91)
    (reply,) = await stage.ask(order)
    assert what(reply) == ("failed", FORGOTTEN)
    assert (await stage.effects(), len(calls)) == ({"s1": 1}, 1)
    assert await stage.row(order.key) is None


async def test_rule_3_a_late_undo_does_not_say_that_there_was_nothing(stage: Stage) -> None:
    await stage.ask(do())
    await later(stage, 91)
    (reply,) = await stage.ask(undo())
    assert what(reply) == ("failed", FORGOTTEN)
    assert await stage.effects() == {"s1": 1}


@pytest.mark.parametrize("of", ["do", "undo"])
async def test_a_late_close_does_not_promise_that_there_is_nothing(stage: Stage, of: str) -> None:
    await stage.ask(do())
    await later(stage, 91)
    (reply,) = await stage.ask(close(of, began=NOW, not_after=None))
    assert what(reply) == ("failed", FORGOTTEN)


async def test_nor_is_anything_undone_twice(stage: Stage) -> None:
    await stage.ask(do(), undo())
    await later(stage, 91)
    (reply,) = await stage.ask(undo())
    assert (what(reply), await stage.effects()) == (("failed", FORGOTTEN), {})


async def test_what_began_after_the_horizon_is_carried_out(stage: Stage) -> None:
    """Also where it was sent long ago: a service that was away for longer than it remembers has missed nothing."""
    await stage.ask(do())
    await later(stage, 200)
    (reply,) = await stage.ask(do("s2", began=NOW + 1))
    assert (reply.outcome, await stage.effects()) == ("ok", {"s1": 1, "s2": 1})


async def test_what_carries_no_time_is_kept_for_ever_and_answered_as_ever(stage: Stage) -> None:
    """As from an orchestrator of an older choros: of its commands no row is ever forgotten."""
    order = do(began=None)
    (first,) = await stage.ask(order)
    await stage.ask(do("s2"))
    assert await later(stage, 1000) == 1
    again, nothing = await stage.ask(order, undo("s3", began=None))
    assert (again == first, what(nothing)) == (True, ("ok", "choros.nothing-to-undo.v1"))


async def test_a_reply_that_nobody_has_confirmed_keeps_its_row(stage: Stage) -> None:
    order = replace(do(), reply_to="shop.replies.gone")
    await stage.send(order)
    await eventually(lambda: stage.counts.get("ok") == 1)
    stage.clock[0] = NOW + 91 * DAY
    assert await sweep(stage.database, stage.clock[0], AGES) == 0
    assert await stage.row(order.key) is not None


async def test_a_participant_forgets_by_itself(tmp_path: Path) -> None:
    service, database = make_service(), MemoryDatabase()
    async with stage_for(service, database, prune_every=0.02, forget_after=2 * DAY) as stage:
        await stage.ask(do())
        stage.clock[0] = NOW + 3 * DAY
        rows = database._rows.rows
        await eventually(lambda: not rows)


def test_too_short_a_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="forget-after"):
        Settings(forget_after=timedelta(minutes=10))
    assert NOTHING_SET.seconds("forget_after") == 90 * DAY


async def test_where_nothing_was_ever_forgotten_there_is_no_horizon(stage: Stage) -> None:
    assert await forgotten_until(stage.database, "commands") == NEVER


async def test_what_a_clock_that_was_ahead_has_begun_does_not_stop_what_begins_now(stage: Stage) -> None:
    await stage.ask(do("ahead", began=NOW + 3650 * DAY))
    await later(stage, 91)
    (reply,) = await stage.ask(do("fresh", began=NOW + 91 * DAY))
    assert (reply.outcome, await stage.effects()) == ("ok", {"ahead": 1, "fresh": 1})


async def test_a_database_that_refuses_to_forget_stops_no_service() -> None:
    """As where its password is being changed: it comes round again."""

    class Refusing(MemoryDatabase):
        tried = 0

        async def prune(self, now: float) -> int:
            self.tried += 1
            raise StoreMisconfigured("It does not accept this user.", "another password.")

    database = Refusing()
    forgetting = asyncio.create_task(keep_forgetting(database, lambda: NOW, AGES, every=0.0))
    while database.tried < 3 and not forgetting.done():
        await asyncio.sleep(0)
    assert not forgetting.done()
    forgetting.cancel()
