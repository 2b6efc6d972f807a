"""What a handler has said to SQLite so far, so that it can be said again in another transaction, unnoticed."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from choros.errors import StoreUnreachable
from choros.store.sqlite.savepoints import Savepoints
from choros.store.standing import Standing

Parameters = Sequence[Any] | Mapping[str, Any]
How = Callable[[sqlite3.Connection, str, Any], Any]
"""How it is said, and what is taken of the answer."""


class Said:
    """The statements of one job, with what was answered. If the same is not answered again, the job has to run again:
    another process has written in between."""

    def __init__(self, connection: sqlite3.Connection, standing: Standing, savepoints: Savepoints) -> None:
        self._connection, self._standing, self._savepoints = connection, standing, savepoints
        self._said: list[tuple[str, Parameters, How, Any]] = []
        self._held: asyncio.Event | None = None

    @property
    def held(self) -> bool:
        """Whether its writes are taken back at the moment."""
        return self._held is not None

    async def still(self) -> None:
        """Wait until it may go on."""
        if self._held is not None:
            await self._held.wait()

    def say(self, sql: str, parameters: Parameters, how: How) -> Any:
        """Run one statement, and note it."""
        kept = dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters)
        try:
            answer = how(self._connection, sql, kept)
        except sqlite3.Error as error:
            self._said.append((sql, kept, how, type(error)))
            raise
        self._said.append((sql, kept, how, list(answer) if isinstance(answer, list) else answer))
        return answer

    def note(self, sql: str, parameters: Parameters, how: How, answer: Any) -> None:
        """The same was answered to somebody else in this transaction."""
        self._said.append((sql, parameters, how, answer))

    def take_back(self) -> bool:
        """Take back what it has written, and keep it from going on; False where SQLite has rolled all back by itself,
        which the job meets at its end."""
        if not self._connection.in_transaction:
            return False
        for statement in self._savepoints.taken_back():
            self._connection.execute(statement)
        self._held = asyncio.Event()
        return True

    def write_again(self, error: Exception | None) -> None:
        held, self._held = self._held, None
        if error is None and not self._again():
            error = StoreUnreachable("Another process has written beside a slow handler.", "it runs again by itself.")
        if error is not None:
            self._standing.lose(error if isinstance(error, StoreUnreachable) else StoreUnreachable(str(error)))
        if held is not None:
            held.set()

    def _again(self) -> bool:
        same = [self._answer(sql, kept, how) == answer for sql, kept, how, answer in self._said]
        return all(same)  # said to the end in any case: its savepoints must be there, to take it back by

    def _answer(self, sql: str, kept: Parameters, how: How) -> Any:
        try:
            return how(self._connection, sql, kept)
        except sqlite3.Error as error:
            return type(error)
