"""The disk is full under the store and under the broker; afterwards everything goes on (case 21)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from choros.testing.conformance.stage import command, receive_and_ack
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from tests.fault_cases.conftest import MakeTrip
from tests.fault_cases.small_disk import SmallDisk, small_disk
from tests.fault_cases.trip import Trip
from tests.fault_cases.world import COMPLETED, World, open_world
from tests.patience import PATIENCE
from tests.private_servers import PrivateRabbitMQ, PrivateRedis
from tests.transport.brokers import shop

pytestmark = pytest.mark.slow


async def filled_in_mid_saga(trip: Trip, disk: SmallDisk, redis: PrivateRedis | None = None) -> None:
    """Replies come while the disk is full: not committed, so not acknowledged. A caller who starts a saga waits. Then
    there is room again."""
    async with open_world(trip) as world, world.here("orchestrator", "till", "packer", "van", "diary"):
        ids = [await world.start(f"t{number}") for number in range(3)]
        disk.fill()
        trip.gate.touch()
        ids += await started_until_full(world, len(ids))
        disk.clear()
        if redis is not None:
            assert not redis.running  # with appendfsync always it ends rather than lose what it acknowledges
            redis.kill()
            redis.start()  # as whoever supervises it does
        ids.append(await world.start(f"t{len(ids)}"))
        for number, saga_id in enumerate(ids):
            assert (await world.outcome(saga_id)).status == "completed"
            await world.events(saga_id)
            assert world.effects(f"t{number}") == COMPLETED
            await world.told(f"t{number}")


async def started_until_full(world: World, first: int) -> list[str]:
    """Sagas that still found room; the next one, which did not, is not among them."""
    ids: list[str] = []
    for number in range(first, 300):
        try:
            async with asyncio.timeout(5):
                ids.append(await world.start(f"t{number}"))
        except TimeoutError:
            return ids
    raise AssertionError("the disk never got full")


async def test_under_a_sqlite_store(make_trip: MakeTrip, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        store = f"sqlite:///{disk.path}/sagas.db"
        await filled_in_mid_saga(make_trip(store=store, held=True, timeout=20.0), disk)


async def test_under_redis(make_trip: MakeTrip, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        redis = PrivateRedis(disk.path / "redis")
        redis.start()
        try:
            await filled_in_mid_saga(make_trip(store=redis.url, held=True, timeout=20.0), disk, redis)
        finally:
            redis.kill()


@pytest.mark.long
async def test_under_the_broker(tmp_path: Path, namespace: str) -> None:
    """It raises its alarm and stops taking messages; what it had confirmed is there, and it takes more afterwards."""
    with small_disk(tmp_path / "disk", 300) as disk:
        broker = PrivateRabbitMQ(disk.path / "rabbitmq")
        broker.start()
        transport = RabbitMQTransport(broker.url, namespace, publish_timeout=1)
        try:
            await transport.connect()
            await transport.declare(shop(namespace))
            assert await transport.send([command()]) == [Published.CONFIRMED]
            # Less than the broker's limit, so it raises its alarm. It looks only every few seconds: until then there
            # must be room, or its log of quorum queues dies, and nothing but a restart helps (3.10).
            disk.fill(leave=30 << 20)
            async with asyncio.timeout(PATIENCE):
                while transport.health.state != "blocked":
                    await transport.send([command()])
            assert await transport.send([command()]) == [Published.UNKNOWN]
            disk.clear()
            async with asyncio.timeout(PATIENCE):
                while await transport.send([command()]) != [Published.CONFIRMED]:
                    await asyncio.sleep(0.1)
            await receive_and_ack(await transport.consume(f"{namespace}.payment", 10), 2)
        finally:
            await transport.close()
            broker.kill(epmd=True)
