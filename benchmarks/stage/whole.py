"""The whole saga, beside its stages: what is in none of them are tasks, futures, sockets, the loop and the client."""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Arrivals, Load, Part
from benchmarks.stage.stage import LOCAL, RABBITMQ
from choros.roles.addresses import database_at, open_transport, store_at
from choros.sources import fresh_id

SAGAS, IN_FLIGHT = 200, 100
_numbers = count(1)


async def wholes(folder: Path, amqp_url: str, redis_url: str) -> dict[str, float]:
    """Microseconds of processor time a saga, by the set-up; on servers only where there are some."""
    found = {LOCAL: await _whole(folder, "memory://stages", f"sqlite:///{folder}/whole.db")}
    if amqp_url and redis_url:
        found[RABBITMQ] = await _whole(folder, amqp_url, redis_url)
    return found


async def _whole(folder: Path, broker: str, store: str) -> float:
    namespace, arrivals = f"stages-{fresh_id()[-12:]}", Arrivals()
    adapters = Adapters(
        partial(open_transport, broker, namespace, "stages"),
        partial(store_at, store, f"{namespace}.order"),
        lambda service: database_at(f"sqlite:///{folder}/{namespace}-{service}.db"),
    )
    async with Application(namespace, adapters).opened(Part.WHOLE, arrivals.heard) as shop:
        load = Load(shop, arrivals, lambda _: f"order-{next(_numbers):08}", {})
        await load.run(SAGAS // 2, IN_FLIGHT)
        began = time.process_time()
        await load.run(SAGAS, IN_FLIGHT)
        return (time.process_time() - began) / SAGAS * 1e6
