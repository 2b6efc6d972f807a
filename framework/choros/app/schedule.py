"""A schedule: a saga that is started by the clock, each time once, however many orchestrators run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Literal, Protocol, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from choros.app.calendar import EPOCH, SECOND, Calendar, Interval, cron
from choros.callables import hints_of
from choros.errors import DeclarationError, UsageError, with_article
from choros.messages import Message
from choros.names import is_name
from choros.saga.checks import is_function, shown

WhenMissed = Literal["skip", "once", "all"]
JUST_BEFORE = timedelta(microseconds=1)
_LATE: dict[str, timedelta | None] = {"skip": timedelta(minutes=5), "once": None, "all": timedelta(days=1)}


class StartedSaga(Protocol):
    """What a schedule has to know of a `Saga`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> int:
        """The version of its declaration."""

    @property
    def start(self) -> type[Message]:
        """The type of the message that it starts with."""


class Schedule:
    """Starts a saga at the times of `cron` (five fields, on the clocks of `tz`), or `every` so often (counted from
    `anchor`, 1970 in UTC unless given). Raises DeclarationError.

    `start` makes the start message of the time that was meant, given in the zone `tz`, however late it is by then. It
    is a pure function: it may be asked again for the same time.

    What comes of times at which nobody was at work, or which came in a pause, says `missed`: 'once' starts the saga for
    the last of them alone, 'all' for each, 'skip' for none. None is started that is more than `late` behind; unless
    given, that is 5 minutes with 'skip', a day with 'all', and for ever with 'once'."""

    def __init__(
        self,
        name: str,
        saga: StartedSaga,
        *,
        start: Callable[[datetime], Message],
        cron: str | None = None,
        every: timedelta | None = None,
        anchor: datetime = EPOCH,
        tz: str = "UTC",
        missed: WhenMissed = "once",
        late: timedelta | None = None,
    ) -> None:
        if not is_name(name):
            raise DeclarationError(
                f"{shown(name)} is no name for a schedule.", "use lower-case words joined by '-' or '_'."
            )
        where = f"schedule {name!r}"
        self.name: str = name
        self.saga: StartedSaga = saga
        self.start: Callable[[datetime], Message] = start
        self.zone: ZoneInfo = _zone(where, tz)
        self.calendar: Calendar = _calendar(where, cron, every, anchor, self.zone)
        self.missed: WhenMissed = _missed(where, missed)
        self.late: timedelta | None = _late(where, late) or _LATE[missed]
        """How far behind its time a tick may still be started; None for however far."""
        _check_start(where, saga, start)

    @property
    def fingerprint(self) -> str:
        """Of its times: whoever has others must not move its record."""
        return hashlib.sha256(self.calendar.text.encode()).hexdigest()[:16]

    def message(self, moment: datetime) -> Message:
        """The start message of this time; raises UsageError where `start` does not make one."""
        try:
            made = self.start(moment.astimezone(self.zone))
        except Exception as error:
            what = f"start of schedule {self.name!r} failed at {moment.astimezone(self.zone).isoformat()}"
            raise UsageError(
                f"{what}: {type(error).__name__}.", "a function that has an answer for every time."
            ) from error
        if type(made) is not self.saga.start:
            expected = self.saga.start.__name__
            raise UsageError(
                f"start of schedule {self.name!r} made {shown(made)}, not {with_article(self.saga.start)}.", expected
            )
        return made

    def due(self, following: datetime, now: datetime, most: int = 50) -> Sequence[datetime]:
        """The times, in UTC, for which the saga is started at this moment, where `following` is the first that nothing
        was started for yet; what comes of those that were missed is declared."""
        last = max(self.calendar.latest(now), following)
        oldest = EPOCH if self.late is None else now - self.late
        if following > now:
            return ()
        if self.missed != "all":
            return (last,) if last >= oldest else ()
        begin = max(following, oldest) - JUST_BEFORE
        return list(islice(takewhile(lambda at: at <= last, self.times(begin)), most))

    def times(self, after: datetime) -> Iterator[datetime]:
        """Its times later than this moment, without end, in UTC."""
        while True:
            after = self.calendar.after(after)
            yield after


def _zone(where: str, tz: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(tz))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "a name such as 'Europe/Berlin'; where none is known, pip install tzdata."
        raise DeclarationError(f"{where}: tz={shown(tz)} is no time zone.", hint) from None


def _calendar(where: str, fields: str | None, every: object, anchor: object, zone: ZoneInfo) -> Calendar:
    if (fields is None) == (every is None):
        raise DeclarationError(f"{where} needs cron= or every=, and not both.", "every=timedelta(hours=6).")
    if fields is not None:
        try:
            return cron(fields, zone)
        except DeclarationError as error:
            raise DeclarationError(f"{where}: {error.sentence}", error.hint) from None
    if not isinstance(every, timedelta) or every < SECOND or every % SECOND:
        raise DeclarationError(f"{where}: every={shown(every)} is not whole seconds.", "timedelta(hours=6).")
    if not isinstance(anchor, datetime) or anchor.tzinfo is None or anchor.microsecond:
        hint = "datetime(2026, 1, 1, tzinfo=UTC)."
        raise DeclarationError(f"{where}: anchor={shown(anchor)} is no whole second with a zone.", hint)
    return Interval(every, anchor.astimezone(UTC))


def _missed(where: str, missed: object) -> WhenMissed:
    if missed not in get_args(WhenMissed):
        raise DeclarationError(f"{where}: missed={shown(missed)} is none of them.", "'skip', 'once' or 'all'.")
    return cast(WhenMissed, missed)


def _late(where: str, late: object) -> timedelta | None:
    if late is None or (isinstance(late, timedelta) and late >= SECOND):
        return late
    raise DeclarationError(f"{where}: late={shown(late)} is no time of a second or more.", "timedelta(hours=12).")


def _check_start(where: str, saga: StartedSaga, start: object) -> None:
    """What can be known of it before it is asked."""
    if not hasattr(saga, "start"):
        raise DeclarationError(f"{where} starts {shown(saga)}, which is no Saga.", "what Saga(...) made.")
    wanted = saga.start.__name__
    hint = f"def {getattr(start, '__name__', 'start')}(moment: datetime) -> {wanted}"
    if not is_function(start):
        raise DeclarationError(f"{where}: start={shown(start)} is no function.", hint)
    made = hints_of(start, f"{where}: {start.__name__}").get("return")
    taken = inspect.signature(start).parameters
    if made is not saga.start or len(taken) != 1 or inspect.iscoroutinefunction(start):
        raise DeclarationError(
            f"{where}: {start.__name__} does not make {with_article(saga.start)} of one moment.", hint
        )
