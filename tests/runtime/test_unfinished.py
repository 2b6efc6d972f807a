"""A command that is finished later, from outside: by its token, once, and never after its undo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from choros.app.handler import Call
from choros.app.later import Later
from choros.app.service import Service
from choros.errors import Refused, TokenUnknown, TooLate, UsageError
from choros.messages import UNFINISHED, Closed, Failure, NothingToUndo
from choros.runtime.participant.unfinished import Unfinished
from choros.store.barrier import Transaction
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
    effect,
    stage_for,
)

DO, UNDO = command(Charge(order="o1")), command(Refund(order="o1"), "undo")
AGAIN = command(Charge(order="o1"), attempt=2)
PAID = Charged(payment="p1")
KEY = DO.key


class Bank:
    """A provider that takes payments, and says later what has become of them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.answer: Charged | Refused | Later | None = None
        """What it knows when it is asked."""
        self.cancels: bool | Charged = True

    def knows(self) -> Charged | Later | None:
        self.said.append("ask")
        if isinstance(self.answer, Refused):
            raise self.answer
        return self.answer

    def cancel(self) -> Charged | None:
        self.said.append("cancel")
        return self.cancels if isinstance(self.cancels, Charged) else None


def own(tokens: list[str] | None = None, *, refund: str = "here") -> Service:
    """A payment service that takes payments in its own database, and is told later what has become of them."""
    service, names = Service("payment"), tokens or []

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction, call: Call) -> Charged | Later:
        await effect(db, "taken", 1)
        if command.how == "at once":
            return PAID
        return Later(names.pop(0)) if names else Later()

    async def undone(command: Refund, db: Transaction, call: Call) -> Refunded:
        await effect(db, f"undone {call.token}".strip(), 1)
        return Refunded(payment=call.token)

    async def outside(command: Refund, call: Call) -> Refunded:
        return Refunded(payment=call.token)

    if refund == "here":
        service.handles(Refund)(undone)
    elif refund == "outside":
        service.handles(Refund)(outside)
    else:
        service.provider(Refund)(outside)
    return service


def provided(bank: Bank, *, ask: bool = True, cancel: bool = True) -> Service:
    """The same at a provider."""
    service = Service("payment")

    async def asks(command: Charge) -> Charged | Later | None:
        return bank.knows()

    async def cancels(command: Charge) -> Charged | None:
        return bank.cancel()

    @service.provider(Charge, ask=asks if ask else None, cancel=cancels if cancel else None)
    async def charge(command: Charge, call: Call) -> Charged | Later:
        bank.said.append("charge")
        return Later("pi_1")

    @service.provider(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        bank.said.append(f"refund {call.token}".strip())
        return Refunded(payment=call.token)

    return service


@asynccontextmanager
async def staged(service: Service) -> AsyncIterator[tuple[Stage, Unfinished]]:
    async with stage_for(service, scan_every=0.02) as stage:
        yield stage, Unfinished(service, stage.database, namespace="shop", clock=lambda: stage.clock[0])


def said(reply: Envelope) -> tuple[str, str, str]:
    """What an answer comes to: outcome, key, and its code or its payment."""
    body = Failure.from_json(reply.data).code if reply.outcome != "ok" else reply.type
    return reply.outcome, reply.key.rpartition(":")[2], body


NOT_YET = ("failed", "do", UNFINISHED)
CHARGED = ("ok", "do", Charged.type_name)


async def test_it_is_taken_and_answered_once_it_is_finished() -> None:
    async with staged(own()) as (stage, outside):
        assert [said(one) for one in await stage.ask(DO)] == [NOT_YET]
        await stage.idle()  # nothing of it is held: the worker is free
        assert await outside.complete(KEY, PAID) == "finished"
        (reply,) = await stage.replies(1)
        assert (said(reply), reply.causation_id, Charged.from_json(reply.data)) == (CHARGED, DO.id, PAID)
        assert (await stage.effects(), await outside.list()) == ({"taken": 1}, [])


async def test_as_long_as_it_is_not_finished_a_copy_hears_just_that() -> None:
    async with staged(own()) as (stage, outside):
        assert [said(one) for one in await stage.ask(DO, DO, AGAIN)] == [NOT_YET] * 3
        assert (await stage.effects(), stage.counts["unfinished"]) == ({"taken": 1}, 3)
        await outside.complete(KEY, PAID)
        (reply,) = await stage.replies(1)
        assert (reply.attempt, reply.causation_id) == (2, AGAIN.id)  # whoever asked last is answered
        assert [said(one) for one in await stage.ask(DO)] == [CHARGED]


async def test_a_token_of_its_own_finds_it_and_lists_it() -> None:
    async with staged(own(["pi_1"])) as (stage, outside):
        await stage.ask(DO)
        (one,) = await outside.list()
        assert (one.token, one.key, one.saga, one.saga_id, one.subject) == ("pi_1", KEY, "order", "s1", "o-1")
        assert (one.type, one.since) == (Charge.type_name, NOW)
        with pytest.raises(TooLate):
            await outside.complete(KEY, PAID)  # its key is none: it has another one
        assert await outside.complete("pi_1", PAID) == "finished"
        assert [said(reply) for reply in await stage.replies(1)] == [CHARGED]


async def test_the_word_and_its_effect_are_one_transaction() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)

        async def broken(db: Transaction) -> None:
            await effect(db, "paid", 1)
            raise LookupError

        with pytest.raises(LookupError):
            await outside.complete(KEY, PAID, effect=broken)
        assert (len(await outside.list()), await stage.effects()) == (1, {"taken": 1})

        async def paid(db: Transaction) -> None:
            await effect(db, "paid", 1)

        assert await outside.complete(KEY, PAID, effect=paid) == "finished"
        assert await outside.complete(KEY, PAID, effect=paid) == "repeated"
        assert await stage.effects() == {"taken": 1, "paid": 1}


async def test_said_again_it_is_answered_again_for_its_answer_may_be_lost_with_the_broker() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        await outside.complete(KEY, PAID)
        first = await stage.replies(1)
        while await stage.database.unsent(1):
            await asyncio.sleep(0.01)
        assert await outside.complete(KEY, PAID) == "repeated"
        assert await stage.replies(1) == first


async def test_twice_is_said_to_have_happened_and_makes_one_reply() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        words = await asyncio.gather(*(outside.complete(KEY, PAID) for _ in range(3)))
        assert sorted(words) == ["finished", "repeated", "repeated"]
        first = await stage.replies(1)
        await stage.send(AGAIN)
        assert await stage.replies(1) == first  # the same answer, by its id too: nothing new was made


Outside = Callable[[Unfinished], Awaitable[Any]]


@pytest.mark.parametrize(
    ("first", "then", "was"),
    [
        (lambda one: one.complete(KEY, PAID), lambda one: one.complete(KEY, Charged(payment="p2")), "ok"),
        (lambda one: one.complete(KEY, PAID), lambda one: one.refuse(KEY, "card_declined"), "ok"),
        (lambda one: one.refuse(KEY, "card_declined"), lambda one: one.complete(KEY, PAID), "refused"),
        (lambda one: one.fail(KEY, "Broken"), lambda one: one.complete(KEY, PAID), "failed"),
    ],
)
async def test_the_first_word_counts(first: Outside, then: Outside, was: str) -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        await first(outside)
        with pytest.raises(TooLate, match=f"otherwise before \\({was}\\)"):
            await then(outside)
        assert await first(outside) == "repeated"
        assert [reply.outcome for reply in await stage.replies(1)] == [was]


async def test_refused_it_never_happens() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        assert await outside.refuse(KEY, "card_declined", "no cover") == "finished"
        refused, undone = [*await stage.replies(1), *await stage.ask(UNDO)]
        assert said(refused) == ("refused", "do", "card_declined")
        assert said(undone) == ("ok", "undo", NothingToUndo.type_name)


async def test_failed_it_is_done_once_more() -> None:
    async with staged(own(["pi_1", "pi_2"])) as (stage, outside):
        await stage.ask(DO)
        assert await outside.fail("pi_1", "GatewayDown") == "finished"
        assert [said(one) for one in await stage.replies(1)] == [("failed", "do", "GatewayDown")]
        assert [said(one) for one in await stage.ask(AGAIN)] == [NOT_YET]
        assert await stage.effects() == {"taken": 2}
        with pytest.raises(TooLate, match="another one since"):
            await outside.complete("pi_1", PAID)
        assert await outside.complete("pi_2", PAID) == "finished"
        assert [said(one) for one in await stage.replies(1)] == [CHARGED]


async def test_asked_after_what_failed_outside_is_said_again_and_a_later_attempt_begins_anew() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(AGAIN)
        await outside.fail(KEY, "GatewayDown")
        first = await stage.replies(1)
        assert await stage.ask(AGAIN) == first
        assert await stage.ask(DO) == first  # one that was under way for long
        assert await stage.effects() == {"taken": 1}
        assert [said(one) for one in await stage.ask(command(Charge(order="o1"), attempt=3))] == [NOT_YET]
        assert await stage.effects() == {"taken": 2}


async def test_nobody_can_finish_what_there_is_not_yet() -> None:
    """The webhook before its handler has committed: it is to come again."""
    async with staged(own(["pi_1"])) as (stage, outside):
        for token in ("pi_1", KEY, "", UNDO.key):
            with pytest.raises(TokenUnknown):
                await outside.complete(token, PAID)
        await stage.ask(DO)
        assert await outside.complete("pi_1", PAID) == "finished"


@pytest.mark.parametrize("refund", ["here", "outside", "provider"])
async def test_its_undo_gets_the_token_and_whoever_comes_later_is_told(refund: str) -> None:
    async with staged(own(["pi_1"], refund=refund)) as (stage, outside):
        (_, undone) = await stage.ask(DO, UNDO)
        assert Refunded.from_json(undone.data).payment == "pi_1"
        assert await outside.list() == []
        with pytest.raises(TooLate, match=r"undone or closed.*give back"):
            await outside.complete("pi_1", PAID)
        assert [said(one) for one in await stage.ask(AGAIN, UNDO)] == [
            ("refused", "do", "cancelled"),
            ("ok", "undo", Refunded.type_name),
        ]


async def test_finished_before_its_undo_it_is_undone_as_what_was_done() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        await outside.complete(KEY, PAID)
        await stage.replies(1)
        assert [said(one) for one in await stage.ask(UNDO)] == [("ok", "undo", Refunded.type_name)]
        assert await stage.effects() == {"taken": 1, "undone": 1}  # no token: its reply is known
        assert await outside.complete(KEY, PAID) == "repeated"


async def test_failed_outside_its_undo_gets_the_token_too() -> None:
    async with staged(own(["pi_1"])) as (stage, outside):
        await stage.ask(DO)
        await outside.fail("pi_1", "GatewayDown")
        await stage.replies(1)
        await stage.ask(UNDO)
        assert await stage.effects() == {"taken": 1, "undone pi_1": 1}
        with pytest.raises(TooLate):
            await outside.complete("pi_1", PAID)


async def test_closed_it_never_happens() -> None:
    async with staged(own()) as (stage, outside):
        assert [said(one) for one in await stage.ask(DO, close("do"))] == [NOT_YET, ("ok", "close", Closed.type_name)]
        with pytest.raises(TooLate, match="give back"):
            await outside.complete(KEY, PAID)


async def test_an_undo_that_runs_outside_is_called_again_where_it_was_finished_meanwhile() -> None:
    service, calls = Service("payment"), []
    outside: Unfinished

    @service.handles(Charge)
    async def charge(command: Charge, call: Call) -> Charged | Later:
        return Later()

    @service.handles(Refund)
    async def refund(command: Refund, call: Call) -> Refunded:
        calls.append(call.token)
        if len(calls) == 1:
            assert await outside.complete(KEY, PAID) == "finished"
        return Refunded(payment="p1")

    async with staged(service) as (stage, outside):
        await stage.ask(DO)
        await stage.send(UNDO)
        answers = await stage.replies(2)
        assert sorted(said(one)[1] for one in answers) == ["do", "undo"]
        assert calls == [KEY, ""]
        assert await outside.complete(KEY, PAID) == "repeated"


# --- a provider ---


async def test_a_copy_asks_the_provider_which_may_have_lost_its_webhook() -> None:
    bank = Bank()
    async with staged(provided(bank)) as (stage, outside):
        assert [said(one) for one in await stage.ask(DO, AGAIN)] == [NOT_YET] * 2
        bank.answer = Later("another")  # it goes on, it says
        assert [said(one) for one in await stage.ask(AGAIN)] == [NOT_YET]
        bank.answer = PAID
        assert [said(one) for one in await stage.ask(AGAIN)] == [CHARGED]
        assert bank.said == ["charge", "ask", "ask", "ask"]
        assert await outside.complete("pi_1", PAID) == "repeated"


async def test_a_provider_that_cannot_be_asked_is_no_failure_of_what_it_has_taken_but_for_a_new_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bank = Bank()
    async with staged(provided(bank)) as (stage, _):
        await stage.ask(DO)
        bank.answer = Refused("moon_phase")  # nothing that the command declares: a bug, or a bank that is away
        assert [said(one) for one in await stage.ask(DO)] == [NOT_YET]
        assert "choros.command.not_asked" in caplog.text
        assert [said(one) for one in await stage.ask(AGAIN)] == [("failed", "do", "Refused")]
        bank.answer = PAID
        assert [said(one) for one in await stage.ask(DO)] == [CHARGED]


@pytest.mark.parametrize(
    ("answer", "cancels", "heard", "told"),
    [
        (PAID, True, ["ask", "refund"], Refunded),
        (Refused("card_declined"), True, ["ask"], NothingToUndo),
        (None, True, ["ask", "cancel"], NothingToUndo),
        (Later(), True, ["ask", "cancel"], NothingToUndo),
        (None, PAID, ["ask", "cancel", "refund"], Refunded),
    ],
)
async def test_an_undo_asks_and_cancels_first(answer: Any, cancels: Any, heard: list[str], told: Any) -> None:
    bank = Bank()
    async with staged(provided(bank)) as (stage, outside):
        await stage.ask(DO)
        bank.answer, bank.cancels = answer, cancels
        assert [said(one) for one in await stage.ask(UNDO)] == [("ok", "undo", told.type_name)]
        assert bank.said == ["charge", *heard]
        assert await outside.list() == []


async def test_an_undo_that_nobody_can_cancel_for_gets_the_token() -> None:
    bank = Bank()
    async with staged(provided(bank, cancel=False)) as (stage, outside):
        await stage.ask(DO, UNDO)
        assert bank.said == ["charge", "ask", "refund pi_1"]
        with pytest.raises(TooLate):
            await outside.complete("pi_1", PAID)


async def test_killed_in_its_undo_the_token_is_still_there() -> None:
    """Withdrawn is withdrawn: the intent of the undo has the token by then."""
    bank, held = Bank(), asyncio.Event()
    service = provided(bank, ask=False, cancel=False)
    function = service.handlers[Refund.type_name].function

    async def hangs(command: Refund, call: Call) -> Refunded:
        done: Refunded = await function(command, call)
        await held.wait()
        return done

    object.__setattr__(service.handlers[Refund.type_name], "function", hangs)
    async with staged(service) as (stage, outside):
        await stage.ask(DO)
        await stage.send(UNDO)
        while len(bank.said) < 2:
            await asyncio.sleep(0.005)
        with pytest.raises(TooLate):
            await outside.complete("pi_1", PAID)
        await stage.kill()
        held.set()
        stage.restart_from_nothing()
        assert [said(one) for one in await stage.replies(1)] == [("ok", "undo", Refunded.type_name)]
        assert bank.said == ["charge", "refund pi_1", "refund pi_1"]


async def test_a_webhook_that_names_the_key_may_come_before_the_call_has_returned() -> None:
    service, called, held = Service("payment"), asyncio.Event(), asyncio.Event()

    @service.provider(Charge)
    async def charge(command: Charge, call: Call) -> Charged | Later:
        called.set()
        await held.wait()
        return Later("pi_1")

    async with staged(service) as (stage, outside):
        await stage.send(DO)
        await called.wait()
        assert await outside.complete(KEY, PAID) == "finished"
        held.set()
        assert said((await stage.replies(1))[0]) == CHARGED
        assert await outside.complete(KEY, PAID) == "repeated"


# --- mistakes ---


async def test_what_says_later_announces_it() -> None:
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Any:
        return Later()

    @service.handles(Refund)
    async def refund(command: Refund, db: Transaction) -> Refunded | Later:
        return Later()

    async with staged(service) as (stage, _):
        told = [Failure.from_json(one.data) for one in await stage.ask(DO)]
        assert [(one.code, "announced" in one.detail) for one in told] == [("WrongReply", True)]
        await stage.ask(command(Charge(order="o2"), saga="s2"))
        assert await stage.effects() == {}


async def test_an_undo_is_not_finished_later() -> None:
    service = Service("payment")

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        return PAID

    @service.handles(Refund)
    async def refund(command: Refund, db: Transaction) -> Refunded | Later:
        return Later()

    async with staged(service) as (stage, _):
        _, failed = await stage.ask(DO, UNDO)
        assert (failed.outcome, "of an undo" in Failure.from_json(failed.data).detail) == ("failed", True)


async def test_two_commands_have_not_one_token() -> None:
    async with staged(own(["pi_1", "pi_1"])) as (stage, outside):
        first, second = await stage.ask(DO, command(Charge(order="o2"), saga="s2"))
        assert (said(first), said(second)) == (NOT_YET, ("failed", "do", "TokenTaken"))
        assert (len(await outside.list()), await stage.effects()) == (1, {"taken": 1})


async def test_what_the_command_does_not_declare_is_refused() -> None:
    async with staged(own()) as (stage, outside):
        await stage.ask(DO)
        with pytest.raises(UsageError, match="answered with Charged, not with Refunded"):
            await outside.complete(KEY, Refunded(payment="?"))
        with pytest.raises(UsageError, match="declares no refusal 'moon_phase'"):
            await outside.refuse(KEY, "moon_phase")
        assert len(await outside.list()) == 1


@pytest.mark.parametrize("token", ["a\nb", "x" * 513, 7])
def test_a_token_is_one_line(token: Any) -> None:
    with pytest.raises(UsageError, match="one line"):
        Later(token)
