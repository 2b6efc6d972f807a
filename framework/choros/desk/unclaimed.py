"""Effects that a service has made for sagas that their store does not know: as after a restore of the store alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from choros.errors import MessageRejected
from choros.store.barrier import Database, Row, RowState
from choros.store.sagas import Store
from choros.wire.command_key import CommandKey

PAGE = 500
_STANDS: dict[RowState, str] = {"ok": "done", "unfinished": "taken", "intent": "in doubt"}
"""What the row of a `do` says of its effect, where that may be there."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An effect that stands, and that no saga of the store knows of."""

    saga_id: str
    path: str
    key: str
    state: str
    since: float


async def unclaimed(store: Store, database: Database, since: float) -> AsyncIterator[list[Unclaimed]]:
    """What this service has done since that moment and not undone, of sagas that are not in the store; some at a time.
    What it has forgotten it cannot tell. Raises StoreUnreachable."""
    effects = await _standing(database, since)
    ids = sorted({key.saga_id for key in effects})
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        strange = {*page} - {*(await store.load(page))}
        yield [
            Unclaimed(key.saga_id, key.path, str(key), _STANDS[row.state], row.ages_from)
            for key, row in effects.items()
            if key.saga_id in strange
        ]


async def _standing(database: Database, since: float) -> dict[CommandKey, Row]:
    """What was done and not undone, by the key of its command."""
    rows = {key: row async for key, row in _commands(database, since)}
    undone = {key.effect for key, row in rows.items() if key.operation == "undo" and row.state == "ok"}
    return {
        key: row
        for key, row in rows.items()
        if key.operation == "do" and row.state in _STANDS and key.effect not in undone
    }


async def _commands(database: Database, since: float) -> AsyncIterator[tuple[CommandKey, Row]]:
    after = ""
    while rows := await database.remembered("commands", since, after, PAGE):
        since, after = rows[-1].ages_from, rows[-1].key
        for row in rows:
            try:
                yield CommandKey.parse(row.key), row
            except MessageRejected:  # of a reaction, which no saga commands
                continue
