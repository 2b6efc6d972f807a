"""The same until it is enough: asked once after each time, counted, bounded; undone the last time first."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from choros.errors import DeclarationError
from choros.messages import Done
from choros.runtime.orchestrator.states import MOST_IN_RECORD
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered, CancelRequested, RetryRequested, SkipRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import decide
from choros.saga.nodes import ForEach, Parallel, Pivot, Repeat, Retriable, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing import SagaTest
from choros.wire.command_key import CommandKey
from tests.saga.apart import Stored
from tests.saga.refill import (
    CancelPallet,
    Close,
    Heard,
    Notify,
    OrderPallet,
    PalletOrdered,
    PutOnShelf,
    Refill,
    ShelfAsItWas,
    ShelfFull,
    Stocked,
    TakeOffShelf,
    Told,
    all_heard,
    cancel_pallet,
    close,
    is_full,
    notify,
    order_pallet,
    pallet,
    put_on_shelf,
    refill_saga,
    saga_of,
    shelve,
)


def begun(saga: Saga[Refill] = refill_saga, wanted: int = 30) -> SagaTest:
    test = SagaTest(saga)
    test.start(Refill(wanted=wanted))
    return test


def once(test: SagaTest, time: int, on_shelf: int) -> None:
    test.expect_command(OrderPallet, at=f"fill[{time}]").reply(PalletOrdered(number=f"p{time}"))
    test.expect_command(PutOnShelf(number=f"p{time}"), at=f"fill[{time}]").reply(Stocked(on_shelf=on_shelf))


@pytest.mark.parametrize("times", [1, 2, 3])
def test_it_is_done_until_it_is_enough(times: int) -> None:
    test = begun(wanted=10 * times)
    for time in range(times):
        once(test, time, 10 * (time + 1))
    test.expect_command(Close(on_shelf=10 * times)).reply(Told())
    test.expect_facts(ShelfFull)
    assert test.status == "completed"


def test_never_enough_all_is_undone_the_last_time_first() -> None:
    test = begun(wanted=99)
    for time in range(3):
        once(test, time, time)
    for time in (2, 1, 0):
        test.expect_compensation(TakeOffShelf(on_shelf=time)).reply()
        test.expect_compensation(CancelPallet(number=f"p{time}")).reply()
    test.expect_facts(ShelfAsItWas)
    assert (test.status, '"used_up"' in test.instance.failure) == ("compensated", True)


@pytest.mark.parametrize("time", range(3))
@pytest.mark.parametrize("silent", [False, True])
def test_refused_or_in_doubt_at_any_time_those_before_are_undone(time: int, silent: bool) -> None:
    single = RetryPolicy(attempts=1)
    shelving = Step(put_on_shelf, to="store", compensation=shelve.compensation, retry=single)
    test = begun(saga_of(Repeat([pallet, shelving], until=is_full, at_most=3, name="fill")), wanted=99)
    for before in range(time):
        once(test, before, before + 1)
    test.expect_command(OrderPallet).reply(PalletOrdered(number="last"))
    command = test.expect_command(PutOnShelf)
    if silent:
        command.time_out()
        test.expect_compensation(TakeOffShelf(on_shelf=0)).reply()
    else:
        command.refuse("broken")
    test.expect_compensation(CancelPallet(number="last")).reply()
    for before in reversed(range(time)):
        test.expect_compensation(TakeOffShelf(on_shelf=before + 1)).reply()
        test.expect_compensation(CancelPallet(number=f"p{before}")).reply()
    assert test.status == "compensated"


def test_refused_behind_it_all_times_are_undone() -> None:
    test = begun(wanted=20)
    once(test, 0, 10)
    once(test, 1, 20)
    test.expect_command(Close).refuse("locked")
    for number, on_shelf in (("p1", 20), ("p0", 10)):
        test.expect_compensation(TakeOffShelf(on_shelf=on_shelf)).reply()
        test.expect_compensation(CancelPallet(number=number)).reply()
    assert test.status == "compensated"


def test_never_enough_behind_the_pivot_it_waits_for_a_person_who_allows_as_many_again() -> None:
    asked: list[int] = []

    def heard_all(refill: Refill, heard: Heard) -> bool:
        asked.append(heard.count)
        return all_heard(refill, heard)

    tell = Repeat(Retriable(notify, to="mail"), until=heard_all, at_most=2, name="tell")
    test = begun(saga_of(pallet, Pivot(put_on_shelf, to="store"), tell), wanted=4)
    test.expect_command(OrderPallet).reply(PalletOrdered())
    test.expect_command(PutOnShelf).reply(Stocked(on_shelf=9))
    for count in (1, 2):
        test.expect_command(Notify, at=f"tell[{count - 1}]").reply(Heard(count=count))
    assert dict(test.instance.parked_at)["tell"].parked == "heard_all did not say yes after 2 times"
    asked.clear()
    skipped = decide(test.saga.tree, test.instance, [SkipRequested("s", "tell", 1, "{}")], 0.0)
    assert skipped.instance.status == "parked"
    test._decide(RetryRequested("r", "tell", 1))
    test._decide(RetryRequested("again", "tell", 1))  # too late
    assert not asked, "it has said of the last time that it was not enough"
    for count in (3, 4):
        test.expect_command(Notify, at=f"tell[{count - 1}]").reply(Heard(count=count))
    assert test.status == "completed"


def test_the_question_is_asked_once_for_each_time_whatever_is_stored_in_between() -> None:
    asked: list[int] = []

    def counted(stocked: Stocked) -> bool:
        asked.append(stocked.on_shelf)
        return len(asked) == 2

    saga = saga_of(Repeat([pallet, shelve], until=counted, at_most=5), Pivot(close, to="store"))
    run = Stored(saga, Refill())
    for count in range(1, 5):
        reply = PalletOrdered() if count % 2 else Stocked(on_shelf=count)
        run.answer(run.sent[-1], reply)
        run.instance = Instance.loads(run.instance.dumps())
    assert run.sent[-1] == "s:close:1:do"
    assert asked == [2, 4]
    assert [run.instance.state(f"repeat[{time}]").choice for time in range(2)] == ["again", "enough"]
    assert run.instance.state("repeat").begun == 2


def test_a_question_that_fails_parks_it_and_is_asked_again() -> None:
    broken = [True]

    def sometimes(stocked: Stocked) -> bool:
        if broken:
            raise KeyError
        return cast(bool, "yes") if stocked.on_shelf == 7 else True

    test = begun(saga_of(Repeat([pallet, shelve], until=sometimes, at_most=5, name="fill")))
    once(test, 0, 1)
    assert dict(test.instance.parked_at)["fill"].parked == "sometimes raised KeyError"
    broken.clear()
    test._decide(RetryRequested("r", "fill", 1))
    assert test.status == "completed"
    other = begun(test.saga)
    once(other, 0, 7)
    assert dict(other.instance.parked_at)["fill"].parked == "sometimes returned str, not bool"
    other.cancel()
    other.expect_compensation(TakeOffShelf).reply()
    other.expect_compensation(CancelPallet).reply()
    assert other.status == "compensated"


def test_each_time_has_keys_of_its_own_and_a_late_answer_to_an_earlier_one_changes_nothing() -> None:
    test = begun(wanted=20)
    once(test, 0, 10)
    test.expect_command(OrderPallet, at="fill[1]")
    late = Answered("late", CommandKey("saga", "fill[0].order_pallet", 1, "do"), 1, "ok", PalletOrdered().to_json())
    decision = decide(test.saga.tree, test.instance, [late], 1.0)
    assert [event.kind for event in decision.events] == ["late_reply"]
    assert refill_saga.at_work(test.instance) == "fill[1].order_pallet"


def test_more_times_than_stand_in_a_record_are_undone_the_last_first() -> None:
    saga = saga_of(Repeat([pallet, shelve], until=is_full, at_most=MOST_IN_RECORD), Pivot(close, to="store"))
    run = Stored(saga, Refill(wanted=MOST_IN_RECORD))
    while not run.sent[-1].startswith("s:close"):
        time = len(run.sent) // 2
        run.answer(run.sent[-1], PalletOrdered() if len(run.sent) % 2 else Stocked(on_shelf=time))
    assert len(run.sent) == 2 * MOST_IN_RECORD + 1
    assert max(run.loaded) == 0
    done = run.sent[:-1]
    run.refuse(run.sent[-1], "locked")
    while not run.instance.terminal:
        run.answer(run.sent[-1], Done())
    undone = [key.removesuffix("undo") for key in run.sent[len(done) + 1 :]]
    assert undone == [key.removesuffix("do") for key in reversed(done)]


# --- in each other ----------------------------------------------------------------------------------------------------


def shelves(refill: Refill) -> list[str]:
    return refill.shelf.split()


def of_shelf(shelf: str) -> OrderPallet:
    return OrderPallet(shelf=shelf)


def close_all(stocked: list[Stocked]) -> Close:
    return Close(on_shelf=sum(one.on_shelf for one in stocked))


def cancel_any(refill: Refill) -> CancelPallet:
    return CancelPallet(number=refill.shelf)


def test_in_each_item_as_often_as_that_needs_it() -> None:
    each = [Step(of_shelf, to="wholesale", compensation=cancel_any, name="order_pallet"), shelve]
    saga = saga_of(ForEach(shelves, Repeat(each, until=is_full, at_most=2), at_once=2), Pivot(close_all, to="store"))
    test = SagaTest(saga)
    test.start(Refill(shelf="a b", wanted=5))
    for path, on_shelf in (("shelves[1].repeat[0]", 1), ("shelves[0].repeat[0]", 9), ("shelves[1].repeat[1]", 7)):
        test.expect_command(OrderPallet, at=path).reply(PalletOrdered(number=path))
        test.expect_command(PutOnShelf(number=path)).reply(Stocked(on_shelf=on_shelf))
    test.expect_command(Close(on_shelf=16)).refuse("locked")
    for on_shelf in (7, 9, 1):
        test.expect_compensation(TakeOffShelf(on_shelf=on_shelf)).reply()
        test.expect_compensation(CancelPallet).reply()
    assert test.status == "compensated"


def test_never_enough_in_one_item_or_branch_undoes_what_the_others_do() -> None:
    one = Step(order_pallet, to="wholesale", compensation=cancel_pallet, timeout=timedelta(minutes=9), name="beside")
    saga = saga_of(Parallel(Repeat([pallet, shelve], until=is_full, at_most=1), Parallel(one, shelve_any)))
    test = SagaTest(saga)
    test.start(Refill(wanted=5))
    test.expect_command(OrderPallet, at="parallel.repeat[0]").reply(PalletOrdered(number="in"))
    beside = test.expect_command(OrderPallet, at="parallel.parallel")
    test.expect_command(PutOnShelf(number="any")).reply(Stocked(on_shelf=3))
    test.expect_command(PutOnShelf(number="in")).reply(Stocked(on_shelf=1))
    test.expect_compensation(CancelPallet(number="?")).reply()
    beside.reply(PalletOrdered())  # too late
    test.expect_compensation(TakeOffShelf(on_shelf=1)).reply()
    test.expect_compensation(TakeOffShelf(on_shelf=0)).reply()
    test.expect_compensation(CancelPallet(number="in")).reply()
    assert test.status == "compensated"


def put_any(refill: Refill) -> PutOnShelf:
    return PutOnShelf(number="any")


def take_any(refill: Refill) -> TakeOffShelf:
    return TakeOffShelf(on_shelf=0)


shelve_any = Step(put_any, to="store", compensation=take_any)


def test_a_cancel_before_the_last_answer_asks_no_more() -> None:
    test = begun(wanted=99)
    once(test, 0, 1)
    test.expect_command(OrderPallet)
    answer = Answered("r", CommandKey("saga", "fill[1].order_pallet", 1, "do"), 1, "ok", PalletOrdered().to_json())
    decision = decide(test.saga.tree, test.instance, [answer, CancelRequested("c")], 1.0)
    assert [str(send.key) for send in decision.sends] == ["saga:fill[1].order_pallet:1:undo"]


# --- what a declaration may not say, and how it is shown --------------------------------------------------------------


def no_bool(stocked: Stocked) -> int:
    return 1


pivot = Pivot(put_on_shelf, to="store")
MISTAKES: Mapping[str, tuple[Callable[[], Repeat], str]] = {
    "nothing": (lambda: Repeat([], until=is_full, at_most=1), "there is nothing to repeat"),
    "pivot": (lambda: Repeat(pivot, until=is_full, at_most=1), "there is a pivot in repeat, which may be done several"),
    "no bool": (lambda: Repeat([pallet, shelve], until=cast(Any, no_bool), at_most=1), "returns int, not a bool"),
    "unknown": (lambda: Repeat(pallet, until=is_full, at_most=1), "is_full needs Stocked, which no earlier step"),
    "no bound": (lambda: Repeat([pallet, shelve], until=is_full, at_most=0), "at_most=0 is no number from 1 to 1000"),
    "no function": (lambda: Repeat(pallet, until=cast(Any, True), at_most=1), "True is no function"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_sentences(mistake: str) -> None:
    written, sentence = MISTAKES[mistake]
    step = written()
    with pytest.raises(DeclarationError) as refused:
        saga_of(step)
    assert sentence in str(refused.value)


def test_the_picture_the_outline_and_the_fingerprint_tell_of_it() -> None:
    assert '    subgraph s0["until is_full, 3 times at most"]' in mermaid(refill_saga).splitlines()
    assert "  fill (until is_full, 3 times at most):" in outline(refill_saga)
    text = refill_saga.fingerprint.text
    assert "fill: repeat\n  until(fill[].put_on_shelf: stocked, refill): order_pallet, put_on_shelf\n" in text
    assert "do close(fill[-1].put_on_shelf: stocked) to store" in text
    more = saga_of(Repeat([pallet, shelve], until=is_full, at_most=9, name="fill"), *refill_saga.steps[1:])
    assert more.fingerprint.text == text.replace(*_closing(text))


def _closing(text: str) -> tuple[str, str]:
    return text[text.index("when completed") :], ""
