"""Tables that are asked in a thread: in a SQLite file, or in a PostgreSQL (psycopg 3)."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from choros import StoreUnreachable, UsageError
from reference_services.sql import POSTGRESQL, Schema, in_postgresql


class Book(Protocol):
    """An open connection. Each statement commits by itself, unless in a transaction."""

    def execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        """A cursor: `fetchone`, `fetchall`, `rowcount`."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """One at a time, so what is read in it stays true until the commit."""
        ...

    def flush(self, *, at_once: bool) -> None:
        """Whether a commit waits for the disk; one that does takes along those before it that did not."""
        ...


class Tables(Protocol):
    """Any number of threads and processes may work on them at once."""

    def opened(self) -> AbstractContextManager[Book]:
        """A connection, given up with all that it has not committed where an exception leaves the block. Raises
        StoreUnreachable."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


def tables_at(place: Path | str, schema: Schema | None = None) -> Tables:
    """Those at a path, or an address as services take it; None: they are there already, and are only read."""
    if isinstance(place, str) and place.startswith(POSTGRESQL):
        return _PostgresTables(place, schema)
    if isinstance(place, str) and "://" in place and not place.startswith("sqlite:///"):
        raise UsageError("The shop keeps no tables at this address.", "sqlite:///file or postgresql://host/database.")
    return _SqliteTables(Path(str(place).removeprefix("sqlite:///")), schema)


def beside(setting: str, name: str) -> str:
    """The place in this setting, or else beside the service's own tables: a file, or where those are."""
    database = os.environ.get("CHOROS_DATABASE", "")
    if database.startswith(POSTGRESQL):
        return os.environ.get(setting) or database
    folder = Path(database.removeprefix("sqlite:///")).parent if database.startswith("sqlite:///") else Path(".choros")
    return os.environ.get(setting) or str(folder / f"{name}.db")


# --- in a SQLite file -------------------------------------------------------------------------------------------------


class _SqliteTables:
    def __init__(self, path: Path, schema: Schema | None) -> None:
        self._path, self._schema = path, schema
        self._preparing = threading.Lock()

    @contextmanager
    def opened(self) -> Iterator[Book]:
        if self._schema is None:
            with closing(_reading(self._path)) as connection:
                yield _SqliteBook(connection)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            with self._preparing:  # two threads must not both be first
                connection.executescript(";\n".join(("PRAGMA journal_mode = WAL", *self._schema.in_sqlite())))
            yield _SqliteBook(connection)

    def close(self) -> None:
        pass


def _reading(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise _missing(path)
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)


def _missing(where: object) -> UsageError:
    return UsageError(f"There is no database {where}.", "run the service first; it keeps its books there.")


class _SqliteBook:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        yield
        self._connection.execute("COMMIT")

    def flush(self, *, at_once: bool) -> None:
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if at_once else 'NORMAL'}")


# --- in a PostgreSQL --------------------------------------------------------------------------------------------------


class _PostgresTables:
    def __init__(self, url: str, schema: Schema | None) -> None:
        from choros.store.postgres.address import address_of

        self._address, self._schema = address_of(url), schema
        self._idle: list[Any] = []

    @contextmanager
    def opened(self) -> Iterator[Book]:
        psycopg = _psycopg()
        try:
            connection = self._idle.pop() if self._idle else self._connected()
            try:
                yield _PostgresBook(connection)
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        except psycopg.errors.UndefinedTable:
            raise _missing(self._address.name) from None
        except psycopg.OperationalError:
            self.close()  # the others will hardly be better
            hint = "see whether it runs, and whom it lets in."
            raise StoreUnreachable(f"The database {self._address.name} cannot be used.", hint) from None

    def _connected(self) -> Any:
        psycopg = _psycopg()
        options = f"-csearch_path={self._address.schema}" if self._address.schema else ""
        connection = psycopg.connect(
            self._address.dsn, autocommit=True, cursor_factory=psycopg.RawCursor, options=options
        )
        book = _PostgresBook(connection)
        if self._schema is not None:
            with book.transaction():
                for statement in self._schema.in_postgresql():
                    book.execute(statement)
        return connection

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _psycopg() -> Any:
    try:
        import psycopg
    except ModuleNotFoundError:
        hint = "pip install 'choros[demo-postgres]'."
        raise UsageError("Tables in PostgreSQL need the package psycopg.", hint) from None
    return psycopg


class _PostgresBook:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(in_postgresql(statement), values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema()))")
        yield
        self._connection.execute("COMMIT")

    def flush(self, *, at_once: bool) -> None:
        self._connection.execute(f"SET synchronous_commit = {'DEFAULT' if at_once else 'off'}")
