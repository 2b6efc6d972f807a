"""Rule 29: a reaction whose attempts are used up says so where that is declared, and is never done then."""

from __future__ import annotations

from typing import Any

import pytest

from choros import DeclarationError, Fact, Service, Transaction, all_of
from choros.runtime.subscriber.facts import NEVER_GIVES_UP
from choros.runtime.subscriber.subscriber import Subscriber
from choros.transport.copies import redriven_copy
from choros.transport.topology import topology
from choros.wire.envelope import encode
from tests.runtime.participant_stage import Stage, effect, eventually, fact, stage_for


class Placed(Fact):
    order: str


class Held(Fact):
    order: str


class Charged(Fact):
    order: str


class NotCharged(Fact):
    order: str
    why: str


class Failing(Fact):
    order: str


class Returned(Fact):
    order: str
    something: bool


KINDS = (Placed, Held, Failing)


def decline(placed: Placed) -> NotCharged:
    return NotCharged(order=placed.order, why="given up")


def decline_both(held: Held, placed: Placed) -> NotCharged:
    return NotCharged(order=placed.order, why=f"given up {held.order}")


class Bank:
    """Fails as long as it is told to."""

    def __init__(self) -> None:
        self.away, self.calls = True, 0

    async def charge(self, db: Transaction, order: str) -> Charged:
        self.calls += 1
        await effect(db, order, 1)
        if self.away:
            raise ConnectionError
        return Charged(order=order)


def payment(bank: Bank, gives_up: Any = decline) -> Service:
    service = Service("payment")

    @service.on(Placed, effect="charge", gives_up=gives_up, publishes=(Charged, NotCharged))
    async def charge(placed: Placed, db: Transaction) -> Charged:
        return await bank.charge(db, placed.order)

    @service.on(Failing, undoes="charge")
    async def give_back(failing: Failing, db: Transaction) -> None:
        await effect(db, failing.order, -1)

    return service


def joining(bank: Bank) -> Service:
    service = Service("payment")

    @service.on(all_of(Held, Placed), gives_up=decline_both, publishes=(Charged, NotCharged))
    async def charge(placed: Placed, held: Held, db: Transaction) -> Charged:
        return await bank.charge(db, placed.order)

    return service


def of(kind: type[Any], seq: int = 0, **more: Any) -> Any:
    return fact(kind(order="o1"), 1 + KINDS.index(kind) + 10 * seq, **more)


class OnStage:
    """A service whose facts are tried so often."""

    def __init__(self, service: Service, attempts: int = 1) -> None:
        self._stage = stage_for(service, kind=Subscriber, start=False, attempts=attempts)

    async def __aenter__(self) -> Stage:
        stage = await self._stage.__aenter__()
        await stage.outside.declare(topology("shop", publishers=["payment"], subscribers=["witness"]))
        stage.start()
        return stage

    async def __aexit__(self, *error: Any) -> None:
        await self._stage.__aexit__(*error)


def counts(stage: Stage) -> dict[str, int]:
    return {name: count for name, count in stage.counts.items() if name != "passed"}


def told(stage: Stage) -> list[Fact]:
    found = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    return [NotCharged.from_json(one.data) for one in found if one.type == NotCharged.type_name]


async def put_back(stage: Stage, *facts: Any) -> None:
    """As `choros facts fail` does."""
    for one in facts:
        wire = redriven_copy(encode(one), gives_up=True)
        await stage.outside.post("shop.retry", "shop.facts.payment", wire)


async def test_rule_29_a_person_has_it_give_up_and_it_is_never_done() -> None:
    bank = Bank()
    bank.away = False
    async with OnStage(payment(bank), attempts=3) as stage:
        await put_back(stage, of(Placed))
        await eventually(lambda: counts(stage) == {"given up": 1})
        await put_back(stage, of(Placed))
        await eventually(lambda: counts(stage) == {"given up": 1, "repeated": 1})
        await eventually(lambda: told(stage) == [NotCharged(order="o1", why="given up")])
        assert (bank.calls, await stage.effects()) == (0, {})


async def test_rule_29_what_was_done_meanwhile_is_not_given_up() -> None:
    bank = Bank()
    bank.away = False
    async with OnStage(payment(bank)) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"handled": 1})
        await put_back(stage, of(Placed))
        await eventually(lambda: counts(stage) == {"handled": 1, "repeated": 1})
        assert (told(stage), await stage.effects()) == ([], {"o1": 1})


async def test_the_order_is_for_who_was_put_it_back_alone_and_for_who_says_what_is_told_then() -> None:
    """A publisher that says so to everybody is not believed."""
    bank = Bank()
    bank.away = False
    async with OnStage(payment(bank, gives_up=None)) as stage:
        await put_back(stage, of(Placed))
        await eventually(lambda: counts(stage) == {"parked": 1})
        (parked,) = stage.broker.waiting("shop.facts.payment.dead")
        assert parked.headers["x-choros-reason"] == NEVER_GIVES_UP
        await stage.outside.post("shop.facts", "", redriven_copy(encode(of(Placed, 1)), gives_up=True))
        await eventually(lambda: counts(stage) == {"parked": 1, "handled": 1})


async def test_it_says_so_once_and_is_never_done() -> None:
    bank = Bank()
    async with OnStage(payment(bank)) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"given up": 1})
        bank.away = False
        await stage.publish(of(Placed), of(Placed, 1), of(Failing))
        await eventually(lambda: counts(stage) == {"given up": 1, "repeated": 1, "withdrawn": 2})
        await eventually(lambda: len(told(stage)) == 1)
        row = await stage.row("reaction\x1fpayment\x1fs1:charge:1:do")
        assert row is not None
        assert (row.state, bank.calls, await stage.effects()) == ("tombstone", 1, {})
        assert told(stage) == [NotCharged(order="o1", why="given up")]


@pytest.mark.slow
async def test_only_the_last_attempt_gives_up() -> None:
    bank = Bank()
    async with OnStage(payment(bank), attempts=2) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"retried": 1})
        assert not told(stage)
        await eventually(lambda: counts(stage) == {"retried": 1, "given up": 1})
        assert bank.calls == 2


async def test_without_the_word_it_parks_and_nothing_is_said() -> None:
    async with OnStage(payment(Bank(), None)) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"parked": 1})
        row = await stage.row("reaction\x1fpayment\x1fs1:charge:1:do")
        assert (row, told(stage)) == (None, [])


async def test_what_waits_for_several_gives_up_with_all_of_them() -> None:
    bank = Bank()
    async with OnStage(joining(bank)) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"joined": 1})
        await stage.publish(of(Held))
        await eventually(lambda: counts(stage) == {"joined": 1, "given up": 1})
        await eventually(lambda: told(stage) == [NotCharged(order="o1", why="given up o1")])
        assert await stage.effects() == {}


async def test_what_was_taken_back_meanwhile_says_nothing() -> None:
    bank = Bank()
    async with OnStage(payment(bank)) as stage:
        await stage.publish(of(Failing))
        await eventually(lambda: counts(stage) == {"withdrawn": 1})
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"withdrawn": 2})
        assert (bank.calls, told(stage)) == (0, [])


async def test_what_cannot_even_say_so_is_parked() -> None:
    def broken(placed: Placed) -> NotCharged:
        raise ValueError

    async with OnStage(payment(Bank(), broken)) as stage:
        await stage.publish(of(Placed))
        await eventually(lambda: counts(stage) == {"parked": 1})
        row = await stage.row("reaction\x1fpayment\x1fs1:charge:1:do")
        assert (row, told(stage)) == (None, [])


async def later(placed: Placed) -> NotCharged:
    return decline(placed)


def other(placed: Placed) -> Held:
    return Held(order=placed.order)


@pytest.mark.parametrize("function", [later, other, "decline", lambda placed: None])
def test_what_it_cannot_say_is_refused(function: Any) -> None:
    with pytest.raises(DeclarationError, match="gives_up makes none of the facts that it publishes"):
        payment(Bank(), function)


def test_an_undo_is_never_given_up() -> None:
    service = Service("payment")
    with pytest.raises(DeclarationError, match="takes something back, and gives_up"):

        @service.on(Failing, undoes=Placed, gives_up=decline, publishes=NotCharged)
        async def give_back(failing: Failing, db: Transaction) -> NotCharged: ...  # type: ignore[empty-body] # refused
