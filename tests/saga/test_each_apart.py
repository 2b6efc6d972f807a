"""A loop of more items than stand in a record: what is over costs nothing, and is found again on the way back."""

import random

import pytest

from choros.messages import Done, Reply
from choros.runtime.orchestrator.states import MOST_IN_RECORD, SPARE
from choros.saga.machine.inputs import CancelRequested, PauseRequested, ResumeRequested
from choros.saga.nodes import ForEach, Pivot, Retriable, When
from choros.wire.command_key import CommandKey
from tests.saga.apart import Stored
from tests.saga.parcels import (
    Line,
    Order,
    Paid,
    Pay,
    Reserved,
    Wrapped,
    is_gift,
    lines,
    off,
    pay,
    reserve,
    saga_of,
    send_line,
    wrap,
)
from tests.saga.test_each import FOURS, nested, reserve_first

COUNT, AT_ONCE = 120, 3
saga = saga_of(
    reserve_first,
    ForEach(lines, [reserve, When(is_gift, then=wrap)], at_once=AT_ONCE),
    Pivot(pay, to="payment"),
    ForEach(lines, Retriable(send_line, to="mail"), name="parcels", at_once=5),
    compensated=off,
)


def order(count: int) -> Order:
    return Order(lines=[Line(article=f"{index:05}", gift=index % 3 == 0) for index in range(count)])


def reply_to(key: str) -> Reply:
    if key.endswith("undo"):
        return Done()
    step = CommandKey.parse(key).step
    kinds = {"wrap_line": Wrapped(paper=key), "pay": Paid(), "send_line": Done()}
    return kinds.get(step, Reserved(at=key))


class Answering:
    """Answers what is open, in an order of its own, and notes which was accepted when."""

    def __init__(self, count: int = COUNT, seed: int = 1) -> None:
        self.run = Stored(saga, order(count))
        self.random = random.Random(seed)
        self.answered: list[str] = []
        self._open: dict[str, None] = {}
        self._seen = 0

    @property
    def open(self) -> list[str]:
        """In the order in which they were sent; each is answered once."""
        if len(self.run.sent) > self._seen:
            self._open |= dict.fromkeys(self.run.sent[self._seen :])
            self._seen = len(self.run.sent)
        return list(self._open)

    def close(self, key: str) -> None:
        self.answered.append(key)
        del self._open[key]

    def answer(self, key: str) -> None:
        self.close(key)
        self.run.answer(key, reply_to(key))

    def until(self, step: str) -> str:
        while CommandKey.parse(self.open[-1]).step != step:
            self.answer(self.random.choice(self.open))
        return self.open[-1]


def test_the_items_are_reserved_paid_and_sent() -> None:
    told = Answering()
    told.until("pay")
    paying = told.run.instance.state("pay").leg
    assert paying
    paid = Pay.from_json(paying.command)
    assert paid.shelves == [f"s:lines[{index}].reserve_line:1:do" for index in range(COUNT)]
    assert [paper == "none" for paper in paid.papers] == [index % 3 > 0 for index in range(COUNT)]
    while not told.run.instance.terminal:
        told.answer(told.random.choice(told.open))
    assert told.run.instance.status == "completed"
    assert len(told.answered) == len(set(told.run.sent)) == 1 + COUNT + COUNT // 3 + 1 + COUNT
    assert len(told.run.instance.nodes) <= MOST_IN_RECORD + SPARE + 5


@pytest.mark.parametrize("seed", range(3))
def test_all_are_undone_in_the_order_of_their_coming(seed: int) -> None:
    told = Answering(seed=seed)
    refused = told.until("pay")
    done = list(told.answered)
    told.run.refuse(refused, "declined")
    told.close(refused)
    while not told.run.instance.terminal:
        (key,) = told.open
        told.answer(key)
    assert told.run.instance.status == "compensated"
    assert [key.removesuffix("undo") for key in told.answered[len(done) + 1 :]] == [
        key.removesuffix("do") for key in reversed(done)
    ]


def test_cancelled_half_way_what_is_under_way_is_undone_first() -> None:
    told = Answering()
    for _ in range(COUNT):
        told.answer(told.random.choice(told.open))
    done, under_way = list(told.answered), told.open
    told.run.give(CancelRequested("c"))
    for key in under_way:
        told.close(key)
    while not told.run.instance.terminal:
        (key,) = told.open
        told.answer(key)
    undone = [key.removesuffix("undo") for key in told.answered[len(done) + len(under_way) :]]
    assert undone[len(under_way) :] == [key.removesuffix("do") for key in reversed(done)]
    assert set(undone[: len(under_way)]) == {key.removesuffix("do") for key in under_way}


def test_a_pause_keeps_every_item_where_it_is() -> None:
    told = Answering()
    told.answer(told.open[0])
    told.run.give(PauseRequested("p"))
    for key in told.open:
        told.answer(key)
    assert not told.open
    told.run.give(ResumeRequested("r"))
    assert len(told.open) == AT_ONCE
    told.until("pay")


def test_a_late_answer_to_an_item_that_lies_apart_changes_nothing() -> None:
    told = Answering()
    told.until("pay")
    decision = told.run.answer("s:lines[1].reserve_line:1:do", Reserved(at="again"))
    assert [event.kind for event in decision.events] == ["late_reply"]
    stray = told.run.answer(f"s:lines[{COUNT}].reserve_line:1:do", Reserved(at="again"))
    assert len(stray.strays) == 1


@pytest.mark.slow
def test_an_answer_to_a_late_item_costs_what_one_to_an_early_item_does() -> None:
    told = Answering(400)
    told.until("pay")
    written, loaded = told.run.written[1:-1], told.run.loaded[:-1]
    assert max(written[-100:]) <= 1.1 * max(written[50:150])
    assert max(loaded) <= 2


@pytest.mark.slow
def test_an_undo_costs_the_same_however_many_there_are() -> None:
    told = Answering(200)
    told.until("pay")
    told.run.give(CancelRequested("c"))
    refused = told.open[-1]
    told.run.refuse(refused, "declined")
    told.close(refused)
    before = len(told.run.loaded)
    while not told.run.instance.terminal:
        told.answer(told.open[-1])
    loaded, written = told.run.loaded[before:], told.run.written[before:]
    assert max(loaded) <= 2 * MOST_IN_RECORD + 8
    assert sum(loaded) <= 5 * len(loaded)
    assert max(written) <= 2 * sorted(written)[len(written) // 2]


def test_loops_in_loops_that_lie_apart() -> None:
    run = Stored(nested, FOURS.model_copy(update={"lines": FOURS.lines * 12}))
    answered: list[str] = []
    while not run.sent[-1].endswith("pay_halves:1:do"):
        key = next(key for key in run.sent if key not in answered)
        answered.append(key)
        run.answer(key, Wrapped() if "gather" in key else Reserved(at=key))
    pay_leg = run.instance.state("pay_halves").leg
    assert pay_leg
    assert len(Pay.from_json(pay_leg.command).shelves) == 36
    assert run.looks[-1] <= 4, "what all of them were answered with comes with a look for each depth, not for each"
    key = run.sent[-1]
    run.refuse(key, "declined")
    count = len(answered)
    while not run.instance.terminal:
        run.answer(run.sent[-1], Done())
    assert [one.removesuffix("undo") for one in run.sent[count + 1 :]] == [
        one.removesuffix("do") for one in reversed(answered)
    ]
