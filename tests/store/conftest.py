"""Stores and databases for these tests, closed afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from choros.store.barrier import JobResult, Ok, Raised
from tests.private_servers import PrivateRedis
from tests.store.proxy import LossyProxy

Opening = Callable[[Any], Awaitable[Any]]


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is so."""
    for _ in range(100):
        if await check():
            return
        await asyncio.sleep(0.05)
    pytest.fail("It never came to be.")


@pytest.fixture
async def opened() -> AsyncIterator[Opening]:
    """Opens what it is given, and closes it when the test is over."""
    all_opened = []

    async def opening(one: Any) -> Any:
        await one.open()
        all_opened.append(one)
        return one

    yield opening
    for one in all_opened:
        await one.close()


@pytest.fixture(scope="module")
def private_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A Redis that a test may ruin."""
    server = PrivateRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def ruinable(private_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of it that has all permissions; the settings are put right again afterwards."""
    async with Redis.from_url(private_redis.url) as client:
        yield client
        await client.config_set("maxmemory", 0)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("requirepass", "")
        await client.flushall()


@pytest.fixture
async def proxy(private_redis: PrivateRedis) -> AsyncIterator[LossyProxy]:
    """A proxy before it."""
    proxy = LossyProxy(private_redis.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


def came_to(result: JobResult[Any]) -> Any:
    """What a job has answered, raised, or was not done for."""
    return result.value if isinstance(result, Ok) else result.error if isinstance(result, Raised) else result.why


@pytest.fixture
async def postgres_schema(postgres_url: str, namespace: str) -> AsyncIterator[str]:
    """The PostgreSQL of this run, as a user who has an empty schema there, and nothing else."""
    import asyncpg

    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        f"CREATE ROLE {namespace} LOGIN; CREATE SCHEMA AUTHORIZATION {namespace};"
        f" ALTER ROLE {namespace} SET search_path = {namespace}"
    )
    yield postgres_url.replace("//choros@", f"//{namespace}@")
    await connection.execute(f"DROP SCHEMA {namespace} CASCADE; DROP ROLE {namespace}")
    await connection.close()
