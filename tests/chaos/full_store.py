"""A store in Redis that fills up with what has ended long ago, beside the one that the voyages are in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from choros.errors import StoreUnreachable
from choros.runtime.orchestrator.retention import Retention, Sweep
from choros.store.redis.sagas import RedisStore
from choros.testing.conformance.records import creation

SAGAS, STATE = 200, '{"x":"' + "x" * 30_000 + '"}'
TIGHT = 1_000_000
"""Bytes by which Redis has less than it uses: a sixth of what retention can free."""
LONG = 60 * 86_400.0
PATIENCE = 60.0


async def filled(url: str) -> RedisStore:
    """A store of another application, full of what may be deleted."""
    store = RedisStore(url, "ballast.ballast")
    await store.open()
    old = store.now() - LONG
    batch = [creation(f"b{n}", status="completed", state=STATE, updated_at=old + n) for n in range(SAGAS)]
    await store.commit(batch)
    return store


async def freed(store: RedisStore) -> float:
    """Sweep until all of it is gone; says how long that took. Raises StoreUnreachable where nothing can be deleted."""
    began, sweep = time.monotonic(), Sweep(store, Retention())
    while (await store.counts()) and time.monotonic() < began + PATIENCE:
        with suppress(StoreUnreachable):
            await sweep.once()
        await asyncio.sleep(0.1)
    if await store.counts():
        raise StoreUnreachable("Retention could not delete anything from a full Redis.")
    return time.monotonic() - began


async def full_until_freed(url: str, redis: Callable[..., str], seconds: float) -> str:
    """Let there be too little memory for so long, and then let retention make room; no more is given."""
    store = await filled(url)
    try:
        used = int(redis("INFO", "memory").split("used_memory:")[1].split()[0])
        await asyncio.to_thread(redis, "CONFIG", "SET", "maxmemory", str(used - TIGHT))
        await asyncio.sleep(seconds)
        took = await freed(store)
        return f"{SAGAS} old sagas deleted within {took:.1f} s by retention"
    finally:
        await store.close()
