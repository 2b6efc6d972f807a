"""Commands of a type that this replica does not handle: given back for another one that does, for a while.

So it is in a rolling deploy, where only the new replicas know a new command; and where two services have one name.
"""

import asyncio
from collections.abc import Callable, Sequence

from choros.telemetry.logs import get_logger
from choros.transport.port import Delivery

log = get_logger(__name__)

RETURN_AFTER = (0.1, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0)
"""Seconds until each return. Fewer than the broker allows; what nobody takes meanwhile is parked, and its saga sends it
again."""
CROWDED_LEAST = 0.1
"""Where many wait already, it is a fifth of that, and at least so much. At once it would come back at once: in a burst,
ten times before the replica that handles it has a place."""
NOTICED_FOR = 600.0
MOST_TYPES, LONGEST_TYPE = 20, 80
"""Types of which the log and the report speak, and characters of each: anybody may have sent them."""


class PassingOn:
    """What a participant passes on, and what it has noticed by that."""

    def __init__(self, service: str, room: int, clock: Callable[[], float]) -> None:
        """`room` is how many may wait here for long: they hold the places of commands that are ours."""
        self._service, self._room, self._clock = service, room, clock
        self._waiting = 0
        self._seen: dict[str, float] = {}

    def take(self, delivery: Delivery, kind: str) -> bool:
        """Give a command of this type back; False once that has been done often enough."""
        self._note(kind)
        if delivery.returns >= len(RETURN_AFTER):
            return False
        after = RETURN_AFTER[delivery.returns]
        if self._waiting >= self._room:
            after = max(CROWDED_LEAST, after / 5)
        self._waiting += 1
        asyncio.get_running_loop().call_later(after, self._leave)
        delivery.pass_on(after)
        return True

    def _leave(self) -> None:
        self._waiting -= 1

    def _note(self, kind: str) -> None:
        kind = kind[:LONGEST_TYPE]
        now = self._clock()
        self._seen = {one: at for one, at in self._seen.items() if at > now - NOTICED_FOR}
        if kind not in self._seen:
            if len(self._seen) >= MOST_TYPES:
                return
            log.warning("choros.command.for_another", type=kind, reason=self._sentence([kind]))
        self._seen[kind] = now

    @property
    def noticed(self) -> Sequence[str]:
        """What somebody should know of the last minutes."""
        recent = [kind for kind, at in self._seen.items() if at > self._clock() - NOTICED_FOR]
        return [self._sentence(recent)] if recent else []

    def _sentence(self, kinds: Sequence[str]) -> str:
        return (
            f"Service {self._service!r} is sent {', '.join(sorted(kinds))}, which this replica does not handle: another"
            " release of it runs beside this one, or two services have this name."
        )
