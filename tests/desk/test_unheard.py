"""What an application's own queue of facts has left: a saga begun, a fact kept, or it was missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from choros.app.awaited_fact import label_of
from choros.desk.unheard import OwnFacts
from choros.runtime.orchestrator.kept_facts import row_id
from choros.sources import now, saga_id_for
from choros.store.memory.sagas import MemoryStore
from choros.testing.conformance.records import creation, stored
from choros.wire.envelope import Envelope
from tests.runtime.checkout import CheckedOut, shop_app, told
from tests.runtime.test_kept_facts import delivery_app, paid


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


def checked_out(order: str, **more: Any) -> Envelope:
    return told(CheckedOut(order_id=order, total=30, **more))


async def test_a_fact_whose_saga_is_not_there_is_missed(store: MemoryStore) -> None:
    begun, missed, nothing = checked_out("o1"), checked_out("o2"), checked_out("o3", member=False)
    await stored(store, creation(saga_id_for("shop.shop.order", "o1")))
    own = OwnFacts(shop_app(), store, None)
    assert await own.unheard([begun, missed, nothing]) == [missed]
    assert await own.unheard([]) == []


async def test_so_is_what_cannot_be_read_or_begun(store: MemoryStore) -> None:
    torn, unfit = told(data="{"), told(CheckedOut(order_id="o1", total=-1))
    assert await OwnFacts(shop_app(), store, None).unheard([torn, unfit]) == [torn, unfit]


async def test_a_fact_that_is_not_kept_for_those_who_wait_is_missed(store: MemoryStore) -> None:
    kept, missed = paid("i1"), paid("i2")
    await stored(store, creation(row_id(label_of(kept.type, "i1"), kept)))
    assert await OwnFacts(delivery_app(), store, store).unheard([kept, missed]) == [missed]


async def test_what_need_not_be_kept_any_more_is_not(store: MemoryStore) -> None:
    app = delivery_app()
    (awaited,) = app.awaited.values()
    longest = (awaited.keep + timedelta(minutes=1)).total_seconds()
    assert await OwnFacts(app, store, store).unheard([paid("i1", time=now() - longest)]) == []
