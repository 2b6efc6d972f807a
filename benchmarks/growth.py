"""What sagas leave behind: bytes with retention on, which must stay as they are, and what a look costs in a full store.

python -m benchmarks.growth [--sagas 200000] [--stores sqlite,redis]      (Redis: the one in REDIS_URL, emptied)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.pattern import APP, NAMESPACE, Pattern
from benchmarks.shop import order
from choros.runtime.client.client import Client
from choros.sources import fresh_id
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store
from choros.store.sqlite.sagas import SqliteStore
from choros.transport.memory import MemoryBroker, MemoryTransport

AT_ONCE, STEPS = 250, 10


class Growing:
    """A store in which a saga ends every second, and is deleted when `window` others have ended after it; its start
    key when `keys` others have."""

    def __init__(
        self, store: Store, *, window: int, keys: int = 0, file: Path | None = None, admin: Any = None
    ) -> None:
        self.store, self.window = store, window
        self._keys, self._file, self._admin = max(keys, window), file, admin
        self._pattern = Pattern()
        self._began = store.now() - 10_000_000
        self.count = 0

    async def to(self, count: int) -> None:
        """Let so many have ended in all."""
        while self.count < count:
            numbers = range(self.count, min(count, self.count + AT_ONCE))
            await self._end(numbers)
            self.count = numbers.stop
            if self.window:
                await self._forget()

    async def _end(self, numbers: range) -> None:
        for batch in zip(*(self._pattern.stamped(one, self._began + one) for one in numbers), strict=True):
            await self.store.commit(batch)
        await self.store.mark_sent([(one.record.saga_id, entry.id) for one in batch for entry in one.outbox])

    async def _forget(self) -> None:
        now = self._began + self.count
        looked = AT_ONCE
        while looked:  # what is marked as sent may not be written yet: the next time then
            done = await self.store.forget(now - self.window, keys_before=now - self._keys)
            looked = done.looked - done.left

    async def bytes(self) -> int:
        """What all that takes: the file and its log, or the data in Redis."""
        if self._admin is not None:
            return int((await self._admin.info("memory"))["used_memory_dataset"])
        paths = [Path(f"{self._file}{end}") for end in ("", "-wal")]
        return sum(path.stat().st_size for path in paths if path.exists())


# --- the command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A store to be filled, and what tells its size."""

    kind: str
    store: Store
    file: Path | None = None
    admin: Any = None

    def growing(self, window: int = 0, keys: int = 0) -> Growing:
        """As it fills, with retention for so many sagas and start keys, or with none."""
        return Growing(self.store, window=window, keys=keys, file=self.file, admin=self.admin)


async def kept(place: Place, sagas: int) -> None:
    """With retention on: a tenth of the sagas are young enough to be kept, three tenths of the start keys."""
    growing = place.growing(sagas // 10, 3 * sagas // 10)
    for step in range(1, STEPS + 1):
        began = time.perf_counter()
        await growing.to(sagas * step // STEPS)
        seconds, size = time.perf_counter() - began, await growing.bytes()
        print(f"{place.kind:7} {growing.count:7} ended, {size / 1e6:7.1f} MB, {sagas / STEPS / seconds:5.0f} sagas/s")


async def looked(place: Place, sizes: Sequence[int]) -> None:
    """Without retention: what there is, and what looks cost, at each size."""
    growing = place.growing()
    for size in sizes:
        await growing.to(size)
        print(f"{place.kind:7} {size:7} ended, {await growing.bytes() / size:7.0f} bytes each")
        for name, look in looks(place.store).items():
            print(f"{'':7} {name:24} {await timed(look)}", flush=True)
        print(f"{'':7} {'start':24} {await started(place.store)}", flush=True)


def looks(store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    """Questions that must not cost more the more there is."""
    return {
        "list": lambda: store.find(limit=50),
        "list of one saga": lambda: store.find(saga="order", limit=50),
        "list of no saga": lambda: store.find(saga="other", limit=50),
        "list of one status": lambda: store.find(saga="order", status="completed", limit=50),
        "counts": store.counts,
        "live": store.live,
        "due": lambda: store.due(store.now(), APP.kinds, 500),
        "ended of late": lambda: store.ended(store.now() - 3600, limit=200),
        "unsent": lambda: store.unsent("commands", store.now() - 5, 500),
    }


async def timed(look: Callable[[], Awaitable[object]], times: int = 50) -> str:
    """Median and worst of some."""
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await look()
        found.append(1000 * (time.perf_counter() - began))
    found.sort()
    return f"{found[times // 2]:7.2f} ms (worst {found[-1]:.2f})"


async def started(store: Store) -> str:
    """What a client waits for."""
    transport, numbers = MemoryTransport(MemoryBroker(), NAMESPACE), iter(range(10**6))
    await transport.connect()
    async with Client(APP, store=store, transport=transport) as client:
        return await timed(lambda: client.start(APP.saga("order"), order(f"new-{fresh_id()}-{next(numbers)}")))


async def measured(kind: str, sagas: int, folder: Path) -> None:
    """Both parts on one kind of store, each on an empty one."""
    for part in (lambda place: kept(place, sagas), lambda place: looked(place, [sagas // 10, sagas])):
        if kind == "redis":
            async with Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as admin:
                await admin.flushall()
                place = Place(kind, RedisStore(os.environ["REDIS_URL"], f"{NAMESPACE}.order"), admin=admin)
                await _in(place, part)
                await admin.flushall()
        else:
            file = folder / f"{fresh_id()}.db"
            await _in(Place(kind, SqliteStore(file, f"{NAMESPACE}.order"), file=file), part)
            file.unlink()


async def _in(place: Place, part: Callable[[Place], Awaitable[None]]) -> None:
    await place.store.open()
    try:
        await part(place)
    finally:
        await place.store.close()


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--sagas", type=int, default=200_000)
    given.add_argument("--stores", default="sqlite,redis")
    options = given.parse_args()
    logging.getLogger("choros").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="choros-growth-") as folder:
        for kind in options.stores.split(","):
            asyncio.run(measured(kind, options.sagas, Path(folder)))


if __name__ == "__main__":
    main()
