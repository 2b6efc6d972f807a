"""A step in doubt at a provider is asked after before it is undone; only if it is cancelled does it never happen.

What a call that hangs in a gateway does later decides whether that was true (semantics 16).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from choros import App, Message, RetryPolicy, Saga, Step, running
from choros.app.handler import Call
from choros.app.service import Service
from choros.errors import DeclarationError, Refused
from choros.messages import Command, Failure, Reply
from choros.store.memory.barrier import MemoryTransaction
from tests.runtime.participant_stage import NOW, Charge, Charged, Refund, Refunded, Stage, close, command, stage_for

DO, UNDO = command(Charge(order="o1")), command(Refund(order="o1"), "undo")


@dataclass
class Gateway:
    """A bank behind a gateway, in which calls may hang and land at any later moment."""

    ledger: dict[str, int] = field(default_factory=dict)
    """What was done, by key: each once."""
    hanging: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Keys that are cancelled: nothing lands under them any more."""
    said: list[str] = field(default_factory=list)
    """What it was called for."""
    stuck: bool = True
    """Whether charges hang."""
    lands_when_asked: bool = False
    """Whether what hangs lands right behind the answer to the next question."""
    down: int = 0
    """So many cancellations fail."""

    def charge(self, key: str) -> str:
        self.said.append("charge")
        if self.stuck:
            self.hanging.append(key)
            raise TimeoutError
        if key in self.refused:
            raise ConnectionRefusedError
        self.ledger.setdefault(key, 1)
        return key

    def ask(self, key: str) -> str | None:
        self.said.append("ask")
        known = key if key in self.ledger else None
        if self.lands_when_asked:
            self.land()
        return known

    def cancel(self, key: str, how: str) -> str | None:
        self.said.append("cancel")
        if self.down:
            self.down -= 1
            raise ConnectionError
        if how == "declined":
            raise Refused("card_declined")
        if key not in self.ledger:
            self.refused.add(key)
        return key if key in self.ledger else None

    def land(self) -> None:
        """What hangs arrives at last."""
        for key in self.hanging:
            if key not in self.refused:
                self.ledger.setdefault(key, 1)
        self.hanging.clear()

    @property
    def balance(self) -> int:
        return sum(self.ledger.values())


def make_service(gateway: Gateway, *, asking: bool = True, cancelling: bool = True) -> Service:
    service = Service("payment")

    async def ask(command: Charge, call: Call) -> Charged | None:
        return Charged(payment=found) if (found := gateway.ask(call.key)) else None

    async def cancel(command: Charge, call: Call) -> Charged | None:
        return Charged(payment=found) if (found := gateway.cancel(call.key, command.how)) else None

    @service.provider(Charge, ask=ask if asking else None, cancel=cancel if cancelling else None)
    async def charge(command: Charge, call: Call) -> Charged:
        return Charged(payment=gateway.charge(call.key))

    @service.provider(Refund, cancel=cancel_refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        gateway.ledger.setdefault(call.key, -1)
        return Refunded(payment=call.key)

    return service


async def cancel_refund(command: Refund, call: Call) -> Refunded | None:
    raise NotImplementedError


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def stage(gateway: Gateway) -> AsyncIterator[Stage]:
    async with stage_for(make_service(gateway)) as stage:
        yield stage


async def test_what_hangs_is_cancelled_and_only_then_there_is_nothing_to_undo(stage: Stage, gateway: Gateway) -> None:
    failed, nothing = await stage.ask(DO, UNDO)
    assert (failed.outcome, nothing.type) == ("failed", "choros.nothing-to-undo.v1")
    assert gateway.said == ["charge", "ask", "cancel"]
    gateway.land()
    (late,) = await stage.ask(DO)
    assert (Failure.from_json(late.data).code, gateway.balance, gateway.said[3:]) == ("cancelled", 0, [])


async def test_it_may_be_cancelled_without_being_asked(gateway: Gateway) -> None:
    async with stage_for(make_service(gateway, asking=False)) as stage:
        _, nothing = await stage.ask(DO, UNDO)
        gateway.land()
    assert (nothing.type, gateway.said, gateway.balance) == ("choros.nothing-to-undo.v1", ["charge", "cancel"], 0)


async def test_what_has_happened_is_found_by_asking_and_undone(stage: Stage, gateway: Gateway) -> None:
    await stage.ask(DO)
    gateway.land()
    undone, done = await stage.ask(UNDO, DO)
    assert (undone.type, done.outcome, gateway.balance) == ("refunded.v1", "ok", 0)
    assert gateway.said == ["charge", "ask"]


async def test_what_happens_while_it_is_asked_after_is_undone(stage: Stage, gateway: Gateway) -> None:
    gateway.lands_when_asked = True
    _, undone = await stage.ask(DO, UNDO)
    assert (undone.type, gateway.balance) == ("refunded.v1", 0)
    assert gateway.said == ["charge", "ask", "cancel"]


async def test_a_refusal_that_the_cancellation_finds_is_kept(stage: Stage, gateway: Gateway) -> None:
    do = command(Charge(order="o1", how="declined"))
    _, nothing, refused = await stage.ask(do, UNDO, do)
    assert nothing.type == "choros.nothing-to-undo.v1"
    assert Failure.from_json(refused.data).code == "card_declined"


async def test_what_cannot_be_cancelled_is_neither_undone_nor_called_nothing(stage: Stage, gateway: Gateway) -> None:
    gateway.down = 1
    _, failed = await stage.ask(DO, UNDO)
    assert (failed.outcome, Failure.from_json(failed.data).code) == ("failed", "ConnectionError")
    row = await stage.row(DO.key)
    assert row is not None
    assert row.state == "intent"
    (nothing,) = await stage.ask(UNDO)
    gateway.land()
    assert (nothing.type, gateway.balance) == ("choros.nothing-to-undo.v1", 0)


async def test_a_crash_behind_the_cancellation_cancels_it_once_more(stage: Stage, gateway: Gateway) -> None:
    await stage.ask(DO)
    gateway.refused.add(DO.key)  # what a process has done that has not committed it
    await stage.restart()
    (nothing,) = await stage.ask(UNDO)
    gateway.land()
    assert (nothing.type, gateway.balance) == ("choros.nothing-to-undo.v1", 0)


async def test_a_close_cancels_what_hangs(stage: Stage, gateway: Gateway) -> None:
    _, closed, again = await stage.ask(DO, close("do"), close("do"))
    assert (closed.type, closed == again, gateway.said) == ("choros.closed.v1", True, ["charge", "ask", "cancel"])
    gateway.land()
    late, nothing = await stage.ask(DO, UNDO)
    assert (Failure.from_json(late.data).code, nothing.type) == ("cancelled", "choros.nothing-to-undo.v1")
    assert gateway.balance == 0


async def test_what_is_still_wanted_is_not_cancelled(stage: Stage, gateway: Gateway) -> None:
    await stage.ask(DO)
    gateway.stuck = False
    (done,) = await stage.ask(DO)
    gateway.land()
    assert (done.outcome, gateway.balance, gateway.said) == ("ok", 1, ["charge", "ask", "charge"])


async def test_an_undo_is_never_cancelled(stage: Stage, gateway: Gateway) -> None:
    """A person closes an undo of which nobody knows whether it happened: it is made once more, under its key."""
    gateway.stuck = False
    await stage.ask(DO)

    async def in_doubt(db: MemoryTransaction) -> None:
        row = await db.read_row(DO.key)
        assert row is not None
        await db.write_row(type(row)(key=UNDO.key, state="intent", content=UNDO.dumps()))

    await stage.database.inner.run([in_doubt])  # type: ignore[list-item]
    (closed,) = await stage.ask(close("undo"))
    assert (closed.type, gateway.balance) == ("refunded.v1", 0)


async def test_without_a_way_to_cancel_it_is_called_once_more_and_undone(gateway: Gateway) -> None:
    async with stage_for(make_service(gateway, cancelling=False)) as stage:
        await stage.ask(DO)
        still, _ = await stage.ask(UNDO, UNDO)
        assert still.outcome == "failed"
        gateway.stuck = False
        (undone,) = await stage.ask(UNDO)
        gateway.land()
    assert (undone.type, gateway.balance, gateway.ledger[DO.key]) == ("refunded.v1", 0, 1)


async def test_its_tombstone_lives_as_long_as_the_command_may_come(stage: Stage) -> None:
    await stage.ask(DO, UNDO)
    row = await stage.row(DO.key)
    assert row is not None
    assert (row.state, row.prune_at) == ("tombstone", NOW + 100 + 2 * 60)
    await stage.ask(command(Refund(order="o1"), "undo", not_after=NOW + 500))
    assert await stage.row(DO.key) == row  # a copy of an undo that was answered is answered again


def test_it_returns_the_reply_of_its_command() -> None:
    service = Service("payment")

    async def lost(command: Charge, call: Call) -> Refunded | None:
        raise NotImplementedError

    async def charge(command: Charge, call: Call) -> Charged:
        raise NotImplementedError

    async def with_transaction(command: Charge, db: MemoryTransaction) -> Charged | None:
        raise NotImplementedError

    with pytest.raises(DeclarationError, match="lost returns Refunded, but Charge is answered with Charged"):
        service.provider(Charge, cancel=lost)(charge)
    with pytest.raises(DeclarationError, match="with_transaction is a provider's handler"):
        service.provider(Charge, cancel=with_transaction)(charge)


async def test_what_it_returns_besides_is_no_answer(gateway: Gateway) -> None:
    service = Service("payment")

    async def confused(command: Charge, call: Call) -> Reply:
        return Refunded(payment="?")

    @service.provider(Charge, cancel=confused)
    async def charge(command: Charge, call: Call) -> Charged:
        return Charged(payment=gateway.charge(call.key))

    @service.provider(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        raise NotImplementedError

    async with stage_for(service) as stage:
        _, failed = await stage.ask(DO, UNDO)
    assert Failure.from_json(failed.data).code == "WrongReply"


# --- all of it --------------------------------------------------------------------------------------------------------


class Buy(Message):
    order: str


class GiveBack(Command[Refunded]):
    order: str


def charge_card(buy: Buy) -> Charge:
    return Charge(order=buy.order)


def give_back(buy: Buy) -> GiveBack:
    return GiveBack(order=buy.order)


IMPATIENT = RetryPolicy(attempts=1)
PAYING = Step(charge_card, to="payment", compensation=give_back, retry=IMPATIENT, timeout=timedelta(seconds=5))
PURCHASE = Saga("purchase", start=Buy, key=lambda buy: buy.order, steps=(PAYING,))


@pytest.mark.parametrize("cancelling", [True, False])
async def test_a_saga_in_doubt_asks_before_it_undoes(gateway: Gateway, cancelling: bool) -> None:
    gateway.lands_when_asked = not cancelling
    service = make_service(gateway, cancelling=cancelling)

    @service.provider(GiveBack)
    async def gives_back(command: GiveBack, call: Call) -> Refunded:
        gateway.ledger.setdefault(call.key, -1)
        return Refunded(payment=call.key)

    async with running(App("shop", sagas=[PURCHASE], services=[service])) as client:
        outcome = await client.run(PURCHASE, Buy(order="o1"))
    gateway.land()
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind, gateway.balance) == ("compensated", "in_doubt", 0)
    assert gateway.said[:2] == ["charge", "ask"]
    assert len(gateway.ledger) == (0 if cancelling else 2)
