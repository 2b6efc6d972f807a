"""The connections to one Redis, each for one user at a time.

redis-py makes them, and sees to it that one is connected before it is used. Its pools are not used: lending costs them
locks, a condition and counts for metrics, as much processor time as all else of a trip.
"""

import asyncio

from redis.asyncio import Connection, ConnectionPool


class Connections:
    """So many; the one that was used last is the next."""

    def __init__(self, maker: ConnectionPool, count: int, timeout: float) -> None:
        """Nothing is connected yet. Raises TypeError where the address asks for what there is not."""
        self._maker, self._timeout = maker, timeout
        self._all: list[Connection] = [maker.make_connection() for _ in range(count)]  # type: ignore[no-untyped-call] # redis-py has no types here
        self._idle = list(self._all)
        self._places = asyncio.Semaphore(count)

    async def take(self) -> Connection:
        """One for oneself, connected, with nothing left to be read from it. Raises redis-py's errors, and TimeoutError
        where all are in use for long, or nobody answers."""
        async with asyncio.timeout(4 * self._timeout):
            await self._places.acquire()
        connection = self._idle.pop()
        try:
            async with asyncio.timeout(self._timeout):
                await self._maker.ensure_connection(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            self.give_back(connection)
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Let others use it."""
        self._idle.append(connection)
        self._places.release()

    async def close(self) -> None:
        """Disconnect all, those in use too."""
        for connection in self._all:
            await connection.disconnect()
