"""Participants whose effects are in their own database, rule by rule (semantics 1, 3, 10, 14, 15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from choros.app.checks import check
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.messages import Failure
from choros.runtime.participant.verdicts import REFUSAL_MARGIN
from choros.store.barrier import Database
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.wire.envelope import Envelope, Wire, encode
from tests.runtime.participant_stage import (
    NOW,
    Charge,
    Charged,
    Refund,
    Stage,
    close,
    command,
    eventually,
    make_service,
    stage_for,
    unsettled,
)


@pytest.fixture
def calls() -> list[str]:
    """The keys of every handler run."""
    return []


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, calls: list[str]) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "payment.db")
    async with stage_for(make_service(calls), database) as stage:
        yield stage


async def test_a_command_is_carried_out_answered_and_acknowledged(stage: Stage) -> None:
    order = command(Charge(order="o1"))
    (reply,) = await stage.ask(order)
    assert Charged.from_json(reply.data).payment == order.key
    assert (reply.kind, reply.type, reply.outcome, reply.source) == ("reply", "charged.v1", "ok", "/shop/payment")
    assert (reply.correlation_id, reply.causation_id, reply.key) == ("s1", order.id, order.key)
    assert (reply.saga, reply.saga_version, reply.step, reply.attempt) == ("order", 3, "charge", 1)
    assert (reply.subject, reply.traceparent, reply.tracestate) == ("o-1", order.traceparent, "x=y")
    assert reply.own_headers == order.own_headers == '{"tenant":"acme"}'
    assert (reply.id != order.id, reply.time) == (True, NOW)
    assert await stage.effects() == {"o1": 1}
    await eventually(lambda: unsettled(stage, "shop.payment") == 0)
    assert not await stage.database.unsent(10)


async def test_a_duplicate_has_no_effect_and_gets_the_same_answer(stage: Stage, calls: list[str]) -> None:
    order = command(Charge(order="o1"))
    first, again, retry = await stage.ask(order, order, replace(order, id="other", attempt=2))
    assert first == again == retry
    assert (await stage.effects(), len(calls)) == ({"o1": 1}, 1)
    assert stage.counts == {"ok": 1, "repeated": 2}


async def test_a_duplicate_in_the_same_batch_has_no_effect_either(stage: Stage) -> None:
    order = command(Charge(order="o1"))
    await stage.send(order, order, order)
    await stage.replies(1)
    await stage.idle()
    assert (await stage.effects(), stage.counts) == ({"o1": 1}, {"ok": 1, "copies": 2})


async def test_another_round_is_another_command(stage: Stage) -> None:
    await stage.ask(command(Charge(order="o1")), command(Charge(order="o1"), round_=2))
    assert await stage.effects() == {"o1": 2}


async def test_undo_takes_back_once(stage: Stage) -> None:
    undo = command(Refund(order="o1"), "undo")
    _, undone, again = await stage.ask(command(Charge(order="o1")), undo, undo)
    assert (undone.type, undone == again, await stage.effects()) == ("refunded.v1", True, {})


async def test_undo_before_do_leaves_a_tombstone_that_refuses_the_do(stage: Stage, calls: list[str]) -> None:
    undo, do = command(Refund(order="o1"), "undo"), command(Charge(order="o1"))
    nothing, refused, nothing_again, refused_again = await stage.ask(undo, do, undo, do)
    assert (nothing.type, nothing.outcome) == ("choros.nothing-to-undo.v1", "ok")
    assert (refused.outcome, Failure.from_json(refused.data).code) == ("refused", "cancelled")
    assert (nothing, refused) == (nothing_again, refused_again)
    assert (calls, await stage.effects()) == ([], {})


async def test_the_tombstone_outlives_the_last_do(stage: Stage) -> None:
    """Pruned any earlier, the late `do` would be carried out; pruned then, its own deadline refuses it."""
    await stage.ask(command(Refund(order="o1"), "undo"))
    do = command(Charge(order="o1"))
    row = await stage.row(do.key)
    assert row is not None
    assert (row.state, row.prune_at) == ("tombstone", NOW + 100 + 2 * 60)
    assert await stage.database.prune(NOW + 219) == 0
    stage.clock[0] = NOW + 221
    assert await stage.database.prune(stage.clock[0]) == 1
    (refused,) = await stage.ask(do)
    assert (refused.outcome, await stage.effects()) == ("refused", {})


async def test_a_tombstone_without_a_deadline_is_never_forgotten(stage: Stage) -> None:
    await stage.ask(command(Refund(order="o1"), "undo", not_after=None))
    assert await stage.database.prune(NOW * 10) == 0


async def test_a_refusal_takes_its_effect_back_and_stays(stage: Stage, calls: list[str]) -> None:
    do, undo = command(Charge(order="o1", how="declined")), command(Refund(order="o1"), "undo")
    refused, again, nothing = await stage.ask(do, do, undo)
    failure = Failure.from_json(refused.data)
    assert (refused.outcome, refused.type) == ("refused", "choros.failure.v1")
    assert (failure.code, failure.step, failure.kind) == ("card_declined", "charge", "refused")
    assert failure.detail
    assert (refused == again, len(calls), await stage.effects()) == (True, 1, {})
    assert nothing.type == "choros.nothing-to-undo.v1"
    row = await stage.row(do.key)
    assert row is not None
    assert (row.state, row.prune_at) == ("refused", NOW + 220 + REFUSAL_MARGIN)


async def test_an_undo_makes_the_refusal_live_as_long_as_the_last_do_may_arrive(stage: Stage) -> None:
    do, last = command(Charge(order="o1", how="declined")), NOW + 10 * REFUSAL_MARGIN
    refused, _, again = await stage.ask(do, command(Refund(order="o1"), "undo", not_after=last), do)
    row = await stage.row(do.key)
    assert row is not None
    assert (row.state, row.prune_at, refused == again) == ("refused", last + 2 * 60, True)


async def test_expired_is_refused_and_stored_but_an_answer_given_in_time_stays(stage: Stage) -> None:
    done, late = command(Charge(order="o1")), command(Charge(order="o2"), saga="s2")
    (ok,) = await stage.ask(done)
    stage.clock[0] = NOW + 161
    refused, still_ok, resent = await stage.ask(late, done, replace(late, not_after=NOW + 999))
    assert (refused.outcome, Failure.from_json(refused.data).code) == ("refused", "expired")
    assert (still_ok, resent) == (ok, refused)
    assert await stage.effects() == {"o1": 1}


@pytest.mark.parametrize("ahead", [12.0, -12.0, 59.0, -59.0])
async def test_a_clock_that_is_off_refuses_nothing_that_is_in_time(stage: Stage, ahead: float) -> None:
    """The orchestrator's clock set the deadline, 10 s ahead; the participant's is another."""
    stage.clock[0] = NOW + ahead
    do, last = command(Charge(order="o1"), not_after=NOW + 10), command(Charge(order="o2"), saga="s2", not_after=NOW)
    taken, too = await stage.ask(do, last)
    assert (taken.outcome, too.outcome) == ("ok", "ok")
    assert await stage.effects() == {"o1": 1, "o2": 1}


async def test_what_one_replica_may_still_take_no_other_one_forgets(stage: Stage) -> None:
    """The clock that prunes may be ahead by the skew of the one that takes, and that behind by as much."""
    do = command(Charge(order="o1"), not_after=NOW + 10)
    await stage.ask(command(Refund(order="o1"), "undo", not_after=NOW + 10))
    await stage.database.prune(NOW + 10 + 2 * 60 - 1)
    stage.clock[0] = NOW + 10 + 60 - 1
    (refused,) = await stage.ask(do)
    assert (refused.outcome, Failure.from_json(refused.data).code) == ("refused", "cancelled")
    assert await stage.effects() == {}


async def test_a_command_without_deadline_never_expires(stage: Stage) -> None:
    stage.clock[0] = NOW * 2
    (ok,) = await stage.ask(command(Charge(order="o1"), not_after=None))
    assert ok.outcome == "ok"


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("broken", "ValueError", "cannot charge [number]"),
        ("surprised", "Refused", "moon_phase"),
        ("wrong", "WrongReply", "Charge"),
        ("cancelled", "HandlerCancelled", ""),
    ],
)
async def test_a_failure_leaves_nothing_behind_and_is_tried_again(stage: Stage, how: str, code: str, said: str) -> None:
    """Also a refusal that the command does not declare (rule 10), and a reply that it does not."""
    do = command(Charge(order="o1", how=how, card="4111111111111111"))
    failed, again = await stage.ask(do, do)
    failure = Failure.from_json(failed.data)
    assert (failed.outcome, failure.code, failure.kind) == ("failed", code, "failed")
    assert said in failure.detail
    assert "4111" not in failure.detail
    assert failed.id != again.id
    assert (await stage.row(do.key), await stage.effects()) == (None, {})
    (ok,) = await stage.ask(command(Charge(order="o1")))
    assert (ok.outcome, await stage.effects()) == ("ok", {"o1": 1})


async def test_a_failed_undo_is_never_an_answer(stage: Stage) -> None:
    """An undo cannot be refused either: it fails, and succeeds later."""
    undo = command(Refund(order="o1", how="declined"), "undo")
    _, failed, undone = await stage.ask(command(Charge(order="o1")), undo, command(Refund(order="o1"), "undo"))
    assert (failed.outcome, undone.outcome, undone.type) == ("failed", "ok", "refunded.v1")
    assert await stage.effects() == {}


async def test_a_handler_that_never_ends_fails_and_lets_others_through(tmp_path: Path) -> None:
    async with stage_for(make_service(), SqliteDatabase(tmp_path / "p.db"), handler_time=0.05) as stage:
        await stage.send(command(Charge(order="o1", how="slow")), command(Charge(order="o2"), saga="s2"))
        outcomes = {reply.key[:2]: reply for reply in await stage.replies(2)}
        assert Failure.from_json(outcomes["s1"].data).code == "TimeoutError"
        assert (outcomes["s2"].outcome, await stage.effects()) == ("ok", {"o2": 1})


async def test_fifty_commands_of_all_kinds_in_one_batch(calls: list[str]) -> None:
    kinds = ["ok", "declined", "broken", "surprised", "wrong"]
    async with stage_for(make_service(calls), start=False) as stage:
        for number in range(50):
            await stage.send(command(Charge(order=f"o{number}", how=kinds[number % 5]), saga=f"s{number}"))
        stage.start()
        replies = await stage.replies(50)
        assert Counter(reply.outcome for reply in replies) == {"ok": 10, "refused": 10, "failed": 30}
        assert await stage.effects() == {f"o{number}": 1 for number in range(0, 50, 5)}
        await eventually(lambda: unsettled(stage, "shop.payment") == 0)


async def test_closed_before_it_came(stage: Stage) -> None:
    closed, again, refused, nothing = await stage.ask(
        close("do"), close("do"), command(Charge(order="o1")), command(Refund(order="o1"), "undo")
    )
    assert (closed.type, closed.outcome, closed == again) == ("choros.closed.v1", "ok", True)
    assert (refused.outcome, Failure.from_json(refused.data).code) == ("refused", "cancelled")
    assert (nothing.type, await stage.effects()) == ("choros.nothing-to-undo.v1", {})


@pytest.mark.parametrize("how", ["ok", "declined"])
async def test_closing_what_is_answered_gives_the_answer(stage: Stage, how: str) -> None:
    answered, closed, again = await stage.ask(command(Charge(order="o1", how=how)), close("do"), close("do"))
    assert answered == closed == again


async def test_closing_an_undo_shuts_it_for_good(stage: Stage, calls: list[str]) -> None:
    undo = command(Refund(order="o1"), "undo")
    _, closed, late, again = await stage.ask(command(Charge(order="o1")), close("undo"), undo, undo)
    assert (closed.type, late.outcome, Failure.from_json(late.data).code) == (
        "choros.closed.v1",
        "refused",
        "cancelled",
    )  # what it is about stands: nobody may take that for undone
    assert (late == again, await stage.effects(), len(calls)) == (True, {"o1": 1}, 1)


async def test_closing_an_undo_shuts_a_do_that_never_came(stage: Stage) -> None:
    _, refused = await stage.ask(close("undo"), command(Charge(order="o1")))
    assert (refused.outcome, await stage.effects()) == ("refused", {})


async def test_closing_an_undo_that_was_answered_gives_the_answer(stage: Stage) -> None:
    _, undone, closed = await stage.ask(command(Charge(order="o1")), command(Refund(order="o1"), "undo"), close("undo"))
    assert undone == closed


CARD = "4111111111111111"
BAD = {
    "kind": command(Charge(order="o1"), kind="fact", stream="s", seq=1),
    "body": command(Charge(order="o1"), data=f'{{"order":{CARD},"{CARD}":1}}'),
    "key": command(Charge(order="o1"), key=f"s1:{CARD}"),
    "other form of the key": command(Charge(order="o1"), key="s1:charge:01:do"),
    "correlation": command(Charge(order="o1"), correlation_id=CARD),
    "step": command(Charge(order="o1"), step=CARD),
    "operation": command(Charge(order="o1"), "close"),
    "no reply_to": command(Charge(order="o1"), reply_to=""),
    "reply_to elsewhere": command(Charge(order="o1"), reply_to="other.replies.order"),
    "reply_to a service": command(Charge(order="o1"), reply_to="shop.payment"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_makes_no_sense_is_parked_with_a_reason(stage: Stage, what: str) -> None:
    await parks(stage, BAD[what])


async def test_a_type_that_nobody_handles_is_parked_in_the_end(calls: list[str]) -> None:
    """After 21 seconds in which a newer replica may take it, so in memory, where time is virtual."""
    async with stage_for(make_service(calls)) as stage:
        await parks(stage, command(Charge(order="o1"), type=f"pay.{CARD}.v1"))


async def parks(stage: Stage, bad: Envelope) -> None:
    await stage.put(encode(bad))
    await stage.put(Wire(b"\xff", {}))
    await eventually(lambda: len(stage.parked()) == 2)
    assert all(reason.endswith(".") and CARD not in reason for reason in stage.parked())
    assert (await stage.effects(), stage.counts["parked"]) == ({}, 2)
    (ok,) = await stage.ask(command(Charge(order="o2"), saga="s2"))
    assert ok.outcome == "ok"


async def test_an_item_of_a_list_names_its_step(stage: Stage) -> None:
    (ok,) = await stage.ask(command(Charge(order="o1"), key="s1:items[2].charge[0]:1:do"))
    assert ok.outcome == "ok"


def test_a_service_without_its_handlers_does_not_start() -> None:
    with pytest.raises(DeclarationError, match="no handler for Charge"):
        check(Service("payment", commands=[Charge]), MemoryDatabase())


def test_a_handler_for_another_database_does_not_start() -> None:
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: SqliteTransaction) -> Charged:
        return Charged(payment="")

    with pytest.raises(DeclarationError, match="charge takes a SqliteTransaction"):
        check(service, MemoryDatabase())


async def test_a_reply_that_no_broker_would_take_fails_its_command_and_leaves_no_effect(stage: Stage) -> None:
    (failed,) = await stage.ask(command(Charge(order="o1", how="huge")))
    assert (failed.outcome, Failure.from_json(failed.data).code) == ("failed", "ReplyTooLarge")
    assert await stage.row(failed.key) is None
