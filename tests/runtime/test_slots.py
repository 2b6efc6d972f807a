"""What hangs or takes long is its own affair: no copy of it, and nothing beside it, waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from choros.app.handler import Call
from choros.app.service import Service
from choros.app.settings import Settings
from choros.errors import Refused
from choros.messages import Failure
from choros.runtime.host import call as calling
from choros.runtime.host import slots as calls
from choros.runtime.host.under_way import UnderWay
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import fresh_id
from choros.store.barrier import Database, Row, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.transport.port import Delivery
from choros.wire.envelope import Envelope, decode
from tests.captured import capture_logs
from tests.patience import PATIENCE
from tests.runtime.participant_stage import (
    NOW,
    REPLY_TO,
    Charge,
    Charged,
    Paid,
    Refund,
    Refunded,
    Stage,
    command,
    effect,
    eventually,
    fact,
    stage_for,
    unsettled,
)


class Gate:
    """Where handlers wait, and what they were told in the meantime."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun: list[str] = []
        self.at_work = self.most = 0

    async def pass_by(self, name: str) -> None:
        self.begun.append(name)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.open.wait()
        finally:
            self.at_work -= 1


@pytest.fixture
def gate() -> Gate:
    return Gate()


def bank(gate: Gate, **settings: Any) -> Service:
    """A service without a database: what is to hang waits at the gate."""
    service = Service("payment")

    @service.provider(Charge, **settings)
    async def charge(command: Charge, call: Call) -> Charged:
        if command.how == "hangs":
            await gate.pass_by(call.key)
        if command.how == "broken":
            raise ValueError
        return Charged(payment=call.key)

    @service.handles(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        return Refunded(payment=call.key)

    return service


def hung(attempt: int = 1, **more: Any) -> Envelope:
    return command(Charge(order="h", how="hangs"), saga="hung", attempt=attempt, **more)


def quick(number: int = 1) -> Envelope:
    return command(Charge(order="q"), saga=f"quick {number}".replace(" ", "-"))


# --- copies -----------------------------------------------------------------------------------------------------------


async def test_copies_of_a_hung_command_take_no_place(gate: Gate) -> None:
    async with stage_for(bank(gate), prefetch=2) as stage:
        await stage.send(hung())
        await eventually(lambda: bool(gate.begun))
        await stage.send(*(hung(attempt) for attempt in range(2, 30)))
        (reply,) = await stage.ask(quick())
        await eventually(lambda: unsettled(stage, "shop.payment") == 1)
        assert reply.correlation_id == "quick-1"
        assert stage.counts == {"copies": 28, "ok": 1}


async def test_the_broker_keeps_the_newest_copy_in_whatever_order_they_come(gate: Gate) -> None:
    async with stage_for(bank(gate)) as stage:
        await stage.send(*(hung(attempt, not_after=NOW + 100 + attempt) for attempt in (2, 1, 5, 3)))
        await eventually(lambda: stage.counts == {"copies": 3})
        await stage.kill()
        kept = [decode(wire) for wire in stage.broker.waiting("shop.payment")]
        assert [(one.attempt, one.not_after) for one in kept] == [(5, NOW + 105)]
        gate.open.set()
        stage.restart_from_nothing()
        (reply,) = await stage.replies(1)
        assert (reply.outcome, reply.attempt) == ("ok", 5)


async def test_a_failure_answers_the_newest_attempt(gate: Gate) -> None:
    """The saga passes a failure of an earlier attempt over, and would wait for one that nobody sends."""
    service = Service("payment")

    @service.provider(Charge)
    async def charge(command: Charge) -> Charged:
        await gate.pass_by("")
        raise ValueError

    async with stage_for(service) as stage:
        await stage.send(hung(1), hung(2), hung(3))
        await eventually(lambda: stage.counts == {"copies": 2})
        gate.open.set()
        (reply,) = await stage.replies(1)
        assert (reply.outcome, reply.attempt) == ("failed", 3)


async def test_what_asks_for_something_else_is_no_copy(gate: Gate) -> None:
    async with stage_for(bank(gate)) as stage:
        others = [
            replace(hung(), reply_to=f"{REPLY_TO}x"),
            replace(hung(), data='{"order":"h","how":"hangs","card":"1"}'),
        ]
        await stage.send(hung(), *others, hung(2), *others)
        await eventually(lambda: stage.counts == {"copies": 3} and bool(gate.begun))
        assert (unsettled(stage, "shop.payment"), gate.most) == (3, 1)


async def test_a_copy_of_what_is_answered_and_not_yet_confirmed_takes_no_place(gate: Gate) -> None:
    async with stage_for(bank(gate)) as stage:
        stage.transport.held = asyncio.Event()
        await stage.send(quick())
        await eventually(lambda: stage.counts == {"ok": 1})
        await stage.send(quick(), replace(quick(), attempt=2))
        await eventually(lambda: stage.counts == {"ok": 1, "copies": 2})
        assert unsettled(stage, "shop.payment") == 1
        stage.transport.held.set()
        await stage.replies(1)
        await stage.idle()


async def test_after_a_failure_the_next_attempt_is_carried_out_though_its_answer_is_not_confirmed(gate: Gate) -> None:
    async with stage_for(bank(gate)) as stage:
        stage.transport.held = asyncio.Event()
        broken = command(Charge(order="b", how="broken"))
        await stage.send(broken)
        await eventually(lambda: stage.counts == {"failed": 1})
        await stage.send(replace(broken, attempt=2))
        await eventually(lambda: stage.counts == {"failed": 2})
        stage.transport.held.set()
        assert sorted(reply.attempt for reply in await stage.replies(2)) == [1, 2]


@dataclass
class Taken:
    """A message that is under way, by a connection that may be lost."""

    envelope: Envelope
    delivery: Any


@dataclass
class Loose:
    lost: bool = False


def test_a_copy_takes_the_place_of_one_whose_connection_is_lost() -> None:
    under_way = UnderWay()
    lost, again = cast(Delivery, Loose(lost=True)), cast(Delivery, Loose())
    first = Taken(hung(2), lost)
    assert under_way.join(first) is None
    assert under_way.join(Taken(hung(1), again)) is lost
    assert under_way.leave(first) is again
    assert under_way.join(Taken(hung(3), Loose())) is None  # the first is done with


async def test_copies_of_a_fact_that_hangs_take_no_place(gate: Gate) -> None:
    service = Service("payment")

    @service.on(Paid)
    async def paid(fact: Paid) -> None:
        if fact.how == "hangs":
            await gate.pass_by(fact.order)

    async with stage_for(service, kind=Subscriber, prefetch=2) as stage:
        for _ in range(10):
            await stage.publish(fact(Paid(order="1", how="hangs"), 1))
        await stage.publish(fact(Paid(order="2"), 2))
        await eventually(lambda: stage.counts == {"repeated": 9, "handled": 1})
        gate.open.set()
        await eventually(lambda: stage.counts == {"repeated": 9, "handled": 2})
        assert gate.begun == ["1"]


# --- side by side -----------------------------------------------------------------------------------------------------

DATABASES: dict[str, Callable[[Path], Database]] = {
    "memory": lambda _: MemoryDatabase(),
    "sqlite": lambda folder: SqliteDatabase(folder / "shop.db"),
}


@pytest.fixture(params=DATABASES.values(), ids=list(DATABASES))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    made: Database = request.param(tmp_path)
    return made


def without_transaction(gate: Gate, **settings: Any) -> Service:
    service = Service("payment")

    @service.handles(Charge, **settings)
    async def charge(command: Charge, call: Call) -> Charged:
        await gate.pass_by(command.order)
        if command.how == "declined":
            raise Refused("card_declined")
        return Charged(payment=call.key)

    @service.handles(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        gate.begun.append(f"refund {command.order}")
        return Refunded(payment=call.key)

    return service


def charges(count: int) -> list[Envelope]:
    return [command(Charge(order=f"o{n}"), saga=f"s{n}") for n in range(count)]


async def test_without_a_transaction_they_run_side_by_side(gate: Gate, database: Database) -> None:
    async with stage_for(without_transaction(gate), database) as stage:
        await stage.send(*charges(30))
        await eventually(lambda: gate.at_work == 30)
        gate.open.set()
        assert {reply.outcome for reply in await stage.replies(30)} == {"ok"}
        row = await stage.row("s7:charge:1:do")
        assert row is not None
        assert row.state == "ok"


@pytest.mark.parametrize("whose", ["handler", "service"])
async def test_no_more_than_the_limit_are_at_work(gate: Gate, whose: str) -> None:
    of_handler: dict[str, Any] = {"concurrency": 3} if whose == "handler" else {}
    of_service: dict[str, Any] = {"concurrency": 3} if whose == "service" else {}
    async with stage_for(without_transaction(gate, **of_handler), **of_service) as stage:
        await stage.send(*charges(10))
        await eventually(lambda: gate.at_work == 3)
        if whose == "handler":  # it is the limit of this one alone
            await stage.ask(command(Refund(order="r"), "undo", saga="r"))
        gate.open.set()
        await stage.replies(10)
        assert gate.most == 3


async def test_without_a_transaction_a_refusal_is_final_too(gate: Gate, database: Database) -> None:
    gate.open.set()
    async with stage_for(without_transaction(gate), database) as stage:
        no = command(Charge(order="o", how="declined"))
        assert [reply.outcome for reply in await stage.ask(no, no)] == ["refused", "refused"]
        assert gate.begun == ["o"]


async def test_what_was_begun_in_time_is_not_too_late_when_it_ends(gate: Gate) -> None:
    async with stage_for(without_transaction(gate)) as stage:
        await stage.send(command(Charge(order="o")))
        await eventually(lambda: bool(gate.begun))
        stage.clock[0] = NOW + 1000
        gate.open.set()
        assert [reply.outcome for reply in await stage.replies(1)] == ["ok"]


async def test_an_undo_in_another_process_closes_what_is_at_work_here(gate: Gate) -> None:
    async with stage_for(without_transaction(gate)) as stage:
        do = command(Charge(order="o"))
        await stage.send(do)
        await eventually(lambda: bool(gate.begun))
        await stage.database.inner.run([lambda db: db.write_row(Row(key=do.key, state="tombstone"))])
        gate.open.set()
        (reply,) = await stage.replies(1)
        assert (reply.outcome, Failure.from_json(reply.data).code) == ("refused", "cancelled")


async def test_do_and_undo_of_one_effect_follow_one_another(gate: Gate) -> None:
    async with stage_for(without_transaction(gate)) as stage:
        await stage.send(command(Charge(order="o")))
        await eventually(lambda: bool(gate.begun))
        await stage.send(command(Refund(order="o"), "undo"))
        await stage.ask(command(Refund(order="x"), "undo", saga="x"))
        assert gate.begun == ["o"]
        gate.open.set()
        await stage.replies(2)
        assert gate.begun == ["o", "refund o"]


# --- with a transaction -----------------------------------------------------------------------------------------------


def with_transaction(gate: Gate, **settings: Any) -> Service:
    service = Service("payment")

    @service.handles(Charge, **settings)
    async def charge(command: Charge, db: Transaction) -> Charged:
        await effect(db, command.order, 1)
        if command.how == "hangs":
            await gate.pass_by(command.order)
        await effect(db, command.order, 1)
        return Charged(payment=command.order)

    return service


async def test_a_slow_one_does_not_hold_the_answers_of_those_before_it(gate: Gate, database: Database) -> None:
    async with stage_for(with_transaction(gate), database, start=False) as stage:
        slow = command(Charge(order="slow", how="hangs"), saga="slow")
        await stage.send(*charges(10), slow, command(Charge(order="behind"), saga="behind"))
        stage.start()
        assert {reply.correlation_id for reply in await stage.replies(10)} == {f"s{n}" for n in range(10)}
        await eventually(lambda: gate.begun == ["slow"])
        gate.open.set()
        assert [reply.outcome for reply in await stage.replies(2)] == ["ok", "ok"]
        assert await stage.effects() == {f"o{n}": 2 for n in range(10)} | {"slow": 2, "behind": 2}


@pytest.mark.parametrize("own", [True, False])
async def test_what_takes_too_long_is_cancelled_taken_back_and_named(gate: Gate, database: Database, own: bool) -> None:
    limit = timedelta(seconds=0.05)
    settings: dict[str, Any] = {"handler_time": limit} if own else {}
    more: dict[str, Any] = {} if own else {"handler_time": 0.05}
    with capture_logs() as logs:
        async with stage_for(with_transaction(gate, **settings), database, **more) as stage:
            slow = command(Charge(order="slow", how="hangs"))
            replies = await stage.ask(slow, command(Charge(order="quick"), saga="s2"))
            assert [reply.outcome for reply in replies] == ["failed", "ok"]
            assert Failure.from_json(replies[0].data).code == "TimeoutError"
            assert (await stage.effects(), await stage.row(slow.key)) == ({"quick": 2}, None)
    named = [line for line in logs if line["event"] == "choros.handler.out_of_time"]
    assert [(line["handler"], line["key"]) for line in named] == [("charge", slow.key)]


def test_with_a_transaction_there_is_less_time_unless_somebody_says_so(gate: Gate) -> None:
    transactional = with_transaction(gate).handlers["charge.v1"]
    provider = bank(gate).handlers["charge.v1"]
    said = Settings(handler_time=timedelta(seconds=90))
    assert [calls.Calls()._of(one).seconds for one in (transactional, provider)] == [calls.TRANSACTION_SECONDS, 300.0]
    assert [calls.Calls(said)._of(one).seconds for one in (transactional, provider)] == [90.0, 90.0]


# --- what cannot be stopped -------------------------------------------------------------------------------------------


@pytest.fixture
async def stubborn(gate: Gate, monkeypatch: pytest.MonkeyPatch, database: Database) -> AsyncIterator[Stage]:
    """A handler that answers every order to stop by going on."""
    monkeypatch.setattr(calling, "GRACE", 0.02)
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        await effect(db, command.order, 1)
        while command.how == "hangs" and not gate.open.is_set():
            try:
                await gate.pass_by(command.order)
            except asyncio.CancelledError:
                continue
        await effect(db, command.order, 1)
        return Charged(payment=command.order)

    async with stage_for(service, database, handler_time=0.05, drain=0.05) as stage:
        yield stage
        gate.open.set()


async def test_what_swallows_its_cancellation_is_left_behind_and_never_commits(stubborn: Stage, gate: Gate) -> None:
    with capture_logs() as logs:
        slow = command(Charge(order="slow", how="hangs"))
        failed, ok = await stubborn.ask(slow, command(Charge(order="quick"), saga="s2"))
        assert (failed.outcome, ok.outcome) == ("failed", "ok")
        assert isinstance(stubborn.runner.calls.hanging[0], calls.Hanging)
        (left,) = stubborn.runner.calls.hanging
        assert (left.handler, left.key, left.left_behind) == ("charge", slow.key, True)
        (again,) = await stubborn.ask(
            replace(slow, attempt=2)
        )  # what it does, nobody knows: nothing is begun beside it
        assert Failure.from_json(again.data).code == "StillAtWork"
        gate.open.set()
        await eventually(lambda: not stubborn.runner.calls.hanging)
        assert await stubborn.effects() == {"quick": 2}
        (done,) = await stubborn.ask(replace(slow, attempt=3))
        assert (done.outcome, await stubborn.effects()) == ("ok", {"quick": 2, "slow": 2})
    events = [line["event"] for line in logs if line["event"].startswith("choros.handler.")]
    assert events[:2] == ["choros.handler.left_behind", "choros.handler.out_of_time"]
    assert "choros.handler.ended_late" in events


async def test_what_swallows_its_cancellation_blocks_no_drain(stubborn: Stage, gate: Gate) -> None:
    await stubborn.send(command(Charge(order="slow", how="hangs")))
    await eventually(lambda: bool(gate.begun))
    async with asyncio.timeout(PATIENCE):
        await stubborn.runner.stop()


def test_what_swallows_its_cancellation_keeps_no_loop_from_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "GRACE", 0.01)

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await calling.apart(stubborn, 0.01)

    asyncio.run(main())


# --- facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_fact_that_hangs_holds_back_its_own_stream_only_where_order_is_wanted(
    gate: Gate, ordered: bool
) -> None:
    service, heard = Service("payment", ordered=ordered), list[str]()

    @service.on(Paid)
    async def paid(fact: Paid, call: Call) -> None:
        if fact.how == "hangs":
            await gate.pass_by(fact.order)
        heard.append(fact.order)

    async with stage_for(service, kind=Subscriber) as stage:
        await stage.publish(
            fact(Paid(order="1", how="hangs"), 1),
            fact(Paid(order="2"), 2),
            fact(Paid(order="other"), 1, stream="s2", id=fresh_id()),
        )
        await eventually(lambda: "other" in heard and (ordered or "2" in heard))
        gate.open.set()
        await eventually(lambda: len(heard) == 3)
        assert [order for order in heard if order != "other"] == (["1", "2"] if ordered else ["2", "1"])
