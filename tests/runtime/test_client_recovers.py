"""A client, which nobody supervises: what passes passes for it too, and what failed does not happen behind its back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.runtime.client.client import Client
from choros.runtime.host.vitals import Vitals
from choros.runtime.orchestrator import decider as decider_module
from choros.saga.machine.instance import Instance
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, Committed, EntryNames, Loaded, Transition
from tests.patience import LATE
from tests.runtime.stage import NAMES, Stage, staged

from ..saga import shop

SOON = timedelta(seconds=1)


class MoodyStore(MemoryStore):
    """A store in memory that does not always do what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: Exception | None = None
        """Raised by whatever it is asked."""
        self.silent = False
        """Commits, and does not answer."""

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Any:
        self._check()
        return await super().load(saga_ids, wanted)

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        self._check()
        done = await super().commit(batch)
        if self.silent:
            raise StoreUnreachable("No answer.")
        return done

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        self._check()
        await super().mark_sent(sent)

    def _check(self) -> None:
        if self.wrong is not None:
            raise self.wrong


async def moody(stage: Stage, **more: Any) -> tuple[MoodyStore, Client]:
    store = MoodyStore()
    await store.open()
    client = Client(stage.app, store=store, transport=stage.transport, **{"timeout": SOON, **more})
    return store, await stage.stack.enter_async_context(client)


def order(number: int) -> shop.PlaceOrder:
    return shop.ORDER.model_copy(update={"order_id": f"order-{number}"})


def begun(store: MoodyStore) -> int:
    return len(store._rows.records)


@pytest.mark.parametrize("wrong", [StoreMisconfigured("Another password."), RuntimeError("a driver's bug")])
async def test_what_is_wrong_for_a_while_ends_no_client(wrong: Exception) -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        store.wrong = wrong
        for number in range(5):
            with pytest.raises(type(wrong)):
                await client.start(shop.order_saga, order(number))
        await asyncio.sleep(60)
        store.wrong = None
        await asyncio.sleep(2)
        await client.start(shop.order_saga, order(9))
        await asyncio.sleep(10)
        assert begun(store) == 1
        assert not store._rows.outbox  # and what is confirmed is marked again, too


async def test_a_client_that_fails_as_it_is_closed_is_closed_at_once() -> None:
    async with staged() as stage:
        store, client = await moody(stage, timeout=timedelta(hours=1))
        store.wrong = StoreMisconfigured("Another password.")
        asking = asyncio.create_task(client.start(shop.order_saga, shop.ORDER))
        await asyncio.sleep(0)
        before = asyncio.get_running_loop().time()
        await client.__aexit__(None, None, None)
        assert asyncio.get_running_loop().time() - before < LATE
        with pytest.raises(StoreMisconfigured):
            await asking


async def test_starts_that_failed_for_their_callers_are_dropped() -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        await store.close()
        asked = (client.start(shop.order_saga, order(number)) for number in range(1000))
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {str(one) for one in told} == {
            "The store did not take the request within 1 s; it is dropped. Try: ask again when the store answers."
        }
        await asyncio.sleep(6)
        assert client._decider._inbox.qsize() == 0
        await store.open()
        await asyncio.sleep(60)
        assert begun(store) == 0
        assert not stage.broker.waiting(NAMES.service_queue("payment"))


async def test_a_start_whose_caller_went_away_is_dropped() -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        await store.close()
        asking = asyncio.create_task(client.start(shop.order_saga, shop.ORDER))
        await asyncio.sleep(0.5)
        asking.cancel()
        await store.open()
        await asyncio.sleep(60)
        assert begun(store) == 0


async def test_what_the_store_may_have_taken_is_said_to_be_unknown() -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        store.silent = True

        async def gone(_: Sequence[str]) -> dict[str, Loaded]:
            await asyncio.sleep(60)
            raise AssertionError

        load, loads = store.load, 0

        async def load_once(saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Any:
            nonlocal loads
            loads += 1
            return await (load if loads == 1 else gone)(saga_ids)

        store.load = load_once  # type: ignore[method-assign]
        with pytest.raises(StoreUnreachable, match=r"may have been taken.*Try: ask again under the same key"):
            await client.start(shop.order_saga, shop.ORDER)
        assert begun(store) == 1


async def test_who_waits_for_one_that_runs_looks_and_does_not_read_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        saga_id = await client.start(shop.order_saga, shop.ORDER)
        looks, read, load, loads = [], [], store.load, Instance.loads

        async def look(saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Any:
            looks.append(saga_ids)
            return await load(saga_ids, wanted)

        def reading(text: str) -> Instance:
            read.append(text)
            return loads(text)

        store.load = look  # type: ignore[method-assign]
        monkeypatch.setattr(Instance, "loads", staticmethod(reading))
        waiting = asyncio.create_task(client.wait(saga_id, timeout=SOON))
        while len(looks) < 3:
            await asyncio.sleep(0.01)
        assert read == []
        waiting.cancel()
        assert (await client.outcome(saga_id)).status == "running"
        assert len(read) == 1


async def test_what_the_store_took_without_a_word_is_found_and_answered() -> None:
    async with staged() as stage:
        store, client = await moody(stage)
        store.silent = True
        asking = asyncio.create_task(client.start(shop.order_saga, shop.ORDER))
        await asyncio.sleep(0.05)
        store.silent = False
        assert await asking in store._rows.records


async def test_no_more_than_so_many_wait_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decider_module, "MOST_WAITING", 10)
    async with staged() as stage:
        store, client = await moody(stage)
        await store.close()
        first = asyncio.create_task(client.start(shop.order_saga, order(0)))
        await asyncio.sleep(0.05)  # it is being decided
        waiting = [asyncio.create_task(client.start(shop.order_saga, order(number))) for number in range(1, 11)]
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnreachable, match=r"10 requests wait for the store already\. Try: wait"):
            await client.start(shop.order_saga, order(11))
        await store.open()
        assert len(await asyncio.gather(first, *waiting)) == 11


async def test_a_look_that_is_at_fault_does_not_end_the_reports(tmp_path: Path) -> None:
    path = tmp_path / "health"
    vitals, faults = Vitals("service:payment", path=path, every=1.0), [True]

    def count() -> int:
        if faults:
            raise RuntimeError(faults.pop())
        return 0

    vitals.stranded = count
    watching = asyncio.create_task(vitals.run())
    await asyncio.sleep(5)
    assert not faults
    assert path.exists()
    watching.cancel()
    await asyncio.wait({watching})
