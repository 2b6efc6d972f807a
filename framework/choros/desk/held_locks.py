"""What is locked, by whom, and who waits for it: for a person to see what a parked saga holds up."""

from __future__ import annotations

from dataclasses import dataclass

from choros.errors import UsageError
from choros.runtime.orchestrator.lock_row import LockRow
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.runtime.orchestrator.recognition import as_stored
from choros.store.sagas import Record, Store


@dataclass(frozen=True, slots=True)
class Party:
    """A saga that has a key, or waits for it. Times are seconds since the epoch."""

    saga_id: str
    since: float
    record: Record | None
    """None where it is no more."""
    until: float | None = None
    """How long it may wait."""

    @property
    def state(self) -> str:
        """How far it is, in a word; and why, where it is parked."""
        if self.record is None:
            return "gone"
        why = as_stored(self.record).why_parked
        return f"parked: {why}" if why else self.record.status


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A key that is locked."""

    key: str
    holder: Party
    waiting: tuple[Party, ...]
    """In the order in which they will have it."""


async def held_locks(rows: LockRows, sagas: Store, *, key: str = "") -> list[HeldLock]:
    """All that is locked, by key; or this one key. Raises UsageError where nobody has that, and StoreUnreachable."""
    found = {key: await rows.row(key)} if key else await rows.all()
    if key and not found[key].holder:
        raise UsageError(f"Nobody has locked {key!r}.", "choros lock list; a key is LOCK:KEY, customer:7 for example.")
    names = list(dict.fromkeys(name for row in found.values() for name in row.named))
    loaded = await sagas.load(names)
    records = {name: one.record for name, one in loaded.items() if not one.record.gone}
    return [_held(name, row, records) for name, row in found.items()]


def _held(key: str, row: LockRow, records: dict[str, Record]) -> HeldLock:
    holder = Party(row.holder, row.since, records.get(row.holder))
    waiting = [_waiting(one.saga_id, one.since, records.get(one.saga_id)) for one in row.waiting]
    return HeldLock(key, holder, tuple(waiting))


def _waiting(saga_id: str, since: float, record: Record | None) -> Party:
    state = as_stored(record).lock if record else None
    return Party(saga_id, since, record, state.until if state else None)
