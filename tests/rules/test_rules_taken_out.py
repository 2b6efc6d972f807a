"""Each rule is held by a test that fails when the rule is taken out. Run with -s to see which."""

from collections.abc import Iterator

import pytest

from tests.rules.nursery import Nursery
from tests.rules.removal import Removal
from tests.rules.removals import REMOVALS

FAILED = 1
"""pytest's exit code where tests ran and failed; a removal that breaks the import would give another."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.mark.long
@pytest.mark.parametrize("removal", REMOVALS, ids=str)
def test_a_rule_that_is_taken_out_is_missed(nursery: Nursery, removal: Removal) -> None:
    code, said = nursery.without(removal)
    assert code == FAILED, said
    assert " failed" in said, said


def test_every_rule_that_is_built_is_taken_out_once() -> None:
    assert {removal.rule for removal in REMOVALS} == {*range(1, 34), 35, 36, 38, 39, 40, *range(42, 48)}
    assert len(set(map(str, REMOVALS))) == len(REMOVALS)
