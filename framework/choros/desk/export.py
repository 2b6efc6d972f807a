"""Sagas as plain data, whole: what is to outlive retention is copied before."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from choros.desk.republish import changed
from choros.runtime.orchestrator.history import as_data
from choros.runtime.orchestrator.received import every_id
from choros.runtime.orchestrator.states import whole_state
from choros.store.paging import pages
from choros.store.records import listed
from choros.store.sagas import HistoryRow, Record, Store

PAGE = 50
"""Records that are held at once."""


async def exported(
    store: Store, *, saga: str = "", status: str = "", since: float | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Each record with its history; with `since` only those that have changed at that moment or later. Raises
    StoreUnreachable."""
    found = partial(store.find, saga=saga, status=status, limit=PAGE)
    async for records in pages(found) if since is None else changed(store, since, page=PAGE):
        for record in records:
            if saga in ("", record.saga) and status in ("", record.status) and (line := await _whole(store, record)):
                yield line


async def _whole(store: Store, record: Record) -> dict[str, Any] | None:
    """The record as it is once its history was read; nothing where it was deleted in between."""
    history = await store.history(record.saga_id)
    now = (await store.load([record.saga_id], {record.saga_id: None})).get(record.saga_id)
    if now is None or now.record.gone:
        return None
    state = now.record.state if now.record.unreadable else whole_state(now.record.state, now.entries)
    return _line(replace(now.record, received=every_id(now), state=state), history)


def _line(record: Record, history: Sequence[HistoryRow]) -> dict[str, Any]:
    plain = asdict(record)
    del plain["gone"]
    if not record.unreadable:
        del plain["unreadable"]
    return {**plain, "state": listed(record.state) or record.state, "history": as_data(history)}
