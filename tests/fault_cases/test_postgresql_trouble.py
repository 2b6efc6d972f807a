"""PostgreSQL is killed, its connections are cut, it is put back to a copy that lacks what it has acknowledged since."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.setback import begin, ended_again, go_on
from tests.fault_cases.world import COMPLETED, EVERYBODY, World, open_world
from tests.private_postgresql import PrivatePostgreSQL

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[PrivatePostgreSQL]:
    """A PostgreSQL for one test."""
    server = PrivatePostgreSQL(tmp_path / "postgresql")
    server.start()
    yield server
    server.kill()


async def each_is_single(world: World, starting: list[asyncio.Task[str]]) -> None:
    for number, one in enumerate(starting):
        saga_id = await one
        assert (await world.outcome(saga_id)).status == "completed"
        await world.events(saga_id)
        assert world.effects(f"t{number}") == COMPLETED
        await world.told(f"t{number}")


async def test_kill_9_loses_no_transition(make_trip: MakeTrip, postgresql: PrivatePostgreSQL) -> None:
    async with open_world(make_trip(store=postgresql.url)) as world, world.here("orchestrator", *EVERYBODY):
        starting = [asyncio.create_task(world.start(f"t{n}")) for n in range(12)]
        for _ in range(4):
            await asyncio.sleep(0.15)
            postgresql.kill()
            postgresql.start()
        await each_is_single(world, starting)


async def test_connections_that_are_cut_lose_no_transition(make_trip: MakeTrip, postgresql: PrivatePostgreSQL) -> None:
    """In the middle of commits, whose answers are lost by that."""
    admin = await asyncpg.connect(postgresql.url)
    async with open_world(make_trip(store=postgresql.url)) as world, world.here("orchestrator", *EVERYBODY):
        starting = [asyncio.create_task(world.start(f"t{n}")) for n in range(12)]
        for _ in range(20):
            await asyncio.sleep(0.05)
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await each_is_single(world, starting)
    await admin.close()


async def test_what_a_copy_lacks_steps_sagas_back_and_doubles_nothing(
    make_trip: MakeTrip, postgresql: PrivatePostgreSQL, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """As a standby that lags and is promoted, or a backup that is restored under running services: what came since is
    lost, although it was acknowledged; one saga is lost as a whole, until its caller starts it again."""
    copy = PrivatePostgreSQL(tmp_path / "copy", copied=postgresql)
    trip = make_trip(store=postgresql.url, held=True, timeout=20.0)
    async with open_world(trip) as world, world.here("orchestrator", *EVERYBODY):
        ids = await begin(world)
        await asyncio.to_thread(copy.make_files)
        lost = await go_on(world, ids)
        postgresql.kill()
        shutil.rmtree(postgresql.files)
        shutil.move(copy.files, postgresql.files)
        postgresql.start()
        record_property("transitions lost", await ended_again(world, ids, lost))
