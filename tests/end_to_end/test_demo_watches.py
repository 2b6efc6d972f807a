"""The demo says what happens to its processes and its broker, and goes on or ends: it never hangs without a word."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from choros.errors import BrokerUnreachable, ChorosError
from choros.transport.port import Health
from reference_services.demo.processes import Processes
from reference_services.demo.report import Report
from reference_services.demo.watching import AWAY_SECONDS, MOST_STARTS, Watch
from tests.end_to_end.shop import environment
from tests.patience import PATIENCE
from tests.transport.proxy import proxied

UP, AWAY = Health("connected", 0.0), Health("away", 0.0, "no connection")


class Shop:
    """As `Processes`, with processes that are only said to run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = {role: SimpleNamespace(returncode=None) for role in ("orchestrator-1", "orchestrator-2")}

    async def start(self, role: str) -> None:
        self.running[role] = SimpleNamespace(returncode=None)

    def ended(self, role: str) -> ChorosError:
        return Processes.ended(self, role)  # type: ignore[arg-type] # as far as this needs it


class Scene:
    def __init__(self, folder: Path) -> None:
        self.out = io.StringIO()
        self.shop = cast(Any, Shop(folder))
        self.broker = SimpleNamespace(health=UP)
        self.watch = Watch(self.shop, self.broker, Report(self.out))

    def die(self, role: str, code: int) -> None:
        self.shop.running[role].returncode = code


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "orchestrator-1.log").write_text("one\n✖ There is no memory left.\n")
    return Scene(tmp_path)


async def test_a_process_that_is_killed_is_named_and_started_again(scene: Scene) -> None:
    for role in scene.shop.running:
        scene.die(role, -signal.SIGKILL)
    await scene.watch.look()
    assert [process.returncode for process in scene.shop.running.values()] == [None, None]
    assert scene.out.getvalue().splitlines() == [
        f"  {role} has died (SIGKILL); it is started again" for role in scene.shop.running
    ]


async def test_a_process_that_ends_by_itself_ends_the_demo_in_one_line(scene: Scene) -> None:
    scene.die("orchestrator-1", 1)
    with pytest.raises(ChorosError, match=r"orchestrator-1 ended with 1: ✖ There is no memory left\."):
        await scene.watch.look()


async def test_what_is_killed_again_and_again_ends_it_too(scene: Scene) -> None:
    for _ in range(MOST_STARTS):
        scene.die("orchestrator-1", -signal.SIGSEGV)
        await scene.watch.look()
    scene.die("orchestrator-1", -signal.SIGSEGV)
    with pytest.raises(ChorosError, match="orchestrator-1 ended with -11"):
        await scene.watch.look()


async def test_a_broker_that_goes_away_is_said_and_waited_for(scene: Scene) -> None:
    scene.broker.health = AWAY
    for _ in range(3):
        await scene.watch.look()
        await asyncio.sleep(1)
    scene.broker.health = UP
    await scene.watch.look()
    assert scene.out.getvalue().splitlines() == [
        "  the broker is away (no connection); the shop waits for it",
        "  the broker is back",
    ]
    scene.broker.health = AWAY
    await scene.watch.look()
    await asyncio.sleep(AWAY_SECONDS + 1)
    with pytest.raises(BrokerUnreachable, match="away for 120 s"):
        await scene.watch.look()


def orchestrators(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"orchestrator" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.long
async def test_a_shop_whose_orchestrators_and_broker_go_away_comes_to_its_end(tmp_path: Path, amqp_url: str) -> None:
    async with proxied(amqp_url) as (proxy, url):
        arguments = ("-m", "choros", "demo", "--broker", url, "--count", "400", "--folder", str(tmp_path / "shop"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=tmp_path, env=environment(), stdout=asyncio.subprocess.PIPE
        )
        said: list[str] = []

        async def until(words: str) -> None:
            assert process.stdout is not None
            async with asyncio.timeout(2 * PATIENCE):
                while line := (await process.stdout.readline()).decode():
                    said.append(line)
                    if words in line:
                        return
            raise AssertionError("".join(said))

        try:
            await until("  40/400")
            for pid in orchestrators(process.pid):
                os.kill(pid, signal.SIGKILL)
            await until("orchestrator-2 has died (SIGKILL); it is started again")
            proxy.open = False
            proxy.cut()
            await until("the broker is away")
            proxy.open = True
            await until("the broker is back")
            await until("books balance")
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
