"""Headers of the user's own go from the start of a saga to its commands, from a command to its reply, and to facts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from choros import (
    Addresses,
    App,
    Call,
    Check,
    Client,
    Command,
    Done,
    Fact,
    Headers,
    Message,
    Nested,
    Outbox,
    Pivot,
    Refused,
    Saga,
    SentMessage,
    Service,
    Step,
    Transaction,
    UsageError,
    running,
)
from choros.app.fact_start import FactStart
from choros.desk.republish import released
from choros.errors import DeclarationError
from choros.store.sqlite.sagas import SqliteStore
from choros.transport.memory import MemoryBroker
from choros.wire.own_headers import read, written
from tests.runtime.parcel import Deaf, until
from tests.runtime.participant_stage import NAMES, command, make_service, stage_for
from tests.runtime.participant_stage import Charge as Ask

ACME = {"tenant": "acme"}
Heard = dict[str, Mapping[str, str]]


class PlaceOrder(Message):
    order_id: str


class ChargeIt(Command[Done]):
    order_id: str


class RefundIt(Command[Done]):
    order_id: str


class ShipIt(Command[Done], refusals=("damaged",)):
    order_id: str


class Charged(Fact):
    order_id: str


class OrderFailed(Fact):
    order_id: str


class Follow(Message):
    order_id: str


class FollowUp(Command[Done]):
    order_id: str


def charge_it(order: PlaceOrder) -> ChargeIt:
    return ChargeIt(order_id=order.order_id)


def refund_it(order: PlaceOrder) -> RefundIt:
    return RefundIt(order_id=order.order_id)


def ship_it(order: PlaceOrder) -> ShipIt:
    return ShipIt(order_id=order.order_id)


def follow(order: PlaceOrder) -> Follow:
    return Follow(order_id="the saga")


def follow_up(follow: Follow) -> FollowUp:
    return FollowUp(order_id=follow.order_id)


def order_failed(order: PlaceOrder) -> OrderFailed:
    return OrderFailed(order_id=order.order_id)


def followed(fact: OrderFailed) -> Follow:
    return Follow(order_id="a fact")


FOLLOWING = Saga("following", start=Follow, key=lambda one: one.order_id, steps=(Check(follow_up, to="crm"),))
ORDER = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order_id,
    steps=(
        Step(charge_it, to="payment", compensation=refund_it),
        Nested(FOLLOWING, follow),
        Pivot(ship_it, to="shipping"),
    ),
    compensated=order_failed,
)


def made(heard: Heard, **more: object) -> App:
    """Whoever is called notes its headers under its name."""
    payment, shipping, crm, mails = (Service(name) for name in ("payment", "shipping", "crm", "mails"))

    @payment.handles(ChargeIt, publishes=(Charged,))
    async def charge(command: ChargeIt, call: Call, db: Transaction, outbox: Outbox) -> Done:
        heard["charge"] = call.headers
        await outbox.publish(Charged(order_id=command.order_id))
        return Done()

    @payment.handles(RefundIt)
    async def refund(command: RefundIt, call: Call) -> Done:
        heard["refund"] = call.headers
        return Done()

    @payment.sends
    def with_region(sent: SentMessage) -> Headers:
        heard[f"payment sends {sent.kind} {sent.type}"] = sent.headers
        return {**sent.headers, "region": "eu"} if sent.kind == "fact" else sent.headers

    @shipping.handles(ShipIt)
    async def ship(command: ShipIt, call: Call) -> Done:
        heard["ship"] = call.headers
        raise Refused("damaged")

    @crm.handles(FollowUp)
    async def follow_up(command: FollowUp, call: Call) -> Done:
        heard[f"follow_up of {command.order_id}"] = call.headers
        return Done()

    @mails.on(Charged)
    async def charged(fact: Charged, call: Call) -> None:
        heard["charged"] = call.headers

    @mails.on(OrderFailed)
    async def failed(fact: OrderFailed, call: Call) -> None:
        heard["failed"] = call.headers

    return App("shop", sagas=(ORDER, FOLLOWING), services=(payment, shipping, crm, mails), **more)  # type: ignore[arg-type] # passed on


async def test_all_that_comes_of_a_start_has_its_headers() -> None:
    heard: Heard = {}
    async with running(made(heard, starts=[FactStart(FOLLOWING, on=OrderFailed, start=followed)])) as client:
        outcome = await client.with_headers(ACME).run(ORDER, PlaceOrder(order_id="o1"))
        assert outcome.status == "compensated"
        await until(lambda: heard.keys() >= {"charged", "failed", "follow_up of a fact"})
    assert heard.pop("charged") == {**ACME, "region": "eu"}
    assert set(map(str, heard.values())) == {str(read(written(ACME)))}, heard
    assert {
        "charge",
        "refund",
        "ship",
        "failed",
        "follow_up of the saga",
        "payment sends reply choros.done.v1",
    } <= heard.keys()


async def test_without_any_there_are_none() -> None:
    heard: Heard = {}
    async with running(made(heard)) as client:
        await client.with_headers(ACME).with_headers({}).run(ORDER, PlaceOrder(order_id="o1"))
    assert (heard["charge"], heard["refund"]) == ({}, {})


async def test_what_sagas_send_may_have_more() -> None:
    heard: Heard = {}

    def with_kind(sent: SentMessage) -> Headers:
        return {**sent.headers, "sent": f"{sent.kind} to {sent.to or 'all'} about {sent.subject}"}

    def with_body(sent: SentMessage) -> Headers:
        return {**sent.headers, "body": sent.data, "before": sent.headers["sent"][:4]}

    app = made(heard, sends=(with_kind, with_body)).within("other")
    async with running(app) as client:
        await client.run(ORDER, PlaceOrder(order_id="o1"))
        await until(lambda: "failed" in heard)
    body = '{"order_id":"o1"}'
    assert heard["ship"] == {"sent": "command to shipping about o1", "body": body, "before": "comm"}
    assert heard["failed"] == {"sent": "fact to all about o1", "body": body, "before": "fact"}


async def test_what_fails_there_is_named_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heard: Heard = {}

    def breaks(sent: SentMessage) -> Headers:
        raise ValueError("broken")

    def unfit(sent: SentMessage) -> Headers:
        return {"Tenant": "acme"}

    app = made(heard, sends=(breaks, unfit, lambda sent: {**sent.headers, "last": "said"}))
    with caplog.at_level(logging.ERROR):
        async with running(app) as client:
            outcome = await client.with_headers(ACME).run(ORDER, PlaceOrder(order_id="o1"))
    assert (outcome.status, heard["ship"]) == ("compensated", {**ACME, "last": "said"})
    told = [record.getMessage() for record in caplog.records if "choros.sends.failed" in record.getMessage()]
    assert {"breaks", "unfit"} == {name for name in ("breaks", "unfit") for line in told if name in line}


@pytest.mark.parametrize("headers", [{"Tenant": "acme"}, {"tenant": ""}, {f"h{n}": "v" for n in range(17)}])
async def test_what_cannot_be_sent_starts_nothing(headers: Headers) -> None:
    async with running(made({})) as client:
        with pytest.raises(UsageError, match="cannot be sent"):
            client.with_headers(headers)


def test_what_waits_for_something_is_refused_when_it_is_declared() -> None:
    service = Service("payment")

    async def slow(sent: SentMessage) -> Headers:
        return sent.headers

    with pytest.raises(DeclarationError, match="slow is async"):
        service.sends(slow)  # type: ignore[type-var] # which is what is tried
    with pytest.raises(DeclarationError, match="is no function"):
        App("shop", sends=(1,))  # type: ignore[arg-type] # which is what is tried
    with pytest.raises(DeclarationError, match="is no sequence"):
        App("shop", sends=slow)  # type: ignore[arg-type] # which is what is tried


def test_a_part_of_a_service_brings_along_what_it_does_around_what_is_sent() -> None:
    whole, part = Service("payment"), Service("payment")
    part.sends(lambda sent: sent.headers)
    whole.include(part)
    assert whole.stamps == part.stamps


async def test_the_same_start_with_other_headers_is_the_same_saga() -> None:
    heard: Heard = {}
    async with running(made(heard)) as client:
        order = PlaceOrder(order_id="o1")
        first = await client.with_headers(ACME).start(ORDER, order)
        assert await client.with_headers({"tenant": "other"}).start(ORDER, order) == first
        await client.wait(first)
    assert heard["refund"] == ACME


async def test_they_survive_whoever_began_it(tmp_path: Path) -> None:
    """Nothing had been sent when the first process ended; the next one reads all of it from the file."""
    heard: Heard = {}
    app, path = made(heard), tmp_path / "sagas.db"
    store, transport = SqliteStore(path, app.scope), Deaf(MemoryBroker(), "shop")
    await store.open()
    await transport.connect()
    async with Client(app, store=store, transport=transport) as client:
        saga_id = await client.with_headers(ACME).start(ORDER, PlaceOrder(order_id="o1"))
    await store.close()
    assert not heard
    async with running(app, Addresses("memory://", f"sqlite:///{path}", "memory://")) as client:
        assert (await client.wait(saga_id)).status == "compensated"
        again = await client.rerun(saga_id, "charge_it")
        assert (await client.show(again)).instance.own_headers == written(ACME)
    assert (heard["charge"], heard["refund"], heard["ship"]) == (ACME, ACME, ACME)
    await store.open()
    (facts,) = [facts async for facts in released(store, 0.0)]
    await store.close()
    assert [one.own_headers for one in facts] == [written(ACME)], "and when it is put out again"


async def test_hostile_ones_are_parked_and_the_next_command_is_carried_out() -> None:
    calls: list[str] = []
    async with stage_for(make_service(calls)) as stage:
        hostile = replace(command(Ask(order="o1")), own_headers='{"Tenant":"acme"}')
        await stage.send(hostile)
        (reply,) = await stage.ask(command(Ask(order="o2")))
        assert reply.outcome == "ok"
        await until(lambda: bool(stage.broker.waiting(NAMES.dead_queue("shop.payment"))))
    assert len(calls) == 1
