"""The barrier's work on a database in memory: which rows it leaves, and which answers it gives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from choros.app.service import Service
from choros.app.settings import Settings
from choros.errors import Refused, StoreUnreachable
from choros.runtime.host.admission import understood
from choros.runtime.host.slots import Calls
from choros.runtime.participant.answers import Answer, ForgottenEffect
from choros.runtime.participant.execution import Execution, WrongReply, may_refuse
from choros.runtime.participant.verdicts import REFUSAL_MARGIN, CarryOut, Settle
from choros.store.barrier import Ok, Row, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import NOW, Charge, Charged, Refund, close, command, make_service
from tests.store.conftest import came_to

SKEW = 7.0
DO, UNDO, CLOSE = "s1:charge:1:do", "s1:charge:1:undo", "s1:charge:1:close"


class Desk:
    """One participant without a broker."""

    def __init__(self) -> None:
        self.now = NOW
        self.database = MemoryDatabase()
        self.calls: list[str] = []
        self.service = make_service(self.calls)
        self.execution = Execution(
            "/shop/payment",
            clock=lambda: self.now,
            clock_skew=SKEW,
            calls=Calls(Settings(handler_time=timedelta(seconds=5))),
        )

    async def result(self, envelope: Envelope) -> Any:
        (result,) = await self.database.run([self.execution.job(understood(envelope, self.service))])
        return came_to(result)

    async def answered(self, envelope: Envelope) -> Answer:
        result = await self.result(envelope)
        assert isinstance(result, Answer), result
        return result

    async def row(self, key: str) -> Row | None:
        row = value_of(*await self.database.run([lambda transaction: transaction.read_row(key)]))
        assert row is None or isinstance(row, Row)
        return row

    async def write(self, *rows: Row) -> None:
        async def job(transaction: Transaction) -> None:
            for row in rows:
                await transaction.write_row(row)

        assert list(await self.database.run([job])) == [Ok(None)]

    @property
    def effect(self) -> int:
        return int(self.database.items.get("o1", 0))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.database.open()
    yield made
    await made.database.close()


def pay(how: str = "ok", **more: Any) -> Envelope:
    return command(Charge(order="o1", how=how), **more)


def repay(how: str = "ok", **more: Any) -> Envelope:
    return command(Refund(order="o1", how=how), "undo", **more)


async def test_the_undo_of_what_a_person_closed_can_itself_be_closed(desk: Desk) -> None:
    """The two closes share their key on the wire, but not their answer: else nobody could ever end that saga."""
    done = await desk.answered(pay())
    assert (await desk.answered(close("do"))).reply == done.reply
    assert isinstance(await desk.result(repay("broken")), ValueError)
    closed = await desk.answered(close("undo"))
    assert (closed.reply.key, closed.reply.type) == (CLOSE, "choros.closed.v1")
    assert (await desk.answered(close("undo"))).reply == closed.reply
    assert (await desk.answered(close("do"))).reply == done.reply
    assert (await desk.answered(repay())).reply.outcome == "refused"  # a late copy: what it is about stands
    assert desk.effect == 1


async def test_a_repeated_close_is_answered_from_its_own_row(desk: Desk) -> None:
    first = await desk.answered(close("do"))
    again = await desk.answered(close("do"))
    assert (first.repeated, first.keys) == (False, (CLOSE,))
    assert (again.repeated, again.keys, again.reply) == (True, (CLOSE,), first.reply)


async def test_a_close_that_finds_an_answer_marks_both_rows(desk: Desk) -> None:
    await desk.answered(pay())
    closed = await desk.answered(close("do"))
    assert (closed.keys, closed.reply.key) == ((CLOSE, DO), DO)


@pytest.mark.parametrize(
    ("commands", "rows"),
    [
        ([pay()], {DO: "ok"}),
        ([pay("declined")], {DO: "refused"}),
        ([pay(not_after=NOW - SKEW - 1)], {DO: "refused"}),
        ([repay()], {DO: "tombstone", UNDO: "ok"}),
        ([repay(), pay()], {DO: "tombstone", UNDO: "ok"}),
        ([pay(), repay()], {DO: "ok", UNDO: "ok"}),
        ([close("do")], {DO: "tombstone", UNDO: None, CLOSE: "ok"}),
        ([pay(), close("do")], {DO: "ok", UNDO: None, CLOSE: "ok"}),
        ([pay(), close("undo")], {DO: "ok", UNDO: "tombstone", CLOSE: None, f"{CLOSE}:undo": "ok"}),
        ([close("undo"), repay()], {DO: "tombstone", UNDO: "tombstone", f"{CLOSE}:undo": "ok"}),
    ],
    ids=lambda value: "+".join(one.key.rsplit(":")[-1] for one in value) if isinstance(value, list) else "",
)
async def test_what_commands_leave(desk: Desk, commands: list[Envelope], rows: dict[str, str | None]) -> None:
    for one in commands:
        await desk.answered(one)
    found = {key: await desk.row(key) for key in rows}
    assert {key: row.state if row else None for key, row in found.items()} == rows


@pytest.mark.parametrize("state", ["refused", "tombstone"])
async def test_an_undo_lengthens_the_life_of_what_stands_there(desk: Desk, state: Any) -> None:
    await desk.write(Row(key=DO, state=state, content="{}", prune_at=NOW + 50))
    await desk.answered(repay(not_after=NOW + 1000))
    assert await desk.row(DO) == Row(key=DO, state=state, content="{}", prune_at=NOW + 1000 + 2 * SKEW)


async def test_an_undo_leaves_an_effect_its_row(desk: Desk) -> None:
    await desk.answered(pay())
    before = await desk.row(DO)
    await desk.answered(repay("ok", not_after=NOW + 5000))
    await desk.answered(close("undo", not_after=NOW + 9000))
    assert await desk.row(DO) == before


async def test_what_stands_long_enough_is_not_written_again(desk: Desk) -> None:
    await desk.answered(pay("declined", not_after=NOW + 100))
    await desk.database.mark_sent([DO])
    await desk.answered(repay(not_after=NOW + 200))
    assert [row.key for row in await desk.database.unsent(9)] == [UNDO]
    refused = await desk.row(DO)
    assert refused is not None
    assert refused.prune_at == NOW + 100 + 2 * SKEW + REFUSAL_MARGIN


async def test_the_row_says_running_while_the_handler_runs(desk: Desk) -> None:
    seen: list[Row | None] = []
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        seen.append(await db.read_row(DO))
        return Charged(payment="p")

    desk.service = service
    await desk.answered(pay())
    assert seen == [Row(key=DO, state="running", since=NOW)]


async def test_a_wrong_reply_is_named(desk: Desk) -> None:
    wrong = await desk.result(pay("wrong"))
    assert isinstance(wrong, WrongReply)
    assert wrong.sentence == "charge returned Refunded, not Charged."


def answering(what: Callable[[Charge], Any]) -> Service:
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        return what(command)  # type: ignore[no-any-return] # that is what the test is about

    return service


async def test_a_handler_that_answers_nothing_is_wrong(desk: Desk) -> None:
    desk.service = answering(lambda _: None)
    wrong = await desk.result(pay())
    assert isinstance(wrong, WrongReply)
    assert wrong.sentence == "charge returned NoneType, not Charged."


async def test_an_intent_keeps_its_command(desk: Desk) -> None:
    service = Service("payment")

    @service.provider(Charge)
    async def charge(command: Charge) -> Charged:
        return Charged(payment="p")

    desk.service, sent = service, pay()
    fresh = await desk.result(sent)
    assert isinstance(fresh, Settle)
    assert (fresh.fresh, fresh.row) == (True, Row(key=DO, state="intent", content=sent.dumps(), since=NOW))
    again = await desk.result(sent)
    assert isinstance(again, Settle)
    assert (again.fresh, again.row) == (False, fresh.row)


async def test_what_a_handler_without_a_transaction_came_to_is_written_down_afterwards(desk: Desk) -> None:
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        return Charged(payment="p")

    received = understood(pay(), service)
    job = desk.execution.job(received)
    assert came_to(*await desk.database.run([job])) == CarryOut()
    assert (await desk.row(DO), received.begun) == (None, NOW)
    received.outcome = await desk.execution.outcome(received)
    desk.now = NOW + 1000  # what takes long is not late
    answer = came_to(*await desk.database.run([job]))
    assert (answer.reply.outcome, answer.keys) == ("ok", (DO,))
    assert await desk.row(DO) == Row(key=DO, state="ok", content=answer.reply.dumps(), since=NOW + 1000)


async def test_what_is_as_old_as_what_was_forgotten_is_not_carried_out(desk: Desk) -> None:
    await desk.write(Row(key="s0:charge:1:do", state="ok", began=NOW - 50, since=NOW - 50))
    assert await desk.database.forget("commands", NOW) == 1
    assert isinstance(await desk.result(pay(began=NOW - 50)), ForgottenEffect)
    for saga, began in (("s2", NOW - 49), ("s3", None)):
        assert (await desk.answered(pay(saga=saga, began=began))).reply.outcome == "ok"


async def test_an_answer_that_somebody_else_put_there_first_wins(desk: Desk) -> None:
    received = understood(pay(), desk.service)
    first = await desk.answered(pay())

    async def finish(transaction: Transaction) -> Answer:
        return await desk.execution.finish(received, Refused("card_declined"), transaction)

    answer = value_of(*await desk.database.run([finish]))
    assert answer.reply == first.reply
    assert answer.repeated


def test_only_a_do_may_be_refused_and_only_with_a_code_of_its_own() -> None:
    service = make_service()
    do, undo = understood(pay(), service), understood(repay(), service)
    assert may_refuse(do, Refused("card_declined"))
    assert not may_refuse(do, Refused("moon_phase"))
    assert not may_refuse(undo, Refused("card_declined"))


# --- the database in memory, where a test may look into it -----------------------------------------------------------


async def test_what_is_deleted_is_gone_unless_that_is_taken_back(desk: Desk) -> None:
    async def job(transaction: Transaction) -> Any:
        assert isinstance(transaction, MemoryTransaction)
        await transaction.put("a", 1)
        await transaction.put("b", 2)
        await transaction.delete("a")
        with contextlib.suppress(KeyError):
            async with transaction.savepoint():
                await transaction.delete("b")
                raise KeyError
        return await transaction.get("a", "gone")

    assert list(await desk.database.run([job])) == [Ok("gone")]
    assert desk.database.items == {"b": 2}


async def test_a_database_that_is_not_open_says_so(desk: Desk) -> None:
    sentence = "This database is not open. Try: await database.open() before using it."
    for closed in (MemoryDatabase(), desk.database):
        await closed.close()
        with pytest.raises(StoreUnreachable) as caught:
            await closed.unsent(1)
        assert str(caught.value) == sentence
    with pytest.raises(StoreUnreachable):
        await MemoryDatabase().prune(0.0)
