"""What the adapters of choros connect with in a simulated world: redis-py's connection, with a pipe for a socket."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from redis.asyncio import Connection

from choros.store.redis.server import dialling
from choros_verify.simulation.pipe import Pipes
from choros_verify.simulation.processes import running
from choros_verify.simulation.redis.server import SimRedis
from choros_verify.simulation.redis.session import RedisSession

Dial = Callable[[], Awaitable[tuple[Any, Any]]]
"""Opens a pipe: something to read from, and something to write to."""


class PipedConnection(Connection):
    """redis-py's own, but for the socket."""

    def __init__(self, *, dial: Dial, number: Callable[[], int], **more: Any) -> None:
        super().__init__(**more)
        self._dial = dial
        self._number = number()

    def __hash__(self) -> int:
        """By number: redis-py keeps connections in sets, which addresses would put in any order."""
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self, *_: Any) -> None:
        """Whoever ends without closing it has crashed, and its pipe knows."""

    async def _connect(self) -> None:
        self._reader, self._writer = await self._dial()


class Dialler:
    """Connects the processes of one world to its servers."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._number = partial(next, count())

    @contextmanager
    def to(self, server: SimRedis, target: str) -> Iterator[None]:
        """Whatever adapter is made in here connects to this server, by the name that faults call it."""
        dial = partial(self._dial, server, target)
        token = dialling.set({"connection_class": PipedConnection, "dial": dial, "number": self._number})
        try:
            yield
        finally:
            dialling.reset(token)

    async def _dial(self, server: SimRedis, target: str) -> tuple[Any, Any]:
        process = running.get()
        return await self._pipes.open(process.name if process else "somebody", partial(RedisSession, server, target))
