"""What a service does with a command or a fact in its own database, for each kind of those; and the relay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.pattern import APP, NAMESPACE, Pattern, stamp
from benchmarks.shop import SUBSCRIBER
from benchmarks.stage.stage import AT_ONCE, BOTH, PART, Stage
from choros.runtime.host.admission import understood
from choros.runtime.host.outgoing import COMMANDS, Outgoing
from choros.runtime.host.relay import Relay
from choros.runtime.host.slots import Calls
from choros.runtime.participant.execution import Execution
from choros.runtime.subscriber.order import remember
from choros.sources import saga_id_for
from choros.store.barrier import Database, Job, Ok
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.transport.port import Published
from choros.wire.envelope import Envelope


async def service_stages(pattern: Pattern, stack: AsyncExitStack, folder: Path) -> list[Stage]:
    """Those of all databases."""
    kinds: list[tuple[str, Database, frozenset[str], tuple[float, float, float]]] = [
        ("memory", MemoryDatabase(namespace=NAMESPACE), PART, (30, 1, 8)),
        ("sqlite", SqliteDatabase(folder / "services.db", NAMESPACE), BOTH, (50, 1, 25)),
    ]
    stages: list[Stage] = []
    for name, database, of, wanted in kinds:
        stack.push_async_callback(database.close)
        await database.open()
        stages += _ServiceStages(database, pattern).stages(name, of, *wanted)
    return stages


class _ServiceStages:
    def __init__(self, database: Database, pattern: Pattern) -> None:
        self._database, self._pattern = database, pattern
        self._numbers = count()
        self._execution = Execution(f"/{NAMESPACE}/payment", clock=lambda: 1.0, clock_skew=60.0, calls=Calls())

    def stages(self, name: str, of: frozenset[str], command: float, mark: float, fact: float) -> Iterator[Stage]:
        """The same work for every database."""
        yield Stage(f"barrier in {name}: a command", 3, command, AT_ONCE, self._run, self._commands, of)
        yield Stage(f"barrier in {name}: mark as sent", 3, mark, AT_ONCE, self._database.mark_sent, self._done, of)
        yield Stage(f"barrier in {name}: a fact", 1, fact, AT_ONCE, self._run, self._facts, of)

    def _envelopes(self, sample: Envelope) -> list[Envelope]:
        return [_renamed(sample, next(self._numbers)) for _ in range(AT_ONCE)]

    def _commands(self) -> list[Job[Any]]:
        payment = APP.services["payment"]
        found = [understood(one, payment) for one in self._envelopes(self._pattern.commands[0])]
        return [self._execution.job(one) for one in found]

    def _facts(self) -> list[Job[Any]]:
        facts = self._envelopes(self._pattern.fact)
        return [partial(remember, SUBSCRIBER, one, ordered=False, now=1.0) for one in facts]

    async def _run(self, jobs: Sequence[Job[Any]]) -> None:
        results = await self._database.run(jobs)
        assert all(isinstance(one, Ok) for one in results)

    async def _done(self) -> Sequence[str]:
        """Keys of commands that are done."""
        results = await self._database.run(self._commands())
        return [key for one in results if isinstance(one, Ok) for key in one.value.keys]


def _renamed(envelope: Envelope, number: int) -> Envelope:
    saga_id, key = saga_id_for(NAMESPACE, str(number)), f"order-{number:07}"
    renamed = Envelope.loads(stamp(envelope.dumps(), saga_id, key))
    return replace(renamed, id=f"message-{number}", to=envelope.to, time=1.0)


def relay_stages(pattern: Pattern) -> list[Stage]:
    """From the commit to what is confirmed, with a broker that confirms at once."""
    return [Stage("relay", 7, 2, AT_ONCE, _Relayed(pattern.commands[0]).work)]


class _Relayed:
    """A relay with nothing behind it."""

    def __init__(self, message: Envelope) -> None:
        self._message, self._numbers = message, count()
        self._relay = Relay(COMMANDS, self._publish, self)

    async def work(self, _: object) -> None:
        """Send what a batch of decisions has left, each saga with one message."""
        numbers = [str(next(self._numbers)) for _ in range(AT_ONCE)]
        gone = asyncio.Event()
        for number in numbers:
            told = (lambda _: gone.set()) if number == numbers[-1] else None
            self._relay.dispatch([Outgoing(number, number, lambda: self._message, told)])
        await gone.wait()
        for number in numbers:
            self._relay.forget(self._relay.take_confirmed(number))

    async def _publish(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        return [Published.CONFIRMED] * len(messages)

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        """Nothing is left."""
        return ()

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        """Nothing is kept."""
