"""What a service does around each call of its handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from choros import App, Call, Command, DeclarationError, Done, MemoryTransaction, Message, Pivot, Refused, Saga, Service
from choros.runtime.subscriber.subscriber import Subscriber
from choros_verify import Scene, campaign
from tests.captured import capture_logs
from tests.runtime.participant_stage import Charge, Charged, Paid, command, effect, eventually, fact, stage_for

GoOn = Callable[[], Awaitable[Any]]


class CardError(Exception):
    """As somebody's library raises it."""


class Counter:
    """What happened, in its order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def service(self) -> Service:
        service = Service("payment")

        @service.around
        async def timed(message: Message, call: Call, go_on: GoOn) -> Any:
            self.seen.append(f"begins {message.type_name}")
            try:
                return await go_on()
            finally:
                self.seen.append("ends")

        @service.around
        async def translated(message: Message, call: Call, go_on: GoOn) -> Any:
            self.seen.append(call.step)
            try:
                return await go_on()
            except CardError as error:
                raise Refused("card_declined", "their limit") from error

        @service.handles(Charge)
        async def charge(command: Charge, db: MemoryTransaction) -> Charged:
            await effect(db, command.order, 1)
            self.seen.append("charged")
            if command.how == "declined":
                raise CardError
            return Charged(payment="p1")

        @service.on(Paid)
        async def paid(fact: Paid) -> None:
            self.seen.append("paid")

        return service


async def test_the_first_is_outermost_and_all_see_the_message_and_the_call() -> None:
    counter = Counter()
    async with stage_for(counter.service()) as stage:
        (reply,) = await stage.ask(command(Charge(order="o1")))
    assert reply.outcome == "ok"
    assert counter.seen == ["begins charge.v1", "charge", "charged", "ends"]


async def test_what_a_library_raises_is_translated_and_taken_back() -> None:
    async with stage_for(Counter().service()) as stage:
        (reply,) = await stage.ask(command(Charge(order="o1", how="declined")))
        assert (reply.outcome, await stage.effects()) == ("refused", {})


async def test_a_reaction_is_surrounded_as_well() -> None:
    counter = Counter()
    async with stage_for(counter.service(), kind=Subscriber) as stage:
        await stage.publish(fact(Paid(order="o1")))
        await eventually(lambda: stage.counts == {"handled": 1})
    assert counter.seen == ["begins paid.v1", "", "paid", "ends"]


async def test_one_that_raises_fails_its_command_says_so_and_loses_nothing() -> None:
    service, broken = Counter().service(), [True]

    @service.around
    async def tenant(message: Message, call: Call, go_on: GoOn) -> Any:
        if broken[0]:
            raise LookupError("no tenant")
        return await go_on()

    async with stage_for(service) as stage:
        with capture_logs() as entries:
            (failed,) = await stage.ask(command(Charge(order="o1")))
        assert (failed.outcome, await stage.effects()) == ("failed", {})
        (said,) = [one for one in entries if one["event"] == "choros.command.failed"]
        assert (said["error"], said["text"]) == ("LookupError", "no tenant")
        broken.clear()
        broken.append(False)
        (reply,) = await stage.ask(command(Charge(order="o1"), attempt=2))
        assert (reply.outcome, await stage.effects()) == ("ok", {"o1": 1})


async def test_what_it_returns_is_the_answer_and_must_be_one() -> None:
    service = Counter().service()

    @service.around
    async def forgets(message: Message, call: Call, go_on: GoOn) -> Any:
        await go_on()

    async with stage_for(service) as stage:
        (reply,) = await stage.ask(command(Charge(order="o1")))
        assert (reply.outcome, await stage.effects()) == ("failed", {})


class Order(Message):
    order_id: str


class Ship(Command[Done]):
    order_id: str


def ship(order: Order) -> Ship:
    return Ship(order_id=order.order_id)


saga = Saga("order", start=Order, key=lambda order: order.order_id, steps=(Pivot(ship, to="shipping"),))


def test_it_is_around_own_handlers_in_the_simulation_once() -> None:
    shipping, seen = Service("shipping"), []

    @shipping.around
    async def noted(message: Message, call: Call, go_on: GoOn) -> Any:
        seen.append("around")
        return await go_on()

    @shipping.handles(Ship)
    async def ship(command: Ship) -> Done:
        seen.append("shipped")
        return Done()

    app = App("shop", sagas=[saga], services=[shipping])
    tally = campaign(Scene(app, own=["shipping"]), range(1, 3), workers=1)
    assert [result.story for result in tally.failures] == []
    assert seen[:2] == ["around", "shipped"]
    assert seen.count("around") == seen.count("shipped")


def test_a_part_brings_its_own() -> None:
    whole, part = Service("payment"), Counter().service()
    whole.include(part)
    assert whole.surroundings == part.surroundings


def sync(message: Message, call: Call, go_on: GoOn) -> Any: ...
async def too_few(message: Message, go_on: GoOn) -> Any: ...
async def too_many(message: Message, call: Call, go_on: GoOn, more: int) -> Any: ...
async def yields(message: Message, call: Call, go_on: GoOn) -> AsyncIterator[Any]:
    yield await go_on()


MISTAKES: list[tuple[Any, str]] = [
    (sync, "sync is not async."),
    (too_few, "too_few is called with the message, the Call and what goes on. Try: async def too_few(message: Message"),
    (too_many, "too_many is called with the message, the Call and what goes on."),
    (yields, "yields yields, so it returns nothing."),
]


@pytest.mark.parametrize(("function", "sentence"), MISTAKES, ids=[sentence[:20] for _, sentence in MISTAKES])
def test_what_cannot_be_around_is_refused(function: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("payment").around(function)
    assert sentence in str(caught.value)
