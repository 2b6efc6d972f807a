"""Which sagas wait to be told something: for a person to see what is his to say."""

from __future__ import annotations

from dataclasses import dataclass

from choros.desk.labelled import labelled
from choros.runtime.orchestrator.labels import WAITS
from choros.runtime.orchestrator.recognition import as_stored
from choros.saga.saga import Sagas
from choros.saga.waiting import SignalWait
from choros.store.sagas import Record, Store


@dataclass(frozen=True, slots=True)
class OpenWait:
    """One wait of one instance. Times are seconds since the epoch."""

    record: Record
    path: str
    signal: str
    """The type of what it waits for; empty where this application does not know the saga's version."""
    by: str
    """Whose it is to say, if anybody's."""
    since: float
    until: float
    parked: bool
    """Whether it has lapsed, and a person has to tell it or have it wait anew."""


async def open_waits(sagas: Sagas, store: Store, by: str = "", limit: int = 50) -> tuple[list[OpenWait], bool]:
    """Up to `limit` of them, of all or of one role, the first to lapse first; and whether there are more. It costs what
    it hands out. Raises StoreUnreachable."""
    found: list[OpenWait] = []
    async for record in labelled(store, f"{WAITS}:{by}" if by else WAITS):
        found += [one for one in _of(record, sagas) if by in ("", one.by)]
        if len(found) > limit:
            break
    return sorted(found[:limit], key=lambda one: (one.until, one.record.saga_id, one.path)), len(found) > limit


def _of(record: Record, sagas: Sagas) -> list[OpenWait]:
    saga, waits = sagas.get((record.saga, record.saga_version)), []
    for path, state in as_stored(record).nodes.items():
        if state.takes_signal:
            leaf = saga.outline.leaf(path) if saga else None
            told = leaf if isinstance(leaf, SignalWait) else None
            signal, by = (told.signal.type_name, told.by) if told else ("", "")
            until = state.not_after or record.updated_at
            waits.append(OpenWait(record, path, signal, by, state.began or 0.0, until, bool(state.parked)))
    return waits
