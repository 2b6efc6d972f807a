"""The rows of all locks of an application, in a store of a scope of their own, changed by compare-and-set alone.

A row is an entry of one of a few records, by a hash of its key, and goes when its key is free: so what there is to
store is bounded by what is locked, not by all keys that ever were.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

from choros.errors import StoreMisconfigured
from choros.runtime.orchestrator.lock_row import LockRow, read_row
from choros.sources import fresh_id
from choros.store.sagas import ENDED, Committed, Kind, Loaded, Record, Store, Transition
from choros.values import replace

KIND = Kind("lock", 1)
LOOK_AFTER = 5.0
"""Seconds after which a key that somebody waits for is looked at: what passes it on may have been killed."""
_SHELVES = 256
_ENTRY = "key:"


class Changed(NamedTuple):
    """A row before and after a change; `after` is what is stored now."""

    before: LockRow
    after: LockRow


class LockRows:
    """On an open store of their scope, beside the open store of the sagas that they name."""

    def __init__(self, store: Store, sagas: Store) -> None:
        self.store = store
        self._sagas = sagas
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Within one process nobody has to meet a conflict."""

    async def ask(self, key: str, saga_id: str, most: int) -> LockRow:
        """Let this saga have the key, or wait for it behind less than so many."""

        async def asked(row: LockRow, now: float) -> LockRow:
            over = await self._over([row.holder]) if row.holder not in ("", saga_id) else ()
            if over or len(row.waiting) >= most:
                over = await self._over(row.named)
            return row.without(over, now).asked(saga_id, now, most)

        return (await self.change(key, asked)).after

    async def leave(self, key: str, saga_id: str) -> Changed:
        """This saga is over: the first behind it that is not has the key."""

        async def left(row: LockRow, now: float) -> LockRow:
            if saga_id not in row.named:
                return row
            return row.without({saga_id, *await self._over(row.named)}, now)

        return await self.change(key, left)

    async def look(self, key: str) -> Changed:
        """Pass it on where its holder is over."""

        async def looked(row: LockRow, now: float) -> LockRow:
            over = await self._over([row.holder])
            return row.without(await self._over(row.named), now) if over else row

        return await self.change(key, looked)

    async def know(self, key: str) -> None:
        """Its holder knows that it has it."""

        async def known(row: LockRow, _: float) -> LockRow:
            return replace(row, handed_on=False)

        await self.change(key, known)

    async def change(self, key: str, made: Callable[[LockRow, float], Awaitable[LockRow]]) -> Changed:
        """Change a row, again where somebody else did so meanwhile."""
        shelf = _shelf(key)
        async with self._turns[shelf]:
            while True:
                loaded = (await self.store.load([shelf], {shelf: [_ENTRY + key]})).get(shelf)
                before = read_row(key, loaded.entries.get(_ENTRY + key, "") if loaded else "")
                now = self.store.now()
                after = await made(before, now)
                if after == before:
                    return Changed(before, before)
                answer = (await self.store.commit([_written(shelf, loaded, key, after, now)]))[0]
                if answer is Committed.OK:
                    return Changed(before, after)
                if answer is Committed.REFUSED:
                    raise StoreMisconfigured(f"The store cannot take the row of the lock {key!r}.", "look at it.")

    async def _over(self, saga_ids: Collection[str]) -> Collection[str]:
        """Those of these sagas that have ended, or are no more."""
        wanted = [one for one in saga_ids if one]
        found = await self._sagas.load(wanted)
        return {one for one in wanted if one not in found or _is_over(found[one].record)}

    # --- all of them ---

    async def due(self, claim: float, limit: int) -> Sequence[str]:
        """Keys that somebody waits for, and that nobody has looked at for some time; they are this caller's now."""
        now = self.store.now()
        shelves = await self.store.due(now, [KIND], limit, claim_until=now + claim)
        loaded = await self.store.load(shelves)
        return [key for one in loaded.values() for key in _contended(one.record)]

    async def put_off(self, keys: Collection[str]) -> None:
        """These were looked at."""
        for shelf in {_shelf(key) for key in keys}:
            loaded = (await self.store.load([shelf])).get(shelf)
            if loaded and loaded.record.wake_at is not None:
                now = self.store.now()
                await self.store.commit([_moved(loaded.record, _contended(loaded.record), now, now + LOOK_AFTER)])

    async def all(self) -> dict[str, LockRow]:
        """Every key that is locked, in the order of the keys."""
        shelves = [f"{number:02x}" for number in range(_SHELVES)]
        loaded = await self.store.load(shelves, dict.fromkeys(shelves))
        texts = {name: text for one in loaded.values() for name, text in one.entries.items() if text}
        keys = sorted(name.removeprefix(_ENTRY) for name in texts if name.startswith(_ENTRY))
        return {key: read_row(key, texts[_ENTRY + key]) for key in keys}

    async def row(self, key: str) -> LockRow:
        """The row of this key."""
        shelf = _shelf(key)
        loaded = (await self.store.load([shelf], {shelf: [_ENTRY + key]})).get(shelf)
        return read_row(key, loaded.entries.get(_ENTRY + key, "") if loaded else "")


def _is_over(record: Record) -> bool:
    """What cannot be read may be anything."""
    return not record.unreadable and (record.gone or record.status in ENDED)


def _shelf(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:2]


def _contended(record: Record) -> list[str]:
    """The keys of this shelf that somebody waits for."""
    return [str(key) for key in json.loads(record.state)]


def _written(shelf: str, loaded: Loaded | None, key: str, row: LockRow, now: float) -> Transition:
    record = loaded.record if loaded else _blank(shelf, now)
    contended = {*_contended(record), key} if row.contended else {*_contended(record)} - {key}
    wake_at = min(record.wake_at or now + LOOK_AFTER, now + LOOK_AFTER)
    return replace(_moved(record, sorted(contended), now, wake_at), entries={_ENTRY + key: row.dumps()})


def _moved(record: Record, contended: Sequence[str], now: float, wake_at: float) -> Transition:
    after = replace(
        record, version=record.version + 1, transition=fresh_id(), state=json.dumps(contended), updated_at=now,
        wake_at=wake_at if contended else None,
    )  # fmt: skip
    return Transition(after, record.transition)


def _blank(shelf: str, now: float) -> Record:
    return Record(
        saga_id=shelf, saga=KIND.saga, saga_version=KIND.version, key=shelf, digest="", application="",
        version=0, transition="", status="running", state="[]", started_at=now, updated_at=now,
    )  # fmt: skip
