"""How this process is: broker, stores, event loop; logged on change, and written to a file for its supervisor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from choros.errors import ChorosError
from choros.runtime.host.presence import AskQueue
from choros.runtime.host.rooms import StoreRoom
from choros.runtime.host.slots import Calls, Hanging
from choros.sources import now
from choros.telemetry.logs import get_logger
from choros.transport.health import HealthRecord
from choros.transport.port import Health

log = get_logger(__name__)

EVERY = 5.0
"""Seconds between two reports."""
LAG = 10.0
"""Seconds for which the event loop may stand still without a word: past a heartbeat or two the broker gives us up, and
what was being handled comes again."""
STALE_AFTER = 3
"""Reports that may be missing before a process counts as hung."""
_TICK = 0.5

AskStore = Callable[[], Awaitable[object]]
"""A small question to a store; it raises, or never answers, where the store is away."""


class Receiver(Protocol):
    """Something that takes deliveries."""

    @property
    def last_delivery(self) -> float | None:
        """When the last one came, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process says about itself. Times are seconds since the epoch."""

    role: str
    pid: int
    at: float
    every: float
    """Seconds to the next report."""
    broker: Health
    store: Health
    loop_lag: float
    """Seconds for which the event loop stood still at most since the report before."""
    last_delivery: float | None
    """None until something was delivered; at rest nothing is, so age alone means nothing."""
    stranded: int = 0
    """Live sagas that this process leaves alone, because it has another declaration of them."""
    unreadable: int = 0
    """Stored messages and records that this process cannot read, and leaves where they are."""
    filling: Sequence[str] = ()
    """What is nearly full, in sentences: when it is full, nothing can be written."""
    hanging: Sequence[Hanging] = ()
    """Handlers that take long, or were cut off and go on."""
    unfinished: Mapping[str, float] = field(default_factory=dict)
    """By service, when the oldest command was taken that is to be finished from outside."""
    noticed: Sequence[str] = ()
    """What its parts have noticed lately, in sentences."""

    @staticmethod
    def read(path: Path) -> Report:
        """The last report of a process; raises ChorosError where there is none."""
        try:
            return _json().validate_json(path.read_bytes())
        except OSError as error:
            hint = "has the process been started with --health-file?"
            raise ChorosError(f"There is no health report at {path} ({error.strerror}).", hint) from None
        except ValueError:
            raise ChorosError(f"{path} is no health report.", "the file that --health-file names.") from None

    def complaints(self, at: float, *, alive_only: bool = False) -> Sequence[str]:
        """What is wrong, in sentences; nothing if all is well. `alive_only` asks for the process alone."""
        age, found = at - self.at, []
        if age > STALE_AFTER * self.every:
            found.append(f"It has said nothing for {age:.0f} s: it hangs, or is gone.")
        for name, health in () if alive_only else (("broker", self.broker), ("store", self.store)):
            if health.state != "connected":
                why = f": {health.detail}" if health.detail else ""
                found.append(f"The {name} is {health.state} since {at - health.since:.0f} s{why}.")
        silent = () if alive_only else self.broker.unconfirmed
        found += [f"{one} does not confirm what is published: a queue does not answer." for one in silent]
        stuck = [one for one in self.hanging if one.left_behind and not alive_only]
        return [*found, *(f"{_about(one, at)}: it was cancelled, and goes on. Restart the process." for one in stuck)]

    @property
    def remarks(self) -> Sequence[str]:
        """What somebody should know, though a restart would mend nothing of it."""
        found = [f"{_about(one, self.at)}." for one in self.hanging if not one.left_behind]
        if self.stranded:
            hint = "Try: choros check APP --store ..."
            found.append(f"{self.stranded} live sagas are left alone: declared otherwise here. {hint}")
        if self.unreadable:
            found.append(
                f"{self.unreadable} stored messages or sagas cannot be read here, and wait; the log names them."
            )
        return [*found, *self.filling, *self.noticed]


@cache
def _json() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


class Vitals:
    """Watches this process, and reports what its parts say when they are asked."""

    def __init__(self, role: str, *, path: Path | None = None, every: float = EVERY, lag: float = LAG) -> None:
        self._role = role
        self._path = path
        self._every = every
        self._lag_limit = lag
        self._lag = 0.0
        self._looks: dict[str, tuple[AskStore, float, Sequence[Calls]]] = {}
        self._asking: dict[str, tuple[asyncio.Task[object], float]] = {}
        self._store = HealthRecord("store", subject="store")
        starting = Health("away", now(), "the role is starting")
        self.broker: Callable[[], Health] = lambda: starting
        """How it is, once the role is open."""
        self.attendance: AskQueue | None = None
        """Asks the broker how a queue is, once the role is open."""
        self.receivers: Sequence[Receiver] = ()
        self.calls: list[Calls] = []
        """Where handlers may hang."""
        self.stranded: Callable[[], int] = int
        self.unreadable: Callable[[], int] = int
        self.room = StoreRoom()
        self.unfinished: dict[str, float] = {}
        """As in the report, as it was when last looked."""
        self.noticing: list[Callable[[], Sequence[str]]] = []
        """What parts have noticed."""
        self.stopping = False
        """Whether it takes nothing new any more."""

    def watch_store(self, name: str, look: AskStore, patience: float = 0.0, users: Sequence[Calls] = ()) -> None:
        """Ask this store once for each report; its answer may take one report's time, or `patience` seconds, and as
        long as a handler of one of these users holds it."""
        self._looks[name] = look, max(patience, self._every), users

    async def run(self) -> None:
        """Watch and report until cancelled; then the file goes, since nobody speaks for it any more."""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                try:
                    await self._ask_stores()
                    await self.room.look(self._every)
                    self._write()
                except Exception as error:  # a look that is at fault must not end all that come after it
                    log.error("choros.health.failed", error=error)
                await asyncio.sleep(self._every)
        finally:
            ticking.cancel()
            for asking, _ in self._asking.values():
                asking.cancel()
            if self._path is not None:
                with suppress(OSError):
                    self._path.unlink()

    def report(self) -> Report:
        """How it is now, and how long its loop stood still since the last one."""
        report, self._lag = self.look(), 0.0
        return report

    def look(self) -> Report:
        """The same, for who looks beside."""
        times = [at for receiver in self.receivers if (at := receiver.last_delivery) is not None]
        about = self._role, os.getpid(), now(), self._every, self.broker(), self._store.now, self._lag
        hanging = [one for calls in self.calls for one in calls.hanging]
        noticed = [sentence for noticing in self.noticing for sentence in noticing()]
        left_alone = self.stranded(), self.unreadable()
        return Report(
            *about, max(times, default=None), *left_alone, self.room.filling, hanging, dict(self.unfinished), noticed
        )

    async def _tick(self) -> None:
        """Notice that the loop stood still: a handler computes, or blocks, where it should await."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_TICK)
            lag = max(0.0, loop.time() - before - _TICK)
            self._lag = max(self._lag, lag)
            if lag > self._lag_limit:
                advice = "Blocking and computing belong into a thread (asyncio.to_thread)."
                log.error("choros.loop.blocked", seconds=round(lag, 1), advice=advice)

    async def _ask_stores(self) -> None:
        answers = await asyncio.gather(*map(self._answers, self._looks))
        if self.stopping:  # what is closed does not answer
            return
        silent = [name for name, answered in zip(self._looks, answers, strict=True) if not answered]
        self._store.note("away" if silent else "connected", f"no answer from the {silent[0]}" if silent else "")

    async def _answers(self, name: str) -> bool:
        """One question at a time: those that hang must not pile up."""
        loop, (look, patience, users) = asyncio.get_running_loop(), self._looks[name]
        if name not in self._asking:
            self._asking[name] = asyncio.create_task(_asked(look)), loop.time()
        asking, since = self._asking[name]
        done, _ = await asyncio.wait({asking}, timeout=self._every)
        if not done:
            return loop.time() - since < patience or any(calls.hold for calls in users)
        del self._asking[name]
        return asking.result() is None

    def _write(self) -> None:
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            draft.write_bytes(_json().dump_json(self.report()))
            draft.replace(self._path)  # whoever reads finds the old one or the new one, whole
        except OSError as error:
            log.warning("choros.health.unwritable", error=type(error).__name__)


def _about(one: Hanging, at: float) -> str:
    return f"The handler {one.handler} is at work for {at - one.since:.0f} s on {one.key}"


async def _asked(look: AskStore) -> Any:
    """None, or what went wrong."""
    try:
        await look()
    except Exception as error:
        return error
    return None
