"""What becomes of live instances under another version: what would be undone of them, and names that differ only."""

from collections.abc import Mapping
from typing import Any

import pytest

from choros.desk.migration import judged
from choros.runtime.orchestrator.stuck import Declarations
from choros.saga.difference import renamed
from choros.saga.machine.inputs import Answered
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Parallel, Pivot, Publish, Step
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Record
from choros.wire.command_key import CommandKey
from tests.saga.trip import (
    Booked,
    BookTrip,
    ChargeCard,
    book_flight,
    car_is_wanted,
    flight,
    give_flight_back,
    hotel,
    trip_off,
)


def saga_of(*steps: Any, version: int = 1, **more: Any) -> Saga[BookTrip]:
    return Saga("trip", version=version, start=BookTrip, steps=steps, **more)


def pay(book_flight: Booked) -> ChargeCard:
    return ChargeCard(references=[book_flight.reference])


def pay_plane(plane: Booked) -> ChargeCard:
    return ChargeCard(references=[plane.reference])


first = saga_of(Parallel(flight, hotel), Pivot(pay, to="payment"), compensated=trip_off)


def record_of(saga: Saga[BookTrip], answers: Mapping[str, str]) -> Record:
    decision = begin(saga.tree, "s", BookTrip().to_json(), 0.0, cause="start")
    for path, reply in answers.items():
        key = CommandKey("s", path, 1, "do")
        decision = decide(saga.tree, decision.instance, [Answered(path, key, 1, "ok", reply)], 1.0)
    return Record(
        saga_id="s", saga=saga.name, saga_version=saga.version, key="t1", digest="", application="app", version=1,
        transition="t", status=decision.instance.status, state=decision.instance.dumps(), started_at=0.0,
        updated_at=0.0, fingerprint=saga.fingerprint.hash,
    )  # fmt: skip


def declarations_of(*sagas: Saga[Any]) -> Declarations:
    declarations = Declarations({(one.name, one.version): one for one in sagas}, MemoryStore())
    declarations._texts = {record_of(one, {}).kind: one.fingerprint.text for one in sagas}
    return declarations


async def test_the_undo_is_told_the_newest_first() -> None:
    second = saga_of(Parallel(flight, hotel), Pivot(pay, to="payment"), compensated=trip_off, version=2)
    booked = Booked().to_json()
    record = record_of(first, {"parallel.book_hotel": booked, "parallel.book_flight": booked})
    found = await judged(record, second, declarations_of(first, second))
    assert (found.verdict, found.undo) == ("safe", ("give_flight_back", "give_hotel_back"))


async def test_only_names_that_differ_need_a_mapping() -> None:
    plane = Step(book_flight, to="flights", compensation=give_flight_back, name="plane")
    second = saga_of(Parallel(plane, hotel), Pivot(pay_plane, to="payment"), compensated=trip_off, version=2)
    found = await judged(record_of(first, {}), second, declarations_of(first, second))
    assert (found.verdict, found.why) == (
        "needs a mapping", "parallel.book_flight is called parallel.plane here, pay is called pay_plane here",
    )  # fmt: skip


async def test_what_differs_in_more_than_names_is_stuck() -> None:
    second = saga_of(Parallel(flight, hotel, name="both"), Publish(car_is_wanted), Pivot(pay, to="payment"), version=2)
    found = await judged(record_of(first, {}), second, declarations_of(first, second))
    assert (found.verdict, found.undo) == ("stuck", ())
    assert "it has come as far as parallel" in found.why


@pytest.mark.parametrize("other", [saga_of(flight), saga_of(flight, hotel), saga_of(Parallel(hotel, flight))])
def test_nothing_is_renamed_where_something_else_differs(other: Saga[BookTrip]) -> None:
    assert renamed(first.fingerprint.text, other.fingerprint.text) == {}
    assert renamed(first.fingerprint.text, first.fingerprint.text) == {}
