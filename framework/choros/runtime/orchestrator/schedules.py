"""The schedules at work: what is due is started, and only then the record moves on, by compare-and-set.

A tick that is started twice, by two orchestrators or again after a crash, is one saga: its start key is its time. So
there is no moment at which one can be lost, and none at which there can be two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from choros.app.app import App
from choros.app.schedule import Schedule
from choros.errors import ChorosError, StartConflict, StoreMisconfigured, StoreUnreachable, UsageError
from choros.runtime.orchestrator.agenda import (
    MOST_TICKS,
    Agenda,
    Tick,
    begun,
    kind_of,
    moment,
    moved,
    read_agenda,
    taken_over,
)
from choros.runtime.orchestrator.start import Startable
from choros.runtime.orchestrator.ticks import due_ticks
from choros.runtime.orchestrator.work import Work, WorkDone
from choros.store.sagas import Committed, Record, Store
from choros.telemetry.logs import get_logger
from choros.values import replace
from choros.wire.attributes import rfc3339

log = get_logger("choros.orchestrator")

AskStart = Callable[[Work], Awaitable[WorkDone]]
"""Commits a start; that is `Decider.ask`."""
CLAIM_SECONDS = 5.0
"""What a crash costs a schedule that was claimed."""
LOOK_EVERY = 1.0
"""Seconds after which what people want is seen at the latest; what the clock says is known to the moment."""
NOT_BEFORE = 0.02
AT_ONCE = 16
"""Schedules that one look is handed at most."""


def opened(app: App, store: Store | None) -> Store:
    """The store of the schedules of this application; raises UsageError where none was given."""
    if store is None:
        raise UsageError(f"The schedules of application {app.name!r} have no store.", "schedules=: one of their scope.")
    return store


class Schedules:
    """Those of one application, on an open store of their own scope. Any number of these may run side by side."""

    def __init__(self, app: App, store: Store, ask: AskStart, look_every: float = LOOK_EVERY) -> None:
        self._app = app
        self._starts = Startable(app.scope, app.sagas)
        self.store = store
        self._ask = ask
        self._look_every = look_every
        self._kinds = [kind_of(schedule) for schedule in app.schedules.values()]
        self.troubles: dict[str, str] = {}
        """By schedule, why nothing of it can be started."""

    @property
    def noticed(self) -> Sequence[str]:
        """A sentence for each that stands still."""
        return [f"Schedule {name} starts nothing: {why}" for name, why in sorted(self.troubles.items())]

    async def run(self) -> None:
        """Start what is due until cancelled. While the store is away nothing is; it comes round again."""
        established = False
        while True:
            wait = self._look_every
            with suppress(StoreUnreachable):  # whoever decides says so
                if not established:
                    await self.establish()
                    established = True
                wait = min(wait, max(NOT_BEFORE, await self.look()))
            await asyncio.sleep(wait)

    async def establish(self) -> None:
        """Create the records that are not there, and take over those whose times are declared otherwise here: of
        several declarations the one counts whose orchestrator began last."""
        for schedule in self._app.schedules.values():
            with suppress(StoreMisconfigured):  # said when it is due
                while await self._take(schedule) is Committed.CONFLICT:
                    pass  # somebody else did so, or started something, just now

    async def _take(self, schedule: Schedule) -> Committed:
        now, record = self.store.now(), await self._record(schedule.name)
        if record is None:
            transition = begun(schedule, self._app.name, now)
        elif record.unreadable or record.fingerprint == schedule.fingerprint:
            return Committed.OK
        else:
            transition = taken_over(schedule, record, now)
        return (await self.store.commit([transition]))[0]

    async def _record(self, name: str) -> Record | None:
        loaded = (await self.store.load([name])).get(name)
        return loaded.record if loaded else None

    async def look(self) -> float:
        """Start what is due; says in how many seconds there is more."""
        now = self.store.now()
        names = await self.store.due(now, self._kinds, AT_ONCE, claim_until=now + CLAIM_SECONDS)
        if names:
            results = await asyncio.gather(*map(self._tick, names), return_exceptions=True)
            for name, error in zip(names, results, strict=True):
                self._check(name, error)
            return 0.0
        following = await self.store.next_due(self._kinds)
        return float("inf") if following is None else following - now

    def _check(self, name: str, error: BaseException | None) -> None:
        """What one schedule meets must stop neither the others nor the sagas: it comes round again with its claim."""
        if error is None:
            return
        if isinstance(error, StoreUnreachable) or not isinstance(error, Exception):
            raise error
        self.troubles[name] = error.sentence if isinstance(error, ChorosError) else f"{type(error).__name__}."
        log.error("choros.schedule.failed", schedule=name, error=error)

    async def _tick(self, name: str) -> None:
        record, schedule = await self._record(name), self._app.schedules[name]
        if record is None or record.unreadable or record.fingerprint != schedule.fingerprint:
            log.error("choros.schedule.left_alone", schedule=name)  # until the claim runs out
            return
        now, agenda = self.store.now(), read_agenda(record)
        ticks, after = due_ticks(schedule, agenda, now)
        results = await asyncio.gather(*(self._start(schedule, tick) for tick in ticks), return_exceptions=True)
        if failed := next((one for one in results if isinstance(one, BaseException)), None):
            after = self._troubled(name, agenda, failed)
        else:
            started = [one for one in results if isinstance(one, Tick)]
            after = self._told(
                name, agenda, replace(after, ticks=(*agenda.ticks, *started)[-MOST_TICKS:], trouble="", tries=0)
            )
        await self.store.commit([moved(record, after, now)])  # on a conflict it is looked at again

    async def _start(self, schedule: Schedule, tick: Tick) -> Tick:
        """Once it is committed; if it had been before, that is as good."""
        message = schedule.message(moment(tick.at))
        work = self._starts.work(self._app.scheduled(schedule.name), message, tick.key)
        try:
            await self._ask(work)
        except StartConflict:  # `start` made another message of this time then
            log.warning("choros.schedule.started_before", schedule=schedule.name, key=tick.key, saga_id=work.saga_id)
        return replace(tick, saga_id=work.saga_id, started_at=self.store.now())

    def _troubled(self, name: str, agenda: Agenda, error: BaseException) -> Agenda:
        """Nothing is dropped for that: it is tried again, ever more seldom."""
        if isinstance(error, StoreUnreachable) or not isinstance(error, ChorosError):
            raise error
        self.troubles[name] = error.sentence
        tell = log.warning if agenda.trouble else log.error
        tell("choros.schedule.stands", schedule=name, reason=error.sentence)
        return replace(agenda, trouble=error.sentence, tries=agenda.tries + 1)

    def _told(self, name: str, before: Agenda, after: Agenda) -> Agenda:
        self.troubles.pop(name, None)
        if after.passed_over != before.passed_over and after.passed_over:
            first, last = map(rfc3339, after.passed_over)
            log.warning("choros.schedule.passed_over", schedule=name, first=first, last=last)
        return after
