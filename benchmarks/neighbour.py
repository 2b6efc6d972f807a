"""A second process, on the other core: it opens a part of a contestant when it is told to, and says which facts have
come there. It is started once and serves a whole campaign, so that no measurement has to wait for its imports."""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring import Contestant, Heard, Part
from choros.cli.garbage import search_less
from choros.telemetry.lines import configure_logging

LOOPS = ("uvloop", "asyncio") if importlib.util.find_spec("uvloop") else ("asyncio",)
"""The event loops that there are, the best first."""


class Line:
    """Our end of the pipe, on the event loop."""

    def __init__(self, connection: Connection, tell: Callable[[Any], None]) -> None:
        """`tell` is given what comes, and None when the other process has gone."""
        self._connection, self._tell = connection, tell
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, what: object) -> None:
        """Written at once; nothing of ours fills a pipe."""
        self._connection.send(what)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._connection.fileno())

    def _read(self) -> None:
        try:
            while self._connection.poll():
                self._tell(self._connection.recv())
        except (EOFError, OSError):
            self.close()
            self._tell(None)


class Neighbour:
    """The other process, seen from this one."""

    def __init__(self, loop: str, log_level: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=live, args=(there, loop, log_level), daemon=True)
        self._process.start()
        there.close()

    @property
    def pid(self) -> int:
        """Whose processor time is counted."""
        return self._process.pid or 0

    @asynccontextmanager
    async def opened(self, contestant: Contestant, part: Part, heard: Heard) -> AsyncIterator[None]:
        """This part of the contestant at work over there."""
        answers: asyncio.Queue[str | None] = asyncio.Queue()

        def tell(what: Any) -> None:
            if isinstance(what, list):
                for saga in what:
                    heard(saga)
            else:
                answers.put_nowait(what)

        line = Line(self._here, tell)
        try:
            line.send((contestant, part))
            await _answered(answers, "open")
            yield
            line.send("close")
            await _answered(answers, "closed")
        finally:
            line.close()

    def close(self) -> None:
        """It ends."""
        self._here.close()
        self._process.join(10)
        self._process.kill()


async def _answered(answers: asyncio.Queue[str | None], wanted: str) -> None:
    answer = await answers.get()
    if answer != wanted:
        raise AssertionError(f"The other process is gone: {answer}" if answer else "The other process is gone.")


# --- over there -------------------------------------------------------------------------------------------------------


def live(connection: Connection, loop: str, log_level: str) -> None:
    """All that the other process does."""
    with open(os.devnull, "w") as nowhere, asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        configure_logging("bench", level=log_level, stream=nowhere, json=True)
        search_less()  # as `choros run` does
        runner.run(_serve(connection))


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop."""
    if loop == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _serve(connection: Connection) -> None:
    asked: asyncio.Queue[Any] = asyncio.Queue()
    line = Line(connection, asked.put_nowait)
    told = _Told(line)
    try:
        while wanted := await asked.get():
            contestant, part = wanted
            async with contestant.opened(part, told.heard):
                line.send("open")
                await asked.get()
            line.send("closed")
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")
        raise


class _Told:
    """Sends on what was heard in one turn of the loop."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sagas: list[str] = []

    def heard(self, saga: str) -> None:
        if not self._sagas:
            asyncio.get_running_loop().call_soon(self._send)
        self._sagas.append(saga)

    def _send(self) -> None:
        sagas, self._sagas = self._sagas, []
        self._line.send(sagas)
