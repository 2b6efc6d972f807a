"""A role whose broker or store is not there yet waits for it: for so long, and no longer."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from choros import Addresses, App, Command, Done, Service, Settings
from choros.roles.roles import open_role
from choros.runtime.host.vitals import Report
from choros.transport.topology import topology
from tests.captured import capture_logs
from tests.end_to_end.shop import entries, environment, remove
from tests.patience import PATIENCE
from tests.transport.proxy import proxied

BELL = "tests.end_to_end.stuck_bell"


class Ring(Command[Done]):
    who: str


def application(namespace: str) -> App:
    bell = Service("bell")

    @bell.handles(Ring)
    async def ring(command: Ring) -> Done:
        return Done()

    return App(namespace, services=[bell])


async def test_a_role_goes_on_when_its_broker_comes(amqp_url: str, namespace: str) -> None:
    async with proxied(amqp_url) as (proxy, url), AsyncExitStack() as stack:
        proxy.open = False
        addresses = Addresses(url, database="memory://")
        with capture_logs() as said:
            opening = asyncio.create_task(
                open_role(
                    application(namespace), "service:bell", addresses, stack, settings=Settings(wait=timedelta(hours=1))
                )
            )
            async with asyncio.timeout(PATIENCE):
                while not said:
                    await asyncio.sleep(0.01)
            assert not opening.done()
            proxy.open = True
            assert len(await opening) == 1
    starting = [one["event"] for one in said if one["event"].startswith("choros.start.")]
    assert starting == ["choros.start.waiting", "choros.start.going_on"]
    await remove(amqp_url, topology(namespace, services=["bell"]))


@asynccontextmanager
async def role(folder: Path, wait: str, broker: str, store: str) -> AsyncIterator[asyncio.subprocess.Process]:
    where = ("--broker", broker, "--store", store, "--health-file", "health")
    command = ("-m", "choros", "run", BELL, "--wait", wait, *where)
    with open(folder / "log", "wb") as log:  # noqa: ASYNC230 (a local file, for the process to write)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=folder, env=environment(), stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


SERVERS = [
    pytest.param("amqp://{}/", "sqlite:///sagas.db", id="broker"),
    pytest.param("memory://", "redis://{}", id="store"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("broker", "store"), SERVERS)
async def test_a_server_that_does_not_come_ends_it(tmp_path: Path, nowhere: str, broker: str, store: str) -> None:
    async with role(tmp_path, "200ms", broker.format(nowhere), store.format(nowhere)) as process:
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 4
    lines = (tmp_path / "log").read_text().splitlines()
    said = [entry["event"] for entry in entries(tmp_path / "log") if entry["level"] in ("warning", "error")]
    assert said == ["choros.start.waiting"]
    assert [line[0] for line in lines if not line.startswith("{")] == ["✖"]


@pytest.mark.slow
async def test_who_waits_can_be_told_to_end(tmp_path: Path, nowhere: str) -> None:
    """Meanwhile it reports that it lives, and is not ready."""
    async with role(tmp_path, "1h", f"amqp://{nowhere}/", "sqlite:///sagas.db") as process:
        async with asyncio.timeout(PATIENCE):
            while not (tmp_path / "health").exists():
                await asyncio.sleep(0.02)
            report = Report.read(tmp_path / "health")
            assert report.complaints(report.at, alive_only=True) == []
            assert report.complaints(report.at)[0].endswith(": the role is starting.")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
