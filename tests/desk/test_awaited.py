"""Of several answers that an instance waits for, the one is told first that a person should look at."""

from choros.cli.waits import waiting_lines
from choros.desk.awaited import awaited
from choros.saga.machine.inputs import Answered, TimerFired
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Parallel, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.store.sagas import Record
from choros.transport.topology import Names
from choros.wire.command_key import CommandKey
from tests.saga.trip import Booked, BookTrip, book_hotel, car, flight, give_hotel_back

once = RetryPolicy(attempts=1, exhausted="park")
stubborn = Step(book_hotel, to="hotels", compensation=give_hotel_back, retry=once)
saga = Saga("trip", start=BookTrip, steps=(Parallel(flight, car, stubborn),))
begun = begin(saga.tree, "s", BookTrip().to_json(), 0.0, cause="start").instance


def told(instance: Instance) -> tuple[str, int, str, int]:
    one = awaited(saga, instance, Names("shop"))
    assert one is not None
    return one.step, one.attempt, one.held, one.others


def test_the_one_that_was_tried_most_often_comes_first_and_a_parked_one_before_it() -> None:
    assert told(begun) == ("parallel.book_flight", 1, "", 2)
    key = CommandKey("s", "parallel.book_car", 1, "do")
    fired = decide(saga.tree, begun, [TimerFired()], 30.0).instance
    assert told(fired) == ("parallel.book_hotel", 1, "parked", 2)
    settled = decide(saga.tree, fired, [Answered("r", key, 1, "ok", Booked().to_json())], 31.0).instance
    assert told(settled) == ("parallel.book_hotel", 1, "parked", 1)


def test_a_person_is_told_how_many_others_there_are() -> None:
    one = awaited(saga, begun, Names("shop"))
    record = Record(
        saga_id="s", saga="trip", saga_version=1, key="k", digest="", application="app", version=1, transition="t",
        status="running", state="", started_at=0.0, updated_at=0.0,
    )  # fmt: skip
    assert waiting_lines("shop", "memory://", record, begun, one, 3.0)[0].endswith("and for 2 other answers")


def test_what_has_ended_waits_for_nothing() -> None:
    assert awaited(saga, Instance("s", "{}", status="completed"), Names("shop")) is None
