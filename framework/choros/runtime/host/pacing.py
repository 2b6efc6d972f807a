"""What did not leave: when it is tried again, and what the log says of it meanwhile.

A destination that takes nothing is asked by one message at a time, less and less often; once it has taken one, all the
others follow. That no queue takes it is the destination's fault alone; anything else may be the message's own, so that
message waits by itself as well: it is neither tried at every turn where the others leave, nor holds them up.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from choros.sources import uniform
from choros.telemetry.logs import get_logger
from choros.transport.port import Published

log = get_logger("choros.relay")

FIRST_SECONDS = 1.0
MOST_SECONDS = {Published.RETURNED: 30.0, Published.NACKED: 30.0, Published.UNKNOWN: 5.0}
"""The longest wait. Silence mostly ends with the broker's return, for which all are waiting."""
TELL_EVERY, TELL_AT_LEAST = 10.0, 600.0
"""Seconds between two lines of the log about the same destination, at first and at last."""
Clock = Callable[[], float]


def monotonic() -> float:
    """Seconds by the event loop, which no wall clock can turn back."""
    return asyncio.get_running_loop().time()


class _Pause:
    """A wait that grows with every failure after it."""

    def __init__(self) -> None:
        self._ceiling = FIRST_SECONDS / 2
        self.until = 0.0

    def extend(self, now: float, most: float) -> None:
        if now >= self.until:  # else it is another failure of the same try
            self._ceiling = min(most, self._ceiling * 2)
            self.until = now + uniform(self._ceiling / 2, self._ceiling)


class BackingOff:
    """The messages that have not left, by id, and their destinations."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._destination: dict[str, str] = {}
        self._pauses: dict[str, _Pause] = {}
        """Of destinations."""
        self._refused: dict[str, _Pause] = {}
        """Of messages."""

    def __len__(self) -> int:
        return len(self._destination)

    def failed(self, message: str, destination: str, why: Published) -> None:
        """It did not leave."""
        now = self._clock()
        self._destination[message] = destination
        self._pauses.setdefault(destination, _Pause()).extend(now, MOST_SECONDS[why])
        if why is not Published.RETURNED:
            self._refused.setdefault(message, _Pause()).extend(now, MOST_SECONDS[why])

    def left(self, message: str, destination: str) -> None:
        """It has left, so the destination takes messages."""
        self._pauses.pop(destination, None)
        self._forget(message)

    def holds_for(self, destination: str) -> bool:
        """Whether anything for it has not left."""
        return destination in self._destination.values()

    def keep(self, messages: Collection[str]) -> None:
        """Forget all but these: others have sent them, or nobody wants them any more."""
        for message in self._destination.keys() - set(messages):
            self._forget(message)

    def due(self, messages: Iterable[str]) -> set[str]:
        """Those that may be tried now: of a destination that took nothing last time only one, any, so that none that
        is itself at fault keeps the others waiting."""
        now = self._clock()
        may, asking = set(), dict[str, list[str]]()
        for message in messages:
            destination = self._destination.get(message)
            pause = None if destination is None else self._pauses.get(destination)
            if message in self._refused and now < self._refused[message].until:
                continue
            if pause is None:
                may.add(message)
            elif now >= pause.until:
                asking.setdefault(str(destination), []).append(message)
        return may | {waiting[int(uniform(0, len(waiting) - 0.5))] for waiting in asking.values()}

    def _forget(self, message: str) -> None:
        self._destination.pop(message, None)
        self._refused.pop(message, None)


@dataclass(slots=True)
class _Told:
    since: float
    until: float
    """When it may be said again."""
    pause: float = TELL_EVERY


class Complaints:
    """Lines of the log, of which many alike become one with their number: said at once, then less and less often, and
    once more when it is over."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._noted: dict[tuple[str, str, str], tuple[int, dict[str, Any]]] = {}
        """How many, and what is said of the last."""
        self._told: dict[tuple[str, str, str], _Told] = {}

    def note(self, event: str, destination: str, outcome: Published, **last: Any) -> None:
        """One more; what is said of the last one goes into the line."""
        kind = event, destination, outcome.value
        self._noted[kind] = self._noted.get(kind, (0, {}))[0] + 1, last

    def tell(self, *, all_of_them: bool = False) -> None:
        """Say what is new, about each destination once in a while."""
        now = self._clock()
        self._told = {kind: told for kind, told in self._told.items() if kind in self._noted or now < told.until}
        for kind in list(self._noted):
            told = self._told.get(kind)
            if all_of_them or told is None or now >= told.until:
                (event, destination, outcome), (count, last) = kind, self._noted.pop(kind)
                log.warning(event, to=destination, outcome=outcome, count=count, **last)
                pause = min(TELL_AT_LEAST, 2 * told.pause) if told else TELL_EVERY
                self._told[kind] = _Told(told.since if told else now, now + pause, pause)

    def complains_of(self, destination: str) -> bool:
        """Whether it was said that something does not leave for it."""
        return any(kind[1] == destination for kind in self._told)

    def over(self, destination: str) -> None:
        """All that did not leave for it has left."""
        ended = [kind for kind in self._told if kind[1] == destination]
        since = min((self._told.pop(kind).since for kind in ended), default=self._clock())
        for kind in ended:
            self._noted.pop(kind, None)
        log.info("choros.publish.leaves_again", to=destination, seconds=round(self._clock() - since, 1))
