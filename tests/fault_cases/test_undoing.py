"""Undos that fail: for a while, or for ever (cases 13 and 14)."""

from __future__ import annotations

import pytest

from tests.end_to_end.shop import until
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.world import open_world

pytestmark = pytest.mark.slow
UNDONE = {"paid": 1, "packed": 1, "unpacked": 1, "paid back": 1}


async def test_an_undo_that_fails_fifty_times_is_tried_until_it_succeeds(make_trip: MakeTrip) -> None:
    trip = make_trip(back_failures=50, undo_max=0.05)
    async with open_world(trip) as world, world.here("orchestrator", "till", "packer", "van", "diary"):
        saga_id = await world.start("t1", refuse=True)
        assert (await world.outcome(saga_id)).status == "compensated"
        assert (await world.events(saga_id))["failed"] >= 50
        assert world.effects("t1") == UNDONE


async def test_an_undo_that_fails_for_ever_parks_says_so_and_can_be_tried_again(make_trip: MakeTrip) -> None:
    """A person mends the till (it is started again) and retries the step."""
    trip = make_trip(back_failures=1_000_000, undo_give_up=0.5)
    async with open_world(trip) as world, world.here("packer", "van", "diary"):
        orchestrator = await world.spawn("orchestrator")
        broken = await world.spawn("till")
        saga_id = await world.start("t1", refuse=True)
        outcome = await world.outcome(saga_id)
        assert (outcome.status, world.effects("t1")["paid"]) == ("parked", 1)

        async def alarmed() -> bool:
            return orchestrator.said("choros.saga.parked") == 1

        await until("the log says that it is parked", alarmed)
        assert await broken.end() == 0
        await world.spawn("till", back_failures=0)
        assert await world.client.retry(saga_id, "pay") == "unparked"
        assert (await world.outcome(saga_id)).status == "compensated"
        assert world.effects("t1") == UNDONE
        await world.told("t1", facts=["TripOff"])
