"""When a schedule ticks: by the clock on the wall (`Cron`), or every so often (`Interval`). Pure: no clock is read.

Moments come in and go out in UTC, to the second, so that a change of clocks moves nothing but what the wall shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from choros.errors import DeclarationError, UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
_HINT = "cron='0 2 * * *': minute, hour, day of the month, month, day of the week."


class Calendar(Protocol):
    """The times of a schedule, which has no first and no last one."""

    @property
    def text(self) -> str:
        """What stands for it: two of the same text have the same times."""

    def after(self, moment: datetime) -> datetime:
        """The first time later than this moment."""

    def latest(self, moment: datetime) -> datetime:
        """The last time that is not later than this moment."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so often, counted from an anchor: real time, so a change of clocks does not move it."""

    every: timedelta
    anchor: datetime = EPOCH

    @property
    def text(self) -> str:
        """As it is shown."""
        since = "" if self.anchor == EPOCH else f" from {self.anchor.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return f"every {self.every}{since}"

    def after(self, moment: datetime) -> datetime:
        """The first time later than this moment."""
        return self.latest(moment) + self.every

    def latest(self, moment: datetime) -> datetime:
        """The last time that is not later than this moment."""
        anchor = self.anchor.astimezone(UTC)
        return anchor + (moment.astimezone(UTC) - anchor) // self.every * self.every


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields of cron, on the clocks of a zone.

    Clocks that are put forward leave out times, clocks that are put back show them twice. As in Debian's cron, a time
    that is given (`30 2 * * *`) is reached once all the same: one that is left out when the clocks have been put
    forward, one that comes twice at the first. What goes on all the time (minute or hour begin with `*`) follows the
    clock: `30 * * * *` is every real hour."""

    fields: str
    zone: ZoneInfo

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"{self.fields} {self.zone.key}"

    def after(self, moment: datetime) -> datetime:
        """The first time later than this moment."""
        return self._next(moment, reverse=False)

    def latest(self, moment: datetime) -> datetime:
        """The last time that is not later than this moment."""
        found = self._next(moment + SECOND, reverse=True)
        while (later := self.after(found)) <= moment:  # looking back, a time that comes twice may be missed
            found = later
        return found

    def _next(self, moment: datetime, *, reverse: bool) -> datetime:
        from cronsim import CronSim

        whole = moment.astimezone(self.zone).replace(microsecond=0)
        for local in CronSim(self.fields, whole, reverse=reverse):
            found = local.astimezone(UTC)
            if found < moment if reverse else found > moment:
                return found
        raise UsageError(f"cron={self.fields!r} has no time near {moment:%Y-%m-%d}.", _HINT)


def cron(fields: object, zone: ZoneInfo) -> Cron:
    """The calendar of these fields; raises DeclarationError where they mean nothing, or never come."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise DeclarationError("cron= needs a package that is not there.", "pip install 'choros[schedules]'.") from None
    if not isinstance(fields, str) or len(fields.split()) != 5:
        raise DeclarationError(f"cron={fields!r} is not five fields.", _HINT)
    text = " ".join(fields.split())
    try:
        next(CronSim(text, EPOCH), None)
    except CronSimError as error:
        raise DeclarationError(f"cron={fields!r} cannot be read: {error}.", _HINT) from None
    if next(CronSim(text, EPOCH), None) is None:
        raise DeclarationError(f"cron={fields!r} never comes.", _HINT)
    return Cron(text, zone)
