"""Keeping record of how a transport is: every change is logged."""

from collections.abc import Callable
from dataclasses import replace

from choros.sources import now
from choros.telemetry.logs import get_logger
from choros.transport.port import Health, State

_log = get_logger(__name__)


class HealthRecord:
    """Keeps the health of one broker or store, and says so in the log when it changes.

    As `choros.broker.away`, `choros.broker.blocked`, `choros.broker.back`; of another subject likewise."""

    def __init__(self, name: str, clock: Callable[[], float] = now, *, subject: str = "broker") -> None:
        self._name = name
        self._subject = subject
        self._clock = clock
        self._begun = False
        self.now = Health("away", clock(), "not connected yet")
        """As of the last change."""

    def note(self, state: State, detail: str = "") -> None:
        """This is how it is."""
        if state == self.now.state:
            return
        before, self.now = self.now, Health(state, self._clock(), detail, self.now.unconfirmed)
        if state == "connected":
            if self._begun:  # the first connection is no news
                seconds = round(self.now.since - before.since, 1)
                _log.warning(f"choros.{self._subject}.back", connection=self._name, seconds=seconds)
            self._begun = True
        else:
            _log.error(f"choros.{self._subject}.{state}", connection=self._name, why=detail)

    def note_destination(self, destination: str, confirms: bool) -> None:
        """This destination has stopped to confirm, or does it again; said as `choros.destination.silent` and `back`."""
        others = tuple(other for other in self.now.unconfirmed if other != destination)
        self.now = replace(self.now, unconfirmed=others if confirms else (*others, destination))
        if confirms:
            _log.warning("choros.destination.back", connection=self._name, destination=destination)
        else:
            _log.error("choros.destination.silent", connection=self._name, destination=destination)

    def end(self) -> None:
        """It was closed on purpose."""
        self._begun = False
        self.now = Health("away", self._clock(), "closed")
