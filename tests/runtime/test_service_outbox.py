"""Facts and signals that leave with a handler's transaction (semantics 18, 28, 29, 45)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from choros import (
    App,
    Command,
    Done,
    Fact,
    FactLog,
    LocalUndo,
    Message,
    Outbox,
    Pivot,
    Refused,
    Saga,
    Service,
    Signal,
    Wait,
    running,
)
from choros.runtime.host.outbox_rows import Departure, OutboxRows, kept_message
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import LEAVING, Database, Row, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.store.sqlite.transaction import SqliteTransaction
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire import undone
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.participant_stage import NAMES, Stage, command, eventually, fact, stage_for


class Charge(Command[Done], refusals=("card_declined", "no_cover")):
    order: str
    how: str = "ok"


class OrderPlaced(Fact):
    order: str
    how: str = "ok"


class PaymentCharged(Fact):
    order: str


class PaymentDeclined(Fact):
    order: str
    reason: str = ""


class Surprise(Fact):
    order: str


class Decided(Signal):
    by: str


def commanded(*, signals: tuple[type[Signal], ...] = ()) -> Service:
    """A payment service that is commanded."""
    service = Service("payment", signals=signals)

    @service.handles(Charge, publishes=(PaymentCharged, PaymentDeclined))
    async def charge(command: Charge, db: MemoryTransaction, outbox: Outbox) -> Done:
        await db.put(command.order, "charged")
        await outbox.publish(PaymentCharged(order=command.order))
        await misbehave(command, db, outbox)
        return Done()

    return service


async def misbehave(command: Charge, db: MemoryTransaction, outbox: Outbox) -> None:
    order = command.order
    match command.how:
        case "declined":
            raise Refused("card_declined", fact=PaymentDeclined(order=order))
        case "silently":
            raise Refused("card_declined")
        case "surprised":
            raise Refused("card_declined", fact=Surprise(order=order))
        case "undeclared":
            await outbox.publish(Surprise(order=order))
        case "huge":
            await outbox.publish(PaymentDeclined(order=order, reason="x" * 2_000_000))
        case "broken":
            raise ValueError("broken")
        case "twice":
            await outbox.publish(PaymentDeclined(order=order))
        case "within":
            try:
                async with db.savepoint():
                    await outbox.publish(PaymentDeclined(order=order))
                    raise ValueError
            except ValueError:
                pass
        case "signal":
            await outbox.signal("loan", Decided(by="Ann"), key="l1", wait="decision")
        case "to nobody":
            await outbox.signal("loan", Decided(by="Ann"))


def reacting() -> Service:
    """The same work, event-driven."""
    service = Service("payment")

    @service.on(OrderPlaced, publishes=(PaymentCharged, PaymentDeclined))
    async def charge(placed: OrderPlaced, db: MemoryTransaction) -> PaymentCharged | PaymentDeclined | None:
        await db.put(placed.order, "charged")
        match placed.how:
            case "declined":
                raise Refused("card_declined", fact=PaymentDeclined(order=placed.order))
            case "surprised":
                return Surprise(order=placed.order)  # type: ignore[return-value]
            case "silent":
                return None
            case "broken":
                raise Refused("card_declined")
        return PaymentCharged(order=placed.order)

    return service


def on_stage(service: Service, **more: Any) -> Any:
    """The service at work, its exchanges declared, and a queue that hears all facts."""
    kind = Participant if service.handlers else Subscriber
    return stage_for(service, kind=kind, start=False, **more)


async def begin(stage: Stage) -> None:
    signalling = [stage.service.name] if stage.service.signals else ()
    signalled = ["shop"] if signalling else ()
    declared = topology("shop", publishers=["payment"], signalling=signalling, signalled=signalled)
    await stage.transport.declare(declared)
    stage.start()


async def heard(stage: Stage, count: int) -> list[Envelope]:
    """The facts of the service, as they come to another subscriber."""
    consumer = await stage.outside.consume(NAMES.subscriber_queue("other"), 100)
    found: list[Envelope] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            for delivery in await consumer.receive(10):
                await delivery.ack()
                envelope = delivery.read()
                found += [envelope] if envelope.source == "/shop/service/payment" else []
    await consumer.close()
    return found


async def left(stage: Stage) -> None:
    """Until nothing is on its way any more."""
    async with asyncio.timeout(PATIENCE):
        while [row for state in LEAVING for row in await stage.database.listed(state, 9)]:
            await asyncio.sleep(0.05)


async def outbox_of(stage: Stage) -> list[Row]:
    rows = stage.database.inner._rows.rows.values()  # type: ignore[attr-defined]
    return [row for row in rows if row.state in ("publishing", "signalling", "left")]


# --- what is published ---


async def test_a_commanded_handler_publishes_with_its_effect() -> None:
    async with on_stage(commanded()) as stage:
        await begin(stage)
        asked = command(Charge(order="o1"))
        (reply,) = await stage.ask(asked)
        (told,) = await heard(stage, 1)
        assert (reply.outcome, stage.database.inner.items) == ("ok", {"o1": "charged"})
        assert (told.type, told.stream, told.seq) == (PaymentCharged.type_name, "s1", 1)
        assert (told.correlation_id, told.causation_id, told.subject) == ("s1", asked.id, "o-1")
        assert (told.saga, told.saga_version, told.traceparent) == ("order", 3, asked.traceparent)
        await left(stage)
        (row,) = await outbox_of(stage)
        assert (row.state, kept_message(row).id) == ("left", told.id)  # kept, to be published again


async def test_a_reaction_publishes_what_it_returns() -> None:
    async with on_stage(reacting()) as stage:
        await begin(stage)
        placed = fact(OrderPlaced(order="o1"), began=5.0)
        await stage.publish(placed)
        (told,) = await heard(stage, 1)
        assert (told.type, told.stream, told.seq, told.causation_id) == (PaymentCharged.type_name, "s1", 1, placed.id)
        assert (told.correlation_id, told.began) == ("s1", 5.0)
        assert stage.database.inner.items == {"o1": "charged"}


@pytest.mark.parametrize("service", [commanded, reacting])
async def test_a_definite_no_publishes_in_place_of_its_effect(service: Any) -> None:
    async with on_stage(service()) as stage:
        await begin(stage)
        if stage.service.handlers:
            (reply,) = await stage.ask(command(Charge(order="o1", how="declined")))
            assert reply.outcome == "refused"
        else:
            await stage.publish(fact(OrderPlaced(order="o1", how="declined")))
        assert [one.type for one in await heard(stage, 1)] == [PaymentDeclined.type_name]
        assert stage.database.inner.items == {}


async def test_so_it_does_where_a_handler_has_taken_back_itself_what_it_had_done() -> None:
    service = Service("payment")

    @service.handles(Charge, publishes=(PaymentCharged, PaymentDeclined))
    async def charge(command: Charge, db: MemoryTransaction, undo: LocalUndo) -> Done:
        await db.put(command.order, "charged")
        undo.add("give it back", db.put, command.order, "given back")
        raise Refused("card_declined", fact=PaymentDeclined(order=command.order))

    async with on_stage(service) as stage:
        await begin(stage)
        (reply,) = await stage.ask(command(Charge(order="o1")))
        assert (reply.outcome, undone.read(reply.undone)) == ("refused", ("give it back",))
        assert [one.type for one in await heard(stage, 1)] == [PaymentDeclined.type_name]
        assert stage.database.inner.items == {"o1": "given back"}


@pytest.mark.parametrize(
    ("how", "outcome", "facts"),
    [
        ("silently", "refused", 0), ("surprised", "failed", 0), ("undeclared", "failed", 0), ("huge", "failed", 0),
        ("broken", "failed", 0), ("twice", "ok", 2), ("within", "ok", 1), ("signal", "failed", 0),
    ],
)  # fmt: skip
async def test_what_does_not_stay_publishes_nothing(how: str, outcome: str, facts: int) -> None:
    async with on_stage(commanded()) as stage:
        await begin(stage)
        (reply,) = await stage.ask(command(Charge(order="o1", how=how)))
        assert (reply.outcome, len(await outbox_of(stage))) == (outcome, facts)
        assert stage.database.inner.items == ({"o1": "charged"} if outcome == "ok" else {})
        await left(stage)
        await asyncio.sleep(0.1)
        other = stage.broker.waiting(NAMES.subscriber_queue("other"))
        assert len(other) == facts  # and nothing leaves that a savepoint has taken back


async def test_a_reaction_that_may_be_silent_publishes_nothing_and_what_is_not_declared_is_a_bug() -> None:
    async with on_stage(reacting()) as stage:
        await begin(stage)
        for seq, how in enumerate(("silent", "surprised", "broken"), 1):
            await stage.publish(fact(OrderPlaced(order=how, how=how), seq))
        await eventually(lambda: stage.counts.get("handled") == 1 and stage.counts.get("retried", 0) >= 2)
        assert stage.database.inner.items == {"silent": "charged"}
        assert await outbox_of(stage) == []


@pytest.mark.parametrize("service", [commanded, reacting])
async def test_a_redelivery_publishes_nothing_new(service: Any) -> None:
    async with on_stage(service()) as stage:
        await begin(stage)
        again = command(Charge(order="o1")) if stage.service.handlers else fact(OrderPlaced(order="o1"))
        for _ in range(3):
            await (stage.ask(again) if stage.service.handlers else stage.publish(again))
        await eventually(lambda: sum(stage.counts.get(one, 0) for one in ("ok", "handled", "repeated")) == 3)
        assert len(await outbox_of(stage)) == 1


async def test_a_signal_leaves_with_its_effect() -> None:
    async with on_stage(commanded(signals=(Decided,))) as stage:
        await begin(stage)
        asked = command(Charge(order="o1", how="signal"))
        await stage.ask(asked)
        consumer = await stage.outside.consume(NAMES.signal_queue("shop"), 9)
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await consumer.receive(1)
        told = delivery.read()
        assert (told.kind, told.type, told.source, delivery.exchange) == (
            "signal", Decided.type_name, "/shop/payment", NAMES.signals_of("payment")
        )  # fmt: skip
        assert (told.saga, told.subject, told.correlation_id, told.step) == ("loan", "l1", "", "decision")
        assert told.causation_id == asked.id
        (reply,) = await stage.ask(command(Charge(order="o2", how="to nobody"), saga="s2"))
        assert reply.outcome == "failed"


async def test_what_was_committed_before_a_crash_leaves_afterwards_under_its_id() -> None:
    """Whoever has committed it may have died before it was sent."""
    async with on_stage(reacting()) as stage:
        rows = await written_by(stage.database, fact(OrderPlaced(order="o1")), 2)
        await begin(stage)
        assert [one.id for one in await heard(stage, 2)] == [kept_message(one.row).id for one in rows]
        await left(stage)


# --- in order ---


async def written_by(database: Database, about: Envelope, count: int = 1, at: float = 100.0) -> list[Departure]:
    """Facts as a replica commits them, each in a transaction of its own."""
    found: list[Departure] = []
    for _ in range(count):

        async def write(transaction: Transaction) -> Departure:
            rows = OutboxRows("shop", "payment", about, transaction, lambda: at)
            left = await rows.fact(PaymentCharged(order="o1"))
            assert left is not None
            return left

        found.append(value_of(*await database.run([write])))
    return found


class Channel:
    """A transport that confirms as it is told, and remembers in which order."""

    def __init__(self) -> None:
        self.published: list[int] = []
        self.refusing = False

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        if self.refusing:
            return [Published.UNKNOWN] * len(facts)
        self.published += [fact.seq for fact in facts]
        return [Published.CONFIRMED] * len(facts)

    send = publish


def outbox_on(database: Database, channel: Channel) -> ServiceOutbox:
    return ServiceOutbox(
        Service("payment"),
        namespace="shop",
        transport=cast(Any, channel),
        database=database,
        clock=lambda: 100.0,
    )


async def test_numbers_of_one_stream_follow_each_other_whoever_counts() -> None:
    database = MemoryDatabase()
    await database.open()
    rows = [*await written_by(database, fact(OrderPlaced(order="o1")), 2, at=100.0)]
    rows += await written_by(database, fact(OrderPlaced(order="o1")), 1, at=50.0)  # a clock that is behind
    rows += await written_by(database, fact(OrderPlaced(order="o2"), stream="s2", correlation_id="s2"))
    assert [(kept_message(one.row).stream, kept_message(one.row).seq) for one in rows] == [
        ("s1", 1), ("s1", 2), ("s1", 3), ("s2", 1)
    ]  # fmt: skip
    listed = await database.listed("publishing", 9)
    assert [row.key for row in listed if "s1" in row.key] == [one.row.key for one in rows[:3]]
    assert [bool(one.after) for one in rows] == [False, True, True, False]


async def test_what_comes_of_a_message_without_a_correlation_has_a_stream_of_its_own() -> None:
    database = MemoryDatabase()
    await database.open()
    foreign = fact(OrderPlaced(order="o1"), correlation_id="", stream="/github/push")
    (one,) = await written_by(database, foreign)
    assert kept_message(one.row).stream == "/github/push"


async def test_a_fact_waits_for_the_one_before_it_that_another_process_has() -> None:
    """Sent at once it would overtake: it leaves with the scan, behind the other."""
    database, channel = MemoryDatabase(), Channel()
    await database.open()
    about = fact(OrderPlaced(order="o1"))
    await written_by(database, about)  # by a process that has died before it sent this
    second = await written_by(database, about)
    outbox = outbox_on(database, channel)
    outbox.dispatch(second)
    await asyncio.sleep(0.1)
    assert channel.published == []
    running = asyncio.create_task(outbox.run())
    await eventually(lambda: channel.published == [1, 2])
    running.cancel()


async def test_a_fact_leaves_at_once_behind_one_that_the_same_process_has_in_hand() -> None:
    database, channel = MemoryDatabase(), Channel()
    await database.open()
    about, outbox = fact(OrderPlaced(order="o1")), outbox_on(database, channel)
    channel.refusing = True
    outbox.dispatch(await written_by(database, about))
    await asyncio.sleep(0.1)
    outbox.dispatch(await written_by(database, about))
    channel.refusing = False
    await eventually(lambda: channel.published == [1, 2])
    await outbox.close(1.0)
    assert await database.listed("publishing", 9) == []


async def test_several_of_one_transaction_leave_in_their_order() -> None:
    database, channel = MemoryDatabase(), Channel()
    await database.open()
    outbox = outbox_on(database, channel)
    outbox.dispatch(await written_by(database, fact(OrderPlaced(order="o1")), 3))
    await eventually(lambda: channel.published == [1, 2, 3])
    await outbox.close(1.0)


async def test_rows_of_another_service_in_the_same_place_are_left_alone() -> None:
    database, channel = MemoryDatabase(), Channel()
    await database.open()
    await written_by(database, fact(OrderPlaced(order="o1")))
    other = ServiceOutbox(
        Service("pay"),
        namespace="shop",
        transport=cast(Any, channel),
        database=database,
        clock=lambda: 1.0,
    )
    running = asyncio.create_task(other.run())
    await asyncio.sleep(3.0)
    running.cancel()
    assert channel.published == []


# --- a whole application ---


class Begin(Message):
    order: str


class Start(Command[Done]):
    order: str


class StockHeld(Fact):
    order: str


def start(begin: Begin) -> Start:
    return Start(order=begin.order)


async def test_a_chain_of_services_that_publish_runs_in_one_process() -> None:
    mails: list[str] = []
    payment, stock, mail = Service("payment"), Service("stock"), Service("mail")

    @payment.handles(Start, publishes=PaymentCharged)
    async def charge(command: Start, db: SqliteTransaction, outbox: Outbox) -> Done:
        await outbox.publish(PaymentCharged(order=command.order))
        return Done()

    @stock.on(PaymentCharged, publishes=StockHeld)
    async def hold(charged: PaymentCharged, db: SqliteTransaction) -> StockHeld:
        return StockHeld(order=charged.order)

    @mail.on(StockHeld)
    async def tell(held: StockHeld) -> None:
        mails.append(held.order)

    saga: Saga[Any] = Saga("order", start=Begin, key=lambda begin: begin.order, steps=(Pivot(start, to="payment"),))
    app = App("shop", sagas=[saga], services=[payment, stock, mail], fact_log=FactLog())
    assert app.publishers == ["payment", "stock"]
    async with running(app) as client:
        await client.run(saga, Begin(order="o1"))
        await eventually(lambda: mails == ["o1"])


class Lend(Message):
    loan: str


class PayOut(Command[Done]):
    loan: str


class LoanPaidOut(Fact):
    loan: str
    by: str


class Review(Command[Done]):
    order: str


def pay_out(lend: Lend) -> PayOut:
    return PayOut(loan=lend.loan)


def loan_paid_out(lend: Lend, decided: Decided) -> LoanPaidOut:
    return LoanPaidOut(loan=lend.loan, by=decided.by)


def review(begin: Begin) -> Review:
    return Review(order=begin.order)


async def test_a_saga_that_waits_is_told_by_a_handler_of_another_ones_command() -> None:
    bank, branch = Service("bank"), Service("branch", signals=(Decided,))

    @bank.handles(PayOut)
    async def pay(command: PayOut) -> Done:
        return Done()

    @branch.handles(Review)
    async def decide(command: Review, db: SqliteTransaction, outbox: Outbox) -> Done:
        await outbox.signal("loan", Decided(by="Ann"), key=command.order)
        return Done()

    wait = Wait(Decided, within=timedelta(days=1))
    loan: Saga[Any] = Saga(
        "loan", start=Lend, key=lambda lend: lend.loan, steps=(wait, Pivot(pay_out, to="bank")),
        completed=loan_paid_out,
    )  # fmt: skip
    reviews: Saga[Any] = Saga("review", start=Begin, key=lambda one: one.order, steps=(Pivot(review, to="branch"),))
    async with running(App("loans", sagas=[loan, reviews], services=[bank, branch])) as client:
        saga_id = await client.start(loan, Lend(loan="o1"))
        await client.run(reviews, Begin(order="o1"))
        outcome = await client.wait(saga_id)
        assert outcome.status == "completed"
