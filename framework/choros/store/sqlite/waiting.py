"""What may wait for another process or for the disk (begin, commit) waits in a thread; statements are said on the loop.

In a thread, SQLite lets go of the interpreter for every row and then wants it back from a loop that is busy: that takes
more processor time than what is said.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from choros.store.sqlite.file import LOCK_SECONDS, named, patiently, roll_back

T = TypeVar("T")


class WaitingThread:
    """The thread in which the writing connection of a file waits."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._thread: ThreadPoolExecutor | None = None

    async def begin(self, connection: sqlite3.Connection) -> None:
        """Open a transaction that may write, once nobody else has one; raises what stands in the way."""
        if not _begun_at_once(connection):
            await self.call(lambda: patiently(lambda: connection.execute("BEGIN IMMEDIATE")))

    async def commit(self, connection: sqlite3.Connection) -> None:
        """All of it is there to stay, or nothing of it."""
        try:
            await self.call(lambda: connection.execute("COMMIT"))
        except BaseException:
            await self.roll_back(connection)
            raise

    async def roll_back(self, connection: sqlite3.Connection) -> None:
        """Nothing of it stays."""
        await self.call(lambda: roll_back(connection))

    async def call(self, work: Callable[[], T]) -> T:
        """Call it in the thread, and be there when it ends: a cancelled caller must not leave it behind."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix=self._name)
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError as error:
                cancelled = error
            except Exception:
                break
        if cancelled is not None:
            raise cancelled
        try:
            return future.result()
        except sqlite3.Error as error:
            raise named(error, self._path) from error

    def end(self) -> None:
        """No call is under way any more."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None


def _begun_at_once(connection: sqlite3.Connection) -> bool:
    """Whether nobody else holds the file; where somebody does, waiting is for the thread."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
    return True
