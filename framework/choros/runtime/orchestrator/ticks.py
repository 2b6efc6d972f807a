"""Which ticks a schedule owes at a moment, and what is left of its agenda once they are started. Pure."""

from __future__ import annotations

from itertools import islice, takewhile

from choros.app.schedule import Schedule
from choros.runtime.orchestrator.agenda import Agenda, Tick, key_of, moment
from choros.values import replace

AT_ONCE = 50
"""Sagas that one look starts at most."""
JUST_BEFORE = 1e-6


def due_ticks(schedule: Schedule, agenda: Agenda, now: float) -> tuple[list[Tick], Agenda]:
    """What is to be started now, and the agenda once it is: what people want first, then what the clock says."""
    ticks = list(agenda.wanted[:AT_ONCE])
    agenda = replace(agenda, wanted=agenda.wanted[AT_ONCE:])
    while agenda.backfills and len(ticks) < AT_ONCE:
        agenda = _fill(schedule, agenda, ticks)
    if not agenda.paused and agenda.following <= now and len(ticks) < AT_ONCE:
        agenda = _strike(schedule, agenda, now, ticks)
    return ticks, agenda


def _fill(schedule: Schedule, agenda: Agenda, ticks: list[Tick]) -> Agenda:
    """The next ones of the first span."""
    (first, *rest), room = agenda.backfills, AT_ONCE - len(ticks)
    found = times(schedule, first.after, first.until, room)
    ticks += [Tick(at, key_of(schedule.name, at), "backfill") for at in found]
    left = [replace(first, after=found[-1])] if len(found) == room else []
    return replace(agenda, backfills=(*left, *rest))


def _strike(schedule: Schedule, agenda: Agenda, now: float, ticks: list[Tick]) -> Agenda:
    """What the clock says, by what is declared for times that were missed."""
    due = schedule.due(moment(agenda.following), moment(now), AT_ONCE - len(ticks))
    found = [at.timestamp() for at in due]
    ticks += [Tick(at, key_of(schedule.name, at)) for at in found]
    reached = max(found[-1] if found else schedule.calendar.latest(moment(now)).timestamp(), agenda.following)
    following = schedule.calendar.after(moment(reached)).timestamp()
    agenda = _note_gap(schedule, agenda, found[0] if found else following)
    return replace(agenda, following=following, reached=reached)


def _note_gap(schedule: Schedule, agenda: Agenda, before: float) -> Agenda:
    """From the time that was next up to this one, for which nothing is started."""
    if agenda.following >= before:
        return agenda
    last = schedule.calendar.latest(moment(before - 1)).timestamp()
    return replace(agenda, passed_over=(agenda.following, last))


def times(schedule: Schedule, after: float, until: float, most: int) -> list[float]:
    """Up to so many times of this schedule, later than the first moment and not later than the other."""
    coming = takewhile(lambda at: at.timestamp() <= until, schedule.times(moment(after)))
    return [at.timestamp() for at in islice(coming, most)]
