"""The model of a flow says what the real barrier does: the same facts in every order, one of them twice, at the real
subscriber and in the model, with the same effects and the same said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from choros import Call, Fact, Refused, Service, Transaction, all_of
from choros.app.flow_outline import FlowOutline
from choros.app.flow_part import Decisions, FlowPart
from choros.app.flow_reactions import reactions_of
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.transport.topology import topology
from choros_verify.exploration.flow_rules import NOBODY, FlowModel, FlowRules, ToldFact
from choros_verify.exploration.flows import ALL_RULES, FLOW_MUTANTS
from choros_verify.exploration.violation import Violation
from tests.app import flow_shop as shop
from tests.exploration.flow_examples import OrderFailing, ParcelReturned, reaction
from tests.runtime.participant_stage import Stage, effect, eventually, fact, stage_for

Told = type[Fact]
SAID: tuple[Told, ...] = (
    shop.PaymentCharged, shop.PaymentDeclined, shop.PaymentRefunded, shop.ParcelShipped, shop.AddressUnknown,
    ParcelReturned, shop.OrderCompleted, shop.OrderFailed, OrderFailing,
)  # fmt: skip


def paying(name: str = "") -> Service:
    """One that two bad facts may undo."""
    service = Service("payment")

    @service.on(shop.OrderPlaced, effect=name, publishes=(shop.PaymentCharged, shop.PaymentDeclined))
    async def charge(placed: shop.OrderPlaced, db: Transaction) -> shop.PaymentCharged:
        await effect(db, placed.order_id, 1)
        if placed.order_id.startswith("no"):
            raise Refused("declined", fact=shop.PaymentDeclined(order_id=placed.order_id))
        return shop.PaymentCharged(order_id=placed.order_id)

    @service.on(shop.OutOfStock, shop.AddressUnknown, undoes=name or shop.OrderPlaced, publishes=shop.PaymentRefunded)
    async def refund(
        failed: shop.OutOfStock | shop.AddressUnknown, db: Transaction, call: Call
    ) -> shop.PaymentRefunded:
        if call.stands:
            await effect(db, failed.order_id, -1)
        return shop.PaymentRefunded(order_id=failed.order_id)

    return service


def shipping() -> Service:
    """One that waits for two facts, and is undone half full too."""
    service = Service("shipping")

    @service.on(
        all_of(shop.PaymentCharged, shop.StockReserved), effect="ship",
        publishes=(shop.ParcelShipped, shop.AddressUnknown),
    )  # fmt: skip
    async def ship(charged: shop.PaymentCharged, reserved: shop.StockReserved, db: Transaction) -> shop.ParcelShipped:
        await effect(db, charged.order_id, 1)
        if reserved.order_id.startswith("no"):
            raise Refused("unknown", fact=shop.AddressUnknown(order_id=charged.order_id))
        return shop.ParcelShipped(order_id=charged.order_id)

    @service.on(OrderFailing, undoes="ship", publishes=ParcelReturned)
    async def take_back(failing: OrderFailing, db: Transaction, call: Call) -> ParcelReturned:
        if call.stands:
            await effect(db, failing.order_id, -1)
        return ParcelReturned(order_id=failing.order_id)

    return service


def outline_of(service: Service, kinds: tuple[Told, ...], yes: Told, no: Told) -> FlowOutline:
    """A flow that this service alone takes part in, but for who says what it hears, and who closes it."""
    around = (
        reaction("outside.say", shop.OrderPlaced, says=kinds),
        reaction("orders.end", yes, says=shop.OrderCompleted),
        reaction("orders.fail", no, says=shop.OrderFailed),
    )
    ends = (shop.OrderCompleted,), (shop.OrderFailed,)
    return FlowOutline("order", 1, shop.OrderPlaced, *ends, (), "orders", (*reactions_of([service]), *around))


def orders_of(kinds: Sequence[Told]) -> Iterator[tuple[Told, ...]]:
    """Every order in which they may come: all or some of them, some of them again."""
    for length in range(1, len(kinds) + 2):
        yield from product(kinds, repeat=length)


def modelled(
    flow: FlowOutline, service: str, order: Sequence[Told], *, refuses: bool, rules: FlowRules = ALL_RULES
) -> tuple[int, Counter[Told]]:
    """The effects that stand, and what it has said."""
    outcome = {0: "no" if refuses else "yes"}
    model = FlowModel(flow, rules, outcome)  # type: ignore[arg-type]  # both are ways to come out
    heard = {kind: ToldFact(_number(flow, kind), NOBODY, 0) for kind in order}
    world = model.first._replace(told=frozenset(heard.values()))
    for kind in order:
        for number, one in enumerate(flow.reactions):
            if one.service == service and kind in one.hears:
                world = next((after for _, after in model.delivered(world, number, heard[kind])), world)
    said = Counter(flow.facts[told.fact] for told in world.told if told.by != NOBODY)
    return sum(world.stands[:1]), said


def _number(flow: FlowOutline, kind: Told) -> int:
    return (*flow.facts,).index(kind)


def real(kind: Told, run: str, numbers: Sequence[Told], **more: Any) -> Any:
    body: Any = {"order_id": run}
    about = {"stream": run, "correlation_id": run, "id": f"{run}-{kind.__name__}"}
    return fact(kind(**body), numbers.index(kind) + 1, **about, **more)


CASES: list[tuple[Service, tuple[Told, ...], Told, Told]] = [
        (paying(), (shop.OrderPlaced, shop.OutOfStock, shop.AddressUnknown), shop.PaymentCharged, shop.PaymentDeclined),
        (
            paying("charge"), (shop.OrderPlaced, shop.OutOfStock, shop.AddressUnknown), shop.PaymentCharged,
            shop.PaymentDeclined,
        ),
        (
            shipping(), (shop.PaymentCharged, shop.StockReserved, OrderFailing), shop.ParcelShipped,
            shop.AddressUnknown,
        ),
    ]  # fmt: skip
BY_NAME = pytest.mark.parametrize(("service", "kinds", "yes", "no"), CASES, ids=["unnamed", "named", "joined"])


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@BY_NAME
async def test_the_barrier_does_what_the_model_says(
    service: Service, kinds: tuple[Told, ...], yes: Told, no: Told, store: str, tmp_path: Path
) -> None:
    flow = outline_of(service, kinds, yes, no)
    runs = {
        f"{'no' if refuses else 'yes'}-{number}": (order, refuses)
        for refuses in (False, True)
        for number, order in enumerate(orders_of(kinds))
    }
    database: Database = MemoryDatabase() if store == "memory" else SqliteDatabase(tmp_path / "n.db")
    async with stage_for(service, database, kind=Subscriber, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=[service.name], subscribers=["witness"]))
        stage.start()
        for step in range(len(kinds) + 1):
            heard = [real(order[step], name, kinds) for name, (order, _) in runs.items() if step < len(order)]
            before = _settled(stage)
            await stage.publish(*heard)
            await eventually(lambda before=before, heard=heard: _settled(stage) == before + len(heard))  # type: ignore[misc] # bound now
        wanted = {name: modelled(flow, service.name, order, refuses=refuses) for name, (order, refuses) in runs.items()}
        telling = {name: said for name, (_, said) in wanted.items() if said}
        await eventually(lambda: _said(stage, service.name) == telling)
        effects = await stage.effects()
        assert {name: effects.get(name, 0) for name in runs} == {name: there for name, (there, _) in wanted.items()}
        assert {there for there, _ in wanted.values()} == {0, 1}


def _settled(stage: Stage) -> int:
    return sum(count for name, count in stage.counts.items() if name != "passed")


def _said(stage: Stage, service: str) -> dict[str, Counter[Told]]:
    kinds = {kind.type_name: kind for kind in SAID}
    found: dict[str, Counter[Told]] = {}
    for wire in stage.broker.waiting("shop.facts.witness"):
        one = wire.read()
        if one.source == f"/shop/service/{service}":
            found.setdefault(one.correlation_id, Counter())[kinds[one.type]] += 1
    return found


CONCERNS = [
    "no inbox",
    "no tombstone",
    "no undo row",
    "told though withdrawn",
    "no without rollback",
    "join fires on one",
]


@pytest.mark.parametrize("name", [*CONCERNS, "undo of nothing is silent"])
def test_without_a_rule_the_model_says_otherwise(name: str) -> None:
    """So the real barrier keeps that rule."""
    rules = FLOW_MUTANTS[name][1]
    assert any(differs(*case, rules) for case in CASES)


def differs(service: Service, kinds: tuple[Told, ...], yes: Told, no: Told, rules: FlowRules) -> bool:
    flow = outline_of(service, kinds, yes, no)
    for order, refuses in product(orders_of(kinds), (False, True)):
        said = modelled(flow, service.name, order, refuses=refuses)
        try:
            if modelled(flow, service.name, order, refuses=refuses, rules=rules) != said:
                return True
        except Violation:
            return True
    return False


# --- who closes it ---


def closing() -> Service:
    """It may turn, and end well or badly."""
    service = Service("orders")

    @service.on(shop.ParcelShipped, publishes=shop.OrderCompleted)
    async def complete(shipped: shop.ParcelShipped, db: Transaction) -> shop.OrderCompleted:
        return shop.OrderCompleted(order_id=shipped.order_id)

    @service.on(shop.OutOfStock, publishes=OrderFailing)
    async def turn(out: shop.OutOfStock, db: Transaction) -> OrderFailing:
        return OrderFailing(order_id=out.order_id)

    @service.on(shop.PaymentRefunded, publishes=shop.OrderFailed)
    async def fail(refunded: shop.PaymentRefunded, db: Transaction) -> shop.OrderFailed:
        return shop.OrderFailed(order_id=refunded.order_id)

    return service


HEARD: tuple[Told, ...] = (shop.ParcelShipped, shop.OutOfStock, shop.PaymentRefunded)
DECIDED = Decisions(
    frozenset({shop.OrderCompleted.type_name}), frozenset({OrderFailing.type_name}),
    frozenset({shop.OrderFailed.type_name}),
)  # fmt: skip


def closed() -> FlowOutline:
    said = reaction("outside.say", shop.OrderPlaced, says=HEARD)
    ends = (shop.OrderCompleted,), (shop.OrderFailed,), (OrderFailing,)
    return FlowOutline("order", 1, shop.OrderPlaced, *ends, "orders", (*reactions_of([closing()]), said))


async def test_the_closer_decides_as_the_model_says() -> None:
    runs = {f"f{number}": order for number, order in enumerate(orders_of(HEARD))}
    async with stage_for(closing(), kind=Subscriber, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=["orders"], subscribers=["witness"]))
        given: Any = {"transport": stage.transport, "database": stage.database, "clock": lambda: stage.clock[0]}
        part = FlowPart(closes={("order", 1): DECIDED})
        stage.start(Subscriber(stage.service, namespace="shop", flows=part, **given))
        for step in range(len(HEARD) + 1):
            facts = [
                real(order[step], name, HEARD, flow="order", flow_version=1, flow_id=name)
                for name, order in runs.items()
                if step < len(order)
            ]
            before = _settled(stage)
            await stage.publish(*facts)
            await eventually(lambda before=before, facts=facts: _settled(stage) == before + len(facts))  # type: ignore[misc] # bound now
        wanted = {name: modelled(closed(), "orders", order, refuses=False)[1] for name, order in runs.items()}
        await eventually(lambda: _said(stage, "orders") == wanted)
    assert {len(said) for said in wanted.values()} == {1, 2}
    rules = FLOW_MUTANTS["closer without row"][1]
    assert any(
        modelled(closed(), "orders", order, refuses=False, rules=rules)[1] != wanted[name]
        for name, order in runs.items()
    )
