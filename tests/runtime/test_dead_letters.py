"""Dead letters of every kind, with their receivers at work: what is shown of them, and that an act is done once."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from choros.app.service import Service
from choros.cli.letters import row_of
from choros.desk.dead_letters import DeadLetter, StaysParked, dead_letter, way_back
from choros.desk.parkings import MOST_BESIDE, Beside, Parkings, WantedLetters
from choros.desk.redrive import ActedOn, Acts, LetterAct, act_on_all
from choros.messages import Fact
from choros.runtime.orchestrator.signature import Signature
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.memory.barrier import MemoryTransaction
from choros.transport.acts import acts_topology
from choros.transport.copies import BODY_SIZE, CAME_THROUGH, FAILED_AT, ORIGINAL_QUEUE, REASON
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Delivery, Published
from choros.wire.envelope import Wire, encode

from ..saga import shop
from .participant_stage import Charge, Paid, Stage, command, eventually, fact, make_service, stage_for
from .stage import NAMES, reply_to, staged

COMMANDS = NAMES.service_queue("payment")
FACTS = NAMES.subscriber_queue("ledger")
REPLIES = NAMES.reply_queue("shop")
WHO = Signature("ada@desk", "the card was unlocked")


class Operator:
    """Somebody at a console of his own."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.transport = MemoryTransport(broker, "shop")

    async def listed(self, at: str, **wanted: Any) -> list[DeadLetter]:
        await self.transport.connect()
        return (
            await Parkings(self.transport, [NAMES.dead_queue(at)], NAMES).listing(WantedLetters(**wanted), limit=100)
        ).found

    async def redrive(self, queue: str, **wanted: Any) -> list[str]:
        """What was left, and why."""
        return await self.act(queue, Acts(await self.ready(), NAMES, WHO).redrive, wanted)

    async def drop(self, queue: str, **wanted: Any) -> list[str]:
        return await self.act(queue, Acts(await self.ready(), NAMES, WHO).drop, wanted)

    async def ready(self) -> MemoryTransport:
        await self.transport.connect()
        await self.transport.declare(acts_topology("shop"))
        return self.transport

    async def act(self, queue: str, act: LetterAct, wanted: dict[str, Any]) -> list[str]:
        acting = act_on_all(Parkings(self.transport, [NAMES.dead_queue(queue)], NAMES), WantedLetters(**wanted), act)
        return [done.left async for done in acting]

    def acts(self) -> list[dict[str, Any]]:
        return [json.loads(wire.body) for wire in self.broker.waiting(NAMES.acts)]


def dead(stage: Stage) -> int:
    """How many are parked by now."""
    queue = FACTS if isinstance(stage.runner, Subscriber) else COMMANDS
    return len(stage.broker.waiting(NAMES.dead_queue(queue)))


class Killed(Exception):
    """In place of `kill -9`."""


async def redrive_and_die(operator: Operator, queue: str) -> None:
    """It goes back, and the process ends before it is taken out."""
    acts = Acts(await operator.ready(), NAMES, WHO)

    async def act(letter: DeadLetter, delivery: Delivery) -> ActedOn:
        doomed: Any = Doomed(delivery.wire)
        return await acts.redrive(letter, doomed)

    with pytest.raises(Killed):
        await operator.act(queue, act, {})
    await operator.transport.close()


@dataclass
class Doomed:
    """As much of a delivery as is used."""

    wire: Wire
    lost: bool = False

    async def ack(self) -> None:
        raise Killed


def ledger(heard: list[int], *, broken: bool = True) -> Service:
    """A subscriber, of which the next release is mended."""
    service = Service("ledger")

    @service.on(Paid)
    async def paid(told: Paid, db: MemoryTransaction) -> None:
        heard.append(1)
        await db.put("paid", await db.get("paid", 0) + 1)
        if broken:
            raise ValueError

    return service


class Other(Fact):
    """What a later release handles."""


async def no_more(told: Other, db: MemoryTransaction) -> None:
    """Never called."""


# --- what is shown ----------------------------------------------------------------------------------------------------


async def test_a_list_says_what_each_is_where_it_belongs_and_why_and_takes_nothing_out() -> None:
    async with stage_for(make_service()) as stage:
        await stage.send(command(Charge(order="o"), step="ship", subject="o-7"))
        await stage.put(Wire(b"\xff\x00", {"x-strange": b"\xfe", "cloudEvents_type": "charge\x1b[2J"}))
        await eventually(lambda: dead(stage) == 2)
        operator = Operator(stage.broker)
        first = await operator.listed(COMMANDS)
        wrong, rubbish = again = await operator.listed(COMMANDS)
        assert first == again
        assert (wrong.kind, wrong.type, wrong.saga, wrong.saga_id) == ("command", "charge.v1", "order", "s1")
        assert (wrong.step, wrong.key, wrong.attempt, wrong.subject) == ("ship", "s1:charge:1:do", 1, "o-7")
        assert (wrong.queue, wrong.exchange, wrong.unreadable) == (COMMANDS, NAMES.commands, "")
        assert wrong.reason == "The step is not the one of the idempotency key."
        assert wrong.parked_at is not None
        assert (rubbish.kind, rubbish.type, rubbish.size) == ("command", "charge [2J", 2)
        assert rubbish.unreadable == rubbish.reason == "The body is not UTF-8."
        assert first == again
        assert len(stage.parked()) == 2


async def test_a_list_holds_those_that_are_wanted_page_by_page() -> None:
    async with stage_for(make_service()) as stage:
        for number in range(5):
            await stage.send(command(Charge(order="o"), step="ship", saga=f"s{number}"))
        await stage.put(Wire(b"{", {}))
        await eventually(lambda: dead(stage) == 6)
        operator = Operator(stage.broker)
        one = (await operator.listed(COMMANDS))[0]
        everything = {"kind": "command", "queue": "payment", "before": (one.parked_at or 0) + 3600}
        assert len(await operator.listed(COMMANDS, **everything)) == 6
        just: list[dict[str, Any]] = [{"saga": "s0"}, {"ids": frozenset({one.id})}]
        for wanted in (*just, {"saga": "order", "before": (one.parked_at or 0) + 1e-6}):
            assert await operator.listed(COMMANDS, **wanted) == [one]
        for wanted in ({"type": "charge"}, {"type": "charge.v1"}, {"step": "ship"}, {"reason": "IDEMPOTENCY"}):
            assert len(await operator.listed(COMMANDS, **wanted)) == 5
        for wanted in ({"type": "refund"}, {"kind": "fact"}, {"queue": "ment"}, {"since": 4e9}, {"step": "charge"}):
            assert await operator.listed(COMMANDS, **wanted) == []
        queues = [NAMES.dead_queue(COMMANDS)]
        page = await Parkings(operator.transport, queues, NAMES).listing(WantedLetters(step="ship"), limit=2, skip=3)
        assert ([letter.saga_id for letter in page.found], page.count) == (["s3", "s4"], 5)
        assert (await Parkings(operator.transport, queues, NAMES).listing(WantedLetters(), limit=2)).count == 6


async def test_a_queue_that_is_not_there_is_named() -> None:
    operator = Operator(MemoryBroker())
    await operator.transport.connect()
    listed = await Parkings(operator.transport, ["shop.payment.dead"], NAMES).listing(WantedLetters(), limit=1)
    assert (listed.found, listed.missing) == ([], ["shop.payment.dead"])


def test_what_the_broker_has_parked_by_itself_says_so() -> None:
    death = {"reason": "delivery_limit", "queue": f"{REPLIES}.0a1b", "exchange": NAMES.replies_of("payment")}
    sent = encode(reply_to(command(Charge(order="o"), step="charge_payment")))
    forged = {CAME_THROUGH: "as it likes", REASON: "as well"}
    wire = replace(sent, headers={**sent.headers, **forged, "x-death": [death]})
    letter = dead_letter(wire, NAMES.dead_queue(REPLIES), NAMES)
    assert letter.reason == "The broker gave it up: 20 deliveries, and none was acknowledged."
    assert (letter.queue, letter.kind) == (f"{REPLIES}.0a1b", "reply")
    assert way_back(letter, NAMES) == (NAMES.replies_of("payment"), f"{REPLIES}.0a1b")


async def test_those_of_a_saga_are_looked_for_where_that_costs_little() -> None:
    async with stage_for(make_service(), start=False) as stage:
        dead = NAMES.dead_queue(COMMANDS)
        for number in range(3):
            await stage.outside.post(dead, "", encode(command(Charge(order="o"), saga=f"s{number}")))
        its = await Parkings(stage.outside, [dead, "not.there"], NAMES).beside("s1")
        assert ([letter.saga_id for letter in its.found], its.unread) == (["s1"], {})
        for _ in range(MOST_BESIDE):
            await stage.outside.post(dead, "", Wire(b"", {}))
        assert await Parkings(stage.outside, [dead], NAMES).beside("s1") == Beside([], {dead: MOST_BESIDE + 3})


# --- a command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("died", [False, True])
async def test_a_command_goes_back_and_is_carried_out_once_however_often_it_does(died: bool) -> None:
    async with stage_for(Service("payment")) as stage:  # a release that does not know it, so in the end it is parked
        sent = command(Charge(order="o"))
        await stage.send(sent)
        await eventually(lambda: stage.counts.get("parked") == 1)
        stage.service = make_service()
        await stage.restart()
        operator = Operator(stage.broker)
        if died:
            await redrive_and_die(operator, COMMANDS)
        assert len(stage.parked()) == 1
        answers = await stage.replies(1) if died else []
        assert await operator.redrive(COMMANDS) == [""]
        answers += await stage.replies(1)
        assert [one.outcome for one in answers] == ["ok"] * (1 + died)
        assert len({one.id for one in answers}) == 1
        assert await stage.effects() == {"o": 1}
        assert (await operator.redrive(COMMANDS), stage.parked()) == ([], [])


async def test_two_operators_at_once_put_each_back_once() -> None:
    async with stage_for(make_service()) as stage:
        await stage.kill()
        for number in range(40):
            wire = encode(command(Charge(order=f"o{number}"), saga=f"s{number}"))
            wire = replace(wire, headers={**wire.headers, REASON: "why"})
            await stage.outside.post(NAMES.dead_queue(COMMANDS), "", wire)
        one, two = Operator(stage.broker), Operator(stage.broker)
        left = await asyncio.gather(one.redrive(COMMANDS), two.redrive(COMMANDS))
        assert left[0] + left[1] == [""] * 40
        stage.restart_from_nothing()
        assert len(await stage.replies(40)) == 40
        assert len(await stage.effects()) == 40


async def test_what_is_parked_again_is_put_back_once_by_one_call() -> None:
    async with stage_for(make_service()) as stage:
        await stage.put(Wire(b"{", {}))
        await eventually(lambda: dead(stage) == 1)
        operator = Operator(stage.broker)
        assert await operator.redrive(COMMANDS) == [""]
        await eventually(lambda: stage.counts == {"parked": 2} and dead(stage) == 1)
        (letter,) = await operator.listed(COMMANDS)
        assert letter.redriven == 1


# --- a reply ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("died", [False, True])
async def test_a_reply_goes_back_by_the_way_of_its_service_and_decides_once(died: bool) -> None:
    async with staged() as stage:
        await stage.orchestrator()
        saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
        answer = encode(reply_to(await stage.command("payment")))
        wire = replace(answer, headers={**answer.headers, CAME_THROUGH: NAMES.replies_of("payment")})
        assert await stage.transport.post(NAMES.dead_queue(REPLIES), REPLIES, wire) is Published.CONFIRMED
        operator = Operator(stage.broker)
        if died:
            await redrive_and_die(operator, REPLIES)
        assert await operator.redrive(REPLIES) == [""]
        await stage.command("inventory")
        assert await operator.listed(REPLIES) == []
        history = (await (await stage.client()).show(saga_id)).history
        assert sum("replied" in row.events for row in history) == 1


async def test_what_came_by_the_way_of_another_is_not_made_believable() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        await (await stage.client()).start(shop.order_saga, shop.ORDER)
        real = reply_to(await stage.command("payment"))
        await stage.transport.post(NAMES.replies_of("inventory"), REPLIES, encode(real))
        dead = NAMES.dead_queue(REPLIES)
        await eventually(lambda: len(stage.broker.waiting(dead)) == 1)
        (left,) = await Operator(stage.broker).redrive(REPLIES)
        assert left.startswith("It came through shop.inventory.replies, which is not the way of whom it names")


@pytest.mark.parametrize(
    ("headers", "way"),
    [
        ({}, NAMES.replies_of("payment")),  # parked by an older choros, which did not note the exchange
        ({CAME_THROUGH: ""}, NAMES.replies),
        ({CAME_THROUGH: NAMES.replies}, NAMES.replies),
        ({REASON: "It came through shop.inventory.replies, which is not the way of the service that it names."}, ""),
        ({CAME_THROUGH: "amq.direct"}, ""),
        ({CAME_THROUGH: NAMES.replies_of("payment"), REASON: "It came through shop.inventory.replies, which"}, ""),
    ],
)
def test_the_way_back_of_a_reply(headers: dict[str, str], way: str) -> None:
    sent = encode(reply_to(command(Charge(order="o"), step="charge_payment")))
    letter = dead_letter(replace(sent, headers={**sent.headers, **headers}), NAMES.dead_queue(REPLIES), NAMES)
    if way:
        assert way_back(letter, NAMES) == (way, REPLIES)
    else:
        with pytest.raises(StaysParked, match="which is not the way"):
            way_back(letter, NAMES)


# --- a fact -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("died", [False, True])
async def test_a_fact_goes_back_to_its_subscriber_alone_with_all_its_attempts_and_is_handled_once(died: bool) -> None:
    heard: list[int] = []
    async with stage_for(ledger(heard), kind=Subscriber, attempts=1) as stage:
        await stage.publish(fact(Paid(order="o")))
        await eventually(lambda: dead(stage) == 1)
        (parked,) = await Operator(stage.broker).listed(FACTS)
        assert (parked.kind, parked.source, parked.stream, parked.seq) == ("fact", "/shop/order", "s1", 1)
        stage.service = ledger(heard, broken=False)
        await stage.restart()
        others = len(stage.broker.waiting(NAMES.subscriber_queue("other")))
        operator = Operator(stage.broker)
        if died:
            await redrive_and_die(operator, FACTS)
        assert await operator.redrive(FACTS) == [""]
        wanted = {"handled": 1} | ({"repeated": 1} if died else {})
        await eventually(lambda: stage.counts == wanted)
        assert await stage.effects() == {"paid": 1}
        assert len(stage.broker.waiting(NAMES.subscriber_queue("other"))) == others == 1


async def test_a_fact_that_nobody_handles_any_more_is_parked_again() -> None:
    """Fanned out, it would be passed over; this one was put back."""
    service = Service("ledger")
    service.on(Other)(no_more)
    async with stage_for(service, kind=Subscriber) as stage:
        await stage.publish(fact(Paid(order="o")))
        await stage.outside.post(NAMES.dead_queue(FACTS), "", encode(fact(Paid(order="o"), seq=2)))
        assert await Operator(stage.broker).redrive(FACTS) == [""]
        await eventually(lambda: stage.counts == {"passed": 1, "parked": 1} and dead(stage) == 1)
        (letter,) = await Operator(stage.broker).listed(FACTS)
        assert letter.reason == "The service ledger has no handler for this type of fact."


async def test_facts_of_one_stream_go_back_in_their_order() -> None:
    async with stage_for(ledger([]), kind=Subscriber) as stage:
        await stage.kill()
        for seq in range(1, 4):
            await stage.outside.post(NAMES.dead_queue(FACTS), "", encode(fact(Paid(order="o"), seq=seq)))
        operator = Operator(stage.broker)
        await operator.ready()
        transport: Any = FirstIsSlow(operator.transport)
        acts = Acts(transport, NAMES, WHO)
        assert await operator.act(FACTS, acts.redrive, {}) == ["", "", ""]
        back = [wire.headers["cloudEvents_factseq"] for wire in stage.broker.waiting(FACTS)]
        assert back == [1, 2, 3]


class FirstIsSlow:
    """A transport whose first confirm comes late."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner, self._slow = inner, True

    async def post(self, exchange: str, key: str, wire: Wire) -> Published:
        slow, self._slow = self._slow, False
        for _ in range(20 * slow):
            await asyncio.sleep(0)
        return await self._inner.post(exchange, key, wire)


async def test_a_forged_fact_stays_parked() -> None:
    async with stage_for(ledger([]), kind=Subscriber) as stage:
        await stage.put(encode(fact(Paid(order="forged"))), NAMES.facts_of("other"), "paid.v1")
        await eventually(lambda: dead(stage) == 1)
        (left,) = await Operator(stage.broker).redrive(FACTS)
        assert left.startswith("It came through shop.other.facts, which is not the way of whom it names")
        assert len(stage.parked(FACTS)) == 1


def test_a_forged_fact_that_an_older_choros_has_parked_stays_whatever_exchange_its_sender_has_noted() -> None:
    sent = encode(fact(Paid(order="forged")))
    noted = {CAME_THROUGH: NAMES.facts_of("order"), REASON: "It came through shop.other.facts, which is not the way"}
    letter = dead_letter(replace(sent, headers={**sent.headers, **noted}), NAMES.dead_queue(FACTS), NAMES)
    with pytest.raises(StaysParked, match="it would be believed"):
        way_back(letter, NAMES)


def test_a_source_is_judged_whole_however_long_it_is() -> None:
    """Its beginning may name another speaker."""
    source = f"/{'a' * 494}/evil/order"
    sent = encode(replace(fact(Paid(order="forged")), source=source))
    sent = replace(sent, headers={**sent.headers, CAME_THROUGH: NAMES.facts_of("evil")})
    letter = dead_letter(sent, NAMES.dead_queue(FACTS), NAMES)
    assert letter.source == source
    with pytest.raises(StaysParked, match="which is not the way"):
        way_back(letter, NAMES)


def test_an_unreadable_fact_in_the_form_of_knative_goes_back_the_way_it_came() -> None:
    sent = encode(fact(Paid(order="o")))
    headers = {name.replace("cloudEvents_", "ce-"): value for name, value in sent.headers.items()}
    wire = replace(sent, body=b"\xff", headers={**headers, CAME_THROUGH: NAMES.facts_of("order")})
    letter = dead_letter(wire, NAMES.dead_queue(FACTS), NAMES)
    assert letter.unreadable
    assert way_back(letter, NAMES) == (NAMES.retry, FACTS)


def test_no_name_that_a_stranger_has_written_speaks_to_the_terminal() -> None:
    forged = {CAME_THROUGH: "shop.other\x1b[2J.facts", ORIGINAL_QUEUE: f"{REPLIES}.0a\x1b[2J"}
    letter = dead_letter(Wire(b"{}", forged), NAMES.dead_queue(REPLIES), NAMES)
    assert (letter.queue, letter.exchange) == (REPLIES, "shop.other [2J.facts")


@pytest.mark.parametrize("noted", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-12:00", "never"])
def test_a_time_that_cannot_be_written_is_none(noted: str) -> None:
    letter = dead_letter(Wire(b"{}", {FAILED_AT: noted}), NAMES.dead_queue(FACTS), NAMES)
    assert row_of(letter)["parked_at"] is None


async def test_what_could_not_be_taken_out_is_not_said_to_be_dropped() -> None:
    async with stage_for(make_service(), start=False) as stage:
        await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(b"{", {}))
        operator = Operator(stage.broker)
        acts = Acts(await operator.ready(), NAMES, WHO)

        async def cut_off(letter: DeadLetter, delivery: Delivery) -> ActedOn:
            lost: Any = Doomed(delivery.wire, lost=True)
            return await acts.drop(letter, lost)

        assert await operator.act(COMMANDS, cut_off, {}) == ["The connection was lost before it could be taken out."]


# --- what cannot go back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (Wire(b"{", {BODY_SIZE: 99}), "Only the beginning of it was kept"),
        (Wire(b" " * (16 * 1024 * 1024 + 1), {}), "more than 16777216 bytes"),
    ],
)
async def test_what_was_too_large_stays(wire: Wire, why: str) -> None:
    async with stage_for(make_service(), start=False) as stage:
        await stage.outside.post(NAMES.dead_queue(COMMANDS), "", wire)
        (left,) = await Operator(stage.broker).redrive(COMMANDS)
        assert why in left
        assert len(stage.broker.waiting(NAMES.dead_queue(COMMANDS))) == 1


async def test_what_no_queue_takes_stays() -> None:
    async with stage_for(make_service(), start=False) as stage:
        gone = dead_letter(Wire(b"{", {}), NAMES.dead_queue("shop.gone"), NAMES)
        look = await stage.outside.look(NAMES.dead_queue(COMMANDS))
        await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(b"{", {}))
        await look.close()
        operator = Operator(stage.broker)
        acts = Acts(await operator.ready(), NAMES, WHO)
        async with aclosing(Parkings(operator.transport, [NAMES.dead_queue(COMMANDS)], NAMES).walk()) as walking:
            async for _, delivery in walking:
                assert (await acts.redrive(gone, delivery)).left == "The queue that it was parked from is not there."
        assert len(stage.broker.waiting(NAMES.dead_queue(COMMANDS))) == 1


# --- dropping, and the record -----------------------------------------------------------------------------------------


async def test_what_is_dropped_is_gone_and_its_record_stays() -> None:
    async with stage_for(make_service(), start=False) as stage:
        for body in (b'{"order": "o"}', b"\xff" + b"x" * 100_000):
            await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(body, {REASON: "why"}))
        operator = Operator(stage.broker)
        assert await operator.drop(COMMANDS) == ["", ""]
        assert await operator.listed(COMMANDS) == []
        text, binary = operator.acts()
        assert (text["act"], text["by"], text["reason"]) == ("drop", "ada@desk", "the card was unlocked")
        assert (text["body"], text["letter"]["reason"]) == ('{"order": "o"}', "why")
        assert (binary["body_size"], len(binary["body_base64"])) == (100_001, 87_384)


async def test_nothing_is_done_that_is_not_on_record() -> None:
    async with stage_for(make_service(), start=False) as stage:
        await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(b"{", {}))
        operator = Operator(stage.broker)
        await operator.transport.connect()  # and nowhere is declared for the record
        acts = Acts(operator.transport, NAMES, WHO)
        for act in (acts.redrive, acts.drop):
            assert await operator.act(COMMANDS, act, {}) == [
                "The record of the act was not taken by the broker, so nothing was done."
            ]
        assert len(stage.broker.waiting(NAMES.dead_queue(COMMANDS))) == 1
        assert not stage.broker.waiting(COMMANDS)
