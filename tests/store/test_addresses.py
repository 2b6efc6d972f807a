"""From an address to an adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from choros.errors import UsageError
from choros.roles.addresses import database_at, store_at
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.store.postgres.sagas import PostgresStore
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.sagas import RedisStore
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.sagas import SqliteStore


def test_each_scheme_has_its_adapters() -> None:
    assert isinstance(store_at("memory://"), MemoryStore)
    assert isinstance(database_at("memory://"), MemoryDatabase)
    assert isinstance(store_at("redis://localhost:6379/0", "shop"), RedisStore)
    assert isinstance(store_at("postgresql://localhost/shop", "shop"), PostgresStore)
    assert isinstance(database_at("rediss://localhost:6379/0", "shop.payment"), RedisDatabase)


def test_sqlite_paths_are_relative_or_absolute() -> None:
    near, far = store_at("sqlite:///shop.db"), database_at("sqlite:////var/my%20shop.db")
    assert isinstance(near, SqliteStore)
    assert isinstance(far, SqliteDatabase)
    assert (near.path, far.path) == (Path("shop.db"), Path("/var/my shop.db"))


@pytest.mark.parametrize(
    "address", ["", "shop.db", "mysql://root:secret@localhost/shop", "secret!://x", "sqlite://", "sqlite://shop.db"]
)
@pytest.mark.parametrize("finding", [store_at, database_at])
def test_what_means_nothing_is_a_usage_error_with_a_hint(address: str, finding: object) -> None:
    assert callable(finding)
    with pytest.raises(UsageError, match="Try: ") as caught:
        finding(address)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_drivers_are_imported_only_when_they_are_used() -> None:
    use = "from choros.roles.addresses import *; store_at('sqlite:///x'); tables_of('postgresql', 'store')"
    look = f"import sys; {use}; print('redis' in sys.modules, 'asyncpg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False False"


def test_a_driver_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("choros.store.postgres.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(UsageError, match=r"needs the package asyncpg. Try: pip install 'choros\[postgres\]'"):
        store_at("postgresql://localhost/shop")
