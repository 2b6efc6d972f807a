"""Rule 42: a worker decides only what was begun with its own declaration; all else it sets aside, unjudged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import DeclaredOtherwise, OutcomePending, UsageError
from choros.messages import Command, Done, Fact
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.history import UNREADABLE, declared_in, read_history
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.stuck import stranded
from choros.saga.machine.instance import Instance
from choros.saga.nodes import Pivot, Step
from choros.saga.outline import Declared
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import HistoryRow, Record
from choros.transport.memory import MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Envelope
from tests.captured import capture_logs
from tests.patience import PATIENCE

from ..saga import shop
from ..saga.shop import TWICE
from .stage import AT_ONCE, NAMES, Stage, by_place, forged, kinds, refusal_of, reply_to, staged

REPLIES = NAMES.reply_queue("shop")
CHARGE = Step(shop.charge_payment, to="payment", compensation=shop.refund_payment, retry=TWICE, undo_retry=TWICE)
RESERVE = Step(
    shop.reserve_inventory, to="inventory", compensation=shop.release_inventory, retry=TWICE, undo_retry=TWICE
)
SHIP = Pivot(shop.ship_order, to="shipping", retry=TWICE)


class Wrap(Command[Done]):
    order_id: str


def wrap(order: shop.PlaceOrder) -> Wrap:
    return Wrap(order_id=order.order_id)


class Shelve(Command[Done]):
    order_id: str


def shelve(order: shop.PlaceOrder) -> Shelve:
    return Shelve(order_id=order.order_id)


class Sorry(Fact):
    order_id: str


def sorry(order: shop.PlaceOrder) -> Sorry:
    return Sorry(order_id=order.order_id)


def reserve_without_reply(order: shop.PlaceOrder) -> shop.ShipOrder:
    return shop.ShipOrder(order_id=order.order_id, reservation_id="none")


def order_saga(*steps: Declared, **more: Any) -> Saga[shop.PlaceOrder]:
    """The order saga, with other steps."""
    closing = {"completed": shop.order_confirmed, "compensated": shop.order_rejected}
    key: Callable[[shop.PlaceOrder], str] = lambda order: order.order_id  # noqa: E731 - a default of `more`
    return Saga("order", start=shop.PlaceOrder, steps=steps, **{"key": key, **closing, **more})


def app_of(*sagas: Saga[Any]) -> App:
    services = (
        Service("payment", commands=(shop.ChargePayment, shop.RefundPayment)),
        Service("inventory", commands=(shop.ReserveInventory, shop.ReleaseInventory)),
        Service("shipping", commands=(shop.ShipOrder, Wrap, Shelve)),
        Service("notifications", facts=(shop.OrderConfirmed, shop.OrderRejected)),
    )
    return App("shop", sagas=sagas, services=services)


RENAMED = Step(
    shop.charge_payment, to="payment", compensation=shop.refund_payment, retry=TWICE, undo_retry=TWICE, name="charge"
)
LAST = Pivot(reserve_without_reply, to="shipping", name="ship_order")
DRIFTS: dict[str, tuple[Saga[Any], str]] = {
    "the step in flight renamed": (
        order_saga(RENAMED, RESERVE, SHIP), "charge_payment is not in this declaration, charge is not in the record",
    ),
    "the step in flight removed": (order_saga(RESERVE, SHIP), "2 steps here, 3 in the record: charge_payment is not"),
    "a step removed": (order_saga(CHARGE, LAST), "2 steps here, 3 in the record: reserve_inventory is not"),
    "swapped": (order_saga(RESERVE, CHARGE, SHIP), "the order of the steps is reserve_inventory, charge_payment"),
    "inserted before": (
        order_saga(Step(wrap, to="shipping", compensation=shelve), CHARGE, RESERVE, SHIP), "wrap is not in the record",
    ),
    "inserted behind": (
        order_saga(CHARGE, RESERVE, Step(wrap, to="shipping", compensation=shelve), SHIP), "wrap is not in the record",
    ),
    "another service": (
        order_saga(CHARGE, RESERVE, Pivot(shop.ship_order, to="printing")), "ship_order: pivot; do",
    ),
    "another closing fact": (order_saga(CHARGE, RESERVE, SHIP, compensated=sorry), "closing facts"),
    "its version gone": (order_saga(CHARGE, RESERVE, SHIP, version=2), "version 1 is not in this application"),
}  # fmt: skip


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(shop.order_saga) as made:
        yield made


def app_with(saga: Saga[Any]) -> App:
    app = app_of()
    services = [*app.services.values(), Service("printing", commands=(shop.ShipOrder,))]
    return App("shop", sagas=(saga,), services=services)


async def record_of(stage: Stage, saga_id: str) -> Record:
    return (await stage.store.load([saga_id]))[saga_id].record


async def shows(stage: Stage, saga_id: str, status: str) -> bool:
    return (await record_of(stage, saga_id)).status == status


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.005)


async def is_over(orchestrator: Orchestrator) -> bool:
    return orchestrator.decider._over is not None


async def set_aside(stage: Stage, saga_id: str, count: int = 1) -> None:
    async def there() -> bool:
        return len((await record_of(stage, saga_id)).undecided) == count

    await until(there)


@pytest.mark.parametrize("drift", DRIFTS)
async def test_rule_42_another_declaration_decides_nothing_and_the_right_one_goes_on(stage: Stage, drift: str) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    changed, sentence = DRIFTS[drift]
    stranger = await stage.orchestrator(app_with(changed))
    await stage.answer(reply_to(charge))
    await set_aside(stage, saga_id)
    assert (await record_of(stage, saga_id)).state == (await client.show(saga_id)).record.state
    assert stage.broker.waiting(REPLIES) == stage.broker.waiting(NAMES.dead_queue(REPLIES)) == []
    other = await stage.client(app=app_with(changed))
    assert sentence in await other.why_stuck(saga_id)
    assert await client.why_stuck(saga_id) == ""
    (left,) = await stranded(app_with(changed).sagas, stage.store)
    assert (left.kind, left.count) == ((await record_of(stage, saga_id)).kind, 1) and sentence in str(left)
    assert not await stranded(stage.app.sagas, stage.store)
    stranger.stop()
    await stage.orchestrator()
    await stage.carry_out("inventory")  # what was set aside is decided
    await stage.carry_out("shipping")
    assert (await client.wait(saga_id)).status == "completed"


async def test_rule_42_while_both_are_at_work_only_one_decides(stage: Stage) -> None:
    """A rolling deploy: whoever receives a reply, the instance follows the declaration that it began with."""
    client = await stage.client()
    changed, _ = DRIFTS["another service"]
    await stage.orchestrator(app_with(changed))
    await stage.orchestrator()
    ids = [await client.start(shop.order_saga, shop.PlaceOrder(order_id=f"o{n}", total=n)) for n in range(12)]
    for service in ("payment", "inventory", "shipping"):
        for _ in ids:
            await stage.carry_out(service)
    assert {(await client.wait(saga_id)).status for saga_id in ids} == {"completed"}
    both = 0
    for saga_id in ids:
        events = [event for row in (await client.show(saga_id)).history for event in read_history(row.events)]
        sent = [event.step for event in events if event.kind == "sent"]
        assert sent == ["charge_payment", "reserve_inventory", "ship_order"]
        both += "set_aside" in {event.kind for event in events}
    assert both  # the stranger took part


async def test_rule_42_no_timer_of_another_declaration_fires(stage: Stage) -> None:
    hasty = replace(CHARGE, timeout=timedelta(milliseconds=30))
    app = app_of(order_saga(hasty, RESERVE, SHIP))
    client = await stage.client(app=app)
    saga_id = await client.start(app.saga("order"), shop.ORDER)
    await stage.command("payment")
    slow = app_with(DRIFTS["swapped"][0])
    strange = await stage.client(app=slow)
    await stage.orchestrator(slow)
    other = await strange.start(slow.saga("order"), shop.PlaceOrder(order_id="o2", total=1))
    # The stranger is at work: it carries its own saga on, past many looks for timers that are due.
    release = await stage.command("inventory")
    await stage.answer(reply_to(release))
    await stage.command("payment")
    assert (await record_of(stage, saga_id)).version == 1
    assert (await record_of(stage, other)).version == 2
    await stage.orchestrator(app)
    assert (await stage.command("payment")).attempt == 2


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry", "skip", "rerun"])
async def test_rule_42_an_act_on_what_is_declared_otherwise_here_names_the_difference(stage: Stage, verb: str) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    client = await stage.client(app=app_with(DRIFTS["a step removed"][0]))
    acts: dict[str, Callable[[], Awaitable[str]]] = {
        "cancel": lambda: client.cancel(saga_id),
        "pause": lambda: client.pause(saga_id),
        "resume": lambda: client.resume(saga_id),
        "retry": lambda: client.retry(saga_id, "charge_payment"),
        "skip": lambda: client.skip(saga_id, "charge_payment", shop.CHARGED),
        "rerun": lambda: client.rerun(saga_id, "charge_payment"),
    }
    with pytest.raises(DeclaredOtherwise, match="2 steps here, 3 in the record: reserve_inventory is not"):
        await acts[verb]()
    assert (await record_of(stage, saga_id)).version == 1


async def test_rule_42_a_start_again_is_the_same_start_whatever_is_declared_here(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    changed = app_with(DRIFTS["swapped"][0])
    client = await stage.client(app=changed)
    assert await client.start(changed.saga("order"), shop.ORDER) == saga_id
    with pytest.raises(OutcomePending, match="here it is stuck: the order of the steps"):
        await client.run(changed.saga("order"), shop.ORDER, timeout=timedelta(milliseconds=50))


async def test_rule_42_a_start_again_is_answered_beside_a_reply_that_is_set_aside(stage: Stage) -> None:
    """Both in one transition: who asked must not wait for ever."""
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    changed = app_with(DRIFTS["swapped"][0])
    orchestrator = await stage.orchestrator(changed)
    client = Client(changed, store=stage.store, transport=stage.transport, decider=orchestrator.decider)
    await stage.answer(reply_to(charge))
    async with asyncio.timeout(PATIENCE):
        assert await client.start(changed.saga("order"), shop.ORDER) == saga_id
    await set_aside(stage, saga_id)


async def test_rule_42_what_was_set_aside_is_judged_by_who_knows_it(stage: Stage) -> None:
    """A reply that nothing asked for decides nothing, and neither stops what came with it."""
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    stranger = await stage.orchestrator(app_with(DRIFTS["the step in flight renamed"][0]))
    good = reply_to(charge)
    unasked = forged(good, key=f"{saga_id}:nobody:1:do", step="nobody")
    wrong_type = forged(good, type=shop.SHIPPED.type_name, data=shop.SHIPPED.to_json())
    await stage.answer(unasked, wrong_type, good)
    await set_aside(stage, saga_id, 3)
    stranger.stop()
    await stage.orchestrator()
    await stage.carry_out("inventory")
    await stage.answer(refusal_of(await stage.command("shipping"), "no_such_address"))
    await stage.carry_out("inventory")
    await stage.carry_out("payment")
    assert (await client.wait(saga_id)).status == "compensated"


# --- old records, and what cannot be read -----------------------------------------------------------------------------


def rewrite(stage: Stage, saga_id: str, **changes: Any) -> None:
    """By a transition of somebody else's."""
    rows = stage.store._rows.records
    record = rows[saga_id]
    rows[saga_id] = replace(record, version=record.version + 1, transition=fresh_id(), **changes)


def as_of_old(stage: Stage, saga_id: str) -> None:
    """As an older choros left it: without a fingerprint, and its steps by their places."""
    record = stage.store._rows.records[saga_id]
    saga = stage.app.sagas[record.saga, record.saga_version]
    rewrite(stage, saga_id, fingerprint="", state=by_place(saga, record.state))


async def test_rule_42_an_old_record_gets_its_fingerprint_with_its_next_commit(stage: Stage) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    assert (await record_of(stage, saga_id)).fingerprint == shop.order_saga.fingerprint.hash
    as_of_old(stage, saga_id)
    await stage.orchestrator()
    await stage.carry_out("payment")
    await stage.command("inventory")
    assert (await record_of(stage, saga_id)).fingerprint == shop.order_saga.fingerprint.hash
    texts = [
        e.declaration for row in (await client.show(saga_id)).history for e in read_history(row.events) if e.declaration
    ]
    assert texts == [shop.order_saga.fingerprint.text] * 2  # at its start, and when it was found without


async def test_rule_42_the_text_is_written_once(stage: Stage) -> None:
    client = await stage.client()
    await stage.orchestrator()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    history = (await client.show(saga_id)).history
    assert len(history) > 2
    assert [row.version for row in history if "declaration" in row.events] == [1]


async def test_rule_42_an_old_record_with_another_number_of_steps_is_set_aside(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    as_of_old(stage, saga_id)
    charge = await stage.command("payment")
    await stage.orchestrator(app_with(DRIFTS["inserted behind"][0]))
    await stage.answer(reply_to(charge))
    await set_aside(stage, saga_id)
    assert (await record_of(stage, saga_id)).fingerprint == ""


STORED: dict[str, Callable[[str], str]] = {
    "the start message": lambda state: state.replace("total", "sum"),
    "a reply": lambda state: state.replace("payment_id", "id"),
    "the command in flight": lambda state: state.replace(
        '"command":"{\\"order_id\\":\\"o1\\"}"', '"command":"{\\"order\\":\\"o1\\"}"'
    ),
    "a field of a newer choros": lambda state: state[:-1] + ',"newer":1}',
    "a newer field of a step": lambda state: state.replace('"progress":"ok"', '"progress":"ok","newer":1'),
    "a newer word": lambda state: state.replace('"progress":"sent"', '"progress":"suspended"'),
    "no JSON": lambda state: state[1:],
}


@pytest.mark.parametrize("what", STORED)
async def test_rule_42_what_cannot_be_read_is_left_to_who_can(stage: Stage, what: str) -> None:
    client = await stage.client()
    orchestrator = await stage.orchestrator()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.carry_out("payment")
    reserve = await stage.command("inventory")
    written = (await record_of(stage, saga_id)).state
    changed = STORED[what](written)
    assert changed != written
    rewrite(stage, saga_id, state=changed, wake_at=0.0)
    await stage.answer(reply_to(reserve))
    await set_aside(stage, saga_id)
    assert (await record_of(stage, saga_id)).state == changed
    assert await client.why_stuck(saga_id)
    assert (await client.outcome(saga_id)).status == "running"
    assert [left.count for left in await stranded(stage.app.sagas, stage.store)] == [1]
    with pytest.raises(DeclaredOtherwise):
        await client.cancel(saga_id)

    async def left_alone() -> bool:
        return orchestrator.decider.timers.strange == 1

    await until(left_alone)  # its timer is due, and is not looked at for a while
    rewrite(stage, saga_id, state=written)
    orchestrator.decider.timers._strange.clear()
    await stage.carry_out("shipping")
    assert (await client.wait(saga_id)).status == "completed"
    assert orchestrator.decider.timers.strange == 0


async def test_rule_42_a_reply_that_a_newer_choros_set_aside_is_left_to_it(stage: Stage) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    newer = reply_to(charge).dumps()[:-1] + ',"newer":1}'
    rewrite(stage, saga_id, undecided=(newer,))
    await stage.orchestrator()
    await stage.answer(reply_to(charge))
    await set_aside(stage, saga_id, 2)


async def test_rule_42_many_that_are_left_alone_do_not_fill_the_look_for_timers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("choros.runtime.orchestrator.timers.IN_HAND", 2)
    app = app_of(order_saga(replace(CHARGE, timeout=timedelta(milliseconds=30)), RESERVE, SHIP))
    client = await stage.client(app=app)
    for number in range(5):
        saga_id = await client.start(app.saga("order"), shop.PlaceOrder(order_id=f"old{number}", total=1))
        rewrite(stage, saga_id, state="{}", wake_at=0.0)
        await stage.command("payment")
    await client.start(app.saga("order"), shop.ORDER)
    await stage.command("payment")
    await stage.orchestrator(app)
    assert (await stage.command("payment")).attempt == 2


# --- the way out ------------------------------------------------------------------------------------------------------


async def test_rule_42_an_instance_moves_to_a_version_that_agrees_on_all_it_has_come_to(stage: Stage) -> None:
    client = await stage.client()
    first = await stage.orchestrator()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.carry_out("payment")
    reserve = await stage.command("inventory")
    first.stop()
    await until(lambda: is_over(first))
    wrapping = Step(wrap, to="shipping", compensation=shelve, retry=TWICE, undo_retry=TWICE)
    app = app_of(order_saga(CHARGE, RESERVE, wrapping, SHIP, version=2))
    await stage.orchestrator(app)
    await stage.answer(reply_to(reserve))
    await set_aside(stage, saga_id)
    newer = await stage.client(app=app)
    with pytest.raises(DeclaredOtherwise, match="version 1 is not in this application"):
        await newer.cancel(saga_id)
    assert await newer.move(saga_id, 2) == "moved"
    assert (await stage.command("shipping")).type == "wrap.v1"
    record = await record_of(stage, saga_id)
    assert (record.saga_version, record.fingerprint) == (2, app.saga("order").fingerprint.hash)
    assert [kind for row in await stage.store.history(saga_id) for kind in kinds(row)].count("moved") == 1
    assert await newer.why_stuck(saga_id) == ""
    with pytest.raises(UsageError, match="follows this declaration already"):
        await newer.move(saga_id, 2)


async def test_rule_42_a_reply_under_the_version_before_the_move_still_counts(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    app = app_of(order_saga(CHARGE, RESERVE, SHIP, version=2))
    client = await stage.client(app=app)
    await client.move(saga_id, 2)
    await stage.orchestrator(app)
    await stage.answer(reply_to(charge))
    assert charge.saga_version == 1
    await stage.carry_out("inventory")
    await stage.answer(refusal_of(await stage.command("shipping"), "no_such_address"))
    assert (await stage.command("inventory")).saga_version == 2


def unbuilt(order: shop.PlaceOrder, reserved: shop.InventoryReserved) -> shop.ShipOrder:
    raise RuntimeError("a bug")


async def test_rule_42_what_could_not_be_built_is_not_come_to_yet_and_may_be_anything(stage: Stage) -> None:
    """A mended declaration is the way out for a saga that is parked at a bug in the old one."""
    buggy = order_saga(CHARGE, RESERVE, Pivot(unbuilt, to="shipping", name="ship_order"))
    app = app_of(buggy, order_saga(CHARGE, RESERVE, LAST, version=2))
    client = await stage.client(app=app)
    await stage.orchestrator(app)
    saga_id = await client.start(buggy, shop.ORDER)
    await stage.carry_out("payment")
    await stage.carry_out("inventory")
    await until(lambda: shows(stage, saga_id, "parked"))
    assert await client.move(saga_id, 2) == "moved"
    assert (await client.outcome(saga_id)).parked == "unbuilt raised RuntimeError"
    assert await client.parked_at(saga_id) == ("ship_order", 1)
    await client.retry(saga_id)
    assert (await stage.command("shipping")).saga_version == 2


MOVES: dict[str, tuple[Saga[Any], str]] = {
    "the touched step renamed": (order_saga(RENAMED, RESERVE, SHIP, version=2), "it has come as far as charge_payment"),
    "the touched step removed": (order_saga(RESERVE, SHIP, version=2), "there stands reserve_inventory"),
    "one inserted before it": (
        order_saga(Step(wrap, to="shipping", compensation=shelve), CHARGE, RESERVE, SHIP, version=2),
        "there stands wrap",
    ),
    "another closing": (order_saga(CHARGE, RESERVE, SHIP, version=2, compensated=sorry), "closing facts"),
}  # fmt: skip


@pytest.mark.parametrize("what", MOVES)
async def test_rule_42_no_instance_moves_where_anything_that_it_has_come_to_differs(stage: Stage, what: str) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    changed, sentence = MOVES[what]
    client = await stage.client(app=app_of(changed))
    with pytest.raises(UsageError, match=sentence):
        await client.move(saga_id, 2)
    assert (await record_of(stage, saga_id)).version == 1
    with pytest.raises(UsageError, match="does not know saga 'order' version 3"):
        await client.move(saga_id, 3)


async def test_rule_42_a_move_that_is_refused_parks_no_reply_that_came_with_it(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    app = app_of(MOVES["another closing"][0])
    orchestrator = await stage.orchestrator(app)
    client = Client(app, store=stage.store, transport=stage.transport, decider=orchestrator.decider)
    asking = asyncio.create_task(client.move(saga_id, 2))
    await stage.answer(reply_to(charge))
    with pytest.raises(UsageError, match="closing facts"):
        await asking
    await set_aside(stage, saga_id)
    assert stage.broker.waiting(NAMES.dead_queue(REPLIES)) == []


async def test_rule_42_where_nothing_says_how_it_was_declared_nothing_is_moved(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    stage.store._rows.history.clear()
    client = await stage.client(app=app_of(order_saga(CHARGE, RESERVE, SHIP, version=2)))
    with pytest.raises(UsageError, match="Nothing says how version 1"):
        await client.move(saga_id, 2)
    rewrite(stage, saga_id, fingerprint="")  # an old one, and an application that still has its version
    both = app_of(shop.order_saga, order_saga(CHARGE, RESERVE, SHIP, version=2))
    assert await (await stage.client(app=both)).move(saga_id, 2) == "moved"


async def test_rule_42_no_old_instance_is_moved_by_a_text_that_it_cannot_have_begun_with(stage: Stage) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    orchestrator = await stage.orchestrator()
    for service in ("payment", "inventory"):
        await stage.carry_out(service)
    await stage.command("shipping")
    orchestrator.stop()
    await until(lambda: is_over(orchestrator))
    stage.store._rows.history.clear()
    as_of_old(stage, saga_id)  # begun with three steps, by a choros that noted no text
    fewer = app_of(*(order_saga(CHARGE, RESERVE, completed=(), version=version) for version in (1, 2)))
    with pytest.raises(UsageError, match="has 3 steps, and version 1 2"):
        await (await stage.client(app=fewer)).move(saga_id, 2)
    assert len(Instance.loads((await record_of(stage, saga_id)).state).steps) == 3


# --- what is said of it -----------------------------------------------------------------------------------------------


async def test_an_orchestrator_says_at_its_start_what_it_will_leave_alone(stage: Stage) -> None:
    client = await stage.client()
    for number in range(3):
        await client.start(shop.order_saga, shop.PlaceOrder(order_id=f"o{number}", total=1))
    changed, sentence = DRIFTS["a step removed"]
    with capture_logs() as said:
        orchestrator = await stage.orchestrator(app_with(changed))

        async def has_looked() -> bool:
            return orchestrator.stranded.count == 3

        await until(has_looked)
        await orchestrator.stranded.look()
    (told,) = [entry for entry in said if entry["event"] == "choros.sagas.stranded"]  # once, not at every look
    assert told["log_level"] == "warning"
    assert told["reason"].startswith("3 live instances of saga 'order' version 1 (") and sentence in told["reason"]
    rows = stage.store._rows.records
    rows.update({saga_id: replace(record, status="completed") for saga_id, record in rows.items()})
    await orchestrator.stranded.look()
    assert orchestrator.stranded.count == 0


@pytest.mark.parametrize("events", ['[{"declaration":"sa', '"declaration"', '[["declaration"],{"declaration":7}]'])
async def test_a_history_that_nobody_can_read_stops_no_orchestrator(stage: Stage, events: str) -> None:
    saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
    rows = stage.store._rows.history[saga_id]
    rows[:] = [replace(rows[0], events=events)]
    app = app_with(DRIFTS["a step removed"][0])
    orchestrator = await stage.orchestrator(app)
    await until(lambda: counts(orchestrator))
    assert await (await stage.client(app=app)).why_stuck(saga_id)


async def counts(orchestrator: Orchestrator) -> bool:
    return orchestrator.stranded.count == 1


@pytest.mark.parametrize(
    "events",
    ['[{"declaration":', "{}", "7", '["declaration"]', '{"declaration": 1}', pytest.param("[" * 100_000, id="deep")],
)
def test_a_row_of_the_history_that_cannot_be_read_stops_nobody_who_looks_for_a_declaration(events: str) -> None:
    """An orchestrator looks at its start, and would never come to it again."""
    good = HistoryRow(1, 1.0, '[{"kind":"started","declaration":"text"}]')
    bad = HistoryRow(2, 2.0, f'{events} "declaration"')
    assert declared_in([good, bad, HistoryRow(3, 3.0, events)]) == "text"
    assert declared_in([bad]) == ""
    assert kinds(bad) == [UNREADABLE]


async def test_a_store_that_is_away_at_the_start_stops_no_orchestrator(stage: Stage) -> None:
    away = MemoryStore(sharing=stage.store)  # not open yet
    client = await stage.client()
    await stage.orchestrator(store=away)
    await client.start(shop.order_saga, shop.ORDER)
    await stage.answer(reply_to(await stage.command("payment")))
    await away.open()
    await stage.command("inventory")


# --- sending needs no declaration -------------------------------------------------------------------------------------


class Mute(MemoryTransport):
    """Facts do not leave."""

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        return [Published.UNKNOWN] * len(facts)


async def test_rule_42_a_closing_fact_of_a_version_that_nobody_has_any_more_leaves(stage: Stage) -> None:
    mute = Mute(stage.broker, "shop")
    await mute.connect()
    first = await stage.orchestrator(transport=mute)
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    first.stop()
    await until(lambda: is_over(first))
    await stage.nothing(NAMES.subscriber_queue("notifications"), 0.0)
    await stage.orchestrator(app_with(DRIFTS["its version gone"][0]), resend_after=AT_ONCE)
    assert (await stage.fact()).type == "order-confirmed.v1"
    await mute.close()
