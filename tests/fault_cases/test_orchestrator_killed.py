"""An orchestrator is killed at every point between its commits and its messages (cases 1, 2, 3 and 33)."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.every_day import every_day
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.trip import Trip
from tests.fault_cases.world import COMPLETED, EVERYBODY, open_world

pytestmark = pytest.mark.slow


POINTS = ["commit.before@2", "commit.after@2", "send.before@1", "send.after@1", "ack.before@2", "mark_sent.before@1"]


@pytest.mark.parametrize("failpoint", every_day(POINTS, ("commit.after@2", "send.after@1")))
async def test_what_it_had_committed_goes_on_after_its_restart(make_trip: MakeTrip, failpoint: str) -> None:
    """After commit and before publish, after publish and before the outbox is emptied, before the ack of a reply."""
    await killed_at(make_trip(), failpoint)


@pytest.mark.long
@pytest.mark.parametrize("failpoint", every_day(["send.before@1", "send.after@1", "ack.before@2"], ("ack.before@2",)))
async def test_the_same_with_redis(make_trip: MakeTrip, redis_url: str, redis_client: Redis, failpoint: str) -> None:
    await killed_at(make_trip(store=redis_url), failpoint)


async def killed_at(trip: Trip, failpoint: str) -> None:
    """Run a saga whose orchestrator dies there and is started again."""
    async with open_world(trip) as world, world.here(*EVERYBODY):
        doomed = await world.spawn("orchestrator", failpoint)
        saga_id = await world.start("t1")
        await doomed.died()
        await world.spawn("orchestrator")
        assert (await world.outcome(saga_id)).status == "completed"
        assert world.effects("t1") == COMPLETED
        await world.told("t1")
        await world.told("t1", "log-book")


@pytest.mark.parametrize(
    "failpoint", every_day(["publish.before", "publish.between", "publish.after"], ("publish.between",))
)
async def test_all_facts_come_out_once_and_in_order(make_trip: MakeTrip, failpoint: str) -> None:
    """Killed between the first fact of a saga and the second: both are told, in their order, to everybody."""
    async with open_world(make_trip()) as world, world.here(*EVERYBODY):
        doomed = await world.spawn("orchestrator", failpoint)
        saga_id = await world.start("t1")
        await doomed.died()
        assert (await world.outcome(saga_id)).status == "completed"
        await world.spawn("orchestrator")
        await world.told("t1")
        await world.told("t1", "log-book")


async def test_a_saga_that_is_being_undone_goes_on_being_undone(make_trip: MakeTrip) -> None:
    async with open_world(make_trip()) as world, world.here(*EVERYBODY):
        doomed = await world.spawn("orchestrator", "send.before@3")  # pack, ship, then the first undo
        saga_id = await world.start("t1", refuse=True)
        await doomed.died()
        await world.spawn("orchestrator")
        assert (await world.outcome(saga_id)).status == "compensated"
        assert world.effects("t1") == {"paid": 1, "packed": 1, "unpacked": 1, "paid back": 1}
        await world.told("t1", facts=["TripOff"])
