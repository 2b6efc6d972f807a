"""Local steps on real databases with a real broker: kill -9 wherever it hurts, and each has its effect once."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from choros import Addresses, Client, client_of
from choros.roles.addresses import connected, opened_store
from choros.transport.topology import Topology
from tests.end_to_end.shop import ROOT, environment, remove
from tests.end_to_end.till import TakeMoney, app, taking
from tests.every_day import every_day
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow
MOMENTS = ("before the handler", "in the handler", "before the reply", "before its decision")
LONG = timedelta(seconds=PATIENCE)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.nightly)])
def addresses(request: pytest.FixtureRequest, tmp_path: Path, amqp_url: str, redis_url: str) -> Addresses:
    if request.param == "redis":
        return Addresses(amqp_url, redis_url, redis_url)
    return Addresses(amqp_url, f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db")


@asynccontextmanager
async def orchestrator(
    addresses: Addresses, namespace: str, folder: Path, moment: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own, as a user starts it."""
    given = environment(CHOROS_NAMESPACE=namespace, TILL_DIES=moment, TILL_MARK=str(folder / "mark"))
    where = ["--broker", addresses.broker, "--store", addresses.store, "--database", addresses.database]
    with (folder / f"orchestrator {moment or 'again'}.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "choros", "run", "tests.end_to_end.till", "--role", "orchestrator", *where,
            cwd=ROOT, env=given, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), PATIENCE)


async def counted(addresses: Addresses, name: str) -> list[str]:
    if addresses.database.startswith("redis"):
        async with Redis.from_url(addresses.database, decode_responses=True) as there:
            keys = [key async for key in there.scan_iter(match=f"*{name}:counted", count=1000)]
            return [str(line) for key in keys for line in await there.lrange(key, 0, -1)]
    path = addresses.database.removeprefix("sqlite:///").replace("{service}", "till")
    with closing(sqlite3.connect(path)) as database:
        return [line for (line,) in database.execute("SELECT name FROM counted WHERE name = ?", (name,))]


@asynccontextmanager
async def client(addresses: Addresses, namespace: str) -> AsyncIterator[Client]:
    mine = app.within(namespace)
    whole: list[Topology] = [mine.topology]
    try:
        async with opened_store(addresses, mine) as store, connected(addresses, mine, "test"):
            whole.append(mine.replies_on(store.identity, store.lasting))
        async with client_of(mine, addresses) as one:
            yield one
    finally:
        for topology in whole:
            await remove(addresses.broker, topology)


@pytest.mark.parametrize("moment", every_day(MOMENTS, ("in the handler",), pytest.mark.nightly))
async def test_killed_at_any_moment_it_has_its_effect_once(
    addresses: Addresses, namespace: str, tmp_path: Path, moment: str
) -> None:
    order = TakeMoney(name=f"{namespace}-{os.getpid()}")
    async with client(addresses, namespace) as one:
        saga_id = await one.start(taking, order)
        async with orchestrator(addresses, namespace, tmp_path, moment) as first:
            assert await asyncio.wait_for(first.wait(), PATIENCE) == -signal.SIGKILL
        async with orchestrator(addresses, namespace, tmp_path, moment):  # it has died there, and does not again
            assert (await one.wait(saga_id, timeout=LONG)).status == "completed"
    assert await counted(addresses, order.name) == [order.name] * 2


@pytest.mark.long
async def test_two_orchestrators_on_one_database_share_the_work(
    addresses: Addresses, namespace: str, tmp_path: Path
) -> None:
    async with (
        client(addresses, namespace) as one,
        orchestrator(addresses, namespace, tmp_path),
        orchestrator(addresses, namespace, tmp_path),
    ):
        names = [f"{namespace}-{number}" for number in range(30)]
        ids = [await one.start(taking, TakeMoney(name=name)) for name in names]
        ended: list[Any] = [await one.wait(saga_id, timeout=LONG) for saga_id in ids]
    assert {outcome.status for outcome in ended} == {"completed"}
    assert [await counted(addresses, name) for name in names] == [[name] * 2 for name in names]
