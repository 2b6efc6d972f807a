"""A real role at rest, behind a broker that goes silent: its file, its log and `choros health` say so in time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from choros.transport.topology import topology
from tests.end_to_end.shop import entries, environment, remove
from tests.patience import LATE, PATIENCE
from tests.transport.black_hole import black_hole

pytestmark = pytest.mark.slow
HEARTBEAT, REPORT_EVERY = 1, 5
NOTICED_WITHIN = 3 * (HEARTBEAT + 1)

APP = """
from choros import App, Command, Done, Service

class Ring(Command[Done]):
    who: str

bell = Service("bell")

@bell.handles(Ring)
async def ring(command: Ring) -> Done:
    return Done()

app = App("{namespace}", services=[bell])
"""


@asynccontextmanager
async def role(folder: Path, broker: str, health_file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = ["-m", "choros", "run", "ringing", "--role", "service:bell", "--broker", broker]
    with open(folder / "log", "wb") as log:  # noqa: ASYNC230  # a local file, for the process to write
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, "--health-file", str(health_file),
            cwd=folder, env=environment(PYTHONPATH=f"{folder}{os.pathsep}{environment()['PYTHONPATH']}"),
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until(is_so: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not is_so():  # another process: it tells us through files only
            await asyncio.sleep(0.05)
    return time.monotonic() - started


def state(path: Path) -> str:
    return str(json.loads(path.read_text())["broker"]["state"]) if path.exists() else "no report"


def said(folder: Path) -> list[str]:
    return [entry["event"] for entry in entries(folder / "log")]


async def verdict(path: Path, *more: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "choros", "health", str(path), *more,
        env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


@pytest.mark.long
async def test_a_role_at_rest_says_that_its_broker_is_gone(tmp_path: Path, amqp_url: str, namespace: str) -> None:
    (tmp_path / "ringing.py").write_text(APP.format(namespace=namespace))
    path = tmp_path / "health.json"
    async with black_hole(amqp_url) as (hole, url):
        broker = str(URL(url).update_query(heartbeat=HEARTBEAT))
        async with role(tmp_path, broker, path) as process:
            await until(lambda: state(path) == "connected", PATIENCE)
            assert (await verdict(path), await verdict(path, "--alive")) == (0, 0)

            hole.everywhere = True
            assert await until(lambda: "choros.broker.away" in said(tmp_path), PATIENCE) < NOTICED_WITHIN + LATE
            await until(lambda: state(path) == "away", PATIENCE)
            assert (await verdict(path), await verdict(path, "--alive")) == (1, 0)

            hole.mend()
            await until(lambda: state(path) == "connected", PATIENCE)
            assert "choros.broker.back" in said(tmp_path)
            assert await verdict(path) == 0

            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
            assert await verdict(path) == 1  # nobody speaks for it any more
    await remove(amqp_url, topology(namespace, services=["bell"]))
