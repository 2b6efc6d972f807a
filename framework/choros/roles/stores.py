"""From an address to an adapter, which is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from choros.errors import UsageError
from choros.roles.scopes import in_file, on_redis
from choros.store.barrier import Database
from choros.store.sagas import Store

_HINT = "memory://, sqlite:///path/to/file.db or redis://host:6379/0."


def store_at(url: str, namespace: str = "choros") -> Store:
    """The store at this address, not opened yet. `namespace` keeps apart the applications that share it."""
    match _scheme(url):
        case "memory":
            from choros.store.memory.sagas import MemoryStore

            return MemoryStore(namespace=namespace)
        case "sqlite":
            from choros.store.sqlite.sagas import SqliteStore

            return SqliteStore(_path(url), namespace)
        case _:
            from choros.store.redis.sagas import RedisStore

            return RedisStore(url, namespace)


async def scopes_at(url: str) -> Sequence[str]:
    """Whose sagas the store at this address holds, as `store_at` names them."""
    match _scheme(url):
        case "memory":
            return []
        case "sqlite":
            return await in_file(_path(url))
        case _:
            return await on_redis(url)


def database_at(url: str, namespace: str = "choros") -> Database:
    """The participant's database at this address, not opened yet."""
    match _scheme(url):
        case "memory":
            from choros.store.memory.barrier import MemoryDatabase

            return MemoryDatabase(namespace=namespace)
        case "sqlite":
            from choros.store.sqlite.barrier import SqliteDatabase

            return SqliteDatabase(_path(url), namespace)
        case _:
            from choros.store.redis.barrier import RedisDatabase

            return RedisDatabase(url, namespace)


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError("This database address has no scheme.", _HINT)
    if scheme not in ("memory", "sqlite", "redis", "rediss", "unix"):
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
