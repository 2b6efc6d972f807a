"""What is thought of a destination, from its answers."""

from __future__ import annotations

import pytest

from choros.transport.doubt import WINDOW, Doubt
from choros.transport.port import Published


def doubted() -> tuple[Doubt, list[bool]]:
    told: list[bool] = []
    return Doubt(told.append), told


def test_at_first_nothing_is_held_against_it() -> None:
    doubt, told = doubted()
    doubt.answered(Published.CONFIRMED)
    doubt.answered(Published.NACKED)
    assert (doubt.held, doubt.refuses, doubt.window, told) == (False, False, WINDOW, [])


def test_while_something_is_out_and_late_nothing_more_is_sent_and_then_one_at_a_time() -> None:
    doubt, told = doubted()
    doubt.late()
    doubt.late()
    assert (doubt.refuses, told) == (True, [True])
    doubt.nothing_flies()
    assert (doubt.held, doubt.refuses, doubt.window) == (True, False, 1)
    doubt.late()
    assert (doubt.refuses, told) == (True, [True])


@pytest.mark.parametrize("answer", [Published.CONFIRMED, Published.RETURNED])
def test_one_good_answer_ends_it(answer: Published) -> None:
    doubt, told = doubted()
    doubt.late()
    doubt.answered(answer)
    assert (doubt.held, doubt.refuses, doubt.window, told) == (False, False, WINDOW, [True, False])


@pytest.mark.parametrize("answer", [Published.NACKED, Published.UNKNOWN])
def test_a_refusal_does_not(answer: Published) -> None:
    doubt, told = doubted()
    doubt.late()
    doubt.answered(answer)
    assert (doubt.held, doubt.refuses, told) == (True, True, [True])


def test_what_waited_for_its_turn_is_not_late() -> None:
    assert Doubt.is_due(5.0, patience=10.0)
    assert not Doubt.is_due(4.9, patience=10.0)
