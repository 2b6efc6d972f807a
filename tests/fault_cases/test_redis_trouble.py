"""Redis is killed, loses its tail, fails over to a replica that has not everything, has no memory (cases 24 to 28)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from yarl import URL

from tests.end_to_end.shop import until
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.setback import begin, ended_again, go_on
from tests.fault_cases.world import COMPLETED, EVERYBODY, open_world
from tests.private_servers import PrivateRedis
from tests.transport.proxy import proxied

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A Redis for one test."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


async def test_kill_9_with_every_write_synced_loses_no_transition(make_trip: MakeTrip, redis: PrivateRedis) -> None:
    async with open_world(make_trip(store=redis.url)) as world, world.here("orchestrator", *EVERYBODY):
        starting = [asyncio.create_task(world.start(f"t{n}")) for n in range(12)]
        for _ in range(4):
            await asyncio.sleep(0.15)
            redis.kill()
            redis.start()
        for number, one in enumerate(starting):
            saga_id = await one
            assert (await world.outcome(saga_id)).status == "completed"
            await world.events(saga_id)
            assert world.effects(f"t{number}") == COMPLETED
            await world.told(f"t{number}")


async def test_a_lost_second_steps_sagas_back_and_doubles_nothing(
    make_trip: MakeTrip, redis: PrivateRedis, record_property: Callable[[str, object], None]
) -> None:
    """`everysec` and a power cut: its file is put back to what it was while the sagas were under way. All transitions
    since are lost, although they were acknowledged; one saga is lost as a whole, until its caller starts it again."""
    async with Redis.from_url(redis.url) as admin:
        await admin.config_set("appendfsync", "everysec")
    folder = redis.folder / "appendonlydir"
    trip = make_trip(store=redis.url, held=True, timeout=20.0)
    async with open_world(trip) as world, world.here("orchestrator", *EVERYBODY):
        ids = await begin(world)
        shutil.copytree(folder, redis.folder / "copy")
        lost = await go_on(world, ids)
        redis.kill()
        shutil.rmtree(folder)
        shutil.move(redis.folder / "copy", folder)
        redis.start()
        record_property("transitions lost", await ended_again(world, ids, lost))


async def test_a_replica_that_lacks_acknowledged_writes_is_promoted(
    make_trip: MakeTrip, redis: PrivateRedis, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The replica is cut off from its master while the sagas are under way; later the master dies."""
    replica = PrivateRedis(tmp_path / "replica")
    replica.start()
    async with AsyncExitStack() as stack:
        stack.callback(replica.kill)
        proxy, url = await stack.enter_async_context(proxied(redis.url))
        other = await stack.enter_async_context(Redis.from_url(replica.url))
        world = await stack.enter_async_context(open_world(make_trip(store=url, held=True, timeout=20.0)))
        await stack.enter_async_context(world.here("orchestrator", *EVERYBODY))
        await other.replicaof("127.0.0.1", redis.port)
        await until("the replica is in step", lambda: _in_step(other))
        ids = await begin(world)
        async with Redis.from_url(redis.url) as master:
            assert await master.wait(1, 5000) == 1
        await other.replicaof("NO", "ONE")
        lost = await go_on(world, ids)
        redis.kill()
        proxy._target = URL(replica.url)
        proxy.cut()
        record_property("transitions lost", await ended_again(world, ids, lost))


async def _in_step(replica: Redis) -> bool:
    return bool((await replica.info("replication"))["master_link_status"] == "up")


async def test_no_memory_refuses_new_sagas_and_tears_none_apart(make_trip: MakeTrip, redis: PrivateRedis) -> None:
    """A transition that first takes something out of the outbox is carried out whole even now, any other is refused
    whole; the caller who starts a saga waits, and what is under way ends."""
    trip = make_trip(store=redis.url, held=True, timeout=20.0)
    async with open_world(trip) as world, world.here("orchestrator", *EVERYBODY), Redis.from_url(redis.url) as admin:
        ids = await begin(world)
        await admin.config_set("maxmemory", 1)
        starting = asyncio.create_task(world.start("late"))
        trip.gate.touch()
        await asyncio.sleep(1)
        assert not starting.done()
        await admin.config_set("maxmemory", 0)
        ids["late"] = await starting
        for name, saga_id in ids.items():
            assert (await world.outcome(saga_id)).status == "completed"
            await world.events(saga_id)
            assert world.effects(name) == COMPLETED
            await world.told(name)
