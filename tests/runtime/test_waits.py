"""Nobody waits in vain: for a decider that has died, a reply queue that is gone, behind replies that nobody takes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from choros.errors import ChorosError, StoreMisconfigured
from choros.runtime.orchestrator import decider as decider_module
from choros.runtime.orchestrator.decider import Decider
from choros.runtime.orchestrator.work import Due, Folded, Work
from choros.runtime.participant import reply_outbox
from choros.store.barrier import Job, Row, Transaction
from choros.store.memory.sagas import MemoryStore
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from tests.patience import LATE, PATIENCE
from tests.runtime.participant_stage import Charge, command, eventually, make_service, stage_for, unsettled
from tests.runtime.stage import staged

from ..saga import shop

# --- a decider that has died ------------------------------------------------------------------------------------------


async def test_who_asks_a_dead_decider_is_told_at_once_why() -> None:
    async with staged() as stage:
        client = await stage.client()

        async def load(*_: Any) -> Any:
            raise StoreMisconfigured("The store must not be used like this.")

        stage.store.load = load  # type: ignore[method-assign,assignment]
        started = time.monotonic()
        for _ in range(2):  # the first kills it, the second finds it dead
            with pytest.raises(StoreMisconfigured):
                await client.start(shop.order_saga, shop.ORDER)
        assert time.monotonic() - started < LATE


async def test_what_waited_behind_the_work_that_killed_it_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decider_module, "BATCH", 1)
    store = MemoryStore()
    await store.open()

    async def load(*_: Any) -> Any:
        raise StoreMisconfigured("The store must not be used like this.")

    store.load = load  # type: ignore[method-assign,assignment]
    decider = Decider(lambda *_: Folded(), store, MemoryTransport(MemoryBroker()))
    asking = [asyncio.create_task(decider.ask(Work(f"s{n}", Due()))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreMisconfigured):
        await decider.run()
    async with asyncio.timeout(PATIENCE):
        told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in told] == [StoreMisconfigured] * 3


async def test_a_client_that_was_closed_says_so() -> None:
    async with staged() as stage:
        client = await stage.client()
        await client.__aexit__(None, None, None)
        with pytest.raises(ChorosError, match="stopped"):
            await client.start(shop.order_saga, shop.ORDER)
        await client.__aenter__()  # and can be opened again
        assert await client.start(shop.order_saga, shop.ORDER)


# --- a reply queue that is gone ---------------------------------------------------------------------------------------


def lost(number: int) -> Any:
    return command(Charge(order=f"o{number}"), saga=f"lost{number}", reply_to="shop.replies.gone")


async def test_a_reply_queue_that_is_gone_holds_places_once_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 0.1)
    async with stage_for(make_service(), prefetch=3) as stage:
        await stage.send(*(lost(n) for n in range(3)))
        await eventually(lambda: len(stage.parked()) == 3)
        monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 1000.0)
        await stage.send(*(lost(n) for n in range(10, 22)))
        await stage.ask(command(Charge(order="well")))
        await eventually(lambda: unsettled(stage, "shop.payment") == 0)
        assert len(stage.parked()) == 15
        assert len(await stage.database.unsent(100)) == 15  # and every one of the replies is still there to be sent


async def test_a_reply_queue_that_does_not_answer_does_not_stop_the_service_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its replies stay unconfirmed, and no queue is missing: with a place each they would take all there are."""
    monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 0.1)
    async with stage_for(make_service(), prefetch=3, scan_every=0.05) as stage:
        stage.transport.silent = "shop.replies.gone"
        await stage.send(*(lost(n) for n in range(10)))
        await stage.ask(command(Charge(order="well")))
        await eventually(lambda: unsettled(stage, "shop.payment") == 0)
        assert set(stage.parked()) == {"The queue of the reply does not answer."}
        assert len(await stage.database.unsent(100)) == 10  # and every one of the replies is still there to be sent


async def test_a_queue_that_may_not_be_to_blame_for_its_silence_is_no_reason_to_park(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 0.0)
    async with stage_for(make_service()) as stage:
        stage.transport.silent, stage.transport.state = "shop.replies.gone", "blocked"
        await stage.send(lost(1))
        await eventually(lambda: stage.counts.get("unconfirmed", 0) >= 3)
        assert stage.parked() == []
        stage.transport.state = "connected"
        await eventually(lambda: len(stage.parked()) == 1)


async def test_a_broker_that_was_away_for_long_is_no_reason_to_park(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 1000.0)
    async with stage_for(make_service()) as stage:
        stage.transport.fates = [Published.UNKNOWN] * 2
        await stage.send(lost(1))
        await eventually(lambda: stage.counts.get("unconfirmed", 0) >= 2)
        monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 0.05)
        assert stage.parked() == []  # the clock starts when the queue is first found missing, not before
        await eventually(lambda: len(stage.parked()) == 1)


# --- replies that nobody takes ----------------------------------------------------------------------------------------


def keep(row: Row) -> Job[Any]:
    async def job(transaction: Transaction) -> None:
        await transaction.write_row(row)

    return job


async def test_the_scan_looks_past_replies_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.runtime.host.relay.SCAN_LIMIT", 5)
    async with stage_for(make_service(), start=False, scan_every=0.02) as stage:
        for number in range(12):
            sick = command(Charge(order="o"), saga=f"sick{number}", kind="reply", outcome="ok", to="shop.replies.gone")
            await stage.database.run([keep(Row(key=sick.key, state="ok", content=sick.dumps()))])
        asked = command(Charge(order="o"), saga="well")
        well = command(Charge(order="o"), saga="well", kind="reply", outcome="ok", to=asked.reply_to)
        await stage.database.run([keep(Row(key=well.key, state="ok", content=well.dumps()))])
        stage.start()
        (found,) = await stage.replies(1)
        assert found.id == well.id
