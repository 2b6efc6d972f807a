"""A process's connection to a simulated world's SQLite file: the real one, which hears what is said, and may break."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from choros.store.sagas import Record, Transition, Unsent
from choros.store.sqlite import rows
from choros_verify.simulation.inline_calls import Gone, current
from choros_verify.simulation.keeping import LEDGER, Deleted
from choros_verify.simulation.processes import running
from choros_verify.simulation.sqlite.file import UNLIMITED, SimFile

_RECORD = f"SELECT {rows.COLUMNS} FROM record WHERE scope = ? AND saga_id = ?"
_SENDS = "SELECT 1 FROM outbox WHERE scope = record.scope AND saga_id = record.saga_id"
_GOING = f"SELECT {rows.COLUMNS}, EXISTS ({_SENDS}) FROM record WHERE {rows.THESE}"
_IGNORED = ("PRAGMA busy_timeout", "PRAGMA fullfsync")


@dataclass
class HeardOfSaga:
    """What a transaction has written about one saga so far."""

    record: Record
    previous: str
    outbox: list[Unsent] = field(default_factory=list)
    history: str = ""
    entries: dict[str, str] = field(default_factory=dict)

    def transition(self) -> Transition:
        """As it was committed."""
        return Transition(self.record, self.previous, tuple(self.outbox), history=self.history, entries=self.entries)


class HeardConnection(sqlite3.Connection):
    """One connection of one process."""

    def __init__(
        self, file: SimFile, target: str, opened: Callable[[HeardConnection], None], path: Any, **more: Any
    ) -> None:
        """`target`: what faults call the file; `opened` is told of it."""
        super().__init__(path, **{**more, "timeout": 0.0})
        self._file, self._target = file, target
        self._struck: Mapping[str, float] | None = None
        """What goes wrong with the transaction that there is."""
        self._tried = False
        """Whether that has not begun yet, as somebody else had the lock."""
        self._left: int | None = None
        """Statements after which its process dies."""
        self._written: dict[tuple[str, str], HeardOfSaga] = {}
        self._going: dict[tuple[str, str], Deleted] = {}
        self._heard: dict[str, Callable[[Any], None]] = {
            "INSERT INTO record (": self._begun, "UPDATE record SET (": self._changed,
            "INSERT OR REPLACE INTO outbox": self._sends, "INSERT INTO history": self._happened,
            "INSERT OR REPLACE INTO entry": self._entered, "DELETE FROM entry WHERE scope": self._entered,
        }  # fmt: skip
        opened(self)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Say one statement."""
        if self._file.away(self._target) and sql != "ROLLBACK":
            _fail(sqlite3.SQLITE_IOERR)
        if sql.startswith("PRAGMA"):
            return super().execute(_cheap(sql))
        if sql == "BEGIN IMMEDIATE":
            return self._begin()
        if sql == "COMMIT" and self.in_transaction and self._struck is not None:
            return self._commit()
        if sql == "ROLLBACK":
            self._struck = None
        else:
            self._say(sql, parameters)
        cursor = super().execute(sql, parameters)
        self._hear(sql, parameters, cursor.rowcount)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Say one statement, with each of these."""
        given = list(parameters)
        self._say(sql, given)
        cursor = super().executemany(sql, given)
        for one in given:
            self._hear(sql, one, 1)
        return cursor

    # --- what strikes ---

    def _begin(self) -> sqlite3.Cursor:
        if not self._tried:
            self._meet(self._file.strikes(self._target))
        pages = self.look("PRAGMA page_count")[0][0] if self._file.full else UNLIMITED
        super().execute(f"PRAGMA max_page_count = {pages}")
        self._tried = True
        cursor = super().execute("BEGIN IMMEDIATE")
        self._tried = False
        return cursor

    def _meet(self, struck: Mapping[str, float]) -> None:
        """What goes wrong with the transaction that is about to begin."""
        self._struck, self._written, self._going = struck, {}, {}
        self._left = int(struck["killed"]) if "killed" in struck else None
        if "busy" in struck:
            self._file.hold(struck["busy"])
        if "disk_full" in struck:
            self._file.fill(struck["disk_full"])
        if "deny" in struck:
            _fail(sqlite3.SQLITE_READONLY)

    def _say(self, sql: str, parameters: Any) -> None:
        if self._struck is not None and self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._die()
        if LEDGER in sql and self._file.called(self._target):
            _fail(sqlite3.SQLITE_IOERR)
        if sql.startswith("DELETE FROM record WHERE"):
            self._goes(parameters)

    def _die(self) -> NoReturn:
        self._left = None
        self._file.kill()
        raise Gone

    def _commit(self) -> sqlite3.Cursor:
        struck, self._struck = self._struck or {}, None
        if "refuse" in struck:
            _fail(sqlite3.SQLITE_IOERR)
        cursor = super().execute("COMMIT")
        self._tell()
        if self._left is not None:
            self._die()
        call = current.get()
        if "stall" in struck and call is not None:
            call.late += struck["stall"]
        if "unknown" in struck:
            _fail(sqlite3.SQLITE_IOERR)
        return cursor

    def look(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Ask for oneself, unheard."""
        return super().execute(sql, parameters).fetchall()

    # --- what is heard ---

    def _hear(self, sql: str, parameters: Any, count: int) -> None:
        for start, hear in self._heard.items():
            if count and sql.startswith(start):
                hear(parameters)

    def _begun(self, given: Sequence[Any]) -> None:
        self._note(given[0], given[1], "")

    def _changed(self, given: Sequence[Any]) -> None:
        scope, saga_id, _, previous = given[-4:]
        self._note(scope, saga_id, previous)

    def _note(self, scope: str, saga_id: str, previous: str) -> None:
        (row,) = self.look(_RECORD, (scope, saga_id))
        self._written[scope, saga_id] = HeardOfSaga(rows.to_record(row), previous)

    def _sends(self, given: Mapping[str, Any]) -> None:
        entry = Unsent(given["id"], given["channel"], given["envelope"])
        self._written[given["scope"], given["saga_id"]].outbox.append(entry)

    def _happened(self, given: Sequence[Any]) -> None:
        self._written[given[0], given[1]].history = given[4]

    def _entered(self, given: Sequence[Any]) -> None:
        scope, saga_id, name, *text = given
        self._written[scope, saga_id].entries[name] = text[0] if text else ""

    def _goes(self, given: Sequence[Any]) -> None:
        for *row, sends in self.look(_GOING, given):
            record = rows.to_record(row)
            self._going[given[0], record.saga_id] = Deleted(self._file.time(), record, bool(sends))

    def _tell(self) -> None:
        process, file = running.get(), self._file
        file.written += 1
        for (scope, _), written in self._written.items():
            file.scopes[scope].on_commit(process.name if process else "world", written.transition())
        for (scope, saga_id), deleted in self._going.items():
            file.scopes[scope].deleted[saga_id] = deleted
        self._written, self._going = {}, {}


def _cheap(sql: str) -> str:
    """What is said to the file itself: nobody waits for a disk, or for a lock in real time."""
    if sql.startswith(_IGNORED):
        return "SELECT 1"
    return "PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous") else sql


def _fail(code: int) -> NoReturn:
    error = sqlite3.OperationalError("simulated")
    error.sqlite_errorcode = code
    raise error
