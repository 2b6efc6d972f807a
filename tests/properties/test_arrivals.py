"""A consumer lives through random lives, and so does a reader of the log."""

from __future__ import annotations

from tests.properties.arrivals_machine import ArrivalsMachine, PaceMachine, ReadingMachine
from tests.properties.machines import explore


def test_each_is_taken_once_in_order() -> None:
    explore(ArrivalsMachine, 40, 25)


def test_only_under_load_is_it_busy() -> None:
    explore(PaceMachine, 30, 20)


def test_a_log_is_read_on_with_the_first_that_was_not_settled() -> None:
    explore(ReadingMachine, 30, 20)
