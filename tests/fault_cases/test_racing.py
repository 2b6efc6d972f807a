"""Several of a kind at once: orchestrators, versions, clocks, callers (cases 29, 30, 35 and 40)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from choros.roles.roles import client_of
from tests.end_to_end.shop import until
from tests.every_day import every_day
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.trip import Plan, make_app
from tests.fault_cases.world import COMPLETED, EVERYBODY, World, open_world

pytestmark = pytest.mark.slow


async def test_five_orchestrators_race_on_every_timer_and_reply(make_trip: MakeTrip, store_url: str) -> None:
    """Short timeouts, so that all five fire the same timers; each version of a saga has one winner (see `events`)."""
    trip = make_trip(store=store_url, timeout=0.5, slow=0.3)
    async with open_world(trip) as world, world.here(*EVERYBODY):
        await asyncio.gather(*(world.spawn("orchestrator") for _ in range(5)))
        ids = await asyncio.gather(*(world.start(f"t{n}") for n in range(12)))
        for number, saga_id in enumerate(ids):
            assert (await world.outcome(saga_id)).status == "completed"
            await world.events(saga_id)
            assert world.effects(f"t{number}") == COMPLETED
        for number in range(12):
            await world.told(f"t{number}")


async def test_the_same_start_from_many_callers_at_once_is_one_saga(make_trip: MakeTrip, store_url: str) -> None:
    trip = make_trip(store=store_url)
    async with open_world(trip) as world, world.here("orchestrator", "till", "packer", "van"):

        async def calls() -> set[str]:
            app = make_app(trip)
            async with client_of(app, trip.addresses) as client:
                plans = [client.start(app.saga("trip"), Plan(trip="t1")) for _ in range(10)]
                return set(await asyncio.gather(*plans))

        (saga_id,) = set[str]().union(*await asyncio.gather(*(calls() for _ in range(4))))
        assert (await world.outcome(saga_id)).status == "completed"
        assert (await world.events(saga_id))["started"] == 1
        assert world.effects("t1") == COMPLETED


@pytest.mark.parametrize(
    "skew",
    every_day([(300.0, -300.0), (3600.0, 0.0), (-3600.0, 0.0)], ((300.0, -300.0),), pytest.mark.nightly),
    ids=["5 min", "+1 h", "-1 h"],
)
async def test_clocks_that_are_wrong_or_jump_break_nothing(
    make_trip: MakeTrip, tmp_path: Path, skew: tuple[float, float]
) -> None:
    """Two orchestrators, whose store's clock is their own (SQLite), and a till that is right. One jumps back on its
    way. A deadline may pass too early; then the saga is undone, and its net effect is zero."""
    trip = make_trip(timeout=1.0, give_up=5.0, undo_give_up=3600.0, slow=0.2)
    clocks = [tmp_path / f"clock-{n}" for n in range(2)]
    for clock, wrong in zip(clocks, skew, strict=True):
        clock.write_text(str(wrong))
    async with open_world(trip) as world, world.here("till", "packer", "van", "diary"):
        await asyncio.gather(*(world.spawn("orchestrator", clock=clock) for clock in clocks))
        ids = await asyncio.gather(*(world.start(f"t{n}") for n in range(6)))
        await asyncio.sleep(0.5)
        clocks[0].write_text("0")
        ended = Counter([(await world.outcome(saga_id)).status for saga_id in ids])
        assert set(ended) <= {"completed", "compensated"}
        for number, saga_id in enumerate(ids):
            await world.events(saga_id)
            net(world, f"t{number}", (await world.client.outcome(saga_id)).status)


def net(world: World, trip: str, status: str) -> None:
    """Every effect once, or taken back as often as it is there, and never twice."""
    effects = world.effects(trip)
    assert max(effects.values(), default=0) <= 1, effects
    if status == "completed":
        assert effects == COMPLETED
    else:
        assert effects.get("paid", 0) == effects.get("paid back", 0)
        assert effects.get("packed", 0) == effects.get("unpacked", 0)
        assert "shipped by road 1" not in effects


@pytest.mark.long
async def test_a_new_version_while_the_old_one_is_under_way(make_trip: MakeTrip) -> None:
    """First beside the old one, then (rolled too far) alone: what is under way keeps its version, whoever gets the
    replies, and goes on where somebody knows it."""
    trip = make_trip(versions=(1, 2), held=True, timeout=30.0)
    async with open_world(trip) as world, world.here("till", "packer", "van", "diary"):
        old = await world.spawn("orchestrator", versions=(1,))
        app = make_app(trip)
        async with client_of(app, trip.addresses) as client:
            first = await client.start(app.sagas["trip", 1], Plan(trip="old"))
            await paying(world, "old")
            assert await old.end() == 0
            await world.spawn("orchestrator", versions=(2,))
            second = await world.start("new")
            trip.gate.touch()
            assert (await world.outcome(second)).status == "completed"
            assert (await client.outcome(first)).status == "running"
            await world.spawn("orchestrator")
            assert (await world.outcome(first)).status == "completed"
        assert world.effects("old") == COMPLETED
        assert world.effects("new") == {"paid": 1, "packed": 1, "shipped by road 2": 1}


async def paying(world: World, trip: str) -> None:
    """Until the till has the command in hand; it holds the lock of its file, so nothing of it can be read yet."""

    async def locked() -> bool:
        with closing(sqlite3.connect(f"{world.trip.folder}/till.db", timeout=0)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    await until(f"the till works on {trip}", locked)
