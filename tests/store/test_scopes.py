"""Whose sagas a store holds, asked without any of them."""

from __future__ import annotations

from pathlib import Path

from choros.roles.addresses import scopes_at, store_at
from choros.store.sagas import Committed
from choros.testing.conformance.records import creation


async def fill(url: str, *scopes: str) -> None:
    for scope in scopes:
        store = store_at(url, scope)
        await store.open()
        try:
            assert await store.commit([creation()]) == [Committed.OK]
        finally:
            await store.close()


async def test_a_file_names_those_who_have_sagas_in_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sagas.db"
    await fill(url, "shop.order", "bank.loan")
    assert await scopes_at(url) == ["bank.loan", "shop.order"]
    assert await scopes_at("memory://") == []


async def test_a_redis_server_does_too(redis_url: str, namespace: str) -> None:
    await fill(redis_url, f"{namespace}.order", f"{namespace}.loan")
    found = [scope for scope in await scopes_at(redis_url) if scope.startswith(namespace)]
    assert found == [f"{namespace}.loan", f"{namespace}.order"]
