"""Rubbish on every queue of the running shop is parked once, with a reason that repeats nothing; the shop goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from choros.messages import Message
from choros.roles.addresses import Addresses
from choros.sources import fresh_id
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, encode
from reference_services.contracts import (
    ChargePayment,
    OrderConfirmed,
    OrderRejected,
    PaymentCharged,
    RefundPayment,
    ReleaseInventory,
    ShipOrder,
)
from reference_services.sample_orders import sample_orders
from tests.end_to_end.shop import SERVICES, SUBSCRIBERS, logged, open_shop, queue_depth, until

CARD = "4111111111111111"
CASE = "x-case"
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Rubbish:
    """One bad message, as it goes on the wire."""

    case: str
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict)

    def message(self) -> aio_pika.Message:
        headers = {**self.headers, CASE: self.case}
        content_type = self.properties.get("content_type", "application/json")
        return aio_pika.Message(self.body, headers=headers, **{**self.properties, "content_type": content_type})


def good(kind: Any, message: Message, namespace: str, saga_id: str, key: str = "", **more: Any) -> Envelope:
    """An envelope that would be accepted where it belongs."""
    step = key.split(":")[1] if key else "charge_payment"
    fields: dict[str, Any] = {
        "id": fresh_id(), "kind": kind, "type": message.type_name, "source": f"/{namespace}/order",
        "time": time.time(), "data": message.to_json(), "correlation_id": saga_id, "causation_id": fresh_id(),
    }  # fmt: skip
    if kind == "fact":
        fields |= {"stream": saga_id, "seq": 1}
    else:
        fields |= {
            "key": key or f"{saga_id}:{step}:1:do",
            "saga": "order",
            "saga_version": 1,
            "step": step,
            "attempt": 1,
        }
    if kind == "command":
        fields |= {"reply_to": Names(namespace).reply_queue("order"), "not_after": time.time() + 60}
    if kind == "reply":
        fields |= {"outcome": "ok"}
    return Envelope(**(fields | more))


def as_rubbish(case: str, envelope: Envelope, **properties: Any) -> Rubbish:
    """An envelope that is well written, but must not be believed. Its id is its own, or it may pass for a duplicate."""
    wire = encode(replace(envelope, id=fresh_id()))
    return Rubbish(case, wire.body, dict(wire.headers), {"reply_to": wire.reply_to} | properties)


def anywhere(base: Envelope) -> Iterator[Rubbish]:
    """What no queue takes."""
    wire = encode(base)
    headers, properties = dict(wire.headers), {"reply_to": wire.reply_to}

    def body(case: str, content: bytes, **more: Any) -> Rubbish:
        return Rubbish(case, content, headers, properties | more)

    def changed(case: str, **attributes: Any) -> Rubbish:
        named = {f"cloudEvents_{name}": value for name, value in attributes.items()}
        return Rubbish(case, wire.body, {k: v for k, v in (headers | named).items() if v is not None}, properties)

    yield body("not JSON", f"Dear Sir, my card is {CARD}.".encode())
    yield body("empty", b"")
    yield body("not UTF-8", b"\xff\xfe" + CARD.encode())
    yield body("wrong schema", f'{{"card": "{CARD}"}}'.encode())
    yield (
        body("a field too many", wire.body[:-1] + f', "{CARD}": 1}}'.encode())
        if base.kind != "fact"
        else body("a field of the wrong type", f'{{"order_id": {CARD}}}'.encode())
    )
    yield body("NaN", wire.body[:-1] + b', "n": NaN}' if base.kind != "fact" else b'{"order_id": NaN}')
    yield body("300 levels", b"[" * 300 + CARD.encode() + b"]" * 300)
    yield body("2 MiB", b'"' + CARD.encode() * (2 * 1024 * 1024 // 16) + b'"')
    yield changed("unknown type", type=f"shop.{CARD}.v1")
    yield changed("unknown kind", sagakind=CARD)
    yield changed("other specversion", specversion="0.3")
    yield changed("no id", id=None)
    yield changed("no kind", sagakind=None)
    yield changed("time without a zone", time="2010-12-01T08:00:00")
    yield changed("binary id", id=bytearray(b"\xff\xfe\x00"))
    yield changed("a table as id", id={CARD: CARD})
    yield changed("long id", id=CARD * 100)
    yield Rubbish("no properties", wire.body, {})
    yield Rubbish("only a card", wire.body, {CARD: CARD}, {"type": CARD, "correlation_id": CARD, "app_id": CARD})
    yield Rubbish("large headers", wire.body, headers | {f"h{n}": CARD * 10 for n in range(100)}, properties)
    yield Rubbish("two prefixes", wire.body, headers | {"cloudEvents:id": CARD}, properties)
    structured = {"content_type": "application/cloudevents+json; charset=utf-8"}
    yield Rubbish("structured, not JSON", CARD.encode() + b"{", {}, structured)
    yield Rubbish("structured, a list", f'["{CARD}"]'.encode(), {}, structured)
    yield Rubbish("structured, no data", f'{{"specversion": "1.0", "id": "{CARD}"}}'.encode(), {}, structured)
    yield Rubbish("structured, NaN", b'{"specversion": "1.0", "data": NaN}', {}, structured)
    yield Rubbish("structured, 300 levels", b'{"data":' * 300 + b"1" + b"}" * 300, {}, structured)
    yield Rubbish("structured, incomplete", f'{{"specversion": "1.0", "data": "{CARD}"}}'.encode(), {}, structured)


def for_commands(base: Envelope) -> Iterator[Rubbish]:
    """What no service takes."""

    def forged(case: str, **changes: Any) -> Rubbish:
        return as_rubbish(case, replace(base, **changes))

    if base.key.endswith(":do"):  # an undo may be asked for by the saga that has taken its effect over
        yield forged("another saga's key", correlation_id=fresh_id())
    yield forged("a key of another form", key=f"{base.correlation_id}:{base.step}:01:do")
    yield forged("a card as key", key=CARD)
    yield forged("a step that is not the key's", step=f"s{CARD}")
    yield forged("reply to a stranger", reply_to=f"stranger.{CARD}")
    yield as_rubbish("reply to nobody", base, reply_to=None)
    yield forged("a close that closes nothing", key=f"{base.key.rpartition(':')[0]}:close")
    yield forged("a fact", kind="fact", stream="s", seq=1)
    yield forged("attempt 0", attempt=-1)


def for_replies(base: Envelope, other: str) -> Iterator[Rubbish]:
    """What no orchestrator takes; `other` is a saga that has ended."""
    unknown = fresh_id()
    yield as_rubbish("unknown saga", replace(base, correlation_id=unknown, key=f"{unknown}:charge_payment:1:do"))
    yield as_rubbish("another saga's key", replace(base, key=f"{other}:charge_payment:1:do", correlation_id=unknown))
    yield as_rubbish("a round that never was", replace(base, key=base.key.replace(":1:do", ":7:do")))
    yield as_rubbish("a step that is not there", replace(base, key=base.key.replace("charge_payment", f"s{CARD}")))
    yield as_rubbish("the undo of a pivot", replace(base, key=f"{base.correlation_id}:ship_order:1:undo"))
    yield as_rubbish("another step's reply", replace(base, key=f"{base.correlation_id}:ship_order:1:do"))
    yield as_rubbish("an unknown version", replace(base, saga_version=99))
    yield as_rubbish("a command", replace(base, kind="command", reply_to="x"))
    yield as_rubbish("no outcome", replace(base, outcome=""))
    yield as_rubbish("a failure that is none", replace(base, outcome="refused"))


def for_facts(base: Envelope) -> Iterator[Rubbish]:
    """What no subscriber takes."""
    yield as_rubbish("seq 0", replace(base, seq=-1))
    yield as_rubbish("no stream", replace(base, stream=""))
    yield as_rubbish("a reply", replace(base, kind="reply", outcome="ok"))
    headers = dict(encode(base).headers) | {"cloudEvents_factseq": CARD * 2}
    yield Rubbish("a card as seq", encode(base).body, headers)


def all_of_it(namespace: str, saga_id: str) -> dict[str, list[Rubbish]]:
    """By queue. The ids are those of a real saga that has ended, so that only what is wrong with each is wrong."""
    names, unborn = Names(namespace), fresh_id()
    commands = {
        "payment": ChargePayment(order_id="1", customer="c1", amount=100),
        "inventory": ReleaseInventory(order_id="1"),
        "shipping": ShipOrder(order_id="1", reservation_id="1", country="France"),
    }
    steps = {"payment": "charge_payment:1:do", "inventory": "reserve_inventory:1:undo", "shipping": "ship_order:1:do"}
    piles: dict[str, list[Rubbish]] = {}
    for service in SERVICES:
        base = good("command", commands[service], namespace, unborn, f"{unborn}:{steps[service]}")
        wrong = good("command", RefundPayment(order_id="1"), namespace, unborn, f"{unborn}:x:1:undo")
        piles[names.service_queue(service)] = [*anywhere(base), *for_commands(base)]
        if service != "payment":
            piles[names.service_queue(service)].append(as_rubbish("another service's command", wrong))
    reply = good("reply", PaymentCharged(charge_id="1"), namespace, saga_id)
    piles[names.reply_queue("order")] = [*anywhere(reply), *for_replies(reply, saga_id)]
    fact = OrderConfirmed(
        order_id="1", customer="c1", country="France", placed_at="2010-12-01T08:00:00", total=100, tracking="t"
    )
    for subscriber in SUBSCRIBERS:
        base = good("fact", fact, namespace, unborn)
        piles[names.subscriber_queue(subscriber)] = [*anywhere(base), *for_facts(base)]
    rejected = OrderRejected(order_id="1", customer="c1", country="France", reason=CARD)
    piles[names.subscriber_queue("analytics")].append(
        as_rubbish("a fact that it does not take", good("fact", rejected, namespace, unborn))
    )
    return piles


async def publish(channel: AbstractChannel, queue: str, pile: list[Rubbish]) -> None:
    for rubbish in pile:
        await channel.default_exchange.publish(rubbish.message(), queue)


async def parked(channel: AbstractChannel, queue: str) -> list[Any]:
    """Everything in the queue's dead letters."""
    dead, found = await channel.declare_queue(f"{queue}.dead", passive=True), []
    while message := await dead.get(no_ack=True, fail=False):
        found.append(message)
    return found


@pytest.mark.long
@pytest.mark.parametrize("store", [pytest.param("redis", marks=pytest.mark.nightly), "sqlite"])
async def test_rubbish_is_parked_once_and_the_shop_goes_on(
    tmp_path: Path, amqp_url: str, redis_url: str, namespace: str, store: str
) -> None:
    where = redis_url if store == "redis" else f"sqlite:///{tmp_path}/sagas.db"
    first, second, third = sample_orders(40, seed=5)[3:6]
    async with open_shop(tmp_path / "shop", Addresses(broker=amqp_url, store=where), namespace) as shop:
        before = await shop.place(first)
        assert before.status == "completed"
        piles = all_of_it(namespace, before.saga_id)
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            for queue, pile in piles.items():
                await publish(channel, queue, pile)
            assert (await shop.place(second)).status == "completed"
            for queue, pile in piles.items():

                async def all_parked(queue: str = queue, count: int = len(pile)) -> bool:
                    return await queue_depth(amqp_url, f"{queue}.dead") >= count

                await until(f"{queue} is done with its rubbish", all_parked, 240)
                assert await queue_depth(amqp_url, queue) == 0
            assert (await shop.place(third)).status == "completed"
            for queue, pile in piles.items():
                once(await parked(channel, queue), pile, queue)
        assert all(process.returncode is None for process in shop.running.values())
    assert CARD not in logged(tmp_path / "shop")
    assert "choros.command.parked" in logged(tmp_path / "shop")


def once(dead: list[Any], pile: list[Rubbish], queue: str) -> None:
    """Each is there, with a reason."""
    assert Counter(str(message.headers[CASE]) for message in dead) == {rubbish.case: 1 for rubbish in pile}, queue
    for message in dead:
        reason = message.headers["x-choros-reason"]
        assert isinstance(reason, str)
        assert reason
        assert CARD not in reason
        assert message.headers["x-choros-original-queue"] == queue
