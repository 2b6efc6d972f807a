"""Retention: how long sagas that have ended are kept, and the sweep that deletes them, a few at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from choros.errors import ChorosError, SagaNotFound, UsageError
from choros.runtime.host.retention import SWEEP_SECONDS
from choros.sources import now, uniform
from choros.store.sagas import Forgotten, Record, Store
from choros.telemetry.logs import get_logger
from choros.wire.attributes import rfc3339

log = get_logger("choros.orchestrator")

BATCH = 64
"""Sagas deleted in one go: the store is held for a few milliseconds."""
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages, counted from a saga's end; None is for ever. Raises UsageError.

    What has not ended, is parked, or has a message that has not left is kept whatever its age."""

    sagas: timedelta | None = timedelta(days=30)
    """Of records and their histories."""
    start_keys: timedelta | None = timedelta(days=365)
    """Of what answers for a start key once its saga is deleted. It must outlast all that can repeat the start, and what
    the services remember: afterwards the same start is a new saga under the same id."""

    def __post_init__(self) -> None:
        for age in (self.sagas, self.start_keys):
            if age is not None and age < timedelta(0):
                raise UsageError("Nothing can be kept for less than no time.", "None for ever, or timedelta(days=30).")
        if self.start_keys is not None and self.sagas is not None and self.start_keys < self.sagas:
            raise UsageError("Start keys must be kept at least as long as their sagas.", "None for ever.")

    @property
    def deletes(self) -> bool:
        """Whether it ever deletes anything."""
        return self.sagas is not None or self.start_keys is not None


def gone(record: Record) -> SagaNotFound:
    """The error for a saga whose record was deleted."""
    return SagaNotFound(
        f"Saga {record.saga_id} ended as {record.status} at {rfc3339(record.updated_at)}; since then it was deleted,"
        " and only its start key is known.",
        "a copy that choros saga export made before.",
    )


def warning(forgotten: float, since: float = 0.0) -> str:
    """What is to be said where somebody asks for the time from `since` on; empty where nothing of it was deleted."""
    if forgotten <= since:
        return ""
    return f"sagas that ended until {rfc3339(forgotten)} may be deleted: nothing is known of them and their facts"


def too_short(retention: Retention, memory: float) -> Sequence[str]:
    """What is to be said where services know for so many seconds what they did, and start keys go before that."""
    keys = retention.start_keys
    if keys is None or not retention.deletes or keys.total_seconds() >= memory:
        return ()
    return [
        f"Start keys go {keys.total_seconds() / 86_400:.1f} days after their sagas, but services know for"
        f" {memory / 86_400:.1f} days what they did: the same start in between is a new saga in which nothing is done"
        " again. Keep them for longer (--keep-start-keys)."
    ]


def outlasting(began: float | None, memory: float) -> Sequence[str]:
    """What is to be said of a saga that began then and has not ended, where that is longer than a service remembers."""
    age = now() - (now() if began is None else began)
    if age <= memory:
        return ()
    return [
        f"A saga has not ended for {age / 86_400:.0f} days, longer than a service remembers what it did for it."
        " Try: choros saga list --status parked"
    ]


class Sweep:
    """Deletes what is old enough. Any number of orchestrators may do so: what one has deleted is no other's affair."""

    def __init__(self, store: Store, retention: Retention, every: float = SWEEP_SECONDS) -> None:
        self._store = store
        self._retention = retention
        self._every = every

    async def run(self) -> None:
        """Sweep now, and then again and again, until cancelled."""
        while True:
            try:
                await self.once()
            except ChorosError as error:  # the store is away, or does not let us: it comes round again
                log.warning("choros.retention.put_off", error=error.sentence)
            await asyncio.sleep(self._every * uniform(0.5, 1.5))

    async def once(self) -> int:
        """Delete all that is old enough; says how many sagas that were."""
        deleted = skip = 0
        while self._retention.deletes:
            began = asyncio.get_running_loop().time()
            done = await self._step(skip)
            deleted, skip = deleted + done.records, skip + done.left
            if not _goes_on(done):
                break
            # At most half of the time is the sweep's.
            await asyncio.sleep(max(_PAUSE, asyncio.get_running_loop().time() - began))
        if deleted:
            log.info("choros.retention.deleted", count=deleted, left=skip)
        return deleted

    async def _step(self, skip: int) -> Forgotten:
        at, keep = self._store.now(), self._retention
        before, keys_before = _before(at, keep.sagas), _before(at, keep.start_keys)
        return await self._store.forget(before, keys_before=keys_before, skip=skip, limit=BATCH)


def _before(now: float, age: timedelta | None) -> float:
    return 0.0 if age is None else now - age.total_seconds()


def _goes_on(done: Forgotten) -> bool:
    """Whether there is more, and nobody else at it: what had been deleted in the meantime tells."""
    elsewhere = done.looked - done.records - done.left
    return not elsewhere and BATCH in (done.looked, done.keys)
