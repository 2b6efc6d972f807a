"""Processes are killed with kill -9 between the branches of a saga: in a race, in a loop, in a scope. RabbitMQ and the
stores are real, and what stands at the end is read from the services' own files."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.every_day import every_day
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.tour import RACING, STANDING, TRIED
from tests.fault_cases.trip import Trip
from tests.fault_cases.world import EVERYBODY, World, open_world

pytestmark = pytest.mark.slow
SHORT = ["commit.after@2", "send.before@3", "commit.before@6"]
LONG = [f"{point}@{nth}" for nth in range(1, 7) for point in ("commit.before", "commit.after", "send.before")]
LONG += [f"{point}@{nth}" for nth in range(1, 5) for point in ("send.after", "ack.before")]
LONG = [point for point in LONG if point not in SHORT]
MARKS = (pytest.mark.nightly, pytest.mark.nightly, pytest.mark.nightly)
KILLED = [*every_day(SHORT, SHORT[:1]), *(pytest.param(point, marks=MARKS[n % 3]) for n, point in enumerate(LONG))]


def net(world: World, what: str) -> int:
    """How often this is there; and nothing was done, or undone, twice."""
    effects = world.effects(f"t1 {what}")
    assert set(effects.values()) <= {1}, (what, effects)
    done, undone = (
        sum(effects.get(name, 0) for name in names) for names in (("paid", "packed"), ("paid back", "unpacked"))
    )
    return done - undone


def books_are_clean(world: World, status: str) -> None:
    """What was to stand stands, one has won, and nothing is left of what was undone."""
    stands = int(status == "completed")
    assert [net(world, what) for what in STANDING] == [stands] * len(STANDING)
    assert sum(net(world, what) for what in RACING) == stands
    assert [net(world, what) for what in TRIED] == [0] * len(TRIED)
    assert world.effects("t1") == ({"shipped by road 1": 1} if stands else {})


async def killed(trip: Trip, role: str, failpoint: str, *, refuse: bool = False) -> None:
    """This role dies there, and is started again."""
    async with open_world(trip) as world, world.here(*({*EVERYBODY, "orchestrator"} - {role})):
        doomed = await world.spawn(role, failpoint)
        saga_id = await world.start("t1", refuse=refuse, saga="tour")
        await doomed.died()
        await world.spawn(role)
        status = (await world.outcome(saga_id)).status
        assert status == ("compensated" if refuse else "completed")
        books_are_clean(world, status)


@pytest.mark.parametrize("failpoint", KILLED)
async def test_an_orchestrator_is_killed(make_trip: MakeTrip, failpoint: str) -> None:
    await killed(make_trip(tours=True), "orchestrator", failpoint)


@pytest.mark.long
@pytest.mark.parametrize(
    "failpoint",
    ["commit.after@10", *(pytest.param(f"commit.before@{nth}", marks=pytest.mark.nightly) for nth in (8, 9, 11))],
)
async def test_an_orchestrator_is_killed_while_all_is_undone(make_trip: MakeTrip, failpoint: str) -> None:
    """Refused at the pivot; the way there takes seven commits at least."""
    await killed(make_trip(tours=True), "orchestrator", failpoint, refuse=True)


@pytest.mark.parametrize(
    "failpoint", ["run.within@4", *(pytest.param(f"run.{when}@{nth}", marks=pytest.mark.nightly)
                                    for nth in (2, 5, 6) for when in ("within", "after"))]
)  # fmt: skip
async def test_a_participant_is_killed(make_trip: MakeTrip, failpoint: str) -> None:
    await killed(make_trip(tours=True), "till", failpoint)


@pytest.mark.nightly
@pytest.mark.parametrize("failpoint", ["commit.after@3", "send.before@4", "commit.before@5"])
async def test_the_same_with_redis(make_trip: MakeTrip, redis_url: str, redis_client: Redis, failpoint: str) -> None:
    await killed(make_trip(store=redis_url, tours=True), "orchestrator", failpoint)


@pytest.mark.nightly
async def test_a_provider_is_asked_by_a_process_that_dies_of_it(make_trip: MakeTrip) -> None:
    """The tent is packed, and the process that had it packed is no more; it is another one that says so."""
    trip = make_trip(tours=True, provider_dies=True)
    async with open_world(trip) as world, world.here(*({*EVERYBODY, "orchestrator"} - {"packer"})):
        doomed = await world.spawn("packer")
        saga_id = await world.start("t1", saga="tour")
        await doomed.died()
        await world.spawn("packer")
        assert (await world.outcome(saga_id)).status == "completed"
        books_are_clean(world, "completed")
