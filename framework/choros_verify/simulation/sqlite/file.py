"""One SQLite file of a simulated world, and what strikes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PosixPath
from typing import Any

from choros.store.sagas import Transition
from choros_verify.simulation.broker_latency import Network
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.keeping import Deleted

UNLIMITED = 4294967294
"""Pages that SQLite gives a file at most."""


class NamedPath(PosixPath):
    """A path that says only the file's name: where a world keeps its files is another folder each time."""

    folder = Path()

    def __fspath__(self) -> str:
        return f"{self.folder}/{self}"


class Listeners:
    """Whoever is to hear of what is written for one application."""

    def __init__(self, on_commit: Callable[[str, Transition], None]) -> None:
        self.on_commit = on_commit
        self.deleted: dict[str, Deleted] = {}


class SimFile:
    """The file, as those see it who look from outside."""

    def __init__(
        self, path: Path, network: Network, faults: Faults, time: Callable[[], float], kill: Callable[[], None]
    ) -> None:
        """`kill`: ends the process that is at work right now."""
        self.path, self.faults, self.time, self.kill = path, faults, time, kill
        self.scopes: dict[str, Listeners] = {}
        self.written = 0
        """How often anything was committed."""
        self.full = False
        self._network = network
        self._held = 0
        self.looking = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._holding = sqlite3.connect(path, timeout=0, isolation_level=None)
        for connection in (self.looking, self._holding):
            connection.execute("PRAGMA synchronous = OFF")

    def strikes(self, target: str) -> Mapping[str, float]:
        """One more transaction that writes: what goes wrong with it."""
        return _amounts(self.faults.count("write", target))

    def away(self, target: str) -> bool:
        """Whether nothing can be said to it at the moment."""
        return self.faults.away[target] > 0

    def called(self, target: str) -> bool:
        """A handler says something to it: whether that is lost."""
        return bool(self.faults.count("call", target))

    def fill(self, seconds: float) -> None:
        """The disk has no room for so long."""
        self.full = True
        self._network.later(seconds, self._empty)

    def hold(self, seconds: float) -> None:
        """Somebody else keeps a lock on it for so long."""
        with suppress(sqlite3.OperationalError):  # somebody has one already
            self._holding.execute("BEGIN IMMEDIATE")
            self._network.later(seconds, self._let_go)

    def _empty(self) -> None:
        self.full = False

    def _let_go(self) -> None:
        self._holding.execute("ROLLBACK")

    def look(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What has been committed."""
        return self.looking.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """The world is over."""
        self.looking.close()
        self._holding.close()


def _amounts(struck: Sequence[Fault]) -> Mapping[str, float]:
    return {fault.kind: fault.amount for fault in struck}
