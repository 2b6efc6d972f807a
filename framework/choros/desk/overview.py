"""What a person looks for among many sagas: where each is, why, and since when; found by all of that.

A store finds by saga, status and time. For the rest its records are read, the last started first, and no more than
`MOST_LOOKED`: a question must not cost what all that is stored costs. Who asks is told where the look ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import inf

from choros.desk.labelled import labelled
from choros.errors import MessageRejected
from choros.messages import Failure
from choros.runtime.orchestrator.labels import UNSETTLED
from choros.runtime.orchestrator.recognition import as_stored
from choros.runtime.orchestrator.stuck import Declarations
from choros.saga.difference import paths
from choros.saga.machine.instance import Instance
from choros.saga.machine.remains import left_in_doubt
from choros.saga.saga import Sagas
from choros.store.paging import Position
from choros.store.sagas import Record, Store

MOST_LOOKED = 10_000
"""Records that are read for one question."""
PAGE = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """One saga instance in a line."""

    record: Record
    step: str
    """The step that it is at; of one that was undone, the step that failed. Empty once it is completed."""
    reason: str
    """Why it waits for a person, is stuck, or is being undone."""
    paused: bool
    stuck: str
    """Why this application leaves it alone."""
    left_standing: tuple[str, ...] = ()
    """The steps whose undo it went on without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSagas:
    """Which instances are looked for; what is left out, any."""

    saga: str = ""
    status: str = ""
    step: str = ""
    reason: str = ""
    """A part of the reason, in upper or lower case."""
    version: int | None = None
    paused: bool = False
    unsettled: bool = False
    """Whether only those that have left something standing, or in doubt: found by that alone."""
    since: float = 0.0
    """Started at this moment or later."""
    before: float = inf
    """Started before this moment."""

    def fits(self, record: Record) -> bool:
        """Whether a record that was found by something else is one of those, as far as a store can see to that."""
        named = self.saga in ("", record.saga) and self.status in ("", record.status)
        return named and self.since <= record.started_at < self.before

    def takes(self, one: Summary) -> bool:
        """Whether it is one of those, as far as the store has not seen to that."""
        return (
            self.step in ("", one.step)
            and self.reason.casefold() in one.reason.casefold()
            and self.version in (None, one.record.saga_version)
            and (one.paused or not self.paused)
        )


@dataclass(slots=True)
class Overview:
    """What was found."""

    found: list[Summary] = field(default_factory=list)
    more: bool = False
    """Whether there are more than were asked for."""
    ended_at: float | None = None
    """When the last one that was looked at began, if the look ended there."""


async def overview(sagas: Sagas, store: Store, wanted: WantedSagas, limit: int, most: int = MOST_LOOKED) -> Overview:
    """Up to `limit` instances, the last started first; raises StoreUnreachable. Without `sagas` it says what the store
    alone knows."""
    seen, looked = Overview(), 0
    async for record, summary in _summaries(sagas, store, wanted, min(limit + 1, PAGE)):
        if looked == most:
            seen.ended_at = record.started_at
            return seen
        looked += 1
        if summary and wanted.takes(summary):
            if len(seen.found) == limit:
                seen.more = True
                return seen
            seen.found.append(summary)
    return seen


async def summary_of(sagas: Sagas, store: Store, record: Record) -> Summary:
    """One instance in a line; raises StoreUnreachable."""
    return await _summary(record, Declarations(sagas, store))


async def _summaries(
    sagas: Sagas, store: Store, wanted: WantedSagas, page_size: int
) -> AsyncIterator[tuple[Record, Summary | None]]:
    declarations = Declarations(sagas, store)
    if wanted.unsettled:
        async for record in labelled(store, UNSETTLED):
            yield record, await _summary(record, declarations) if wanted.fits(record) else None
        return
    # Looking from a moment on costs no more than looking from the newest on.
    cursor = "" if wanted.before == inf else Position(wanted.before, "").cursor
    while True:
        page = await store.find(saga=wanted.saga, status=wanted.status, limit=page_size, cursor=cursor)
        for record in page.records:
            if record.started_at < wanted.since and not record.unreadable:
                return
            yield record, await _summary(record, declarations)
        if not (cursor := page.cursor):
            return
        page_size = PAGE


async def _summary(record: Record, declarations: Declarations) -> Summary:
    instance = as_stored(record, declarations.sagas)
    stuck = await declarations.why_stuck(record) if declarations.sagas else ""
    failure = failure_of(instance)
    step = await _step(record, instance, declarations)
    if instance.status == "compensated" and failure:
        step = failure.step
    left = tuple(instance.standing)
    return Summary(record, step, _reason(record, instance, failure, stuck), instance.paused, stuck, left)


def _reason(record: Record, instance: Instance, failure: Failure | None, stuck: str) -> str:
    if record.unreadable:
        return f"cannot be read: {record.unreadable}"
    if stuck:
        return f"stuck: {stuck}"
    if instance.why_parked:
        return instance.why_parked
    if instance.terminating:
        doubtful = ", ".join(left_in_doubt(instance)) if instance.terminal else ""
        return f"terminated, in doubt: {doubtful}" if doubtful else "terminated" if instance.terminal else "terminating"
    if (left := instance.standing) and instance.terminal:
        return f"left standing: {', '.join(left)}{f'; {failure.code}' if failure else ''}"
    if failure:
        return failure.code + (f": {failure.detail}" if failure.detail else "")
    return f"{instance.wanted}, if the pivot is refused" if instance.wanted else ""


def failure_of(instance: Instance) -> Failure | None:
    """Why it is being undone, or was."""
    try:
        return Failure.from_json(instance.failure) if instance.failure else None
    except MessageRejected:
        return None


async def _step(record: Record, instance: Instance, declarations: Declarations) -> str:
    """The name of the step that the instance is at; its number where nothing says how it is called."""
    if instance.terminal:
        return ""
    saga = declarations.sagas.get((record.saga, record.saga_version))
    if saga and saga.fingerprint.hash == record.fingerprint:
        return saga.at_work(instance)
    at = next((path for path, state in instance.nodes.items() if state.leg or state.parked or state.until), "")
    if not at.startswith("step "):  # what an older choros stored goes by numbers
        return at
    names, number = paths(await declarations.text(record)), int(at.removeprefix("step "))
    return names[number - 1] if number <= len(names) else at
