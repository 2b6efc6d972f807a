"""The inbox, the marks and the order in a subscriber's Redis."""

from __future__ import annotations

import pytest

from choros.app.handler import Call
from choros.app.service import Service
from choros.store.barrier import Transaction, value_of
from choros.store.redis.barrier import RedisDatabase, RedisTransaction
from tests.facts.stage import Moved, eventually, moved, world


@pytest.mark.parametrize("ordered", [False, True])
async def test_late_and_in_order_on_redis(redis_url: str, namespace: str, redis_client: object, ordered: bool) -> None:
    database = RedisDatabase(redis_url, namespace)
    await database.open()
    service = Service("ledger", from_start=True, ordered=ordered)
    fails = {("a", 2): 2}

    @service.on(Moved)
    async def write(fact: Moved, db: RedisTransaction, call: Call) -> None:
        await db.rpush(f"{namespace}:{call.correlation_id}", fact.step)
        left = fails.get((call.correlation_id, fact.step), 0)
        if left:
            fails[call.correlation_id, fact.step] = left - 1
            raise ValueError

    async def written() -> dict[str, list[str]]:
        async def read(db: Transaction) -> dict[str, list[str]]:
            assert isinstance(db, RedisTransaction)
            return {stream: await db.lrange(f"{namespace}:{stream}") for stream in "ab"}

        found = value_of(*await database.run([read]))
        assert isinstance(found, dict)
        return found

    async def all_written() -> bool:
        return all(sorted(map(int, numbers)) == list(range(1, 21)) for numbers in (await written()).values())

    async with world() as stage:
        stage.database = database
        await stage.publish(*(moved(seq, stream) for seq in range(1, 11) for stream in "ab"))
        replicas = [await stage.start(service) for _ in range(2)]
        await stage.publish(*(moved(seq, stream) for seq in range(11, 21) for stream in "ab"))
        await eventually("all are written, once", all_written)
        if ordered:
            assert await written() == {stream: [str(seq) for seq in range(1, 21)] for stream in "ab"}
        assert sum(replica.counts["overtaken"] for replica in replicas) == 0
    await database.close()
