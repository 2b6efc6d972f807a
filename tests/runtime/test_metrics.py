"""What is counted where messages pass, and what is gathered of stores and queues when Prometheus asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from choros import (
    Addresses,
    App,
    Client,
    Command,
    Done,
    Fact,
    ForEach,
    Message,
    Pivot,
    Refused,
    Reply,
    RetryPolicy,
    Saga,
    Service,
    Step,
)
from choros.roles.metrics import Metrics
from choros.roles.roles import open_role, run_together, stop_all
from choros.runtime.host.vitals import Vitals
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.sources import fresh_id
from choros.transport.port import Seen
from tests.patience import PATIENCE
from tests.runtime.participant_stage import Charge, command
from tests.runtime.test_http_face import samples


class PlaceOrder(Message):
    order_id: str
    how: str = ""


class Hold(Command[Done]):
    order_id: str
    line: int


class ReleaseHold(Command[Done]):
    order_id: str


class Held(Reply):
    pass


class Ship(Command[Done], refusals=("damaged",)):
    order_id: str
    how: str


class Shipped(Fact):
    order_id: str


class Line(Message):
    number: int


def lines(order: PlaceOrder) -> list[Line]:
    return [Line(number=1), Line(number=2)]


def hold(order: PlaceOrder, line: Line) -> Hold:
    return Hold(order_id=order.order_id, line=line.number)


def release(order: PlaceOrder) -> ReleaseHold:
    return ReleaseHold(order_id=order.order_id)


def ship(order: PlaceOrder) -> Ship:
    return Ship(order_id=order.order_id, how=order.how)


def shipped(order: PlaceOrder) -> Shipped:
    return Shipped(order_id=order.order_id)


LABELS = {
    "choros_sagas_active": ("saga", "status"),
    "choros_sagas_started": ("saga",),
    "choros_sagas_finished": ("saga", "outcome"),
    "choros_saga_duration_seconds": ("saga", "outcome"),
    "choros_steps_parked": ("saga",),
    "choros_step_attempts": ("saga", "step", "outcome"),
    "choros_step_duration_seconds": ("saga", "step", "outcome"),
    "choros_compensations": ("saga", "step", "outcome"),
    "choros_replies_consumed": ("outcome",),
    "choros_messages_consumed": ("kind", "queue", "outcome"),
    "choros_message_handling_seconds": ("queue", "handler", "outcome"),
    "choros_outbox_oldest_age_seconds": ("outbox", "kind"),
    "choros_queue_messages": ("queue",),
    "choros_queue_consumers": ("queue",),
    "choros_dead_letters": ("queue",),
}
"""Of each metric that has any; what is read of them in deploy/ is held to these."""
SOON = timedelta(milliseconds=1)
ORDER = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(
        ForEach(lines, Step(hold, to="stock", compensation=release, retry=RetryPolicy(initial=SOON, max=SOON))),
        Pivot(ship, to="shipping", retry=RetryPolicy(attempts=1)),
    ),
    completed=shipped,
)


def shop() -> App:
    """Holding fails at first; shipping refuses, or breaks, if it is told so."""
    stock, shipping, mails, failed = Service("stock"), Service("shipping"), Service("mails"), set[str]()

    @stock.handles(Hold)
    async def hold_it(command: Hold) -> Done:
        if command.order_id not in failed:
            failed.add(command.order_id)
            raise ValueError
        return Done()

    @stock.handles(ReleaseHold)
    async def release_it(command: ReleaseHold) -> Done:
        return Done()

    @shipping.handles(Ship)
    async def ship_it(command: Ship) -> Done:
        if command.how == "refused":
            raise Refused("damaged")
        if command.how == "broken":
            raise ValueError
        return Done()

    @mails.on(Shipped)
    async def mail(fact: Shipped) -> None:
        await asyncio.sleep(0)

    return App("shop", sagas=[ORDER], services=[stock, shipping, mails])


@asynccontextmanager
async def at_work(app: App) -> AsyncIterator[tuple[Client, Orchestrator, Metrics]]:
    """The whole application in this process, as `choros run --role all --http` has it."""
    vitals = Vitals("all")
    addresses = Addresses(f"memory://{fresh_id()}", "memory://", "memory://")
    async with AsyncExitStack() as stack:
        parts = await open_role(app, "all", addresses, stack, vitals)
        vitals.receivers = parts
        metrics = Metrics(app, vitals)
        metrics.attach(parts)
        running = asyncio.create_task(run_together(parts))
        (orchestrator,) = (part for part in parts if isinstance(part, Orchestrator))
        try:
            yield (
                Client(app, store=orchestrator.store, transport=orchestrator.transport, decider=orchestrator.decider),
                orchestrator,
                metrics,
            )
        finally:
            await stop_all(parts)
            await running


def found_in(told: Mapping[str, float], name: str, **labels: str) -> float:
    wanted = [f"('{label}', '{value}')" for label, value in labels.items()]
    (value,) = [value for one, value in told.items() if one.partition("[")[0] == name and all(w in one for w in wanted)]
    return value


async def test_sagas_steps_and_handlers_are_counted_by_how_they_went() -> None:
    async with at_work(shop()) as (client, _, metrics), asyncio.timeout(PATIENCE):
        for number, how in enumerate(["", "", "refused", "broken"]):
            await client.run(ORDER, PlaceOrder(order_id=f"o{number}", how=how))
        told = samples((await metrics())[1].decode())
        while found_in(told, "choros_messages_consumed_total", queue="shop.facts.mails", outcome="handled") < 2:
            told = samples((await metrics())[1].decode())
    assert found_in(told, "choros_sagas_started_total", saga="order") == 4
    assert found_in(told, "choros_sagas_finished_total", outcome="completed") == 2
    assert found_in(told, "choros_sagas_finished_total", outcome="compensated") == 1
    assert found_in(told, "choros_saga_duration_seconds_count", outcome="compensated") == 1
    assert found_in(told, "choros_sagas_active", saga="order", status="parked") == 1
    assert found_in(told, "choros_steps_parked_total", saga="order") == 1
    step = "lines.hold"
    assert found_in(told, "choros_step_attempts_total", step=step, outcome="ok") == 8
    assert found_in(told, "choros_step_attempts_total", step=step, outcome="failed") == 4
    assert found_in(told, "choros_step_attempts_total", step="ship", outcome="refused") == 1
    assert found_in(told, "choros_step_duration_seconds_count", step=step, outcome="ok") == 8
    assert found_in(told, "choros_step_duration_seconds_bucket", step="ship", outcome="ok", le="300.0") == 2
    assert found_in(told, "choros_compensations_total", step=step, outcome="ok") == 2
    handled = dict(queue="shop.shipping", handler="ship_it")
    outcomes = {
        one: found_in(told, "choros_message_handling_seconds_count", **handled, outcome=one)
        for one in ("ok", "refused", "failed")
    }
    assert outcomes == {"ok": 2, "refused": 1, "failed": 1}
    assert found_in(told, "choros_replies_consumed_total", outcome="taken") == 12 + 2 + 4
    assert not any("created" in name for name in told)
    for name, labels in LABELS.items():
        sample = next(one for one in told if one.startswith(name))
        assert set(labels) == {*re.findall(r"\('(\w+)', ", sample)} - {"le"}


async def test_queues_and_outboxes_are_told_as_they_are() -> None:
    app = shop()
    async with at_work(app) as (_, orchestrator, metrics), asyncio.timeout(PATIENCE):
        await orchestrator.transport.send([command(Charge(order="o1"), to="shipping")])
        dead = orchestrator.transport.attendance
        while not (await dead("shop.shipping.dead")).waiting:
            await asyncio.sleep(0.01)
        told = samples((await metrics())[1].decode())
        assert found_in(told, "choros_dead_letters", queue="shop.shipping") == 1
        assert found_in(told, "choros_dead_letters", queue="shop.stock") == 0
        assert found_in(told, "choros_queue_consumers", queue="shop.stock") == 1
        assert found_in(told, "choros_queue_messages", queue="shop.facts.mails") == 0
        assert found_in(told, "choros_outbox_oldest_age_seconds", outbox="shop.stock", kind="replies") == 0
        assert found_in(told, "choros_outbox_oldest_age_seconds", outbox="shop.shop", kind="commands") < PATIENCE


async def test_an_orchestrator_tells_of_queues_that_nobody_consumes() -> None:
    app, vitals, asked = shop(), Vitals("orchestrator"), list[str]()

    async def ask(queue: str) -> Seen:
        asked.append(queue)
        return Seen("untold") if queue.startswith("shop.shipping") else Seen("there", 0, 7)

    async with at_work(app) as (_, orchestrator, _):
        vitals.receivers, vitals.attendance = [orchestrator], ask
        told = samples((await Metrics(app, vitals)())[1].decode())
    assert found_in(told, "choros_queue_consumers", queue="shop.stock") == 0
    assert found_in(told, "choros_queue_messages", queue="shop.facts.mails") == 7
    assert not any("shop.shipping" in name for name in told), "the broker does not tell"
    assert "shop.shipping" in asked


async def test_a_broker_that_does_not_answer_holds_up_no_scrape_and_is_asked_once() -> None:
    app, vitals, asked = shop(), Vitals("orchestrator"), list[str]()

    async def ask(queue: str) -> Seen:
        asked.append(queue)
        await asyncio.Event().wait()
        return Seen("untold")

    async with at_work(app) as (_, orchestrator, _):
        vitals.receivers, vitals.attendance = [orchestrator], ask
        metrics = Metrics(app, vitals)
        for _ in range(2):
            assert "choros_queue_messages{" not in (await metrics())[1].decode()
    assert len(asked) == 1


async def test_nobody_counts_where_nobody_asks() -> None:
    async with AsyncExitStack() as stack:
        parts = await open_role(shop(), "all", Addresses(f"memory://{fresh_id()}", "memory://", "memory://"), stack)
        meters = [getattr(part, "decider", getattr(part, "calls", None)) for part in parts]
        assert [one.meter for one in meters if one is not None] == [None] * 4
