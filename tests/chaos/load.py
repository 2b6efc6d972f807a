"""Starts voyages at a steady rate, and keeps a log of what `start()` accepted: one line each, synced to the disk.

    python -m tests.chaos.load FOLDER SEED RATE IN_FLIGHT [finish]

A line is `ask NUMBER TIME` before the call and `took NUMBER SAGA TIME` after it; `twice NUMBER SAGA SAGA` where two
concurrent calls were answered differently. Killed or answered with an error, it asks again under the same key.
SIGUSR1 is a burst, SIGTERM the end. With `finish` it starts nothing new: it asks again for what a former life was not
answered, tells those sagas what they are to be told, and ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from choros import Addresses, ChorosError, Client, Saga
from choros.roles.addresses import opened_store
from choros.roles.roles import client_of, unfinished_of
from choros.store.sagas import Store
from choros.telemetry.lines import configure_logging
from tests.chaos.scripts import CRUISE, EXPEDITION, script_of
from tests.chaos.services import fares
from tests.chaos.talk import ALL, Talk
from tests.chaos.voyages import Embark, app, cruise, expedition, voyage

FINISH = "finish"
BURST = 200
TWICE = 0.03
"""The share of starts that are asked for twice at the same moment."""
_CANCEL_SECONDS = 3.0
_FINISH_SECONDS = 40


@dataclass
class StartLog:
    """The append-only log, and what a former life of this process left in it."""

    path: Path
    next_number: int = 1
    unanswered: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        asked, taken = read_starts(self.path)
        self.unanswered.extend(sorted(asked - taken.keys()))
        said, self.taken = read_said(self.path), taken
        self.unsaid = {number: saga_id for number, saga_id in taken.items() if said.get(number, {}).keys() != {*ALL}}
        """Sagas that were accepted, and may not have heard all that they are to be told."""
        self.next_number = max(asked, default=0) + 1
        self._file = self.path.open("ab", buffering=0)

    def write(self, *words: object) -> None:
        """One line, on the disk when this returns."""
        self._file.write(" ".join(str(word) for word in (*words, f"{time.time():.3f}\n")).encode())
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing is written any more."""
        self._file.close()

    def take(self) -> int:
        """The number of the next voyage to ask for."""
        if self.unanswered:
            return self.unanswered.popleft()
        self.next_number += 1
        return self.next_number - 1


def read_starts(path: Path) -> tuple[set[int], dict[int, str]]:
    """The numbers asked for, and the saga ids by number of those that were accepted."""
    asked: set[int] = set()
    taken: dict[int, str] = {}
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # what follows the last newline is torn
    for words in (line.decode().split() for line in lines):
        if words[0] == "ask":
            asked.add(int(words[1]))
        elif words[0] == "took":
            taken[int(words[1])] = words[2]
    return asked, taken


def read_said(path: Path) -> dict[int, dict[str, str]]:
    """What was answered to whoever spoke to them, by number and what it was about."""
    said: dict[int, dict[str, str]] = {}
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for words in (line.decode().split() for line in lines):
        if words[0] == "said":
            said.setdefault(int(words[1]), {})[words[2]] = words[3]
    return said


@dataclass
class Load:
    """The rate, adapted to what is in flight."""

    client: Client
    store: Store
    talk: Talk
    log: StartLog
    seed: int
    rate: float
    most: int
    budget: float = 0.0
    in_flight: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stopping: asyncio.Event) -> None:
        """Start voyages until told to stop, then finish what is under way."""
        counting = asyncio.create_task(self._count())
        self._speak_again()
        last = time.monotonic()
        while not stopping.is_set():
            await asyncio.sleep(0.05)
            now = time.monotonic()
            self.budget, last = min(self.budget + (now - last) * self.rate, BURST + self.rate), now
            while self.budget >= 1 and self.in_flight + len(self.tasks) < self.most:
                self.budget -= 1
                self.in_flight += 1
                self._spawn(self._start(self.log.take()))
        counting.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_SECONDS):
                while self.tasks:  # a start that is answered now still has its saga spoken to
                    await asyncio.wait(self.tasks)

    async def finish(self) -> None:
        """Until every start that was ever asked for is answered, and its saga has been spoken to or is over."""
        self._speak_again()
        for number, saga_id in self.log.taken.items():
            script = script_of(self.seed, number)
            if script.startswith(EXPEDITION) and number not in self.log.unsaid:
                self._spawn(self.talk.permit_again(number, saga_id, script))
        while self.log.unanswered or self.tasks:
            for _ in range(len(self.log.unanswered)):
                self._spawn(self._start(self.log.take()))
            await asyncio.sleep(0.5)

    def burst(self) -> None:
        """Many at once."""
        for _ in range(BURST):
            self._spawn(self._start(self.log.take()))

    async def _count(self) -> None:
        """How many have started and not ended. The store is believed here: it only steers the rate."""
        while True:
            try:
                counts = await self.store.counts()
                self.in_flight = sum(n for (_, status), n in counts.items() if status in ("running", "compensating"))
            except ChorosError:
                self.in_flight = self.most
            await asyncio.sleep(0.5)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _start(self, number: int) -> None:
        script = script_of(self.seed, number)
        start = Embark(number=number, script=script)
        self.log.write("ask", number)
        try:
            saga_id = await self.client.start(_saga(start), start)
            self.log.write("took", number, saga_id)
            if random.random() < TWICE:
                await self._again(start, saga_id)
        except ChorosError as error:
            self.log.write("unknown", number, type(error).__name__)
            self.log.unanswered.append(number)
            return
        self._speak(number, saga_id)
        if script.endswith("cancel"):
            await asyncio.sleep(random.uniform(0, _CANCEL_SECONDS))
            await self._cancel(number, saga_id)

    def _speak_again(self) -> None:
        for number, saga_id in self.log.unsaid.items():
            self._speak(number, saga_id)

    def _speak(self, number: int, saga_id: str) -> None:
        script = script_of(self.seed, number)
        if script.startswith(EXPEDITION):
            self._spawn(self.talk.all(number, saga_id, script))

    async def _again(self, start: Embark, saga_id: str) -> None:
        for other in await asyncio.gather(*(self.client.start(_saga(start), start) for _ in range(2))):
            if other != saga_id:
                self.log.write("twice", start.number, saga_id, other)

    async def _cancel(self, number: int, saga_id: str) -> None:
        try:
            self.log.write("cancel", number, await self.client.cancel(saga_id))
        except ChorosError as error:
            self.log.write("cancel", number, type(error).__name__)


def _saga(start: Embark) -> Saga[Embark]:
    script = start.script
    return cruise if script.startswith(CRUISE) else expedition if script.startswith(EXPEDITION) else voyage


async def main(folder: Path, seed: int, rate: float, most: int, *, finishing: bool) -> None:
    """Run until SIGTERM, or until there is nothing left to finish."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    addresses = Addresses(broker=os.environ["CHOROS_BROKER"], store=os.environ["CHOROS_STORE"])
    services = Addresses(database=os.environ["CHAOS_FARES"])
    async with (
        client_of(app, addresses, name="load") as client,
        opened_store(addresses, app) as store,
        unfinished_of(fares, "fares", services) as outside,
    ):
        with closing(StartLog(folder / "starts.log")) as log:
            load = Load(client, store, Talk(client, outside, log.write), log, seed, rate, most)
            loop.add_signal_handler(signal.SIGUSR1, load.burst)
            await (load.finish() if finishing else load.run(stopping))


if __name__ == "__main__":
    configure_logging("load")
    try:
        numbers = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
        asyncio.run(main(Path(sys.argv[1]), *numbers, finishing=FINISH in sys.argv[5:]))
    except ChorosError as failed:
        print(failed, file=sys.stderr)  # noqa: T201 (for the log of this process)
        sys.exit(1)
