"""A store that forgets what it acknowledged: sagas before that, at their end, and at the same end once more."""

from __future__ import annotations

import asyncio

import pytest

from choros.errors import SagaNotFound
from tests.fault_cases.world import COMPLETED, World


async def begin(world: World) -> dict[str, str]:
    """Five sagas whose first command is under way; ids by trip."""
    ids = {f"t{number}": await world.start(f"t{number}") for number in range(5)}
    for saga_id in ids.values():
        await world.seen(saga_id, "sent")
    return ids


async def go_on(world: World, ids: dict[str, str]) -> dict[str, int]:
    """Bring them to their end, and one more saga; returns the versions that they have then."""
    world.trip.gate.touch()
    ids["late"] = await world.start("late")
    for trip, saga_id in ids.items():
        assert (await world.outcome(saga_id)).status == "completed"
        await world.told(trip)
    return {trip: (await world.account(saga_id)).record.version for trip, saga_id in ids.items()}


async def ended_again(world: World, ids: dict[str, str], before: dict[str, int]) -> int:
    """The store has forgotten their end; they come to the same end, with every effect and fact still single. Returns
    how many acknowledged transitions were seen to be lost."""
    lost = before["late"]
    with pytest.raises(SagaNotFound):
        await world.account(ids["late"])
    for trip in ids.keys() - {"late"}:
        account = await world.account(ids[trip])
        if account.record.status != "completed":  # they go on already: on a busy machine they may be there again
            lost += before[trip] - account.record.version
    assert await world.start("late") == ids["late"]
    for trip, saga_id in ids.items():
        assert (await world.outcome(saga_id)).status == "completed"
        await world.events(saga_id)
        assert world.effects(trip) == COMPLETED
    await asyncio.sleep(0.5)  # the facts are published once more, under the same identity
    for trip in ids:
        await world.told(trip)
    return lost
