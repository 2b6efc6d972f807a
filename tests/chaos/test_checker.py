"""The judge of the chaos must itself be judged: every wrong that it is there for is planted, and found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos.checker import Verdict, Word, judge
from tests.chaos.ledgers import Dossier, Entry

COMPLETED = ("fare+", "cabin+", "sail+", "miles+")
COMPENSATED = ("fare+", "cabin+", "cabin-", "fare-")


def dossier(script: str, effects: Sequence[str], told: Sequence[str]) -> Dossier:
    """A voyage with these effects (`fare+` is done, `fare-` undone), and these facts in both subscribers' books."""
    found = Dossier(7, script, "saga-7")
    for at, effect in enumerate(effects):
        found.effects.append(Entry("any", effect[:-1], {"+": "do", "-": "undo"}[effect[-1]], "key", 1, 100.0 + at))
    for book in ("journal", "gazette"):
        found.told += [Entry(book, fact, "told", "id", 1, 110.0) for fact in told]
    return found


def verdict(
    one: Dossier, status: str, parked: str = "", *, lossy: Sequence[tuple[float, float]] = (), complete: bool = False
) -> Verdict:
    return judge({7: one}, {7: Word("saga-7", status, parked)}, lossy, complete)


def kinds(found: Verdict) -> set[str]:
    return {one.kind for one in found.violations}


@pytest.mark.parametrize(
    ("script", "effects", "told", "status", "parked"),
    [
        ("plain", COMPLETED, ("held", "done"), "completed", ""),
        ("refuse sail", COMPENSATED, ("off",), "compensated", ""),
        ("refuse fare", (), ("off",), "compensated", ""),
        ("cancel", COMPLETED, ("held", "done"), "completed", ""),
        ("cancel", ("fare+", "fare-"), ("off",), "compensated", ""),
        ("stuck refund", ("fare+", "cabin+", "cabin-"), (), "parked", "Hopeless"),
    ],
)
def test_what_went_as_written_is_no_violation(
    script: str, effects: Sequence[str], told: Sequence[str], status: str, parked: str
) -> None:
    assert verdict(dossier(script, effects, told), status, parked).violations == []


@pytest.mark.parametrize(
    ("script", "effects", "told", "status", "kind"),
    [
        ("plain", (*COMPLETED, "fare+"), ("held", "done"), "completed", "doubled"),
        ("refuse sail", (*COMPENSATED, "fare-"), ("off",), "compensated", "doubled"),
        ("refuse fare", ("fare-",), ("off",), "compensated", "doubled"),
        ("refuse sail", ("fare+", "cabin+", "cabin-"), ("off",), "compensated", "standing"),
        ("plain", ("fare+", "cabin+", "sail+"), ("held", "done"), "completed", "lost"),
        ("plain", ("fare+", "cabin+", "cabin-", "sail+", "miles+"), ("held", "done"), "completed", "lost"),
        ("plain", ("fare+",), (), "running", "stuck"),
        ("plain", ("fare+", "cabin+"), (), "parked", "stuck"),
        ("plain", COMPENSATED, ("off",), "compensated", "unexpected"),
        ("plain", (), ("held", "done"), "completed", "unexpected"),
        ("plain", COMPLETED, ("held", "done", "off"), "completed", "unexpected"),
        ("plain", COMPLETED, ("held", "done", "done"), "completed", "facts"),
        ("plain", COMPLETED, ("done",), "completed", "facts"),
        ("refuse sail", COMPENSATED, (), "compensated", "facts"),
    ],
)
def test_a_planted_wrong_is_found(
    script: str, effects: Sequence[str], told: Sequence[str], status: str, kind: str
) -> None:
    assert kind in kinds(verdict(dossier(script, effects, told), status))


CRUISE = ("fare+", "guide+", "bus+", "port+", "deck-0+", "deck-1+", "deck-2+", "table+", "dinner+")
SAILED = ("sail+", "points+", "miles+")
UNDONE = tuple(f"{effect[:-1]}-" for effect in reversed(CRUISE))


@pytest.mark.parametrize(
    ("script", "effects", "status"),
    [
        ("cruise", (*CRUISE, *SAILED), "completed"),
        ("cruise", (*CRUISE, "starboard+", "starboard-", *SAILED), "completed"),
        ("cruise, refuse dinner", (*CRUISE[:-1], "table-", "buffet+", *SAILED), "completed"),
        ("cruise, refuse sail", (*CRUISE, *UNDONE), "compensated"),
        ("cruise, refuse guide", ("fare+", "fare-"), "compensated"),
    ],
)
def test_a_cruise_that_went_as_written_is_no_violation(script: str, effects: Sequence[str], status: str) -> None:
    told = ("held", "done") if status == "completed" else ("off",)
    assert verdict(dossier(script, effects, told), status).violations == []


@pytest.mark.parametrize(
    ("effects", "kind"),
    [
        ((*CRUISE, "starboard+", *SAILED), "standing"),
        ((*CRUISE, "buffet+", *SAILED), "standing"),
        ((*CRUISE, "deck-1-", *SAILED), "lost"),
        ((*CRUISE[:3], *CRUISE[4:], *SAILED), "lost"),
        ((*CRUISE[:-1], *SAILED), "lost"),
        ((*CRUISE, "dinner-", *SAILED), "lost"),
        ((*CRUISE, *SAILED[:-1]), "lost"),
        ((*CRUISE, "starboard+", "starboard-", "starboard-", *SAILED), "doubled"),
    ],
)
def test_a_wrong_planted_into_a_cruise_is_found(effects: Sequence[str], kind: str) -> None:
    assert kind in kinds(verdict(dossier("cruise", effects, ("held", "done")), "completed"))


@pytest.mark.parametrize("left", ["bus-", "port-", "table-", "deck-0-"])
def test_what_is_left_of_a_cruise_that_was_undone_is_found(left: str) -> None:
    effects = (*CRUISE, *(effect for effect in UNDONE if effect != left))
    assert "standing" in kinds(verdict(dossier("cruise, refuse sail", effects, ("off",)), "compensated"))


def test_an_accepted_start_that_the_store_does_not_know_is_lost() -> None:
    found = judge({7: dossier("plain", (), ())}, {}, (), complete=False)
    assert "lost" in kinds(found)


def test_a_start_that_was_never_accepted_and_is_not_there_is_nothing() -> None:
    found = judge({7: Dossier(7, "plain")}, {}, (), complete=False)
    assert (found.violations, found.outcomes["never started"]) == ([], 1)


def test_a_start_that_was_never_accepted_but_is_there_must_end_like_any_other() -> None:
    unaccepted = dossier("plain", ("fare+",), ())
    unaccepted.saga_id = ""
    assert kinds(verdict(unaccepted, "running")) == {"stuck", "standing"}


def test_a_fact_may_be_missing_only_where_a_queue_was_deleted_since_and_nothing_was_published_again() -> None:
    quiet = dossier("plain", COMPLETED, ())
    assert kinds(verdict(quiet, "completed", lossy=[(104.0, 105.0)])) == set()
    assert kinds(verdict(quiet, "completed", lossy=[(50.0, 51.0)])) == {"facts"}
    assert kinds(verdict(quiet, "completed", lossy=[(104.0, 105.0)], complete=True)) == {"facts"}
    assert len(verdict(quiet, "completed", lossy=[(104.0, 105.0)]).missing_facts) == 2


EXPEDITION = ("permit+", "tent-small+", "sail+", "miles+")
LARGER = ("permit+", "tent-large+", "sail+", "miles+")


def spoken_to(effects: Sequence[str], tent: str, script: str = "expedition", number: int = 7) -> Dossier:
    found = dossier(script, effects, ("held", "done") if "sail+" in effects else ("off",))
    found.number, found.said = number, {"tent": tent}
    return found


@pytest.mark.parametrize(
    ("effects", "tent", "kind"),
    [
        (EXPEDITION, "none", None),
        (LARGER, "accepted", None),
        (LARGER, "", None),
        (EXPEDITION, "accepted", "lost"),
        (LARGER, "too_late", "lost"),
        ((*EXPEDITION, "tent-large+"), "none", "standing"),
        ((*EXPEDITION, "permit+"), "none", "doubled"),
        (EXPEDITION[1:], "none", "lost"),
        ((*EXPEDITION, "souvenir+"), "none", "unexpected"),
    ],
)
def test_an_expedition_has_what_it_was_told_and_each_once(effects: Sequence[str], tent: str, kind: str | None) -> None:
    assert kinds(verdict(spoken_to(effects, tent), "completed")) == ({kind} if kind else set())


def test_a_permit_that_was_given_after_its_undo_is_left_standing() -> None:
    refused = spoken_to(("permit+",), "none", "expedition, refuse sail")
    assert kinds(verdict(refused, "compensated")) == {"standing"}


@pytest.mark.parametrize(("souvenirs", "kind"), [(0, "facts"), (1, None), (2, "doubled")])
def test_what_a_fact_begins_is_there_once(souvenirs: int, kind: str | None) -> None:
    tenth = spoken_to((*EXPEDITION, *["souvenir+"] * souvenirs), "none", number=10)
    found = judge({10: tenth}, {10: Word("saga-7", "completed")}, (), complete=False)
    assert kinds(found) == ({kind} if kind else set())
