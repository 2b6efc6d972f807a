"""What a person does with schedules: look, pause, resume, start now, start what was before; each act kept, signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from choros.app.app import App
from choros.app.schedule import Schedule
from choros.errors import StoreMisconfigured, UsageError, unknown
from choros.runtime.orchestrator.agenda import (
    Agenda,
    Backfill,
    Tick,
    begun,
    moment,
    moved,
    read_agenda,
)
from choros.runtime.orchestrator.signature import Signature
from choros.runtime.orchestrator.start import Startable
from choros.runtime.orchestrator.ticks import JUST_BEFORE, times
from choros.sources import fresh_id
from choros.store.sagas import Committed, HistoryRow, Record, Store
from choros.values import replace

MOST_BACKFILLED = 10_000
"""Times of one backfill."""
_LONGEST_ID = 60


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What there is to know of a schedule."""

    name: str
    schedule: Schedule | None
    """None where the application declares it no more: nothing of it is started."""
    agenda: Agenda | None
    """None where no orchestrator has begun with it yet."""
    declared_otherwise: bool = False
    """Whether an orchestrator that began later than this declaration was written moves it by other times."""

    def coming(self, count: int, now: float) -> Sequence[datetime]:
        """The next times of the clock, in the schedule's zone; none where it is paused or not declared."""
        if self.schedule is None or (self.agenda and self.agenda.paused):
            return ()
        after = max(now, self.agenda.reached if self.agenda else now)
        if self.agenda and self.agenda.following <= now:  # it is due, and nobody has started it yet
            after = self.agenda.following - JUST_BEFORE
        return [at.astimezone(self.schedule.zone) for at in islice(self.schedule.times(moment(after)), count)]


class ScheduleActs:
    """Those of one application, on an open store of their scope. An act is there once it is answered; what it wants
    started, an orchestrator starts. Every method may raise StoreUnreachable."""

    def __init__(self, app: App, store: Store, signature: Signature) -> None:
        self._app = app
        self._starts = Startable(app.scope, app.sagas)
        self._store = store
        self._signature = signature

    async def list(self) -> Sequence[Scheduled]:
        """All that are declared or stored, by name."""
        records: list[Record] = []
        cursor = ""
        while True:
            page = await self._store.find(limit=200, cursor=cursor)
            records += page.records
            if not (cursor := page.cursor):
                break
        known = {record.saga_id: record for record in records}
        return [self._scheduled(name, known.get(name)) for name in sorted({*known, *self._app.schedules})]

    def _scheduled(self, name: str, record: Record | None) -> Scheduled:
        schedule = self._app.schedules.get(name)
        otherwise = bool(record and schedule and record.fingerprint != schedule.fingerprint)
        return Scheduled(name, schedule, read_agenda(record) if record else None, otherwise)

    async def show(self, name: str) -> Scheduled:
        """One of them; raises UsageError where there is none of this name."""
        record = await self._record(name)
        if record is None:
            self._declared(name)
        return self._scheduled(name, record)

    async def history(self, name: str) -> Sequence[HistoryRow]:
        """What people did with it, and since when it is declared so; oldest first."""
        return await self._store.history(name)

    async def pause(self, name: str) -> str:
        """Start nothing more by the clock. Answers 'paused', or 'too_late' where it was so already."""
        return await self._pause(name, True)

    async def resume(self, name: str) -> str:
        """Go on by the clock; what comes of the times in between, the declaration says. Answers 'resumed', or
        'too_late' where it was not paused."""
        return await self._pause(name, False)

    async def _pause(self, name: str, paused: bool) -> str:
        word = "paused" if paused else "resumed"

        def act(agenda: Agenda) -> Agenda | None:
            return None if agenda.paused == paused else replace(agenda, paused=paused)

        return word if await self._act(name, word, fresh_id(), act) else "too_late"

    async def trigger(self, name: str, *, id: str = "") -> str:
        """Start the saga now, also in a pause, and give back its id. `start` is asked for this moment. Asked again
        under the same `id`, it is the same saga. Raises UsageError where `start` makes no message."""
        schedule, id = self._declared(name), id or fresh_id()
        if not (id.isprintable() and len(id) <= _LONGEST_ID):
            raise UsageError("id is no text of up to 60 printable characters.", "leave it out.")
        at = float(int(self._store.now()))
        tick = Tick(at, f"{name}:trigger:{id}", "trigger")
        self._starts.work(self._app.scheduled(name), schedule.message(moment(at)), tick.key)
        await self._act(name, "triggered", id, lambda agenda: replace(agenda, wanted=(*agenda.wanted, tick)))
        return self._starts.id_of(schedule.saga.name, tick.key)

    async def backfill(self, name: str, since: datetime, until: datetime) -> int:
        """Start the saga for each time from `since` to `until`, both included, that it was not started for yet; says
        how many times these are. Raises UsageError where they are none or too many, or `start` makes no message of one.
        """
        schedule = self._declared(name)
        if since.tzinfo is None or until.tzinfo is None:
            raise UsageError("since and until need a zone.", "datetime(2026, 11, 1, tzinfo=UTC).")
        span = Backfill(since.timestamp() - JUST_BEFORE, until.timestamp())
        found = times(schedule, span.after, span.until, MOST_BACKFILLED + 1)
        if not 0 < len(found) <= MOST_BACKFILLED:
            many = f"more than {MOST_BACKFILLED}" if found else "none"
            raise UsageError(f"Of the times of schedule {name!r} there are {many} in that span.", "another span.")
        for at in found:
            self._starts.work(self._app.scheduled(name), schedule.message(moment(at)), name)
        await self._act(
            name, "backfilled", fresh_id(), lambda agenda: replace(agenda, backfills=(*agenda.backfills, span))
        )
        return len(found)

    # --- in the store ---

    def _declared(self, name: str) -> Schedule:
        if name not in self._app.schedules:
            sentence = f"There is no schedule {name!r} in this application."
            raise UsageError(*unknown(sentence, name, sorted(self._app.schedules)))
        return self._app.schedules[name]

    async def _record(self, name: str) -> Record | None:
        loaded = (await self._store.load([name])).get(name)
        return loaded.record if loaded else None

    async def _act(self, name: str, word: str, id: str, act: Callable[[Agenda], Agenda | None]) -> bool:
        """Do it once, and keep it in the history; whether it changed anything."""
        schedule = self._declared(name)
        while True:
            now, record = self._store.now(), await self._record(name)
            if record is None:
                await self._store.commit([begun(schedule, self._app.name, now)])
                continue
            after = None if id in record.received else act(read_agenda(record))
            if after is None:
                return False
            after = replace(after, trouble="", tries=0)  # a person may know that it will do now
            happened = {"kind": word, "cause": id}
            transition = moved(record, after, now, happened=happened, signature=self._signature)
            answer = (await self._store.commit([transition]))[0]
            if answer is Committed.REFUSED:
                raise StoreMisconfigured(f"The store cannot take what is wanted of schedule {name!r}.", "look at it.")
            if answer is Committed.OK:
                return True
