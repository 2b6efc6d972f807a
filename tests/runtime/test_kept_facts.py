"""A fact answers a wait, whichever is first: kept for who comes later, told to who waits, once, by any number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from choros import App, Client, Fact, FactStart, Service, UsageError, Wait
from choros.app.awaited_fact import label_of
from choros.runtime.orchestrator.kept_facts import MOST_KEPT, KeptFacts
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.saga import Saga
from choros.sources import fresh_id, now
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed, Transition
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.checkout import publish
from tests.runtime.stage import NAMES, Stage, kinds, reply_to, staged
from tests.saga.invoice import (
    DAY,
    HANDED,
    PAID,
    HandOver,
    InvoicePaid,
    Order,
    Release,
    Reserve,
    delivery,
    invoice_of,
    make_delivery,
)

QUEUE = NAMES.application_facts("shop")
FIRST = make_delivery(PAID, HANDED, name="first")
"""It waits at once."""


def paid(invoice: str = "i1", payment: str = "p1", *, seq: int = 1, **more: Any) -> Envelope:
    fact = InvoicePaid(invoice=invoice, payment=payment)
    fields: dict[str, Any] = {
        "id": fresh_id(), "kind": "fact", "type": fact.type_name, "source": "/shop/bank", "time": now(),
        "data": fact.to_json(), "stream": "bank-1", "seq": seq,
    }  # fmt: skip
    return Envelope(**fields | more)


def delivery_app(*sagas: Saga[Any], **more: Any) -> App:
    services = [Service("stock", commands=(Reserve, Release)), Service("van", commands=(HandOver,))]
    return App("shop", sagas=sagas or (delivery, FIRST), services=services, **more)


@dataclass
class Post:
    """A stage with a place for what is kept."""

    stage: Stage
    kept: MemoryStore

    async def orchestrator(self, **more: Any) -> Orchestrator:
        return await self.stage.orchestrator(kept=self.kept, **more)

    async def client(self) -> Client:
        return await self.stage.client()

    async def command(self, service: str) -> Envelope:
        return await self.stage.command(service)

    async def done(self, service: str) -> Envelope:
        """Its next command is carried out."""
        command = await self.command(service)
        await self.stage.answer(reply_to(command, source=f"/shop/{service}"))
        return command

    async def until_kept(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while sum((await self.kept.counts()).values()) < count:
                await asyncio.sleep(0.01)

    async def until_said(self, saga_id: str, kind: str, count: int = 1) -> list[str]:
        """All that its history says, once it says this so often."""
        async with asyncio.timeout(PATIENCE):
            while (said := await self.said(saga_id)).count(kind) < count:
                await asyncio.sleep(0.01)
        return said

    async def said(self, saga_id: str) -> list[str]:
        return [kind for row in await self.stage.store.history(saga_id) for kind in kinds(row)]


@asynccontextmanager
async def posted(app: App | None = None) -> AsyncIterator[Post]:
    async with staged() as stage:
        stage.app = app or delivery_app()
        await stage.transport.declare(stage.app.topology + topology("shop", applications=["bank"]))
        kept = MemoryStore(sharing=stage.store, namespace=stage.app.facts_scope)
        await kept.open()
        yield Post(stage, kept)


async def handed(post: Post, payment: str = "p1") -> None:
    command = await post.done("van")
    assert HandOver.from_json(command.data).payment == payment


# --- whichever is first -----------------------------------------------------------------------------------------------


async def test_who_waits_is_told() -> None:
    async with posted() as post:
        await post.orchestrator()
        saga_id = await (await post.client()).start(delivery, Order())
        await post.done("stock")
        await post.until_said(saga_id, "awaiting")
        await publish(post.stage, paid())
        await handed(post)
        assert (await post.said(saga_id)).count("signalled") == 1


async def test_who_comes_to_wait_later_finds_it_kept() -> None:
    async with posted() as post:
        await post.orchestrator()
        await publish(post.stage, paid())
        await post.until_kept(1)
        await (await post.client()).start(FIRST, Order())  # a client begins it, which knows of nothing that is kept
        await handed(post)


async def test_the_first_that_is_kept_counts_and_one_under_another_key_does_not() -> None:
    async with posted() as post:
        await post.orchestrator()
        for number, one in enumerate([("i2", "other"), ("i1", "p1"), ("i1", "p2")], 1):
            await publish(post.stage, paid(*one, seq=number))
            await post.until_kept(number)
        await (await post.client()).start(FIRST, Order())
        await handed(post, "p1")


async def test_all_that_wait_for_it_are_told_once_each_by_two_orchestrators() -> None:
    async with posted() as post:
        for _ in range(2):
            await post.orchestrator()
        client = await post.client()
        orders = [Order(order_id=f"o{number}") for number in range(5)]
        ids = [await client.start(FIRST, order) for order in orders]
        post.stage.broker.duplicate(QUEUE)
        fact = paid()
        await publish(post.stage, fact, fact, replace(fact, id=fresh_id()))
        for _ in ids:
            await handed(post)
        for saga_id in ids:
            assert (await post.until_said(saga_id, "completed")).count("signalled") == 1


async def test_a_fact_without_of_is_about_the_flow_that_it_is_part_of() -> None:
    plain = make_delivery(Wait(InvoicePaid, key=invoice_of, within=DAY), HANDED)
    async with posted(delivery_app(plain)) as post:
        await post.orchestrator()
        await publish(post.stage, paid("i9", correlation_id="i1"), paid("i1", seq=2))
        await post.until_kept(1)
        await (await post.client()).start(plain, Order())
        await handed(post)
        assert sum((await post.kept.counts()).values()) == 1


def ordered(fact: InvoicePaid) -> Order:
    return Order(order_id=fact.payment, invoice=fact.invoice)


async def test_a_fact_may_start_a_saga_and_answer_it() -> None:
    async with posted(delivery_app(FIRST, starts=[FactStart(FIRST, on=InvoicePaid, start=ordered)])) as post:
        await post.orchestrator()
        await publish(post.stage, paid())
        await handed(post)


# --- between the two --------------------------------------------------------------------------------------------------


async def test_who_keeps_stores_it_before_he_looks_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saga comes to wait, and looks, while the keeper is between the two."""
    async with posted() as post:
        await begun_in_between(post, monkeypatch)
        await handed(post)


async def test_a_keeper_who_looks_before_he_stores_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    untold = KeptFacts._untold

    async def take(self: KeptFacts, awaited: Any, fact: Fact, envelope: Envelope) -> None:
        label = label_of(envelope.type, awaited.about(fact, ""))
        waiting = [works async for works in untold(self, label, envelope)]
        await between(self)
        await self._keep(awaited, label, envelope)
        for works in waiting:
            await asyncio.gather(*map(self._ask, works))

    monkeypatch.setattr(KeptFacts, "take", take)
    async with posted() as post:
        saga_id = await begun_in_between(post, monkeypatch, take_is_planted=True)
        await post.until_kept(1)
        await asyncio.sleep(60)
        assert "signalled" not in await post.said(saga_id)


async def between(kept: Any) -> None:
    """Replaced by the tests: what happens while the keeper is between the two."""


async def begun_in_between(post: Post, monkeypatch: pytest.MonkeyPatch, take_is_planted: bool = False) -> str:
    await post.orchestrator()
    client, ids = await post.client(), list[str]()
    real = KeptFacts._keep

    async def begin(*_: Any) -> None:
        ids.append(await client.start(FIRST, Order()))
        async with asyncio.timeout(PATIENCE):  # it has looked
            while (await client.show(ids[0])).instance.state("invoice_paid").unlooked:
                await asyncio.sleep(0.01)

    async def keep(self: KeptFacts, *given: Any) -> None:
        await real(self, *given)
        await begin()

    if take_is_planted:
        monkeypatch.setattr(f"{__name__}.between", begin)
    else:
        monkeypatch.setattr(KeptFacts, "_keep", keep)
    await publish(post.stage, paid())
    async with asyncio.timeout(PATIENCE):
        while not ids:
            await asyncio.sleep(0.01)
    return ids[0]


async def test_a_crash_between_the_commit_and_the_look_leaves_it_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with posted() as post:
        first = await post.orchestrator()
        await publish(post.stage, paid())
        await post.until_kept(1)
        first.stop()
        await asyncio.sleep(5)
        await (await post.client()).start(FIRST, Order())
        await asyncio.sleep(60)  # nobody is at work
        await post.orchestrator()
        await handed(post)


async def test_who_is_paused_takes_it_and_goes_on_when_resumed() -> None:
    async with posted() as post:
        await post.orchestrator()
        client = await post.client()
        saga_id = await client.start(FIRST, Order())
        await client.pause(saga_id)
        await publish(post.stage, paid())
        await post.until_said(saga_id, "signalled")
        await client.resume(saga_id)
        await handed(post)


async def test_who_is_undone_or_too_late_is_told_nothing() -> None:
    async with posted() as post:
        await post.orchestrator()
        client = await post.client()
        saga_id = await client.start(delivery, Order())
        await post.done("stock")
        await post.until_said(saga_id, "awaiting")
        await client.cancel(saga_id)
        await publish(post.stage, paid())
        await post.until_kept(1)
        await post.done("stock")
        assert "signalled" not in await post.until_said(saga_id, "compensated")


# --- what is kept, and for how long -----------------------------------------------------------------------------------


async def test_it_is_let_go_of_when_its_time_is_over() -> None:
    async with posted() as post:
        await post.orchestrator(**SELDOM)
        await publish(post.stage, paid())
        await post.until_kept(1)
        await asyncio.sleep(timedelta(days=2, hours=2).total_seconds())
        assert sum((await post.kept.counts()).values()) == 0
        await (await post.client()).start(FIRST, Order())
        await asyncio.sleep(60)
        assert post.stage.broker.waiting("shop.van") == []


SELDOM = {"timers_every": 600.0, "resend_after": 600.0, "scan_every": 600.0}


async def test_too_many_under_one_key_are_parked() -> None:
    async with posted() as post:
        await post.orchestrator()
        await publish(post.stage, *(paid(seq=number) for number in range(1, MOST_KEPT + 1)))
        await post.until_kept(MOST_KEPT)
        await publish(post.stage, paid(seq=MOST_KEPT + 1))
        assert await post.stage.dead(QUEUE) == "64 facts of this type are kept about the same key."


async def test_what_the_database_cannot_take_is_parked_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with posted() as post:
        await post.orchestrator()

        async def refuses(batch: Sequence[Transition]) -> list[Committed]:
            return [Committed.REFUSED for _ in batch]

        monkeypatch.setattr(post.kept, "commit", refuses)
        await publish(post.stage, paid())
        assert (await post.stage.dead(QUEUE)).startswith("The database cannot take this fact, now or later")


async def test_a_fact_of_which_nobody_can_say_what_it_is_about_is_parked() -> None:
    async with posted() as post:
        await post.orchestrator(**SELDOM)
        await publish(post.stage, paid(payment="broken"))
        await asyncio.sleep(1000)
        assert await post.stage.dead(QUEUE) == "What InvoicePaid is about: of failed with KeyError."


async def test_without_a_place_to_keep_them_it_says_so() -> None:
    async with staged() as stage:
        with pytest.raises(UsageError, match="The facts that 'shop' waits for have no store"):
            Orchestrator(delivery_app(), transport=stage.transport, store=stage.store)
