"""A saga nested in another one, by real orchestrators: what they say to each other goes over the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.messages import Done, Failure, NestedCommand, Reply
from choros.runtime.client.client import Client
from choros.saga.machine.instance import Instance
from choros.saga.nodes import Nested, Pivot
from choros.saga.saga import Saga
from choros.sources import fresh_id, nested_id_for
from choros.store.memory.sagas import MemoryStore
from choros.store.sqlite.sagas import SqliteStore
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.saga import credit as c

from .stage import NAMES, Stage, reply_to

SERVICES = {"hold_stock": "stock", "hold_credit": "bank", "note_credit": "books", "ship": "lorries"}


def make_app(*sagas: Saga[Any]) -> App:
    return App(
        "shop",
        sagas=sagas or (c.order_saga, c.credit_saga),
        services=(
            Service("stock", commands=(c.HoldStock, c.GiveStockBack)),
            Service("bank", commands=(c.HoldCredit, c.GiveCreditBack)),
            Service("books", commands=(c.NoteCredit, c.StrikeNote)),
            Service("lorries", commands=(c.Ship,)),
            Service("notifications", facts=(c.CreditTaken, c.CreditClosed, c.CreditDenied, c.OrderDone, c.OrderOff)),
        ),
    )


class Play(Stage):
    """The stage, with the services of these sagas."""

    async def does(self, service: str, reply: Reply | None = None) -> Envelope:
        command = await self.command(service)
        await self.answer(reply_to(command, reply, source=f"/shop/{service}"))
        return command

    async def refuses(self, service: str, code: str) -> None:
        command = await self.command(service)
        await self.answer(reply_to(command, Failure(code=code), "refused", source=f"/shop/{service}"))

    async def instance(self, saga_id: str) -> Instance:
        return Instance.loads((await self.store.load([saga_id]))[saga_id].record.state)

    async def ends(self, saga_id: str, status: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                loaded = (await self.store.load([saga_id])).get(saga_id)
                if loaded is not None and loaded.record.status == status:
                    return
                await asyncio.sleep(0.01)

    def nested(self, saga_id: str, name: str = "credit") -> str:
        return nested_id_for("shop", "shop", name, f"{saga_id}:credit:1")


@asynccontextmanager
async def played(store: Any = None, *sagas: Saga[Any]) -> AsyncIterator[Play]:
    broker, store = MemoryBroker(), store or MemoryStore()
    transport = MemoryTransport(broker, "shop")
    await store.open()
    await transport.connect()
    app = make_app(*sagas)
    play = Play(broker, store, transport, app)
    await transport.declare(app.topology)
    try:
        async with play.stack:
            yield play
    finally:
        await transport.close()
        await store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "sagas.db"))


async def begun(play: Play) -> tuple[Client, str]:
    """An order whose stock is held."""
    await play.orchestrator()
    client = await play.client()
    saga_id = await client.start(play.app.saga("order"), c.PlaceOrder())
    await play.does("stock", c.Held())
    return client, saga_id


async def test_it_is_carried_out_and_released(store: Any) -> None:
    async with played(store) as play:
        _, saga_id = await begun(play)
        await play.does("bank", c.Held(hold="h7"))
        await play.does("books", c.Noted())
        shipped = await play.does("lorries")
        assert '"credit":"k-h7"' in shipped.data
        await play.ends(saga_id, "completed")
        await play.ends(play.nested(saga_id), "completed")
        told = [await play.fact() for _ in range(3)]
        assert {fact.type for fact in told} == {"credit-taken.v1", "credit-closed.v1", "order-done.v1"}
        assert {fact.source for fact in told} == {"/shop/shop"}


async def test_it_is_undone_with_the_saga_that_it_is_nested_in(store: Any) -> None:
    async with played(store) as play:
        _, saga_id = await begun(play)
        await play.does("bank", c.Held())
        await play.does("books", c.Noted())
        await play.refuses("lorries", "no_lorry")
        assert (await play.does("books", Done())).key.endswith(":note_credit:1:undo")
        await play.does("bank", Done())
        await play.does("stock", Done())
        await play.ends(saga_id, "compensated")
        await play.ends(play.nested(saga_id), "compensated")
        assert {(await play.fact()).type for _ in range(2)} == {"credit-denied.v1", "order-off.v1"}


async def test_its_refusal_is_that_of_the_step(store: Any) -> None:
    async with played(store) as play:
        client, saga_id = await begun(play)
        await play.refuses("bank", "too_much")
        await play.does("stock", Done())
        await play.ends(saga_id, "compensated")
        outcome = await client.outcome(saga_id)
        assert outcome.failure is not None and outcome.failure.code == "too_much"


async def test_a_cancel_turns_it_while_it_runs(store: Any) -> None:
    async with played(store) as play:
        client, saga_id = await begun(play)
        command = await play.command("bank")
        assert await client.cancel(saga_id) == "compensating"
        assert (await play.does("bank", Done())).key == command.key.replace(":do", ":undo")
        await play.does("stock", Done())
        await play.ends(saga_id, "compensated")
        await play.ends(play.nested(saga_id), "compensated")


async def test_of_any_number_of_orchestrators_each_decides_what_comes_to_it(store: Any) -> None:
    async with played(store) as play:
        await play.orchestrator()
        await play.orchestrator()
        client, _ = await begun(play)
        ids = [await client.start(c.order_saga, c.PlaceOrder(order=f"o{n}")) for n in range(2, 6)]
        for _ in ids:
            await play.does("stock", c.Held())
        for _ in range(5):
            await play.does("bank", c.Held())
            await play.does("books", c.Noted())
            await play.does("lorries")
        for saga_id in ids:
            await play.ends(saga_id, "completed")
            await play.ends(play.nested(saga_id), "completed")


@pytest.mark.slow
async def test_what_the_broker_lost_is_asked_again(store: Any) -> None:
    """Start, answer and release each get lost once; a short timeout stands for the long one."""
    soon = Nested(c.credit_saga, c.reserve_credit, timeout=timedelta(seconds=0.3))
    order = c.order_of(c.HELD, soon, Pivot(c.ship, to="lorries"))
    async with played(store, order, c.credit_saga) as play:
        lost: list[str] = []
        sending = MemoryTransport(play.broker, "shop")
        await sending.connect()
        play.stack.push_async_callback(sending.close)
        send = sending.send

        async def losing(messages: Any) -> Any:
            """The first of each kind between the two sagas is taken, and never comes."""
            kept = []
            for one in messages:
                what = f"{one.kind} {one.key.rpartition(':')[2]}"
                if one.source.endswith("/orchestrator") and what not in lost:
                    lost.append(what)
                else:
                    kept.append(one)
            answers = dict(zip([one.id for one in kept], await send(kept), strict=True))
            return [answers.get(one.id, Published.CONFIRMED) for one in messages]

        sending.send = losing  # type: ignore[method-assign]
        await play.orchestrator(transport=sending)
        client = Client(play.app, store=play.store, transport=sending)
        await play.stack.enter_async_context(client)
        saga_id = await client.start(order, c.PlaceOrder())
        await play.does("stock", c.Held())
        await play.does("bank", c.Held())
        await play.does("books", c.Noted())
        await play.does("lorries")
        await play.ends(saga_id, "completed")
        await play.ends(play.nested(saga_id), "completed")
        assert set(lost) == {"command do", "reply do", "command release", "reply release"}
        await play.nothing(NAMES.service_queue("bank"))


# --- who may say it ---


def order_to(play: Play, saga_id: str, **more: Any) -> Envelope:
    said = NestedCommand(saga="credit", version=1, start=c.ReserveCredit().to_json())
    fields: dict[str, Any] = dict(
        id=fresh_id(), kind="command", type=said.type_name, source="/shop/shop/orchestrator", time=1.0,
        data=said.to_json(), to=NAMES.reply_queue("shop"), correlation_id=saga_id, key=f"{saga_id}:credit:1:do",
        saga="order", saga_version=1, step="credit", attempt=1, reply_to=NAMES.reply_queue("shop"),
    )  # fmt: skip
    return Envelope(**(fields | more))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "/shop/shop"}, "not by the way of the application's own sagas"),
        ({"source": "/shop/other/orchestrator"}, "not by the way of the application's own sagas"),
        ({"type": "hold-credit.v1"}, "is for no nested saga"),
        ({"reply_to": "amq.gen"}, "The reply_to is no reply queue"),
        ({"correlation_id": "another"}, "The correlation id is not the one"),
        ({"step": "another"}, "The step is not the one"),
        ({"key": "0198f7a0-0000-7000-8000-000000000000:credit:1:undo"}, "does not fit the operation"),
    ],
)
async def test_only_the_applications_own_sagas_command_it(changes: dict[str, Any], reason: str) -> None:
    async with played() as play:
        await play.transport.declare(topology("shop", services=["shop"], nesting=["shop", "other"]))
        await play.orchestrator()
        saga_id = "0198f7a0-0000-7000-8000-000000000000"
        forged = order_to(play, saga_id, **changes)
        if changes.get("source") == "/shop/shop":
            forged = replace(forged, to="shop")  # by the way of commands it comes to no reply queue
        await play.answer(forged)
        if forged.to == "shop":
            assert await play.store.load([play.nested(saga_id)]) == {}
        else:
            assert reason in await play.dead(NAMES.reply_queue("shop"))


async def test_a_start_that_its_class_cannot_read_is_parked() -> None:
    async with played() as play:
        await play.orchestrator()
        said = NestedCommand(saga="credit", version=1, start='{"customer":1}')
        await play.answer(order_to(play, "s1", data=said.to_json()))
        assert "The body is no reserve-credit.v1" in await play.dead(NAMES.reply_queue("shop"))


async def test_a_start_of_a_saga_that_is_not_known_here_is_left_to_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("choros.runtime.orchestrator.decider.PASSED_ON", (0.01, 0.01))
    async with played() as play:
        await play.orchestrator()
        said = NestedCommand(saga="credit", version=7, start=c.ReserveCredit().to_json())
        await play.answer(order_to(play, "s1", data=said.to_json()))
        assert "does not know the saga that is to begin" in await play.dead(NAMES.reply_queue("shop"))


async def test_nobody_answers_for_a_nested_saga_of_another_application() -> None:
    async with played() as play:
        await play.transport.declare(topology("shop", nesting=["other"]))
        _, saga_id = await begun(play)
        await play.command("bank")
        answer = Envelope(
            id=fresh_id(), kind="reply", type="credit-reserved.v1", source="/shop/other/orchestrator", time=1.0,
            data=c.CreditReserved().to_json(), to=NAMES.reply_queue("shop"), correlation_id=saga_id, causation_id="x",
            key=f"{saga_id}:credit:1:do", saga="order", saga_version=1, step="credit", attempt=1, outcome="ok",
        )  # fmt: skip
        await play.answer(answer)
        assert "the sagas of another application" in await play.dead(NAMES.reply_queue("shop"))
        assert (await play.instance(saga_id)).state("credit").progress == "sent"


# --- the application ---


def test_an_application_has_all_that_it_nests() -> None:
    with pytest.raises(DeclarationError, match="credit begins saga 'credit' version 1, which is not part of this"):
        make_app(c.order_saga)
    other = Saga("credit", start=c.ReserveCredit, key=lambda start: start.customer, steps=c.credit_saga.steps)
    with pytest.raises(DeclarationError, match="of which another one is part of this application"):
        make_app(c.order_saga, other)


def test_only_an_application_that_nests_has_a_way_for_that() -> None:
    assert "shop.shop.sagas" in {one.name for one in make_app().topology.exchanges}
    assert "shop.shop.sagas" not in {one.name for one in make_app(c.credit_saga).topology.exchanges}
