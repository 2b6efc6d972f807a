"""Two applications that share a store file: as it is when both are started in one folder with the default address."""

from __future__ import annotations

from pathlib import Path

import pytest

from choros.app.app import App
from choros.roles.addresses import Addresses, opened_store
from choros.roles.roles import client_of
from choros.store.sagas import Store
from tests.runtime.stage import make_app

from ..saga import shop

SHOP = make_app()


def named(namespace: str, name: str) -> App:
    return App(namespace, name=name, sagas=SHOP.sagas.values(), services=SHOP.services.values())


async def seen(store: Store, app: App, saga_id: str) -> list[object]:
    later = store.now() + 1e9
    outboxes = [list(await store.unsent("commands", later, 10)), list(await store.unsent("facts", later, 10))]
    return [
        *outboxes, list(await store.due(later, app.kinds, 10)), dict(await store.load([saga_id])),
        dict(await store.counts()), list((await store.find()).records), list(await store.history(saga_id)),
    ]  # fmt: skip


@pytest.mark.parametrize(("namespace", "name"), [("green", "shop"), ("blue", "batch")])
async def test_neither_sees_or_drives_the_sagas_of_the_other(tmp_path: Path, namespace: str, name: str) -> None:
    mine, other = named("blue", "shop"), named(namespace, name)
    where = Addresses("memory://", f"sqlite:///{tmp_path}/sagas.db")
    async with client_of(mine, where) as client:
        saga_id = await client.start(shop.order_saga, shop.PlaceOrder(order_id="o1", total=9))
    async with opened_store(where, other) as store:
        assert not any(await seen(store, other, saga_id))
    async with opened_store(where, mine) as store:
        commands, facts, *others = await seen(store, mine, saga_id)
        assert (bool(commands), bool(facts), all(others)) == (True, False, True)
