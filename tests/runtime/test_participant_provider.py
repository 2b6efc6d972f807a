"""Effects outside the database (semantics 16): an intent first, the same key on every call, settled before all else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from choros.app.handler import Call
from choros.app.service import Service
from choros.errors import Refused
from choros.messages import Failure
from choros.store.barrier import Row
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import (
    NOW,
    Charge,
    Charged,
    Refund,
    Refunded,
    Stage,
    close,
    command,
    eventually,
    stage_for,
    unsettled,
)


@dataclass
class Bank:
    """A provider with a ledger of its own: a key counts once, however often it is called."""

    calls: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ledger: dict[str, str] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next calls, before anything is done."""
    lost: list[Exception] = field(default_factory=list)
    """Raised by the next calls, after it was done."""
    hold: asyncio.Event | None = None

    async def call(self, key: str, what: str) -> None:
        self.calls.append(key)
        if self.failures:
            raise self.failures.pop(0)
        self.ledger.setdefault(key, what)
        if self.hold is not None:
            await self.hold.wait()
        if self.lost:
            raise self.lost.pop(0)

    @property
    def balance(self) -> int:
        return sum({"charge": 1, "refund": -1}[what] for what in self.ledger.values())


def make_service(bank: Bank, *, asking: bool) -> Service:
    service = Service("payment")

    async def ask(command: Charge, call: Call) -> Charged | None:
        bank.asked.append(call.key)
        if command.how == "declined_when_asked":
            raise Refused("card_declined")
        return Charged(payment=call.key) if call.key in bank.ledger else None

    @service.provider(Charge, ask=ask if asking else None)
    async def charge(command: Charge, call: Call) -> Charged:
        if command.how == "declined":
            bank.calls.append(call.key)
            raise Refused("card_declined", "no cover")
        await bank.call(call.key, "charge")
        return Charged(payment=call.key)

    @service.provider(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        await bank.call(call.key, "refund")
        return Refunded(payment=call.key)

    return service


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture(params=["asking", "calling again"])
async def stage(request: pytest.FixtureRequest, bank: Bank) -> AsyncIterator[Stage]:
    async with stage_for(make_service(bank, asking=request.param == "asking")) as stage:
        yield stage


DO, UNDO = command(Charge(order="o1")), command(Refund(order="o1"), "undo")


async def row_state(stage: Stage, envelope: Envelope) -> str:
    row = await stage.row(envelope.key)
    return row.state if row else ""


async def test_called_once_and_answered_from_the_row_afterwards(stage: Stage, bank: Bank) -> None:
    first, again = await stage.ask(DO, DO)
    assert (first == again, first.outcome, bank.calls) == (True, "ok", [DO.key])
    undone, undone_again = await stage.ask(UNDO, UNDO)
    assert (undone == undone_again, undone.type, bank.balance) == (True, "refunded.v1", 0)


async def test_the_intent_is_committed_before_the_call(stage: Stage, bank: Bank) -> None:
    bank.hold = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: bool(bank.calls))
    assert await row_state(stage, DO) == "intent"
    bank.hold.set()
    await stage.replies(1)
    assert await row_state(stage, DO) == "ok"


async def test_a_crash_between_call_and_result_calls_again_under_the_same_key(stage: Stage, bank: Bank) -> None:
    bank.hold = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: bool(bank.calls))
    await stage.restart()
    bank.hold.set()
    (reply,) = await stage.replies(1)
    assert (reply.outcome, bank.ledger) == ("ok", {DO.key: "charge"})
    assert set(bank.calls) | set(bank.asked) == {DO.key}
    assert len(bank.calls) + len(bank.asked) == 2


async def test_a_crash_before_the_call_calls_for_the_first_time(bank: Bank) -> None:
    async with stage_for(make_service(bank, asking=True)) as stage:
        await stage.database.inner.run([_intent(DO)])
        (reply,) = await stage.ask(DO)
        assert (reply.outcome, bank.asked, bank.calls) == ("ok", [DO.key], [DO.key])


def _intent(envelope: Envelope):  # type: ignore[no-untyped-def]
    async def write(transaction):  # type: ignore[no-untyped-def]
        await transaction.write_row(Row(key=envelope.key, state="intent", content=envelope.dumps()))

    return write


async def test_an_error_leaves_the_intent_and_the_next_try_settles_it(stage: Stage, bank: Bank) -> None:
    bank.lost.append(TimeoutError("no answer about card 4111111111111111"))
    failed, settled = await stage.ask(DO, DO)
    assert (failed.outcome, Failure.from_json(failed.data).code) == ("failed", "TimeoutError")
    assert (settled.outcome, bank.balance) == ("ok", 1)
    assert "4111" not in failed.data


async def test_an_undo_settles_what_may_have_happened_and_then_takes_it_back(stage: Stage, bank: Bank) -> None:
    bank.lost.append(TimeoutError())
    _, undone = await stage.ask(DO, UNDO)
    assert (undone.type, bank.balance) == ("refunded.v1", 0)
    assert bank.ledger == {DO.key: "charge", UNDO.key: "refund"}
    (answered,) = await stage.ask(DO)
    assert (answered.outcome, bank.balance) == ("ok", 0)


async def test_an_undo_that_cannot_settle_says_neither_no_nor_nothing(stage: Stage, bank: Bank) -> None:
    bank.lost.append(TimeoutError())
    (failed,) = await stage.ask(DO)
    bank.ledger.clear()  # the provider does not know (yet), so it must be called again, and that fails
    bank.failures.append(ConnectionError())
    still, undone = await stage.ask(UNDO, UNDO)
    assert (failed.outcome, still.outcome, still.key) == ("failed", "failed", UNDO.key)
    assert Failure.from_json(still.data).code == "ConnectionError"
    assert (undone.type, bank.balance) == ("refunded.v1", 0)


async def test_an_undo_that_arrives_during_the_call_waits_for_it(stage: Stage, bank: Bank) -> None:
    bank.hold = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: bool(bank.calls))
    await stage.send(UNDO)
    await asyncio.sleep(0.05)
    assert (bank.calls, bank.asked) == ([DO.key], [])
    bank.hold.set()
    done, undone = await stage.replies(2)
    assert (done.key, undone.key, undone.type) == (DO.key, UNDO.key, "refunded.v1")
    assert (bank.calls, bank.balance) == ([DO.key, UNDO.key], 0)


async def test_undo_before_do_and_the_do_after_it_call_nobody(stage: Stage, bank: Bank) -> None:
    nothing, refused = await stage.ask(UNDO, DO)
    assert (nothing.type, refused.outcome) == ("choros.nothing-to-undo.v1", "refused")
    assert (bank.calls, bank.asked) == ([], [])


async def test_a_refusal_of_the_provider_is_stored(stage: Stage, bank: Bank) -> None:
    do = command(Charge(order="o1", how="declined"))
    refused, again, nothing = await stage.ask(do, do, UNDO)
    assert (refused.outcome, refused == again, bank.calls) == ("refused", True, [do.key])
    assert nothing.type == "choros.nothing-to-undo.v1"


async def test_a_refusal_found_by_asking_is_stored(bank: Bank) -> None:
    async with stage_for(make_service(bank, asking=True)) as stage:
        do = command(Charge(order="o1", how="declined_when_asked"))
        await stage.database.inner.run([_intent(do)])
        refused, nothing = await stage.ask(do, UNDO)
        assert (refused.outcome, nothing.type, bank.calls) == ("refused", "choros.nothing-to-undo.v1", [])


async def test_an_expired_do_that_may_have_happened_is_settled(stage: Stage, bank: Bank) -> None:
    bank.lost.append(TimeoutError())
    await stage.ask(DO)
    stage.clock[0] = NOW + 161
    (reply,) = await stage.ask(DO)
    assert (reply.outcome, bank.balance) == ("ok", 1)


async def test_an_expired_do_that_never_came_calls_nobody(stage: Stage, bank: Bank) -> None:
    stage.clock[0] = NOW + 161
    (reply,) = await stage.ask(DO)
    assert (reply.outcome, bank.calls) == ("refused", [])


async def test_closing_an_undo_settles_the_do_first(stage: Stage, bank: Bank) -> None:
    """Otherwise a late copy of the `do` would call the provider after the saga was skipped past its undo."""
    await stage.database.run([lambda db: db.write_row(Row(key=DO.key, state="intent", content=DO.dumps()))])
    (closed,) = await stage.ask(close("undo"))
    late, undone = await stage.ask(DO, UNDO)
    assert (closed.type, late.type, undone.type) == ("choros.closed.v1", "charged.v1", "choros.failure.v1")
    assert bank.balance == 1


async def test_close_settles_first(stage: Stage, bank: Bank) -> None:
    bank.lost.append(TimeoutError())
    _, closed = await stage.ask(DO, close("do"))
    assert (closed.key, closed.type, bank.balance) == (DO.key, "charged.v1", 1)


async def test_what_somebody_else_settled_meanwhile_wins(stage: Stage, bank: Bank) -> None:
    bank.hold = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: bool(bank.calls))
    other = command(Charge(order="o1"), id="elsewhere", kind="reply", outcome="ok", type="charged.v1", to=DO.reply_to)

    async def settle(transaction):  # type: ignore[no-untyped-def]
        await transaction.write_row(Row(key=DO.key, state="ok", content=other.dumps()))

    await stage.database.inner.run([settle])
    bank.hold.set()
    (reply,) = await stage.replies(1)
    assert reply.id == "elsewhere"


async def test_a_slow_provider_holds_nobody_up(stage: Stage, bank: Bank) -> None:
    bank.hold = asyncio.Event()
    for number in range(20):
        await stage.send(command(Charge(order="o"), saga=f"s{number}"))
    await eventually(lambda: len(bank.calls) == 20)
    bank.hold.set()
    assert {reply.outcome for reply in await stage.replies(20)} == {"ok"}
    await eventually(lambda: unsettled(stage, "shop.payment") == 0)
    assert not stage.runner._effects._waiting  # type: ignore[union-attr]


async def test_a_later_attempt_is_told_which_one_it_is() -> None:
    service, attempts = Service("payment"), list[int]()

    @service.provider(Charge)
    async def charge(command: Charge, call: Call) -> Charged:
        attempts.append(call.attempt)
        if call.attempt < 3:
            raise TimeoutError
        return Charged(payment=call.key)

    async with stage_for(service) as stage:
        replies = await stage.ask(*(command(Charge(order="o1"), attempt=number) for number in (1, 2, 3)))
    assert attempts == [1, 2, 3]
    assert [(reply.outcome, reply.attempt) for reply in replies] == [("failed", 1), ("failed", 2), ("ok", 3)]
