"""What both SQLite adapters share: opening a file so that a commit survives a power cut, and naming its errors."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable
from choros.store.sagas import Room

LOCK_SECONDS = 5.0
"""How long SQLite itself waits for a lock."""
BUSY_SECONDS = 30.0
"""How long another process may hold the file before a write gives up."""
T = TypeVar("T")


def connect(
    path: Path, kind: type[sqlite3.Connection] = sqlite3.Connection, *, reading: bool = False
) -> sqlite3.Connection:
    """A connection of this kind in autocommit mode; raises sqlite3.Error or StoreMisconfigured.

    A file that is not there yet becomes its owner's alone, as the write-ahead log beside it does after its example."""
    _create_private(path)
    connection = sqlite3.connect(
        path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, factory=kind
    )
    try:
        if patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]) != "wal":
            raise StoreMisconfigured(
                f"SQLite cannot use write-ahead logging on {path}.", "a file on a local disk, or memory:// for none."
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: an fsync that reaches the disk
        connection.execute(f"PRAGMA query_only = {'ON' if reading else 'OFF'}")
    except BaseException:
        connection.close()
        raise
    return connection


def room_on_disk(path: Path) -> Room | None:
    """How full the disk is that a file lies on, which is looked at before nothing more can be written; None where it
    cannot be told."""
    try:
        found = os.statvfs(path if path.exists() else path.parent)
    except (OSError, AttributeError):
        return None
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Room(f"The disk of {path}", used, used + found.f_bavail * found.f_frsize)


_creating = threading.Lock()
"""To close a file gives up every lock that the process has on it: nobody may have it open by then."""


def _create_private(path: Path) -> None:
    with _creating, suppress(OSError):  # what is wrong with the path, SQLite says
        if str(path) != ":memory:" and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class LockPatience:
    """How long one call goes on where another process holds a lock."""

    def __init__(self) -> None:
        self._until = time.monotonic() + BUSY_SECONDS

    def lasts(self) -> bool:
        """Wait a little, in this thread; False where that was long enough."""
        if time.monotonic() > self._until:
            return False
        time.sleep(random.uniform(0.002, 0.02))
        return True


lock_patience: ContextVar[Callable[[], LockPatience]] = ContextVar("choros.sqlite.patience", default=LockPatience)
"""Where it comes from: in a simulated world nobody may sleep."""


def patiently(call: Callable[[], T]) -> T:
    """Call again as long as another process holds a lock; its `busy_timeout` does not cover every case."""
    patience = lock_patience.get()()
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or not patience.lasts():
                raise


def in_transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Do the work in one write transaction, from the start again where the file is locked."""

    def attempt() -> T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            done = work()
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        return done

    return patiently(attempt)


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if SQLite has not done so itself (as it does when the disk is full)."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


_LOCKED = (StoreUnreachable, "is locked by another process", "end that process; several choros processes may share it.")
_DAMAGED = (StoreMisconfigured, "is not a sound SQLite database", "another file, or restore this one from a backup.")
_NAMES: dict[int, tuple[type[ChorosError], str, str]] = {
    sqlite3.SQLITE_FULL: (StoreUnreachable, "cannot grow: the disk is full", "free space; nothing was half written."),
    sqlite3.SQLITE_CANTOPEN: (StoreUnreachable, "cannot be opened", "create its folder and allow this user to write."),
    sqlite3.SQLITE_IOERR: (StoreUnreachable, "cannot be read or written", "check the disk and the system's log."),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_READONLY: (StoreMisconfigured, "is read-only", "allow this user to write the file and its folder."),
}


_OF_THE_STATEMENT = frozenset(
    {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
    | {sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_EMPTY, sqlite3.SQLITE_SCHEMA}
)
"""Answers: the statement was taken back, and whatever else the transaction holds stands. 0: of Python's own."""


def is_of_what_was_given(error: Exception) -> bool:
    """Whether it is the values that SQLite cannot take, not the file or the statement that is at fault."""
    codes = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)
    given = (UnicodeError, OverflowError, sqlite3.InterfaceError, sqlite3.DataError)
    return isinstance(error, given) or (isinstance(error, sqlite3.Error) and _code(error) in codes)


def is_of_the_file(error: sqlite3.Error) -> bool:
    """Whether the file is at fault and not the statement."""
    return _code(error) not in _OF_THE_STATEMENT


def named(error: sqlite3.Error, path: Path) -> ChorosError:
    """The error of ours that says what SQLite means."""
    kind, what, hint = _NAMES.get(_code(error), (StoreUnreachable, "", ""))
    if what:
        return kind(f"The database {path} {what}.", hint)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return kind(f"The database {path} does not do its work ({name}).", "check the file; SQLite documents this code.")
