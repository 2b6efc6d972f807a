"""The account of a stranger's messages misses what is missing, and nothing else."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Thrown
from tests.chaos.strangers import account

THROWN = [Thrown("a", ("q",), 100.0), Thrown("b", ("q", "r"), 200.0)]
ALL = {("a", "q"): 1, ("b", "q"): 1, ("b", "r"): 1}


def test_all_are_there() -> None:
    found = account(THROWN, ALL, [])
    assert (found.thrown, found.parked, found.more_than_once, found.missing) == (2, 3, 0, [])


@pytest.mark.parametrize("lost", ALL)
def test_one_that_is_missing_is_missed(lost: tuple[str, str]) -> None:
    assert account(THROWN, {**ALL, lost: 0}, []).missing == [f"{lost[0]} in {lost[1]}"]


def test_one_that_is_there_twice_is_counted() -> None:
    assert account(THROWN, {**ALL, ("a", "q"): 2}, []).more_than_once == 1


def test_what_went_with_its_queue_is_excused() -> None:
    assert account(THROWN, {}, [(150.0, 160.0)]).missing == ["b in q", "b in r"]
