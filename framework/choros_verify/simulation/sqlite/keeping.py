"""Sagas and rows of a simulated world in SQLite files, behind the adapters that run in earnest."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from choros.errors import StoreUnreachable
from choros.store.barrier import Row
from choros.store.sagas import Record
from choros.store.sqlite import rows, schema
from choros.store.sqlite.barrier import SqliteDatabase, SqliteTransaction
from choros.store.sqlite.file import BUSY_SECONDS, LockPatience, lock_patience
from choros.store.sqlite.sagas import SqliteStore
from choros.store.sqlite.transaction import to_row
from choros_verify.simulation.broker_latency import Network
from choros_verify.simulation.faults import Faults
from choros_verify.simulation.inline_calls import NotYet, current
from choros_verify.simulation.keeping import LEDGER, Deed, Deleted, OnCommit, deeds_of
from choros_verify.simulation.processes import Process, running
from choros_verify.simulation.sqlite.connection import HeardConnection
from choros_verify.simulation.sqlite.file import Listeners, NamedPath, SimFile

_RECORDS = f"SELECT {rows.COLUMNS} FROM record WHERE scope = ?"
_ROWS = "SELECT key, state, reply, prune_at, began, since FROM choros_barrier WHERE namespace = ?"
_OWES = """SELECT 1 FROM choros_barrier
    WHERE namespace = ? AND (unsent IS NOT NULL OR state IN ('publishing', 'signalling')) LIMIT 1"""


class InlinePatience(LockPatience):
    """Waits by being asked again later."""

    def __init__(self) -> None:
        """It counts what the call has waited, however often that was made again."""

    def lasts(self) -> bool:
        """Raises NotYet, or says that it was long enough."""
        call = current.get()
        if call is None or call.waited > BUSY_SECONDS:
            return False
        raise NotYet


class SqliteKeeping:
    """A file for each store and each database."""

    def __init__(
        self, network: Network, faults: Faults, time: Callable[[], float], kill: Callable[[], None],
        on_commit: OnCommit,
    ) -> None:  # fmt: skip
        """`kill`: ends the process that is at work right now."""
        self._about = network, faults, time, kill
        self._on_commit = on_commit
        self._folder = Path(tempfile.mkdtemp(prefix="choros-sim-"))
        self._files: dict[str, SimFile] = {}
        self._open: dict[HeardConnection, str] = {}

    def _file(self, name: str) -> SimFile:
        if name not in self._files:
            path = NamedPath(f"{name}.db")
            path.folder = self._folder
            self._files[name] = SimFile(path, *self._about)
        return self._files[name]

    def connecting(self, file: SimFile, target: str) -> type[sqlite3.Connection]:
        """What a process that starts connects with."""
        lock_patience.set(InlinePatience)
        return cast(type[sqlite3.Connection], partial(HeardConnection, file, target, self._opened))

    def _opened(self, connection: HeardConnection) -> None:
        process = running.get()
        self._open[connection] = process.name if process else ""

    def sagas(self, name: str, namespace: str, identity: str) -> SqliteSagas:
        """The store in the file of that name."""
        return SqliteSagas(self, self._file(name), name, namespace, identity, self._on_commit)

    def rows(self, name: str, namespace: str) -> SqliteRows:
        """The database in the file of that name."""
        return SqliteRows(self, self._file(name), namespace)

    async def write(self, db: SqliteTransaction, deed: Deed) -> None:
        """A row for each saga."""
        text = ""
        with suppress(StoreUnreachable, sqlite3.Error):
            found = await db.fetchone(f'SELECT text FROM "{LEDGER}" WHERE saga = ?', (deed.saga_id,))
            text = found[0] if found else ""
        with suppress(StoreUnreachable, sqlite3.Error):
            await db.execute(f'INSERT OR REPLACE INTO "{LEDGER}" VALUES (?, ?)', (deed.saga_id, text + deed.line()))

    def crashed(self, process: Process) -> None:
        """Its connections are gone, and with them what it had not committed."""
        for connection in [one for one, name in self._open.items() if name == process.name]:
            del self._open[connection]
            connection.close()

    def end(self) -> None:
        """Nothing is left."""
        for connection in self._open:
            connection.close()
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class SqliteSagas:
    """A saga store in a file, seen from outside."""

    def __init__(
        self, keeping: SqliteKeeping, file: SimFile, name: str, scope: str, identity: str, on_commit: OnCommit
    ) -> None:
        self.identity = identity
        self._keeping, self._file, self._name, self._scope = keeping, file, name, scope
        self._heard = file.scopes[scope] = Listeners(on_commit)
        self._seen: tuple[int, Mapping[str, Record]] = (-1, {})
        schema.prepare(file.looking, file.path, scope)
        file.look("UPDATE identity SET id = ?", (identity,))  # it is in the name of a queue, which faults may strike

    def view(self) -> SqliteStore:
        """The adapter of a process that starts."""
        connection = self._keeping.connecting(self._file, self._name)
        store = SqliteStore(self._file.path, self._scope, connection=connection)
        store.path = self._file.path
        return store

    def records(self) -> Mapping[str, Record]:
        """What there is, and what was deleted, as it was."""
        if self._seen[0] != self._file.written:
            there = map(rows.to_record, self._file.look(_RECORDS, (self._scope,)))
            deleted = {saga_id: one.record for saga_id, one in self.deleted().items()}
            self._seen = self._file.written, deleted | {one.saga_id: one for one in there}
        return self._seen[1]

    def deleted(self) -> Mapping[str, Deleted]:
        """What retention has deleted."""
        return self._heard.deleted

    def outbox(self) -> Sequence[Any]:
        """All that no broker has confirmed."""
        return self._file.look("SELECT id FROM outbox WHERE scope = ?", (self._scope,))


class SqliteRows:
    """A database in a file, seen from outside."""

    def __init__(self, keeping: SqliteKeeping, file: SimFile, namespace: str) -> None:
        self._keeping, self._file, self._namespace = keeping, file, namespace
        file.look(f'CREATE TABLE IF NOT EXISTS "{LEDGER}" (saga TEXT PRIMARY KEY, text TEXT NOT NULL)')

    def view(self, name: str) -> SqliteDatabase:
        """The adapter of a process that starts."""
        connection = self._keeping.connecting(self._file, name)
        database = SqliteDatabase(self._file.path, self._namespace, connection=connection)
        database.path = self._file.path
        return database

    def rows(self) -> Mapping[str, Row]:
        """The rows of the barrier."""
        return {row.key: row for row in map(to_row, self._look(_ROWS))}

    def owes(self) -> bool:
        """Whether a reply is not confirmed, or what a handler has published."""
        return bool(self._look(_OWES))

    def deeds(self) -> Sequence[Deed]:
        """What handlers have written into the ledger."""
        return [deed for (text,) in self._file.look(f'SELECT text FROM "{LEDGER}"') for deed in deeds_of(text)]

    def _look(self, sql: str) -> list[Any]:
        try:
            return self._file.look(sql, (self._namespace,))
        except sqlite3.OperationalError:  # nobody has opened it yet
            return []
