"""A participant is killed, paused or stuck at every point between its effect and its answer (cases 4, 5, 6, 9, 31)."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.end_to_end.shop import until
from tests.every_day import every_day
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.world import COMPLETED, World, open_world

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "failpoint",
    every_day(["run.within", "run.after", "send.before", "send.after", "ack.after"], ("run.within", "run.after")),
)
async def test_its_effect_is_there_once_after_its_restart(make_trip: MakeTrip, failpoint: str) -> None:
    """Before its commit, after it and before the reply, after the reply."""
    async with open_world(make_trip()) as world, world.here("orchestrator", "packer", "van", "diary"):
        doomed = await world.spawn("till", failpoint)
        saga_id = await world.start("t1")
        await doomed.died()
        await world.spawn("till")
        assert (await world.outcome(saga_id)).status == "completed"
        assert world.effects("t1") == COMPLETED


async def test_a_provider_that_has_done_it_is_asked_again_under_the_same_key(make_trip: MakeTrip) -> None:
    """Killed between the provider's effect and the record of it."""
    async with open_world(make_trip()) as world, world.here("orchestrator", "till", "van", "diary"):
        doomed = await world.spawn("packer", provider_dies=True)
        saga_id = await world.start("t1")
        await doomed.died()
        await world.spawn("packer", provider_dies=True)
        assert (await world.outcome(saga_id)).status == "completed"
        assert world.effects("t1") == COMPLETED
        assert asked(world) == [f"{saga_id}:pack:1:do"] * 2


def asked(world: World) -> list[str]:
    """The keys under which the provider was called, in order."""
    with closing(sqlite3.connect(f"{world.trip.folder}/provider.db")) as ledger:
        return [str(key) for (key,) in ledger.execute("SELECT key FROM asked ORDER BY rowid")]


async def test_a_paused_participant_gets_its_commands_after_the_saga_has_given_up(make_trip: MakeTrip) -> None:
    """Its `do` waits in its own socket past every timeout, with the undo behind it: nothing remains."""
    async with open_world(make_trip(timeout=0.4, give_up=0.6)) as world, world.here("orchestrator", "packer", "van"):
        till = await world.spawn("till")
        till.send(signal.SIGSTOP)
        saga_id = await world.start("t1")

        async def giving_up() -> bool:
            return (await world.client.outcome(saga_id)).status == "compensating"

        await until("the saga gives up", giving_up)
        till.send(signal.SIGCONT)
        assert (await world.outcome(saga_id)).status == "compensated"
        effects = world.effects("t1")
        assert effects.get("paid", 0) == effects.get("paid back", 0) <= 1
        assert set(effects) <= {"paid", "paid back"}


async def test_a_blocked_event_loop_loses_its_connection_and_no_effect(make_trip: MakeTrip, amqp_url: str) -> None:
    """Longer than the broker waits for a heartbeat: the command comes again, is answered from the row, and all of it
    is in the log."""
    trip = make_trip(broker=f"{amqp_url}?heartbeat=1", blocks=6.0, timeout=20.0)
    async with open_world(trip) as world, world.here("orchestrator", "packer", "van"):
        till = await world.spawn("till")
        saga_id = await world.start("t1")
        assert (await world.outcome(saga_id)).status == "completed"
        assert world.effects("t1") == COMPLETED
        await asyncio.sleep(0.2)
        assert till.said("choros.broker.connection_lost") >= 1
        assert till.said("choros.broker.connected_again") >= 1
