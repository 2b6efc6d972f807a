"""The judge of the flow under chaos is judged as well: every wrong that it is there for is planted, and found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos.ledgers import Dossier, Entry
from tests.chaos.outings import EVERY, NO_GUIDE, NO_LUNCH, judge_outings

WELL, FAILS = 6 * EVERY, (6 + NO_LUNCH) * EVERY
ON = ("plan+", "lunch+", "leader+", "on+")
OFF = ("plan+", "leader+", "turn+", "leader-", "off+")


def kinds(number: int, steps: Sequence[str], *, sailed: bool = True) -> set[str]:
    found = {number: [Entry("any", one[:-1], {"+": "do", "-": "undo"}[one[-1]], "", 1, 1.0) for one in steps]}
    voyage = Dossier(number, "plain", "saga", [Entry("harbour", "sail", "do", "k", 1, 1.0)] if sailed else [])
    return {kind for kind, of, _ in judge_outings(found if steps else {}, [voyage]) if of == number}


@pytest.mark.parametrize(
    ("number", "steps"),
    [(WELL, ON), (FAILS, OFF), ((6 + NO_GUIDE) * EVERY, (*OFF[:1], "lunch+", "turn+", "lunch-", "off+"))],
)
def test_what_went_as_it_should_is_no_violation(number: int, steps: Sequence[str]) -> None:
    assert kinds(number, steps) == set()


def test_no_outing_is_wanted_where_no_ship_has_sailed() -> None:
    assert kinds(WELL, (), sailed=False) == set() == kinds(WELL + 1, ())
    assert kinds(WELL, ON, sailed=False) == {"unexpected"}


@pytest.mark.parametrize(
    ("number", "steps", "kind"),
    [
        (WELL, (), "lost"),
        (WELL, ON[:-1], "lost"),
        (WELL, (*ON, "off+"), "doubled"),
        (WELL, (*ON, "lunch+"), "doubled"),
        (FAILS, (*OFF, "leader-"), "doubled"),
        (FAILS, (*OFF, "turn+"), "doubled"),
        (FAILS, tuple(one for one in OFF if one != "leader-"), "standing"),
        (WELL, ("plan+", "lunch+", "on+"), "lost"),
        (WELL, OFF, "unexpected"),
    ],
)
def test_what_is_wrong_is_found(number: int, steps: Sequence[str], kind: str) -> None:
    assert kind in kinds(number, steps)
