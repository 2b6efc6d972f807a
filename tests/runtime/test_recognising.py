"""What a worker asks of stored bodies before it decides: that its classes are those that wrote them, and no more."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from choros.errors import DeclaredOtherwise
from choros.messages import Command, Done, Message
from choros.runtime.orchestrator.recent import Recent
from choros.runtime.orchestrator.recognition import Familiar, recognise
from choros.saga.machine.instance import UNTOUCHED, Instance, States
from choros.saga.machine.machine import begin
from choros.saga.nodes import Pivot
from choros.saga.saga import Saga
from choros.store.sagas import Record

closed = False


class Order(Message):
    order_id: str
    wanted: pydantic.AwareDatetime


class Early(Message, name="order"):
    order_id: str
    wanted: pydantic.FutureDatetime


class Checked(Message, name="order"):
    order_id: str
    wanted: datetime

    @pydantic.field_validator("order_id")
    @classmethod
    def known(cls, value: str) -> str:
        raise ValueError


class Book(Command[Done]):
    until: pydantic.FutureDatetime


class Ask(Command[Done]):
    counter: int

    @pydantic.field_validator("counter")
    @classmethod
    def is_open(cls, value: int) -> int:
        if closed:
            raise KeyError(value)
        return value


def book(order: Order) -> Book:
    return Book(until=datetime(2901, 2, 3, tzinfo=UTC))


def ask(order: Order) -> Ask:
    return Ask(counter=7)


def saga_of(builder: Callable[..., Any], start: type[Message] = Order) -> Saga[Any]:
    builder.__annotations__["order"] = start
    return Saga("order", start=start, steps=[Pivot(builder, to="desk", name="ask")])


def record_of(saga: Saga[Any], start: Message) -> Record:
    instance = begin(saga.tree, "s1", start.to_json(), 0.0, cause="c").instance
    assert instance.status == "running"
    return Record(
        saga_id="s1", saga=saga.name, saga_version=1, key="k", digest="d", application="shop", version=1,
        transition="t", status=instance.status, state=instance.dumps(), started_at=0.0, updated_at=0.0,
        fingerprint=saga.fingerprint.hash,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def open_desk() -> Iterator[None]:
    """The desk is open again."""
    global closed
    yield
    closed = False


ORDER = Order(order_id="o1", wanted=datetime(2001, 2, 3, tzinfo=UTC))


def test_a_command_in_flight_may_have_been_true_for_a_moment_only() -> None:
    saga = saga_of(book)
    record = record_of(saga, ORDER)
    past = replace(record, state=record.state.replace("2901-", "2001-"))
    assert past != record
    assert recognise({("order", 1): saga}, past)


def test_a_command_in_flight_is_read_by_others_so_what_its_model_asks_for_is_theirs_to_judge() -> None:
    global closed
    saga = saga_of(ask)
    record = record_of(saga, ORDER)
    closed = True
    assert recognise({("order", 1): saga}, record)


def test_a_start_that_was_true_when_it_was_written_is_still_the_same_start() -> None:
    saga = saga_of(ask, Early)
    record = record_of(saga_of(ask), ORDER)
    assert recognise({("order", 1): saga}, record)


def test_a_start_that_a_model_refuses_is_of_another_class() -> None:
    record = record_of(saga_of(ask), ORDER)
    with pytest.raises(DeclaredOtherwise, match="order_id: value_error"):
        recognise({("order", 1): saga_of(ask, Checked)}, record)


def test_what_was_written_here_is_not_read_again_unless_it_is_another_text_or_another_declaration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saga, familiar = saga_of(ask), Familiar()
    record = record_of(saga, ORDER)
    sagas, written = {("order", 1): saga}, recognise({("order", 1): saga}, record)[1]
    familiar.keep(saga, record.state, written)
    monkeypatch.setattr(Order, "from_json", None)
    assert recognise(sagas, record, familiar) == (saga, written)
    edited = replace(record, state=record.state.replace("o1", "o2"))
    newer = Saga("order", start=Order, steps=[Pivot(ask, to="desk", name="ask")], version=2)
    for other in (edited, replace(record, saga_version=2, fingerprint=newer.fingerprint.hash)):
        with pytest.raises(TypeError):
            recognise({**sagas, ("order", 2): newer}, other, familiar)


def test_of_a_saga_its_newest_state_is_at_hand_and_none_once_it_is_over() -> None:
    saga, familiar = saga_of(ask), Familiar()
    record = record_of(saga, ORDER)
    first = Instance.loads(record.state)
    second = replace(first, cause="another")
    familiar.keep(saga, record.state, first)
    familiar.keep(saga, second.dumps(), second, record.state)
    over = replace(second, status="completed")
    at_hand = [familiar.read(replace(record, state=one.dumps())) for one in (first, second, over)]
    assert at_hand == [None, second, None]
    familiar.keep(saga, over.dumps(), over, second.dumps())
    at_hand = [familiar.read(replace(record, state=one.dumps())) for one in (first, second, over)]
    assert at_hand == [None, None, None]


def test_a_node_left_as_if_nobody_had_come_to_it_is_read_as_one_that_somebody_came_to() -> None:
    saga, familiar = saga_of(ask), Familiar()
    record = record_of(saga, ORDER)
    left = replace(Instance.loads(record.state), nodes=States({"ask": UNTOUCHED}))
    familiar.keep(saga, left.dumps(), left)
    assert familiar.read(replace(record, state=left.dumps())) is None


def test_the_oldest_goes_when_there_are_too_many() -> None:
    recent = Recent[str](most=10)
    for key in ("a", "b", "a", "c"):
        recent.keep(key, key.upper(), 5)
    assert [recent.get(key) for key in ("a", "b", "c")] == ["A", None, "C"]
    recent.drop("a")
    recent.drop("a")
    assert recent.get("a") is None and len(recent) == 1
    recent.keep("d", "D", 11)
    assert len(recent) == 0
