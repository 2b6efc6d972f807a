"""From addresses to adapters: here, and only here, these are imported, each only where it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from choros.app.app import App
from choros.app.checks import check
from choros.app.service import Service
from choros.app.sessions import called_with
from choros.errors import UsageError, shown, unknown
from choros.roles.settings_files import PREFIX, set_somewhere
from choros.runtime.host.call import apart, plainly
from choros.store.barrier import Database, Job, Ok, Raised
from choros.store.sagas import Store
from choros.transport.inspection import LookingTransport

if TYPE_CHECKING:
    from choros.transport.memory import MemoryBroker

DEFAULT_BROKER = "amqp://guest:guest@127.0.0.1:5672/"
DEFAULT_STORE = "sqlite:///.choros/sagas.db"
DEFAULT_DATABASE = "sqlite:///.choros/{service}.db"
_HINT = "memory://, sqlite:///path/to/file.db, redis://host:6379/0 or postgresql://host/database."
_OF_POSTGRES = ("postgresql", "postgres")
_OF_SQLALCHEMY = ("postgresql+asyncpg", "postgresql+psycopg", "sqlite+aiosqlite")
"""Addresses of databases that SQLAlchemy speaks to, written as it has them."""
_OF_SQLALCHEMY_IN_THREADS = ("postgresql+psycopg2", "sqlite+pysqlite")
"""The same, by drivers that block."""
_VARIABLES = (("CHOROS_BROKER", "AMQP_URL"), ("CHOROS_STORE", "REDIS_URL"), ("CHOROS_DATABASE",), ("CHOROS_NAMESPACE",))
_SET_BROKER = "CHOROS_BROKER=amqp://user:password@host/, or that line in the file that CHOROS_SETTINGS names."
_memory_brokers: dict[str, MemoryBroker] = {}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is. `{service}` in the database's address stands for the service's name."""

    broker: str = DEFAULT_BROKER
    store: str = DEFAULT_STORE
    database: str = DEFAULT_DATABASE
    namespace: str = ""
    """Another than the application's own, where one is set."""

    @staticmethod
    def from_settings() -> Addresses:
        """Where `choros` commands find everything: CHOROS_BROKER (or AMQP_URL), CHOROS_STORE (or REDIS_URL),
        CHOROS_DATABASE and CHOROS_NAMESPACE, of the environment, of secrets and of a file of settings. Raises
        UsageError where no broker is set, since the one on this machine is rarely meant, for what cannot be read, and
        for a setting in file or secrets that there is not."""
        found = set_somewhere()
        broker, store, database, namespace = (
            next((found[one] for one in names if found.get(one)), "") for names in _VARIABLES
        )
        if not broker:
            mine = [name for name in found if name.startswith(PREFIX)]
            raise UsageError(*unknown("CHOROS_BROKER is set nowhere.", "CHOROS_BROKER", mine, _SET_BROKER))
        return Addresses(broker, store or DEFAULT_STORE, database or DEFAULT_DATABASE, namespace)

    def namespaced(self, app: App) -> App:
        """The application in the namespace that is set, if one is."""
        return app.within(self.namespace) if self.namespace else app

    def __repr__(self) -> str:
        return f"Addresses({shown(self.broker)!r}, {shown(self.store)!r}, {shown(self.database)!r})"


# --- open, and closed at the end --------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(addresses: Addresses, app: App, name: str) -> AsyncIterator[LookingTransport]:
    """A transport that is connected, and closed at the end; raises BrokerUnreachable or BrokerMisconfigured."""
    transport = open_transport(addresses.broker, app.namespace, name)
    try:
        await transport.connect()
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def opened_store(addresses: Addresses, app: App) -> AsyncIterator[Store]:
    """The saga store, open, and closed at the end; raises StoreUnreachable or StoreMisconfigured."""
    async with _open(addresses, app.scope) as store:
        yield store


@asynccontextmanager
async def opened_schedules(addresses: Addresses, app: App) -> AsyncIterator[Store]:
    """The same database once more, for the records of its schedules."""
    async with _open(addresses, app.schedule_scope) as store:
        yield store


@asynccontextmanager
async def opened_locks(addresses: Addresses, app: App) -> AsyncIterator[Store]:
    """The same once more, for the rows of its locks."""
    async with _open(addresses, app.lock_scope) as store:
        yield store


@asynccontextmanager
async def opened_facts(addresses: Addresses, app: App) -> AsyncIterator[Store]:
    """The same, for the facts that are kept for its sagas."""
    async with _open(addresses, app.facts_scope) as store:
        yield store


@asynccontextmanager
async def _open(addresses: Addresses, scope: str) -> AsyncIterator[Store]:
    store = store_at(_with_folder(addresses.store), scope)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_database(addresses: Addresses, app: App, service: Service) -> AsyncIterator[Database]:
    """A service's own database, open and prepared, and closed at the end."""
    database = database_of(app, service, addresses.database)
    try:
        await database.open()
        check(service, database)
        for result in await database.run([_prepared(function) for function in service.preparations]):
            if not isinstance(result, Ok):
                raise plainly(result.error if isinstance(result, Raised) else result.why)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_barrier(addresses: Addresses, place: str) -> AsyncIterator[Database]:
    """The barrier's rows of one place, in the database that no service has to itself."""
    database = database_at(_with_folder(addresses.database), place)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def database_of(app: App, service: Service, url: str) -> Database:
    """A service's own database, not opened yet: the one that it brings, or else the one at this address, in which
    `{service}` stands for its name."""
    namespace = f"{app.namespace}.{service.name}"
    if service.database is not None:
        return service.database(namespace)
    return database_at(_with_folder(url.replace("{service}", service.name)), namespace)


def _prepared(function: Callable[[Any], Any]) -> Job[Any]:
    return lambda transaction: apart(partial(called_with, function, transaction))


def _with_folder(url: str) -> str:
    """A SQLite file needs its folder."""
    if url.startswith(("sqlite:///", "sqlite+aiosqlite:///", "sqlite+pysqlite:///")):
        folder = Path(url.partition(":///")[2]).parent
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"The folder {folder} cannot be made: {error.strerror}.", "one to write to.") from None
    return url


# --- not opened yet ---------------------------------------------------------------------------------------------------


def open_transport(url: str, namespace: str, name: str) -> LookingTransport:
    """The transport for `memory://NAME`, `amqp://...` or `amqps://...` (of a cluster: `...@one:5672,two:5672/vhost`),
    not yet connected.

    `name` is how the broker shows the connections. All who open the same `memory://NAME` in this process
    share one broker; `memory://` alone is a new one each time. Raises UsageError for any other address.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from choros.transport.memory import MemoryBroker, MemoryTransport

        broker = _memory_brokers.setdefault(rest, MemoryBroker()) if rest else MemoryBroker()
        return MemoryTransport(broker, namespace)
    if scheme in ("amqp", "amqps"):
        from choros.transport.rabbitmq.transport import RabbitMQTransport

        return RabbitMQTransport(url, namespace, name)
    raise UsageError(
        "The broker's address has no scheme that choros knows.",
        "memory://, or amqp://user:password@host:5672/vhost (amqps:// for TLS)",
    )


def store_at(url: str, namespace: str = "choros") -> Store:
    """The store at this address, not opened yet. `namespace` keeps apart the applications that share it."""
    match _scheme(url, _OF_POSTGRES):
        case "memory":
            from choros.store.memory.sagas import MemoryStore

            return MemoryStore(namespace=namespace)
        case "sqlite":
            from choros.store.sqlite.sagas import SqliteStore

            return SqliteStore(_path(url), namespace)
        case scheme if scheme in _OF_POSTGRES:
            with _of_extra("postgres"):
                from choros.store.postgres.sagas import PostgresStore

            return PostgresStore(url, namespace)
        case _:
            from choros.store.redis.sagas import RedisStore

            return RedisStore(url, namespace)


async def scopes_at(url: str) -> Sequence[str]:
    """Whose sagas the store at this address holds, as `store_at` names them."""
    return [scope for scope in await _all_scopes(url) if scope.count(".") == 1]  # a schedule is no saga


async def _all_scopes(url: str) -> Sequence[str]:
    match _scheme(url, _OF_POSTGRES):
        case "memory":
            return []
        case "sqlite":
            from choros.store.sqlite.scopes import scopes_in

            return await scopes_in(_path(url))
        case scheme if scheme in _OF_POSTGRES:
            with _of_extra("postgres"):
                from choros.store.postgres.scopes import scopes_at as scopes_there

            return await scopes_there(url)
        case _:
            from choros.store.redis.scopes import scopes_on

            return await scopes_on(url)


def tables_of(database: str, what: str, schema: str = "") -> str:
    """The statements that create the tables of what is kept in such a database; raises UsageError."""
    match database, what:
        case "postgresql", "store":
            from choros.store.postgres.tables import ddl

            return ddl(schema)
        case "postgresql", "barrier" | "outbox":  # whose rows lie in the same tables
            from choros.store.sql.schema import ddl as ddl_of_barrier

            return ddl_of_barrier(schema)
        case _:
            hint = "postgresql --for store, --for barrier or --for outbox."
            raise UsageError(f"There is nothing to print for {database} --for {what}.", hint)


def database_at(url: str, namespace: str = "choros") -> Database:
    """The participant's database at this address, not opened yet. A package may bring one for a scheme of its own, by
    an entry point of the group `choros.databases`: what is called with address and namespace."""
    for plug in entry_points(group="choros.databases", name=url.partition("://")[0]):
        made: Database = plug.load()(url, namespace)
        return made
    match _scheme(url, (*_OF_POSTGRES, *_OF_SQLALCHEMY, *_OF_SQLALCHEMY_IN_THREADS)):
        case "memory":
            from choros.store.memory.barrier import MemoryDatabase

            return MemoryDatabase(namespace=namespace)
        case "sqlite":
            from choros.store.sqlite.barrier import SqliteDatabase

            return SqliteDatabase(_path(url), namespace)
        case scheme if scheme in _OF_POSTGRES:
            with _of_extra("postgres"):
                from choros.store.postgres.barrier import PostgresDatabase

            return PostgresDatabase(url, namespace)
        case scheme if scheme in _OF_SQLALCHEMY:
            with _of_extra("sqlalchemy"):
                from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase

            return SqlAlchemyDatabase(url, namespace)
        case scheme if scheme in _OF_SQLALCHEMY_IN_THREADS:
            with _of_extra("sqlalchemy"):
                from choros.store.sqlalchemy.threaded import ThreadedSqlAlchemyDatabase

            return ThreadedSqlAlchemyDatabase(url, namespace)
        case _:
            from choros.store.redis.barrier import RedisDatabase

            return RedisDatabase(url, namespace)


@contextmanager
def _of_extra(extra: str) -> Iterator[None]:
    """What is imported here comes with an extra of the package; raises UsageError where that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"This address needs the package {error.name}.", f"pip install 'choros[{extra}]'.") from None


def _scheme(url: str, more: Sequence[str] = ()) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError("This database address has no scheme.", _HINT)
    if scheme not in (*more, "memory", "sqlite", "redis", "rediss", "unix"):
        # Only letters that a scheme may have: the rest could be anything, a password too.
        shown = scheme if scheme.replace("+", "").isalnum() and len(scheme) < 20 else "this"
        raise UsageError(f"No database adapter has the scheme {shown}://.", _HINT)
    return scheme


def _path(url: str) -> str:
    """`sqlite:///shop.db` is in the current folder, `sqlite:////var/shop.db` is not, as SQLAlchemy has it."""
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.netloc or not path:
        raise UsageError("This SQLite address names no file.", "sqlite:///shop.db, or sqlite:////var/lib/shop.db.")
    return path
