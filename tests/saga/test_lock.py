"""A saga under a lock: what it does before it has it, what becomes of it where others do, and that it keeps it."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest

from choros import DeclarationError, Lock, Nested, UsageError
from choros.messages import Done, Failure, Message, NestedCommand, NestedUnderLock
from choros.saga.diagram import mermaid, outline
from choros.saga.difference import difference, why_not_moved
from choros.saga.machine.inputs import CancelRequested, LockTold, OrderReceived, TerminateRequested, TimerFired
from choros.saga.machine.instance import NodeState, Order, Parent
from choros.saga.machine.locks import ASK_AGAIN, joined, locked
from choros.saga.machine.machine import begin
from choros.saga.nodes import Existing, Step
from choros.saga.saga import Saga
from choros.testing import SagaTest
from tests.saga import credit, shop
from tests.saga.driving import START, Run, commands

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TAKEN = LockTold("taken")
BEHIND = LockTold("waiting", "customer:o1", "s0")
FULL = LockTold("refuse", "customer:o1", "s0")
JOIN = LockTold("join", "customer:o1", "s0")


def customer(order: shop.PlaceOrder) -> str:
    return order.order_id


QUEUE = Lock("customer", key=customer, within=MINUTE)


def saga_with(lock: Lock | None = QUEUE, **more: Any) -> Saga[shop.PlaceOrder]:
    steps = shop.order_saga.steps
    given: Mapping[str, Any] = {"completed": shop.order_confirmed, "compensated": shop.order_rejected, **more}
    return Saga("order", start=shop.PlaceOrder, key=customer, **{"steps": steps, **given}, lock=lock)


class Locked(Run):
    """A run of a saga with a lock, from its creation on."""

    kept: ClassVar[Mapping[str, NodeState]] = {}
    parent: ClassVar[Parent | None] = None

    def __post_init__(self) -> None:
        assert self.saga.lock
        lock = locked(self.saga.lock, self.start, self.now)
        body = self.start.to_json()
        self._take(
            begin(self.saga.tree, "s1", body, self.now, cause="start", lock=lock, kept=self.kept, parent=self.parent)
        )

    @property
    def code(self) -> str:
        return Failure.from_json(self.instance.failure).code

    @property
    def published(self) -> list[str]:
        return [fact.type for fact in self.facts]


class RunAgain(Locked):
    """One that has taken over the first step of another one."""

    kept: ClassVar = {"charge_payment": NodeState("ok", reply=shop.CHARGED.to_json(), owner="s0")}


def test_rule_46_it_does_nothing_before_it_has_the_lock() -> None:
    run = Locked(saga_with())
    assert (run.status, commands(run), run.kinds) == ("running", [], ["started"])
    run.give(BEHIND)
    assert (commands(run), run.kinds) == ([], ["queued"])
    run.give(BEHIND)
    assert run.kinds == []
    run.give(TAKEN)
    assert (commands(run), run.kinds) == (["charge_payment:1:do#1"], ["lock_taken", "sent"])
    assert run.events[-2].code == "customer:o1"


def test_what_it_was_told_once_is_over() -> None:
    run = Locked(saga_with())
    run.give(TAKEN)
    for told in (TAKEN, BEHIND, FULL, JOIN):
        assert run.give(told).events == ()
    run.give(TerminateRequested("t"))
    assert run.status == "running"
    assert run.give(TAKEN).events == ()


def test_a_saga_without_a_lock_is_told_nothing() -> None:
    assert Run().give(TAKEN).events == ()


def test_it_waits_so_long_and_is_then_undone_before_it_has_begun() -> None:
    run = Locked(saga_with())
    run.give(BEHIND)
    assert run.instance.wake_at == START + 60
    run.fire()
    assert (run.status, run.code, commands(run)) == ("compensated", "locked", [])
    assert run.published == ["order-rejected.v1"]
    assert Failure.from_json(run.instance.failure).detail == "customer:o1 is locked by saga s0."
    assert run.give(TAKEN).events == ()


def test_it_is_turned_away_though_nobody_has_told_it_anything() -> None:
    run = Locked(saga_with())
    run.give(TimerFired(), at=START + 60)
    assert Failure.from_json(run.instance.failure).detail == "customer:o1 is locked."


def test_where_nobody_answers_it_asks_once_more_until_it_waits() -> None:
    run = Locked(saga_with())
    assert run.instance.wake_at == START + ASK_AGAIN
    run.fire()
    assert (run.instance.wake_at, run.kinds, run.instance.queued) == (START + 2 * ASK_AGAIN, [], True)
    run.give(BEHIND)
    assert run.instance.wake_at == START + 60


def test_taken_in_the_batch_of_its_last_moment_it_begins() -> None:
    run = Locked(saga_with())
    run.give(TimerFired(), TAKEN, at=START + 60)
    assert run.status == "running"
    assert commands(run) == ["charge_payment:1:do#1"]


@pytest.mark.parametrize(
    "lock", [Lock("customer", key=customer, when_taken="refuse"), QUEUE], ids=["refuse", "queue is full"]
)
def test_it_is_refused(lock: Lock) -> None:
    run = Locked(saga_with(lock))
    run.give(FULL)
    assert (run.status, run.code, run.published) == ("compensated", "locked", ["order-rejected.v1"])
    assert joined(run.instance) == ""


def test_it_joins_and_nobody_is_told_that_it_was_refused() -> None:
    run = Locked(saga_with(Lock("customer", key=customer, when_taken="join")))
    run.give(JOIN)
    assert (run.status, run.code, run.published, run.kinds) == ("compensated", "joined", [], ["joined"])
    assert joined(run.instance) == "s0"
    assert joined(Run().instance) == ""


def test_a_cancel_and_the_deadline_end_it_while_it_waits() -> None:
    run = Locked(saga_with())
    run.give(BEHIND)
    run.cancel()
    assert (run.status, run.code) == ("compensated", "cancelled")
    run = Locked(saga_with(deadline=timedelta(seconds=30)))
    run.give(BEHIND)
    run.fire()
    assert (run.status, run.code, run.now) == ("compensated", "deadline", START + 30)


def test_a_cancel_in_the_batch_that_takes_the_lock_comes_first() -> None:
    run = Locked(saga_with())
    run.give(CancelRequested("c"), TAKEN)
    assert (run.status, commands(run)) == ("compensated", [])


def test_terminate_ends_it_while_it_waits() -> None:
    run = Locked(saga_with())
    run.give(TerminateRequested("t"))
    assert (run.status, run.published) == ("terminated", [])
    assert run.give(TAKEN).events == ()


def test_rule_13_paused_it_keeps_its_place_and_begins_when_it_is_resumed() -> None:
    run = Locked(saga_with())
    run.pause()
    run.give(TAKEN)
    assert (run.instance.queued, commands(run)) == (False, [])
    run.resume()
    assert commands(run) == ["charge_payment:1:do#1"]


def test_rule_46_parking_frees_nothing() -> None:
    run = Locked(saga_with())
    run.give(TAKEN)
    run.refuse("card_declined")
    assert run.status == "compensated"
    run = Locked(saga_with())
    run.give(TAKEN)
    run.ok(shop.CHARGED)
    run.refuse("sold_out")
    run.fail()
    run.fire()
    run.fail()
    assert (run.status, run.instance.locks) == ("parked", ("customer:o1",))
    assert run.give(FULL).events == ()
    run.ok(Done(), attempt=2)
    assert run.status == "compensated"


# --- where there is something to undo ---


def test_one_that_is_run_again_takes_the_lock_anew_and_undoes_nothing_without_it() -> None:
    run = RunAgain(saga_with())
    assert commands(run) == []
    run.cancel()
    assert (run.status, commands(run)) == ("compensating", [])
    run.give(TAKEN)
    assert commands(run) == ["charge_payment:1:undo#1"]


def test_one_that_is_run_again_parks_where_it_has_waited_too_long() -> None:
    run = RunAgain(saga_with())
    run.give(BEHIND)
    run.fire()
    assert (run.status, run.instance.why_parked) == ("parked", "customer:o1 is locked by saga s0")
    run.retry("")
    assert (run.status, run.instance.wake_at, commands(run)) == ("running", run.now, [])
    run.fire()
    assert run.instance.wake_at == run.now + ASK_AGAIN
    run.give(FULL)
    assert run.status == "parked"
    run.give(TAKEN)
    assert (run.status, commands(run)) == ("running", ["reserve_inventory:1:do#1"])


def test_one_that_is_run_again_joins_nobody() -> None:
    run = RunAgain(saga_with(Lock("customer", key=customer, when_taken="join")))
    run.give(JOIN)
    assert (run.status, joined(run.instance)) == ("parked", "")


def test_what_was_there_before_it_is_undone_under_the_lock() -> None:
    steps = (Existing("payment", compensation=shop.refund_payment), *shop.order_saga.steps[1:])
    run = Locked(saga_with(steps=steps))
    run.cancel()
    assert (run.status, commands(run)) == ("compensating", [])
    run.give(TAKEN)
    assert commands(run) == ["refund_payment:1:do#1"]


@pytest.mark.parametrize("together", [False, True])
def test_what_was_turned_away_asks_again_when_its_deadline_has_it_undone(together: bool) -> None:
    """Found by `verify`: it waited for ever, undone by nobody, and parked for nobody."""
    steps = (Existing("payment", compensation=shop.refund_payment), *shop.order_saga.steps[1:])
    run = Locked(saga_with(Lock("customer", key=customer, when_taken="refuse"), steps=steps, deadline=HOUR))
    if not together:
        run.give(FULL)
        assert (run.status, run.instance.queued) == ("parked", True)
    run.now += HOUR.total_seconds()
    run.give(*([FULL] if together else []), TimerFired())
    assert (run.status, commands(run), run.instance.wake_at) == ("compensating", [], run.now)
    run.give(TAKEN)
    assert commands(run) == ["refund_payment:1:do#1"]


def test_what_has_nothing_to_undo_asks_for_nothing_at_its_end() -> None:
    run = Locked(saga_with())
    run.now += MINUTE.total_seconds()
    run.give(TimerFired())
    assert (run.status, run.code, run.instance.lock and run.instance.lock.ask_at) == ("compensated", "locked", None)


# --- nested ---

CREDIT = Lock("customer", key=lambda start: start.customer, within=MINUTE)
credit_saga = Saga(
    "credit", start=credit.ReserveCredit, key=lambda start: start.customer, lock=CREDIT,
    steps=(Step(credit.hold_credit, to="bank", compensation=credit.give_credit_back),), result=credit.reserved,
)  # fmt: skip
NESTED = Nested(credit_saga, credit.reserve_credit)
AROUND = Lock("customer", key=lambda order: credit.reserve_credit(order).customer, within=MINUTE)


class Inside(Locked):
    parent: ClassVar = Parent(order=Order("do", "e"), locks=("customer:ann", "customer:bob"))


class Detached(Locked):
    parent: ClassVar = Parent(detached=True, order=Order("do", "e"))


def _reserve(name: str) -> Message:
    return credit.reserve_credit(credit.PlaceOrder()).model_copy(update={"customer": name})


def test_rule_46_a_nested_saga_has_the_keys_of_the_one_around_it() -> None:
    run = Inside(credit_saga, start=_reserve("bob"))
    assert (commands(run), run.instance.locks) == (["hold_credit:1:do#1"], ("customer:ann", "customer:bob"))


def test_a_nested_saga_never_waits_for_a_key_that_the_one_around_it_has_not() -> None:
    run = Inside(credit_saga, start=_reserve("eve"))
    assert (run.code, commands(run), run.instance.stage) == ("lock_not_held", [], "settled")
    assert [reply.outcome for reply in run.last.replies] == ["refused"]


def test_a_detached_one_takes_the_lock_itself() -> None:
    run = Detached(credit_saga, start=_reserve("bob"))
    assert (commands(run), run.instance.queued) == ([], True)
    assert [reply.outcome for reply in run.last.replies] == ["ok"]
    run.give(TAKEN)
    assert commands(run) == ["hold_credit:1:do#1"]


def test_a_saga_hands_its_keys_to_those_within_it_and_to_no_detached_one() -> None:
    run = Locked(credit.order_of(NESTED, lock=AROUND), start=credit.PlaceOrder())
    run.give(TAKEN)
    assert NestedUnderLock.from_json(run.sent.data).locks == run.instance.locks != ()
    run.give(OrderReceived("o", Order("cancel", "e")))
    detached = Nested(credit_saga, credit.reserve_credit, detached=True)
    run = Locked(credit.order_of(credit.HELD, detached, lock=AROUND), start=credit.PlaceOrder())
    run.give(TAKEN)
    run.ok(Done())
    assert "locks" not in run.sent.data
    assert NestedCommand.from_json(run.sent.data).detached


# --- the declaration ---


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (lambda _: "b", ("customer:b",)),
        (lambda _: ("b", "a", "b"), ("customer:a", "customer:b")),
        (lambda _: ["b"], ("customer:b",)),
    ],
)
def test_rule_46_keys_are_taken_in_one_order(key: Callable[[Any], Any], keys: tuple[str, ...]) -> None:
    assert Lock("customer", key=key, within=MINUTE).keys_of(shop.ORDER) == keys


def _fails(_: Message) -> str:
    raise ZeroDivisionError


def _exits(_: Message) -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize("given", ["", (), "x" * 201, "a\n", 7.5, (True,), list("abcdefghijklmnopq")])
def test_what_is_no_key(given: Any) -> None:
    with pytest.raises(UsageError, match="lock 'customer': key "):
        Lock("customer", key=lambda _: given, within=MINUTE).keys_of(shop.ORDER)


def test_a_key_may_be_a_number_or_a_uuid() -> None:
    uuid = UUID("00000000-0000-4000-8000-00000000000a")
    lock = Lock("customer", key=lambda one: (uuid, one.total), within=MINUTE)
    assert lock.keys_of(shop.ORDER) == (f"customer:{uuid}", f"customer:{shop.ORDER.total}")
    assert Lock("customer", key=lambda _: 7, within=MINUTE).keys_of(shop.ORDER) == ("customer:7",)


def test_a_key_that_fails_is_said() -> None:
    with pytest.raises(UsageError, match="key raised ZeroDivisionError"):
        Lock("customer", key=_fails, within=MINUTE).keys_of(shop.ORDER)


def test_who_wants_to_exit_exits() -> None:
    with pytest.raises(KeyboardInterrupt):
        Lock("customer", key=_exits, within=MINUTE).keys_of(shop.ORDER)


given: Any = Lock
MISTAKES: Mapping[str, Callable[[], object]] = {
    "no lock": lambda: saga_with("customer"),  # type: ignore[arg-type]
    "no name": lambda: saga_with(given("Customer!", key=customer, within=MINUTE)),
    "no function": lambda: saga_with(given("customer", key="id", within=MINUTE)),
    "no way": lambda: saga_with(given("customer", key=customer, when_taken="wait")),
    "no bound": lambda: saga_with(given("customer", key=customer)),
    "no time": lambda: saga_with(given("customer", key=customer, within=7)),
    "no number": lambda: saga_with(given("customer", key=customer, within=MINUTE, most=0)),
    "nobody waits": lambda: saga_with(given("customer", key=customer, when_taken="join", within=MINUTE)),
    "none around": lambda: credit.order_of(NESTED),
    "another around": lambda: credit.order_of(NESTED, lock=Lock("order", key=customer, within=MINUTE)),
}


@pytest.mark.parametrize("made", MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_lock_is_said_at_import(made: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError):
        made()


def test_rule_42_the_fingerprint_names_the_lock_and_nothing_more_of_it() -> None:
    plain, locked_ = saga_with(None), saga_with()
    assert locked_.fingerprint.text.replace("lock customer\n", "") == plain.fingerprint.text
    other = saga_with(Lock("customer", key=lambda _: "x", when_taken="refuse"))
    assert locked_.fingerprint == other.fingerprint != plain.fingerprint
    assert difference(locked_.fingerprint.text, plain.fingerprint.text) == (
        "it takes: lock customer here, nothing in the record"
    )
    assert "it takes" in why_not_moved(Run().instance, locked_.fingerprint.text, plain.fingerprint.text)


def test_pictures_and_words_name_the_lock() -> None:
    assert outline(saga_with())[0] == "saga 'order', version 1, starts with PlaceOrder, under the lock 'customer'"
    assert 'start(["PlaceOrder<br/>under lock customer"])' in mermaid(saga_with())
    assert "lock" not in mermaid(saga_with(None))


def test_a_dialogue_waits_is_refused_and_joins() -> None:
    test = SagaTest(saga_with())
    test.start(shop.ORDER, locked_by="s0")
    test.expect_nothing()
    test.take_lock()
    test.expect_command(shop.ChargePayment)
    with pytest.raises(AssertionError, match="waits for no lock"):
        test.take_lock()
    for when_taken, code in (("refuse", "locked"), ("join", "joined")):
        test = SagaTest(saga_with(Lock("customer", key=customer, when_taken=when_taken)))  # type: ignore[arg-type]
        test.start(shop.ORDER, locked_by="s0")
        assert (test.status, Failure.from_json(test.instance.failure).code) == ("compensated", code)
