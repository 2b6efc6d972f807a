"""A simulated Redis for one test, on the test's own loop."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import AbstractContextManager

from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.sagas import RedisStore
from choros_verify.simulation.broker_latency import Latency, Network
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.pipe import Pipes
from choros_verify.simulation.processes import EPOCH
from choros_verify.simulation.redis.dialling import Dialler
from choros_verify.simulation.redis.server import SimRedis
from tests.virtual_time import now


class Even(random.Random):
    """Leaves nothing to chance: no bytes are broken in two."""

    def random(self) -> float:
        return 0.5


class RedisStage:
    """The server, and the real adapters connected to it; `at_once` beside a real server, where time passes."""

    def __init__(self, faults: Iterable[Fault] = (), *, at_once: bool = False) -> None:
        latency = Latency(bytes=(0.0, 0.0), call=(0.0, 0.0)) if at_once else Latency()
        network, given = Network(Even() if at_once else random.Random(7), latency), Faults(faults)
        loses = any(fault.kind == "lose" for fault in given.planned)
        self.server = SimRedis(network, given, lambda: now() - EPOCH, loses=loses)
        self.pipes = Pipes(network)
        self._dialler = Dialler(self.pipes)

    def dialling(self, target: str) -> AbstractContextManager[None]:
        return self._dialler.to(self.server, target)

    def store(self, namespace: str = "green") -> RedisStore:
        with self.dialling("store"):
            return RedisStore("redis://store", namespace)

    def database(self, namespace: str = "choros") -> RedisDatabase:
        with self.dialling("database"):
            return RedisDatabase("redis://database", namespace)
