"""Services that do not answer: an orchestrator asks the broker, now and then, whether anybody is there.

It asks only about services of which a command has had no answer in time, once for each however many sagas wait, and
says it once when it begins and once when it is over.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from choros.runtime.host.presence import AskQueue, absent, told
from choros.sources import now
from choros.telemetry.logs import get_logger
from choros.transport.port import Seen
from choros.transport.topology import Names

log = get_logger("choros.orchestrator")

LOOK_EVERY = 15.0
"""Seconds between two questions about one service."""


@dataclass(slots=True)
class _Overdue:
    since: float
    """When the first command of a service that has not answered since was overdue."""
    seen: Seen | None = None
    said: bool = False


class Absent:
    """What this orchestrator knows of the services that owe it an answer."""

    def __init__(self, names: Names, ask: AskQueue) -> None:
        self._names = names
        self._ask_broker = ask
        self._overdue: dict[str, _Overdue] = {}
        self._some = asyncio.Event()

    def overdue(self, service: str) -> None:
        """A command to it has had no answer in time."""
        if service not in self._overdue:
            self._overdue[service] = _Overdue(now())
            self._some.set()

    def heard(self, service: str) -> None:
        """It has answered something."""
        if self._overdue and (one := self._overdue.pop(service, None)) and one.said:
            self._say_back(service, one)

    @property
    def noticed(self) -> Sequence[str]:
        """A sentence for each that does not answer, as of the last look."""
        seen = [(service, one, one.seen) for service, one in self._overdue.items() if one.seen]
        found = [(one, told(its, service, self._queue(service))) for service, one, its in seen]
        return [f"Unanswered for {now() - one.since:.0f} s: {why}." for one, why in found if why]

    async def run(self) -> None:
        """Look until cancelled, as long as there is something to look for."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._overdue:
                for service in list(self._overdue):
                    await self._ask(service)
                await asyncio.sleep(LOOK_EVERY)

    async def _ask(self, service: str) -> None:
        seen = await self._ask_broker(self._queue(service))
        if (one := self._overdue.get(service)) is None:  # it has answered meanwhile
            return
        one.seen = seen
        if absent(seen) and not one.said:
            one.said = True
            log.warning("choros.service.absent", service=service, why=told(seen, service, self._queue(service)))
        elif one.said and seen.consumers:
            one.said = False
            self._say_back(service, one)

    def _say_back(self, service: str, one: _Overdue) -> None:
        log.warning("choros.service.back", service=service, seconds=round(now() - one.since, 1))

    def _queue(self, service: str) -> str:
        return self._names.service_queue(service)
