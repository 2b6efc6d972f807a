"""A failover by DNS or by a load balancer: the address leads to the new primary, and the old connections to the old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.store.barrier import NotDone, Ok, Row, Transaction
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.errors import leads_elsewhere, named
from choros.store.redis.sagas import RedisStore
from choros.testing.conformance.records import creation, stored
from tests.private_servers import PrivateRedis
from tests.store.conftest import Opening
from tests.store.proxy import LossyProxy


@pytest.fixture
async def replaced(ruinable: Redis) -> AsyncIterator[Redis]:
    """The old primary, which may be made a replica of nobody that answers."""
    yield ruinable
    await ruinable.replicaof("NO", "ONE")
    await ruinable.config_set("replica-serve-stale-data", "yes")


async def fail_over(old: Redis, proxy: LossyProxy, new: str, *, stale: str = "yes") -> None:
    await old.config_set("replica-serve-stale-data", stale)
    await old.replicaof("127.0.0.1", "1")
    proxy.lead_to(urlsplit(new).port or 0)


@pytest.mark.servers
@pytest.mark.parametrize("stale", ["yes", "no"])
async def test_a_store_finds_the_new_primary_after_one_refusal(
    replaced: Redis, proxy: LossyProxy, redis_url: str, namespace: str, opened: Opening, stale: str
) -> None:
    """Whatever it is asked, on all of its connections: READONLY, or MASTERDOWN where it does not even read."""
    store = await opened(RedisStore(f"redis://127.0.0.1:{proxy.port}/0", namespace, connections=4))
    await asyncio.gather(*(store.load([f"s{number}"]) for number in range(20)))
    await fail_over(replaced, proxy, redis_url, stale=stale)
    with pytest.raises(StoreUnreachable, match="takes no writes"):
        await stored(store, creation("s1"))
    await asyncio.gather(*(stored(store, creation(f"t{number}")) for number in range(20)))
    async with Redis.from_url(redis_url) as new:
        assert await new.hget(f"{{{namespace}}}:counts", "order/running") == b"20"


@pytest.mark.servers
async def test_a_database_finds_the_new_primary_after_its_refusals(
    replaced: Redis, proxy: LossyProxy, redis_url: str, namespace: str, opened: Opening
) -> None:
    database = await opened(RedisDatabase(f"redis://127.0.0.1:{proxy.port}/0", namespace))

    async def charge(tx: Transaction) -> str:
        await tx.read_row("k")
        await tx.write_row(Row(key="k", state="ok"))
        return "done"

    assert await database.run([charge] * 5) == [Ok("done")] * 5
    await fail_over(replaced, proxy, redis_url)
    (refused,) = await database.run([charge])
    assert isinstance(refused, NotDone) and isinstance(refused.why, StoreUnreachable)
    assert await database.run([charge] * 5) == [Ok("done")] * 5


@pytest.mark.servers
async def test_the_question_of_the_health_report_is_refused_by_a_replica(
    private_redis: PrivateRedis, replaced: Redis, namespace: str, opened: Opening
) -> None:
    """It reads as well as ever."""
    store = await opened(RedisStore(private_redis.url, namespace))
    database = await opened(RedisDatabase(private_redis.url, namespace))
    await store.mark_sent([("", "")])
    await database.mark_sent([""])
    await replaced.replicaof("127.0.0.1", "1")
    assert await store.due(0.0, [], 1) == []
    for asking in (store.mark_sent([("", "")]), database.mark_sent([""])):
        with pytest.raises(StoreUnreachable, match="replica"):
            await asking


@pytest.mark.parametrize(
    "answer",
    [
        redis_errors.ReadOnlyError("You can't write against a read only replica."),
        redis_errors.BusyLoadingError("Redis is loading the dataset in memory"),
        redis_errors.MasterDownError("Link with MASTER is down"),
        redis_errors.ClusterDownError("The cluster is down"),
        redis_errors.AuthenticationError("Authentication required."),
        redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis_errors.ExecAbortError("Transaction discarded because of: READONLY You can't write against a replica."),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_who_answers_so_is_let_go_of(answer: Exception) -> None:
    assert leads_elsewhere(answer)
    bad_login = isinstance(answer, redis_errors.AuthenticationError)
    assert type(named(answer, "here")) is (StoreMisconfigured if bad_login else StoreUnreachable)


@pytest.mark.parametrize("answer", [redis_errors.ResponseError("ERR no"), redis_errors.OutOfMemoryError(), 1, None])
def test_who_answers_otherwise_is_kept(answer: Any) -> None:
    assert not leads_elsewhere(answer)


def test_a_script_that_is_forgotten_again_is_no_reason_to_give_up() -> None:
    """As where the server is replaced between the two trips."""
    assert type(named(redis_errors.NoScriptError("No matching script."), "here")) is StoreUnreachable
