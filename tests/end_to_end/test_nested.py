"""A saga nested in another one on a real RabbitMQ, its processes killed: both end alike, and nothing is done twice."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from choros import Addresses
from choros.roles.roles import client_of
from choros.sources import nested_id_for
from tests.end_to_end import credit_shop as shop
from tests.end_to_end.shop import environment, remove, until
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.servers]
COUNT, KILLS = 24, 4


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.nightly)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    return f"sqlite:///{tmp_path}/sagas.db"


class Process:
    """All roles of the application, in a process that can be killed and begun again."""

    def __init__(self, folder: Path, namespace: str, number: int, *addresses: str) -> None:
        self._folder, self._log = folder, folder / f"log-{number}"
        self._command = (sys.executable, "-m", "choros", "run", "tests.end_to_end.credit_shop", *addresses)
        self._environment = environment(CHOROS_NAMESPACE=namespace)
        self._running: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        with open(self._log, "ab") as log:  # noqa: ASYNC230 (a local file, for the process to write)
            self._running = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        if self._running and self._running.returncode is None:
            self._running.send_signal(signal.SIGKILL)
            await self._running.wait()


@asynccontextmanager
async def two_processes(folder: Path, namespace: str, *addresses: str) -> Any:
    async with AsyncExitStack() as stack:
        processes = [Process(folder, namespace, number, *addresses) for number in (1, 2)]
        for one in processes:
            stack.push_async_callback(one.kill)
            await one.begin()
        yield processes


@pytest.mark.long
async def test_killed_at_any_moment_both_end_alike(
    amqp_url: str, store: str, namespace: str, tmp_path: Path, redis_client: Any
) -> None:
    app = shop.app.within(namespace)
    addresses = ("--broker", amqp_url, "--store", store, "--database", f"sqlite:///{tmp_path}/{{service}}.db")
    try:
        async with (
            two_processes(tmp_path, namespace, *addresses) as processes,
            client_of(app, Addresses(amqp_url, store)) as client,
        ):
            ids = [
                await client.start(shop.order_saga, shop.Order(order=f"o{number}", total=number))
                for number in range(COUNT)
            ]
            for kill in range(KILLS):
                await until(f"kill {kill}", partial(_begun, client, ids, kill))
                await processes[kill % 2].kill()
                await processes[kill % 2].begin()
            for number, saga_id in enumerate(ids):
                wanted = "compensated" if number % 10 in (1, 2, 3) else "completed"
                await until(f"{saga_id} {wanted}", partial(_is, client, saga_id, wanted), PATIENCE)
                below = nested_id_for(namespace, namespace, "credit", f"{saga_id}:credit:1")
                assert await _is(client, below, wanted), "it was released before the other ended"
        _judge(tmp_path)
    finally:
        await remove(amqp_url, app.topology)


async def _begun(client: Any, ids: list[str], kills: int) -> bool:
    """Whether some more have ended since the last kill."""
    ended = [saga_id for saga_id in ids if (await client.outcome(saga_id)).ended]
    return len(ended) > kills * 3


async def _is(client: Any, saga_id: str, status: str) -> bool:
    return bool((await client.outcome(saga_id)).status == status)


def _judge(folder: Path) -> None:
    """What the services' own databases say: of each order all is there once, or nothing."""
    for service in ("stock", "bank", "books", "lorries"):
        with closing(sqlite3.connect(folder / f"{service}.db")) as db:
            rows = db.execute("SELECT what, change FROM entry").fetchall()
        net, touched = Counter[str](), Counter[tuple[str, int]]()
        for what, change in rows:
            net[what] += change
            touched[what, change] += 1
        assert max(touched.values()) == 1, touched
        stands = sorted(int(what.strip("o").rpartition("-")[2]) for what, sum_ in net.items() if sum_)
        assert stands == [number for number in range(COUNT) if number % 10 not in (1, 2, 3)], service
