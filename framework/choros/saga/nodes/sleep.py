"""A node that waits: for a time, or until a moment, of milliseconds or of months."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypeGuard

from choros.errors import DeclarationError
from choros.saga.builders import pure_function
from choros.saga.checks import is_function, shown
from choros.saga.machine.instance import States
from choros.saga.machine.turn import BuildFailed, Node, Turn
from choros.saga.outline import Declared
from choros.saga.parameters import NodePlace, PureFunction
from choros.saga.paths import in_item
from choros.saga.policy import LONGEST, check_duration
from choros.saga.waiting import Sleeping

_AWARE = "write one with its time zone: datetime(2030, 1, 1, tzinfo=UTC), for example."


@dataclass(frozen=True, slots=True)
class Sleep(Declared):
    """A wait for so long: a timedelta, or a function that gives one, of the messages known there.

    The moment at which it ends is decided when the saga comes to it, and kept: across restarts, and whatever becomes of
    the declaration. It never ends early. A sleep goes on while the saga is paused, and where it has ended by the time
    that is resumed, the saga goes on at once. There is nothing to undo.
    """

    duration: timedelta | Callable[..., timedelta]
    name: str = field(default="", kw_only=True)
    """The name of the function, if not given, or "sleep"."""

    @property
    def commands(self) -> bool:
        """It waits for nobody."""
        return False

    @staticmethod
    def until(time: datetime | Callable[..., datetime], *, name: str = "") -> Until:
        """A wait until a moment of some time zone, or a function that gives one; over at once where that is past."""
        return Until(time, name=name)

    @property
    def called(self) -> str:
        """As its function is, if it has one."""
        return _called(self.duration)

    def check(self, saga: str) -> None:
        """Whether that is a time to wait."""
        if not callable(self.duration):
            where = f"saga {saga!r}: {self.name or self.called}"
            check_duration(where, "duration", self.duration, least=timedelta(microseconds=1))

    def planned(self, place: NodePlace) -> SleepNode:
        """Its function may ask for what every other may ask for there."""
        return _planned(place, self.duration, timedelta, f"write Sleep.until({shown(self.duration)}) for a moment.")


@dataclass(frozen=True, slots=True)
class Until(Declared):
    """What `Sleep.until` gives."""

    time: datetime | Callable[..., datetime]
    name: str = field(default="", kw_only=True)

    @property
    def commands(self) -> bool:
        """It waits for nobody."""
        return False

    @property
    def called(self) -> str:
        """As its function is, if it has one."""
        return _called(self.time)

    def check(self, saga: str) -> None:
        """Whether that is a moment."""
        if not callable(self.time) and not _is_moment(self.time):
            where = f"saga {saga!r}: {self.name or self.called}"
            raise DeclarationError(f"{where} sleeps until {shown(self.time)}, which is no moment.", _AWARE)

    def planned(self, place: NodePlace) -> SleepNode:
        """Its function may ask for what every other may ask for there."""
        return _planned(place, self.time, datetime, f"write Sleep({shown(self.time)}) for a duration.")


def _is_moment(value: object) -> TypeGuard[datetime]:
    """Whether it is the same one everywhere."""
    return isinstance(value, datetime) and value.utcoffset() is not None


def _called(wait: object) -> str:
    return wait.__name__ if is_function(wait) else "sleep"


def _planned(place: NodePlace, wait: Any, kind: type, hint: str) -> SleepNode:
    asked = pure_function(wait, place.known, kind, hint) if callable(wait) else wait
    return SleepNode(path=place.path, kind="sleep", changes=False, wait=asked, until=kind is datetime)


@dataclass(frozen=True, slots=True)
class SleepNode(Sleeping, Node):
    """The node, and the ways through it."""

    def within(self, item: str) -> Self:
        """Its functions are asked for what is known in that item."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Fall asleep, once, until the moment that is kept from then on."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "pending":
            until = self._moment(turn)
            turn.change_node(self.path, progress="asleep", until=until)
            turn.note("asleep", self.path, seconds=max(0.0, until - turn.now))
        turn.wake(self.path)
        return turn.state(self.path).progress == "ok"

    def backward(self, turn: Turn) -> bool:
        """Nothing of it is left to undo."""
        return True

    def turned(self, turn: Turn) -> None:
        """Nobody waits for its end any more."""
        Node.turned(self, turn)
        if turn.state(self.path).progress == "asleep":
            turn.change_node(self.path, progress="pending", until=None)

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        return None if backward or states.of(self.path).progress == "ok" else self.path

    def _moment(self, turn: Turn) -> float:
        """When it ends; raises BuildFailed."""
        wait = turn.ask(self.wait, self.path) if isinstance(self.wait, PureFunction) else self.wait
        try:
            moment = self._seconds(wait, turn.now)
        except Exception as error:  # a time zone is somebody's code
            raise BuildFailed(
                f"{self.path} cannot sleep: {shown(wait)} raised {type(error).__name__}", self.path
            ) from error
        if moment is None:
            wanted = "a moment with a time zone" if self.until else "a time to wait"
            raise BuildFailed(f"{self.path} cannot sleep: {shown(wait)} is not {wanted}", self.path)
        if moment - turn.now > LONGEST.total_seconds():
            raise BuildFailed(f"{self.path} cannot sleep: {shown(wait)} is longer than a hundred years", self.path)
        return moment

    def _seconds(self, wait: object, now: float) -> float | None:
        if self.until:
            return wait.timestamp() if _is_moment(wait) else None
        return now + wait.total_seconds() if isinstance(wait, timedelta) and wait >= timedelta(0) else None
