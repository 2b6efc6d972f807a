"""A process that is told to end does so within its drain time, whatever its handlers do; a second signal is enough."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from choros import Addresses, running
from choros.cli.departure import CLOSING_SECONDS, SIGNALS, Leaving
from choros.cli.exit_codes import CUT_SHORT
from choros.roles.roles import client_of
from tests.end_to_end.shop import entries, environment
from tests.end_to_end.stuck_bell import Begin, app
from tests.patience import LATE, PATIENCE

pytestmark = pytest.mark.slow
DRAIN = 1


@asynccontextmanager
async def at_work(folder: Path, saga: str, how: str, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The whole application in a process of its own, amid the one call that its store asks for."""
    store = f"sqlite:///{folder}/sagas.db"
    async with client_of(app, Addresses("memory://", store)) as client:
        await client.start(app.saga(saga), Begin(how=how))
    command = ("-m", "choros", "run", "tests.end_to_end.stuck_bell", "--broker", "memory://", "--store", store)
    with open(folder / "log", "wb") as log:  # noqa: ASYNC230 (a local file, for the process to write)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--drain",
            f"{DRAIN}s",
            *more,
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        try:
            await begun(folder)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def begun(folder: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while "at-work" not in os.listdir(folder):
            await asyncio.sleep(0.02)


async def ended(process: asyncio.subprocess.Process) -> tuple[int, float]:
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        return await process.wait(), time.monotonic() - began


def forced(folder: Path) -> dict[str, Any]:
    return next(entry for entry in entries(folder / "log") if entry["event"] == "choros.process.cut_short")


LONG = pytest.mark.nightly
KEEPS_IT = [
    pytest.param("ringing", "in_thread", "block"),
    pytest.param("ringing", "block", "block", marks=LONG),
    pytest.param("ringing", "compute", "compute", marks=LONG),
    pytest.param("tolling", "in_thread", "block", marks=LONG),
    pytest.param("tolling", "block", "block", marks=LONG),
]
"""The saga, what its handler does, and the function that is found at work."""


@pytest.mark.parametrize(("saga", "how", "found"), KEEPS_IT)
async def test_what_keeps_a_process_that_is_told_to_end_is_named(
    tmp_path: Path, saga: str, how: str, found: str
) -> None:
    async with at_work(tmp_path, saga, how) as process:
        process.terminate()
        code, seconds = await ended(process)
    said = forced(tmp_path)
    assert code == CUT_SHORT
    assert DRAIN <= seconds < DRAIN + CLOSING_SECONDS + LATE
    assert [one.partition(" on ")[0] for one in said["handlers"]] == [saga.removesuffix("ing")]
    assert any(thread.endswith(f" {found}") for thread in said["threads"]), said


@LONG
async def test_what_a_handler_has_left_behind_keeps_no_process(tmp_path: Path) -> None:
    """A task that nobody waits for, and that swallows its cancellation."""
    async with at_work(tmp_path, "ringing", "leave") as process:
        process.terminate()
        code, seconds = await ended(process)
    assert (code, forced(tmp_path)["handlers"]) == (CUT_SHORT, [])
    assert seconds < DRAIN + CLOSING_SECONDS + LATE


@LONG
@pytest.mark.parametrize("saga", ["ringing", "tolling"])
async def test_a_handler_that_swallows_its_cancellation_is_named_and_left(tmp_path: Path, saga: str) -> None:
    """It never commits, and dies with the process: no reason for force."""
    async with at_work(tmp_path, saga, "swallow") as process:
        process.terminate()
        code, seconds = await ended(process)
    named = [entry["event"] for entry in entries(tmp_path / "log") if entry.get("handler")]
    assert (code, named) == (0, ["choros.handler.left_behind", "choros.handler.cut_off"])
    assert seconds < DRAIN + CLOSING_SECONDS + LATE


@pytest.mark.parametrize("how", ["in_thread", pytest.param("block", marks=LONG), pytest.param("compute", marks=LONG)])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, how: str) -> None:
    async with at_work(tmp_path, "ringing", how, "--drain", "1h") as process:
        ending = asyncio.create_task(process.wait())
        while not ending.done():  # two that come at the same moment are one
            process.terminate()
            await asyncio.wait({ending}, timeout=0.2)
    assert ending.result() == 128 + signal.SIGTERM
    assert "Told twice" in (tmp_path / "log").read_text()


def test_ctrl_c_that_a_whole_group_hears_and_the_sigterm_of_who_leads_it_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where `choros demo` is interrupted: its processes hear both."""
    exits: list[int] = []
    monkeypatch.setattr("os._exit", exits.append)
    with Leaving(3600.0):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert exits == []
        signal.raise_signal(signal.SIGTERM)
        assert exits == [128 + signal.SIGTERM]


async def test_what_a_handler_forks_ends_as_any_process_does(tmp_path: Path) -> None:
    """Its signals are its own: the role that it comes from goes on."""
    (tmp_path / "forking.py").write_text(FORKING)
    process = await asyncio.create_subprocess_exec(sys.executable, "forking.py", cwd=tmp_path, env=environment())
    assert (await ended(process))[0] == 0


FORKING = """
import os, signal, time
from choros.cli.departure import Leaving

with Leaving(0.0):
    child = os.fork()
    if not child:
        time.sleep(3600)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
"""


async def test_a_guest_leaves_the_signals_of_its_host_alone() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    async with running(app):
        assert [signal.getsignal(number) for number in SIGNALS] == before


def test_only_a_process_of_its_own_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs within another program, as under a test runner."""
    exits: list[int] = []
    monkeypatch.setattr("os._exit", exits.append)
    for owned in (False, True):
        monkeypatch.setattr(Leaving, "owns_process", owned)
        leaving = Leaving(-CLOSING_SECONDS)
        with leaving:
            signal.raise_signal(signal.SIGTERM)
            leaving.watching.join(PATIENCE)
        assert exits == [CUT_SHORT] * owned
