"""Months of schedules with kills and jumping clocks; and mistakes that such months must find."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from choros.app.schedule import Schedule, WhenMissed
from choros.runtime.orchestrator import ticks
from choros.runtime.orchestrator.agenda import Tick, moved, read_agenda
from choros.runtime.orchestrator.schedules import Schedules
from choros.runtime.orchestrator.ticks import due_ticks
from choros.sources import fresh_id
from choros.values import replace
from tests.runtime.scheduling import campaigns

MONTHS = 270.0
"""Days, both changes of clocks among them."""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("missed", [pytest.param("all", marks=pytest.mark.nightly), "once"])
def test_each_time_is_started_once_and_none_is_lost(missed: WhenMissed) -> None:
    assert campaigns(range(8), MONTHS, missed=missed) == []


class MoveBeforeStart(Schedules):
    """The record says that it is done, and then it is done, unless the process has ended."""

    async def _tick(self, name: str) -> None:
        record, schedule = await self._record(name), self._app.schedules[name]
        assert record
        found, after = due_ticks(schedule, read_agenda(record), self.store.now())
        await self.store.commit([moved(record, after, self.store.now())])
        for tick in found:
            await self._start(schedule, tick)


class FreshKey(Schedules):
    """Each try is a saga of its own."""

    async def _start(self, schedule: Schedule, tick: Tick) -> Tick:
        return await super()._start(schedule, replace(tick, key=f"{tick.key}:{fresh_id()}"))


class OwnClock(Schedules):
    """The time of a tick is the moment at which somebody gets to it: two who do have two ticks."""

    async def _start(self, schedule: Schedule, tick: Tick) -> Tick:
        at = self.store.now()
        return await super()._start(schedule, replace(tick, at=at, key=f"{schedule.name}:{at}"))


@pytest.mark.nightly
@pytest.mark.parametrize("mistake", [MoveBeforeStart, FreshKey, OwnClock])
def test_a_mistake_is_found(mistake: type[Schedules]) -> None:
    assert campaigns(range(8), MONTHS, kind=mistake)


def test_a_time_that_only_the_clock_says_is_found_where_the_stored_one_is_passed_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is stored is what fires; who looks only at his clock loses what came while nobody was there."""
    right = ticks._strike

    def by_the_clock(schedule: Schedule, agenda: Any, now: float, found: list[Tick]) -> Any:
        last = schedule.calendar.latest(datetime.fromtimestamp(now).astimezone()).timestamp()
        return right(schedule, replace(agenda, following=last), now, found)

    monkeypatch.setattr(ticks, "_strike", by_the_clock)
    assert campaigns(range(8), MONTHS)
