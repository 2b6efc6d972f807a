"""What is stored of a schedule: the time that comes next, what people want beside, and the ticks that there were.

It is the state of a record of its own, in the scope of schedules. Times are seconds since the epoch, all whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from choros.app.schedule import Schedule
from choros.errors import StoreMisconfigured
from choros.runtime.orchestrator.signature import UNSIGNED, Signature
from choros.sources import fresh_id
from choros.store.sagas import Kind, Record, Transition
from choros.values import replace

MOST_TICKS = 50
"""The last ones that are kept; the sagas stand for all."""
MOST_IDS = 100
"""Acts that are known when they are asked for again: the last ones."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, where a tick cannot be started."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One start of the saga."""

    at: float
    """The time that is meant, however late it is."""
    key: str
    """The start key."""
    why: str = "clock"
    """Or `trigger`, or `backfill`."""
    saga_id: str = ""
    started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is left of a span of time, each time of which a person wants started."""

    after: float
    """Its times are later than this."""
    until: float


@dataclass(frozen=True, slots=True)
class Agenda:
    """The state of one schedule."""

    following: float
    """The next time of the clock that is started, or that `missed` decides about."""
    reached: float
    """Up to when all times of the clock are dealt with."""
    declared: str
    """The times, in words: for who looks without the declaration."""
    paused: bool = False
    wanted: tuple[Tick, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    ticks: tuple[Tick, ...] = ()
    passed_over: tuple[float, float] | None = None
    """The first and the last time of those that nothing was started for, the last time that there were such."""
    trouble: str = ""
    """Why nothing can be started now."""
    tries: int = 0

    def wakes_at(self, now: float) -> float | None:
        """When there is something to do; None while only a person can say."""
        if self.tries:
            return now + min(2.0 ** min(self.tries, 10), LONGEST_PAUSE)
        if self.wanted or self.backfills:
            return now
        return None if self.paused else self.following

    def dumps(self) -> str:
        """As it is stored."""
        return to_json(self).decode()


@cache
def _reader() -> TypeAdapter[Agenda]:
    return TypeAdapter(Agenda)


def read_agenda(record: Record) -> Agenda:
    """The state of this schedule; raises StoreMisconfigured where somebody has made something else of it."""
    try:
        return _reader().validate_json(record.state)
    except ValidationError:
        sentence = f"The record of schedule {record.saga_id!r} cannot be read."
        raise StoreMisconfigured(sentence, "the choros that wrote it, or a backup.") from None


def moment(seconds: float) -> datetime:
    """As calendars take it."""
    return datetime.fromtimestamp(seconds, UTC)


def key_of(schedule: str, at: float) -> str:
    """The start key of a time: the same for whoever starts it, however often."""
    return f"{schedule}:{moment(at):%Y-%m-%dT%H:%M:%SZ}"


def kind_of(schedule: Schedule) -> Kind:
    """Whose orchestrators are handed its record: those that declare the same times."""
    return Kind(schedule.name, 1, schedule.fingerprint)


def begun(schedule: Schedule, application: str, now: float) -> Transition:
    """The record of a schedule that was never seen before: its first time is the next one from now."""
    following = schedule.calendar.after(moment(now)).timestamp()
    agenda = Agenda(following, now, schedule.calendar.text)
    blank = Record(
        saga_id=schedule.name, saga=schedule.name, saga_version=1, key=schedule.name, digest="",
        application=application, version=0, transition="", status="running", state="", started_at=now, updated_at=now,
        fingerprint=schedule.fingerprint,
    )  # fmt: skip
    return moved(blank, agenda, now, happened={"kind": "declared", "declaration": agenda.declared})


def taken_over(schedule: Schedule, record: Record, now: float) -> Transition:
    """The record of a schedule whose times are declared otherwise now. What had come under the old ones and was not
    dealt with is looked for in the new ones; else they count from now."""
    agenda = read_agenda(record)
    since = agenda.reached if agenda.following <= now else now
    following = schedule.calendar.after(moment(since)).timestamp()
    agenda = replace(agenda, following=following, declared=schedule.calendar.text, trouble="", tries=0)
    known = replace(record, fingerprint=schedule.fingerprint)
    return moved(known, agenda, now, happened={"kind": "declared", "declaration": agenda.declared})


def moved(
    record: Record,
    agenda: Agenda,
    now: float,
    *,
    happened: dict[str, str] | None = None,
    signature: Signature = UNSIGNED,
) -> Transition:
    """From the record to the next one; `happened` goes into its history, signed."""
    history = [happened | (signature.of(happened["kind"]) if signature else {})] if happened else []
    cause = (happened or {}).get("cause")
    following = replace(
        record, version=record.version + 1, transition=fresh_id(), state=agenda.dumps(), updated_at=now,
        wake_at=agenda.wakes_at(now), received=(*record.received, *([cause] if cause else []))[-MOST_IDS:],
    )  # fmt: skip
    return Transition(following, record.transition, history=to_json(history).decode() if history else "")
