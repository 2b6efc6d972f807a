"""Which instance a person means, who says its id, its start key, or the beginning of its id."""

import re
from collections.abc import Collection, Iterable

from choros.errors import SagaNotFound, UsageError
from choros.runtime.orchestrator.recognition import as_stored
from choros.runtime.orchestrator.retention import warning
from choros.sources import saga_id_for
from choros.store.sagas import Loaded, Record, Store

MOST_LOOKED = 5_000
"""Records that are looked through for the beginning of an id."""
_PAGE = 500
_BEGINNING = re.compile(r"[0-9a-f-]{6,35}")
_SHOWN = 5


async def referred(store: Store, scope: str, typed: str, sagas: Iterable[str] = ()) -> str:
    """The id of the instance. A key that was run again means the last run. Raises SagaNotFound, and UsageError where
    several instances may be meant; `scope` is "namespace.application", `sagas` names more than the store has."""
    if typed in await store.load([typed]):
        return typed
    names = {*sagas, *(saga for saga, _ in await store.counts())}
    by_key = await store.load([saga_id_for(f"{scope}.{name}", typed) for name in sorted(names)])
    if by_key:
        one = _only(f"{typed!r} is the start key of", [loaded.record for loaded in by_key.values()])
        return await _last_run(store, by_key[one])
    if _BEGINNING.fullmatch(typed) and (begun := await _beginning(store, typed)):
        return _only(f"{typed!r} begins the id of", begun)
    since = warning(await store.forgotten())
    begins = f", and no id of the last {MOST_LOOKED:,} begins so" if _BEGINNING.fullmatch(typed) else ""
    sentence = f"There is no saga instance with the id or start key {typed!r}{begins}{since and f'; {since}'}."
    raise SagaNotFound(sentence, "choros saga list.")


def _only(what: str, records: Collection[Record]) -> str:
    if len(records) > 1:
        named = [f"{record.saga_id} ({record.saga}, {record.status})" for record in records][:_SHOWN]
        raise UsageError(f"{what} {len(records)} sagas: {', '.join(named)}.", "the id of one.")
    (record,) = records
    return record.saga_id


async def _last_run(store: Store, loaded: Loaded) -> str:
    """The successor's successor, and so on, as far as there are any."""
    record = loaded.record
    while successor := "" if record.gone else as_stored(record).successor:
        after = (await store.load([successor])).get(successor)
        if after is None:  # noted, and not begun yet
            break
        record = after.record
    return record.saga_id


async def _beginning(store: Store, typed: str) -> list[Record]:
    found: list[Record] = []
    cursor = ""
    for _ in range(MOST_LOOKED // _PAGE):
        page = await store.find(limit=_PAGE, cursor=cursor)
        found += [record for record in page.records if record.saga_id.startswith(typed)]
        if not (cursor := page.cursor):
            break
    return found
