"""Negative controls: without any one of the rules a saga breaks, and the exploration tells how."""

import sys
from operator import attrgetter
from typing import Any

import pytest

from choros.saga.lock import Lock
from choros.saga.saga import Saga
from choros_verify import Bounds
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS, Mutant
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import LONGEST_STORY, Tried, try_mutant
from tests.every_day import every_day
from tests.exploration.trips import existing_saga, sleeping_saga, trip_saga
from tests.saga.delivery import changing_saga
from tests.saga.loan import loan_saga
from tests.saga.shop import ORDER, order_saga, parcel_saga
from tests.saga.test_finished_later import saga as later
from tests.saga.test_left_standing import going_on
from tests.simulation.locked import LOCK, transfer_under
from tests.simulation.register import noting

TEN = (
    "no dedupe", "key per attempt", "undo only what completed", "no tombstone", "no outbox", "late OK accepted",
    "barrier rows expire", "refusal not stored", "ack before commit", "not folded",
)  # fmt: skip
BROKEN: dict[str, int] = {
    "no dedupe": 1, "key per attempt": 1, "undo only what completed": 3, "no tombstone": 3, "no outbox": 5,
    "late OK accepted": 8, "barrier rows expire": 1, "refusal not stored": 1, "ack before commit": 11, "not folded": 9,
}  # fmt: skip
"""Which promise breaks first."""
finished_later = later()
queueing, joining = transfer_under(LOCK), transfer_under(Lock("account", key=lambda wanted: "a", when_taken="join"))
WITH: dict[str, Saga[Any]] = {
    "sleep": sleeping_saga,
    "existing": existing_saga,
    "wait": loan_saga,
    "reminder": loan_saga,
    "local": noting,
    "finished later": finished_later,
    "update": changing_saga,
    "queue": queueing,
    "join": joining,
    "skipped undo": going_on,
}
"""Sagas with what not every saga has."""
OF_A_NODE = [one for one in MUTANTS if one.needs in WITH]
FIRST_OF_EACH = [next(one for one in OF_A_NODE if one.needs == needs) for needs in WITH]
ABOUT_COMPOSITES = {
    "choice", "commands in each branch", "facts in two branches",
    "commands side by side", "steps side by side", "refusal side by side",
    "loop", "items", "times", "losers", "losers, then a pivot", "race", "enough", "scope",
    "dependency", "existing, undone freely", "counted side by side", "several in a part",
}  # fmt: skip
"""Tried in `test_composites.py`, `test_rules_of_nodes.py` and `test_undo_orders.py`."""


def mutant(name: str) -> Mutant:
    return next(one for one in MUTANTS if one.name == name)


def tried(name: str, saga: Any = order_saga) -> Tried:
    return try_mutant(mutant(name), Exploration(saga, Bounds()))


def told(name: str, saga: Any = order_saga) -> str:
    found = tried(name, saga).report
    assert found
    return "\n".join(found.story)


@pytest.mark.parametrize("name", TEN)
def test_each_of_the_ten_is_caught_on_the_order_saga(name: str) -> None:
    found = tried(name).report
    assert found
    assert found.invariant == BROKEN[name]
    assert 1 <= len(found.story) <= LONGEST_STORY


@pytest.mark.parametrize("one", every_day(MUTANTS, MUTANTS[::3]), ids=lambda one: one.name)
def test_every_mutant_is_caught_on_a_saga_with_every_kind_of_node(one: Mutant) -> None:
    result = try_mutant(one, Exploration(parcel_saga, Bounds()))
    assert result.caught, result.lines()
    elsewhere = one.needs in ("two steps", "result", *WITH, *ABOUT_COMPOSITES)
    assert (result.report is None) == elsewhere, "this saga has all but a second step to undo, a result, and these"


@pytest.mark.long
@pytest.mark.parametrize("one", every_day(OF_A_NODE, FIRST_OF_EACH, pytest.mark.nightly), ids=lambda one: one.name)
def test_what_is_about_a_node_is_caught_on_a_saga_that_has_it(one: Mutant) -> None:
    result = try_mutant(one, Exploration(WITH[one.needs], Bounds()))
    assert result.report
    assert result.caught, result.lines()


@pytest.mark.parametrize("name", ["undo does not wait", "undo oldest first"])
def test_the_order_of_undoing_is_held_on_a_saga_with_two_steps_to_undo(name: str) -> None:
    result = tried(name)
    assert result.report
    assert result.caught


def test_a_saga_is_not_tried_on_rules_that_do_not_concern_it() -> None:
    result = tried("held facts leave early", trip_saga)
    assert result.report is None
    assert result.caught
    assert "nothing in this saga is about that" in result.lines()[0]


def test_a_mutant_gets_the_budget_that_it_needs() -> None:
    result = try_mutant(mutant("no dedupe"), Exploration(trip_saga, Bounds(Left(0, 0, 0))))
    assert result.report
    assert result.report.violation


@pytest.mark.long
def test_a_mutant_that_is_not_caught_says_so() -> None:
    harmless = Mutant("harmless", (), "Nothing is left out.")
    result = try_mutant(harmless, Exploration(trip_saga, Bounds(Left(0, 0, 0))))
    assert not result.caught
    assert "NOT caught" in result.lines()[1]


def test_a_mutant_changes_nothing_in_this_process() -> None:
    def there() -> tuple[list[Any], dict[str, Any]]:
        swapped = [one.swap.real for one in MUTANTS if one.swap]
        functions = [attrgetter(one.__qualname__)(sys.modules[one.__module__]) for one in swapped]
        return functions, {name: module for name, module in sys.modules.items() if name.startswith("choros")}

    before = there()
    for one in MUTANTS:
        one.under().begin(order_saga.tree, "s", ORDER.to_json(), 0.0, cause="c")
    assert there() == before


# --- the stories are true, and a person can follow them ---------------------------------------------------------------


def test_the_story_of_a_missing_tombstone() -> None:
    assert told("no tombstone", trip_saga).splitlines() == [
        "The saga is started. The orchestrator sends book_room (do).",
        "Somebody cancels the saga. The orchestrator turns back; sends cancel_room (undo of book_room).",
        "hotel gets cancel_room (undo of book_room) and finds nothing to undo; it answers so.",
        "hotel carries book_room (do) out, and answers ok.",
        "The ok for cancel_room (undo of book_room) arrives. The orchestrator publishes trip-off.v1; marks the saga"
        " compensated.",
    ]


def test_the_story_of_a_second_effect() -> None:
    assert told("no dedupe", trip_saga).splitlines() == [
        "The saga is started. The orchestrator sends book_room (do).",
        "hotel carries book_room (do) out, and answers ok. The broker has a second copy of this command.",
        "hotel carries book_room (do) out, and answers ok.",
    ]


def test_the_story_of_an_outbox_in_memory() -> None:
    assert "it crashes before any of it leaves" in told("no outbox")


def test_the_story_of_an_undo_with_a_deadline_of_its_own_forgets_too_early() -> None:
    story = told("undo carries its own deadline", parcel_saga)
    assert "forgets its rows for charge_payment whose time has passed" in story
    assert story.index("forgets its rows") < story.index("payment carries charge_payment (do) out")


def test_a_command_refused_as_expired_does_not_come_in_time_later() -> None:
    story = told("expired not stored")
    assert "charge_payment (do) reaches payment after its deadline" in story
    assert "charge_payment (do, attempt 2) out" in story, "only a later send, with a later deadline, is in time"


def test_the_story_of_two_decisions_on_one_version() -> None:
    story = told("not folded")
    assert "Two inputs in one batch: " in story
    assert ", and from the same version it " in story
