"""Records that are found by a label, whatever else is in their store."""

from collections.abc import AsyncIterator

from choros.store.sagas import Record, Store

PAGE = 200


async def labelled(store: Store, label: str) -> AsyncIterator[Record]:
    """All that have it, by their ids. It costs what it hands out. Raises StoreUnreachable."""
    after = ""
    while ids := await store.labelled(label, limit=PAGE, after=after):
        after = ids[-1]
        for loaded in (await store.load(ids)).values():
            if not (loaded.record.gone or loaded.record.unreadable):
                yield loaded.record
