"""The twelve hardest pairs of nodes in each other: every interleaving keeps every promise, in as many states as
docs/testing.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from choros_verify.exploration.states import Left
from tests.exploration.pairs import CRASH, DUPLICATE, NOBODY, PAIRS
from tests.exploration.test_families import ALL, with_services

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
NESTED = "`Nested` in a race"
LISTED = dict(re.findall(r"^\| (.+ in .+?) \| .+? \| ([\d,]+) \| [\d.]+ \|$", PAGE, re.MULTILINE))
QUICK = ("`When` in `Parallel`", "`Parallel` in `When`", "`Wait` in a race")
ALL_PAIRS = [pytest.param(one, marks=() if one in QUICK else pytest.mark.cross) for one in PAIRS]


def test_the_page_lists_the_twelve() -> None:
    assert LISTED.keys() == {*PAIRS, NESTED}
    assert len(LISTED) == 12


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("name", ALL_PAIRS)
def test_every_interleaving_of_a_pair_keeps_every_promise(name: str) -> None:
    found = PAIRS[name].explored()
    assert found.complete and found.violation is None, found.violation
    assert {"compensated", "parked"} <= set(found.ends)
    assert f"{found.states:,}" == LISTED[name]


@pytest.mark.cross
@pytest.mark.parametrize("name", [*QUICK, "`ForEach` in `Parallel`"])
@pytest.mark.parametrize("budgets", [DUPLICATE, CRASH], ids=["a duplicate", "a crash"])
def test_nor_does_a_duplicate_or_a_crash_break_one(name: str, budgets: Left) -> None:
    found = PAIRS[name].explored(budgets, NOBODY)
    assert found.complete and found.violation is None, found.violation


@pytest.mark.nightly
def test_so_does_a_saga_in_a_race() -> None:
    found = with_services("in a race", ALL)
    assert found.violation is None, found.story
    assert f"{found.states:,}" == LISTED[NESTED]
