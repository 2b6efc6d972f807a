"""How a transport is: connected, blocked or away, since when and why; every change is logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from choros.sources import now

State = Literal["connected", "blocked", "away"]
"""connected: at work; blocked: there, but it takes nothing that we publish (memory or disk alarm); away: no answer."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """How something outside this process is, as far as this process knows."""

    state: State
    since: float
    """Seconds since the epoch, by this machine's clock."""
    detail: str = ""
    """Why, in a few words; never an address or a message."""


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
        before, self.now = self.now, Health(state, self._clock(), detail)
        if state == "connected":
            if self._begun:  # the first connection is no news
                seconds = round(self.now.since - before.since, 1)
                _log.warning(f"choros.{self._subject}.back", connection=self._name, seconds=seconds)
            self._begun = True
        else:
            _log.error(f"choros.{self._subject}.{state}", connection=self._name, why=detail)

    def end(self) -> None:
        """It was closed on purpose."""
        self._begun = False
        self.now = Health("away", self._clock(), "closed")
