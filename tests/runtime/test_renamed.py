"""Rules 1 and 42: an instance goes on under a version that calls its steps otherwise, and stays known to those who have
heard of it under the names of before."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.desk.migration import judged
from choros.desk.timeline import timeline
from choros.errors import MessageRejected, Refused, StoreUnreachable, UsageError
from choros.messages import Done, Failure, Signal
from choros.roles.roles import running
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.signals import judged_signal, signalled
from choros.runtime.orchestrator.stuck import Declarations
from choros.saga.machine.inputs import SignalRequested
from choros.saga.machine.instance import Instance
from choros.saga.nodes import ForEach, Parallel, Publish, Wait
from choros.saga.renaming import renaming
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.sagas import Committed, Transition
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.saga import shop
from tests.saga.shop import TWICE

from .stage import NAMES, Stage, forged, refusal_of, reply_to, staged
from .test_drift import CHARGE, RESERVE, SHIP, app_of, is_over, order_saga, record_of, set_aside, shows, until

RENAMED = {"charge_payment": "take_payment", "reserve_inventory": "hold_stock"}
TAKE, HOLD = replace(CHARGE, name="take_payment"), replace(RESERVE, name="hold_stock")
SECOND = order_saga(TAKE, HOLD, SHIP, version=2)
APP = app_of(order_saga(CHARGE, RESERVE, SHIP), SECOND)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(shop.order_saga) as made:
        yield made


async def in_flight(stage: Stage, saga: Saga[Any] = shop.order_saga) -> str:
    """An order whose payment is taken, and whose stock is asked for."""
    saga_id = await (await stage.client()).start(saga, shop.ORDER)
    first = await stage.orchestrator()
    await stage.carry_out("payment")
    first.stop()
    await until(lambda: is_over(first))
    return saga_id


async def test_a_late_reply_and_every_undo_go_by_the_keys_of_before(stage: Stage) -> None:
    saga_id = await in_flight(stage)
    reserve = await stage.command("inventory")
    client = await stage.client(app=APP)
    assert await client.move(saga_id, 2, rename=RENAMED) == "moved"
    assert list((await client.show(saga_id)).instance.under_way) == ["hold_stock"]
    await stage.orchestrator(APP)
    await stage.answer(reply_to(reserve))
    ship = await stage.command("shipping")
    assert (ship.key, ship.saga_version) == (f"{saga_id}:ship_order:1:do", 2)
    await stage.answer(forged(reply_to(reserve)), refusal_of(ship, "no_such_address"))  # the first one: a duplicate
    release = await stage.carry_out("inventory")
    assert (release.key, release.step) == (f"{saga_id}:reserve_inventory:1:undo", "reserve_inventory")
    assert (await stage.carry_out("payment")).key == f"{saga_id}:charge_payment:1:undo"
    assert (await client.wait(saga_id)).status == "compensated"
    account = await client.show(saga_id)
    told = "\n".join(timeline(account, SECOND))
    assert "version 2, charge_payment is called take_payment, reserve_inventory is called hold_stock" in " ".join(
        told.split()
    )
    assert "late_reply" not in told and "another answer" not in told
    assert list(account.instance.nodes) == ["take_payment", "hold_stock", "ship_order"]
    assert stage.broker.waiting(NAMES.dead_queue(NAMES.reply_queue("shop"))) == []


async def test_a_reply_that_was_set_aside_before_the_move_counts(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    app = app_of(SECOND)
    await stage.orchestrator(app)
    await stage.answer(reply_to(charge))
    await set_aside(stage, saga_id)
    client = await stage.client(app=app)
    await client.move(saga_id, 2, rename={"charge_payment": "take_payment", "reserve_inventory": "hold_stock"})
    assert (await stage.command("inventory")).key == f"{saga_id}:reserve_inventory:1:do"


async def test_a_resend_after_the_move_is_the_same_command(stage: Stage) -> None:
    saga_id = await in_flight(stage)
    reserve = await stage.command("inventory")
    client = await stage.client(app=APP)
    await client.move(saga_id, 2, rename=RENAMED)
    await stage.orchestrator(APP)
    await stage.answer(reply_to(reserve, Failure(code="Busy", kind="failed"), "failed"))
    again = await stage.command("inventory")
    assert (again.key, again.attempt) == (reserve.key, 2)


async def test_a_rerun_of_a_renamed_saga_undoes_under_the_original_keys() -> None:
    ship = replace(SHIP, retry=replace(TWICE, attempts=1, exhausted="park"))
    first, second = order_saga(CHARGE, RESERVE, ship), order_saga(TAKE, HOLD, ship, version=2)
    third = order_saga(replace(CHARGE, name="pay"), HOLD, ship, version=3)
    async with staged(first) as stage:
        app = app_of(first, second, third)
        await stage.orchestrator(app)
        client = await stage.client(app=app)
        old = await client.start(first, shop.ORDER)
        await stage.carry_out("payment")
        await stage.carry_out("inventory")
        shipping = await stage.command("shipping")
        await stage.answer(reply_to(shipping, Failure(code="Boom", kind="failed"), "failed"))
        await until(lambda: shows(stage, old, "parked"))
        await client.move(old, 2, rename=RENAMED)
        await client.skip(old, "ship_order", shop.SHIPPED)
        await stage.carry_out("shipping")
        assert (await client.wait(old)).status == "completed"
        new = await client.rerun(old, "ship_order")
        again = await stage.command("shipping")
        assert again.key == f"{new}:ship_order:1:do"
        await client.move(new, 3, rename={"take_payment": "pay"})
        await stage.answer(refusal_of(again, "no_such_address"))
        assert (await stage.carry_out("inventory")).key == f"{old}:reserve_inventory:1:undo"
        assert (await stage.carry_out("payment")).key == f"{old}:charge_payment:1:undo"
        assert (await client.wait(new)).status == "compensated"


REFUSED: Mapping[str, tuple[Saga[Any], Mapping[str, str], str]] = {
    "no such step": (SECOND, {"charge": "take_payment"}, "it has no 'charge' to be called otherwise"),
    "no such step there": (SECOND, {"charge_payment": "payment"}, "cannot be called 'payment'"),
    "only half of it": (SECOND, {"charge_payment": "take_payment"}, "it has come as far as reserve_inventory"),
    "the name is another's": (
        order_saga(TAKE, replace(RESERVE, name="charge_payment"), SHIP, version=2),
        {"charge_payment": "take_payment", "reserve_inventory": "charge_payment"},
        "another step is called charge_payment, and would have the keys of take_payment",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_renamed_so_is_refused_and_nothing_is_lost(stage: Stage, what: str) -> None:
    saga_id = await in_flight(stage)
    there, names, sentence = REFUSED[what]
    client = await stage.client(app=app_of(there))
    before = await record_of(stage, saga_id)
    with pytest.raises(UsageError, match=sentence):
        await client.move(saga_id, 2, rename=names)
    assert await record_of(stage, saga_id) == before


async def test_states_that_lie_apart_keep_their_names_and_so_does_the_saga(stage: Stage) -> None:
    saga_id = await in_flight(stage)
    (loaded,) = (await stage.store.load([saga_id])).values()
    instance = replace(Instance.loads(loaded.record.state), nodes_apart=True)
    record = replace(loaded.record, state=instance.dumps())
    found = await judged(record, SECOND, Declarations(APP.sagas, stage.store), tuple(RENAMED.items()))
    assert (found.verdict, found.why) == (
        "stuck",
        "it has come to more than 16 nodes, and what lies apart keeps its name.",
    )
    found = await judged(record, SECOND, Declarations(APP.sagas, stage.store), ())
    assert found.mapping == tuple(RENAMED.items())


async def test_whoever_dies_while_it_moves_does_it_again_or_not_at_all(stage: Stage) -> None:
    saga_id = await in_flight(stage)
    commit = stage.store.commit

    async def dies(batch: Sequence[Transition]) -> Sequence[Committed]:
        raise StoreUnreachable("It is away.")

    stage.store.commit = dies  # type: ignore[method-assign]
    client = await stage.stack.enter_async_context(
        Client(APP, store=stage.store, transport=stage.transport, timeout=timedelta(seconds=0.2))
    )
    with pytest.raises(StoreUnreachable):
        await client.move(saga_id, 2, rename=RENAMED)
    stage.store.commit = commit  # type: ignore[method-assign]
    assert (await record_of(stage, saga_id)).saga_version == 1
    client = await stage.client(app=APP)
    declarations = Declarations(APP.sagas, stage.store)
    planned = await judged(await record_of(stage, saga_id), SECOND, declarations, tuple(RENAMED.items()))
    assert (planned.verdict, planned.undo) == ("safe", ("release_inventory", "refund_payment"))
    assert await client.move(saga_id, 2, rename=RENAMED) == "moved"
    with pytest.raises(UsageError, match="follows this declaration already"):
        await client.move(saga_id, 2, rename=RENAMED)


class GoOn(Signal):
    who: str


def told(order: shop.PlaceOrder) -> shop.OrderConfirmed:
    return shop.OrderConfirmed(order_id=order.order_id, parcel="none")


def untold(order: shop.PlaceOrder) -> shop.OrderRejected:
    return shop.OrderRejected(order_id=order.order_id, code="none")


def pieces(order: shop.PlaceOrder) -> list[int]:
    return [1, 2]


def composed(s: str, version: int) -> Saga[Any]:
    """Side by side with items, an early fact, a wait; each called so."""
    return order_saga(
        Parallel(
            ForEach(pieces, replace(RESERVE, name=f"hold{s}"), name=f"lines{s}"),
            replace(CHARGE, name=f"pay{s}"),
            name=f"both{s}",
        ),
        Publish(told, early=True, retraction=untold, name=f"tell{s}"),
        Wait(GoOn, within=timedelta(days=1), name=f"word{s}"),
        version=version,
        completed=(),
        compensated=(),
    )


COMPOSED, OTHERWISE = composed("", 1), composed("_2", 2)
COMPOSED_NAMES = {
    "both": "both_2", "both.lines": "both_2.lines_2", "both.lines[].hold": "both_2.lines_2[].hold_2",
    "both.pay": "both_2.pay_2", "tell": "tell_2", "word": "word_2",
}  # fmt: skip


async def carry_out(stage: Stage, service: str) -> str:
    """What is behind the saga in the key of the next command to this service, which is answered."""
    command = await stage.command(service)
    await stage.answer(reply_to(command, source=f"/shop/{service}"))
    return command.key.partition(":")[2]


@pytest.fixture
async def fair() -> AsyncIterator[tuple[Stage, Client, str]]:
    """A saga of composites, of whose branches one is done."""
    async with staged(COMPOSED) as stage:
        app = app_of(COMPOSED, OTHERWISE)
        orchestrator = await stage.orchestrator(app)
        client = Client(app, store=stage.store, transport=stage.transport, decider=orchestrator.decider)
        saga_id = await client.start(COMPOSED, shop.ORDER)
        assert await carry_out(stage, "payment") == "both.pay:1:do"
        await until(lambda: is_paid(client, saga_id))
        yield stage, client, saga_id


async def is_paid(client: Client, saga_id: str) -> bool:
    return (await client.show(saga_id)).instance.state("both.pay").progress == "ok"


async def test_in_composites_what_is_in_flight_and_what_was_told_early_goes_on(fair: tuple[Stage, Client, str]) -> None:
    stage, client, saga_id = fair
    assert await client.signal(saga_id, GoOn(who="me")) == "kept"
    await client.move(saga_id, 2, rename=COMPOSED_NAMES)
    assert [path for path, _ in (await client.show(saga_id)).instance.early] == ["word_2"]
    holds = [await carry_out(stage, "inventory") for _ in range(2)]
    assert holds == ["both.lines[0].hold:1:do", "both.lines[1].hold:1:do"]
    assert (await stage.fact()).step == "tell"
    assert (await client.wait(saga_id)).status == "completed"
    states = (await client.show(saga_id)).instance.nodes
    assert {"both_2", "both_2.lines_2[1].hold_2", "both_2.pay_2", "tell_2", "word_2"} <= states.keys()


async def test_in_composites_all_is_undone_by_the_names_of_before(fair: tuple[Stage, Client, str]) -> None:
    stage, client, saga_id = fair
    await carry_out(stage, "inventory")
    await carry_out(stage, "inventory")
    assert (await stage.fact()).step == "tell"
    await client.move(saga_id, 2, rename=COMPOSED_NAMES)
    await client.cancel(saga_id)
    undone = [await carry_out(stage, "inventory") for _ in range(2)]
    assert sorted(undone) == ["both.lines[0].hold:1:undo", "both.lines[1].hold:1:undo"]
    assert await carry_out(stage, "payment") == "both.pay:1:undo"
    assert (await client.wait(saga_id)).status == "compensated"
    assert (await stage.fact()).step == "tell"  # by which whoever has heard it takes that back


async def test_a_service_that_names_the_wait_as_it_was_is_heard(fair: tuple[Stage, Client, str]) -> None:
    _, client, saga_id = fair
    await client.move(saga_id, 2, rename=COMPOSED_NAMES)
    saga = app_of(COMPOSED, OTHERWISE).saga("order")
    asked = SignalRequested(fresh_id(), "word", GoOn(who="me").to_json())
    names = renaming((await client.show(saga_id)).instance)
    assert saga.version == 2 and signalled(saga, asked, names).step == "word_2"
    envelope = Envelope(
        id=fresh_id(), kind="signal", type=GoOn.type_name, source="/shop/payment", time=0.0, data=asked.body,
        saga="order", step="word",
    )  # fmt: skip
    assert judged_signal(saga, envelope, names).step == "word_2"
    with pytest.raises(MessageRejected, match="names no wait"):
        judged_signal(saga, replace(envelope, step="other"), names)


def till(app_name: str, *, held: asyncio.Event, sagas: Sequence[Saga[Any]]) -> tuple[App, list[str]]:
    """Real services, with a barrier each; the parcel waits until it is let go, and is refused."""
    payment, inventory, shipping = Service("payment"), Service("inventory"), Service("shipping")
    books: list[str] = []

    @payment.handles(shop.ChargePayment)
    async def charge(command: shop.ChargePayment) -> shop.PaymentCharged:
        books.append("charged")
        return shop.CHARGED

    @payment.handles(shop.RefundPayment)
    async def refund(command: shop.RefundPayment) -> Done:
        books.append("refunded")
        return Done()

    @inventory.handles(shop.ReserveInventory)
    async def reserve(command: shop.ReserveInventory) -> shop.InventoryReserved:
        books.append("reserved")
        return shop.RESERVED

    @inventory.handles(shop.ReleaseInventory)
    async def release(command: shop.ReleaseInventory) -> Done:
        books.append("released")
        return Done()

    @shipping.handles(shop.ShipOrder)
    async def ship(command: shop.ShipOrder) -> shop.OrderShipped:
        books.append("asked to ship")
        await held.wait()
        raise Refused("no_such_address")

    return App(app_name, sagas=sagas, services=[payment, inventory, shipping]), books


async def test_the_barrier_lets_the_undo_of_a_renamed_step_through() -> None:
    """It would answer that there is nothing to undo if it were asked under another key."""
    held = asyncio.Event()
    first = order_saga(CHARGE, RESERVE, SHIP)
    app, books = till("shop", held=held, sagas=[first, SECOND])
    async with running(app) as client:
        saga_id = await client.start(first, shop.ORDER)
        async with asyncio.timeout(PATIENCE):
            while "asked to ship" not in books:
                await asyncio.sleep(0.01)
        await client.move(saga_id, 2, rename=RENAMED)
        held.set()
        assert (await client.wait(saga_id)).status == "compensated"
    assert books == ["charged", "reserved", "asked to ship", "released", "refunded"]
