"""A saga and one nested in it, explored together; and without any one of the rules between them."""

from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import UsageError
from choros.saga.nodes import ForEach, Nested, Parallel, Pivot, Scope, Step
from choros.saga.saga import Saga
from choros_verify import explore
from choros_verify.commands.families import verified_family
from choros_verify.exploration.family import FamilyExploration, FamilyRules, FamilyStory
from choros_verify.exploration.mutants import MUTANTS
from choros_verify.exploration.mutated_families import family_mutants
from tests.every_day import every_day
from tests.saga import credit as c

RULES = FamilyRules()
CANCEL = frozenset({"cancel it"})
ALL = frozenset({"cancel it", "cancel below"})
END = frozenset({"terminate it"})
small_saga = Saga(
    "small", start=c.ReserveCredit, key=lambda start: start.customer, steps=c.credit_saga.steps[:2],
    completed=c.credit_closed, compensated=c.credit_denied,
)  # fmt: skip
small_pivot = Saga(
    "small-pivot", start=c.ReserveCredit, key=lambda start: start.customer, steps=(Pivot(c.hold_credit, to="bank"),),
    completed=c.credit_closed, compensated=c.credit_denied,
)  # fmt: skip


lasting_saga = Saga(
    "lasting", start=c.ReserveCredit, key=lambda start: start.customer,
    completed=c.credit_closed, compensated=c.credit_denied,
    steps=(
        Step(c.hold_credit, to="bank", compensation=c.give_credit_back, undo_exhausted="skip"),
        Step(c.note_credit, to="books", compensation=c.strike_note),
    ),
)  # fmt: skip
"""May go on without the undo of its first step, which then is left standing."""


def again(start: c.ReserveCredit) -> c.ReserveCredit:
    return start


middle_saga = Saga(
    "middle", start=c.ReserveCredit, key=lambda start: start.customer, steps=(Nested(small_saga, again),)
)  # fmt: skip
NAMED = Nested(small_saga, c.reserve_credit, name="credit")


def ship_it(order: c.PlaceOrder) -> c.Ship:
    return c.Ship(order=order.order, credit="none")


def two(order: c.PlaceOrder) -> list[int]:
    return [1, 2]


SHIPPED = Pivot(ship_it, to="lorries")
SAGAS: dict[str, Saga[Any]] = {
    "before the pivot": c.order_of(c.HELD, NAMED, SHIPPED),
    "without a pivot": c.order_of(c.HELD, NAMED),
    "of two steps": c.order_of(c.HELD, Nested(c.credit_saga, c.reserve_credit), SHIPPED),
    "as the pivot": c.order_of(c.HELD, Nested(small_pivot, c.reserve_credit, name="credit")),
    "with ends": c.order_of(c.HELD, Nested(small_saga, c.reserve_credit, name="credit", ends=True), SHIPPED),
    "ends behind the pivot": c.order_of(
        c.HELD, SHIPPED, Nested(small_saga, c.reserve_credit, name="credit", ends=True)
    ),
    "detached": c.order_of(c.HELD, Nested(small_saga, c.reserve_credit, name="credit", detached=True), SHIPPED),
    "detached, without a pivot": c.order_of(c.HELD, Nested(small_saga, c.reserve_credit, name="credit", detached=True)),
    "in parallel": c.order_of(Parallel(c.HELD, NAMED), SHIPPED),
    "in a race": c.order_of(Parallel(c.HELD, NAMED, first=1), SHIPPED),
    "in a scope": c.order_of(c.HELD, Scope(NAMED), SHIPPED),
    "in one that is nested": c.order_of(c.HELD, Nested(middle_saga, c.reserve_credit, name="credit"), SHIPPED),
    "left standing below": c.order_of(c.HELD, Nested(lasting_saga, c.reserve_credit, name="credit"), SHIPPED),
    "in a loop": c.order_of(ForEach(two, Nested(small_saga, c.reserve_credit, name="credit"), at_once=2)),
}
BELOW = (small_saga, small_pivot, middle_saga, lasting_saga, c.credit_saga)


LEFT = ("left below not said", "left below not said with a refusal", "clean undo claimed around it")


def in_words(saga: Saga[Any]) -> tuple[list[str], dict[str, Any]]:
    services = ("stock", "bank", "books", "lorries")
    app = App("shop", sagas=(saga, *BELOW), services=[Service(name, commands=_TAKEN[name]) for name in services])
    return verified_family(app, saga, c.PlaceOrder(order="o7").to_json(), mutants=True)


_TAKEN: dict[str, Any] = {
    "stock": (c.HoldStock, c.GiveStockBack), "bank": (c.HoldCredit, c.GiveCreditBack),
    "books": (c.NoteCredit, c.StrikeNote), "lorries": (c.Ship,),
}  # fmt: skip


@pytest.mark.long
def test_the_command_tells_of_both_together_and_of_each_rule() -> None:
    lines, told = in_words(SAGAS["before the pivot"])
    assert lines[0].startswith("✔ saga 'order' version 1, with those nested in it, cancelled at any moment: 217 states")
    assert told["held"]
    assert {name for name, caught in told["mutants"].items() if not caught} == {*LEFT}, "nothing is left standing there"


def test_who_explores_it_alone_is_told_how() -> None:
    with pytest.raises(UsageError, match="Others are nested in saga 'order'"):
        explore(SAGAS["before the pivot"])


def explored(name: str, acts: frozenset[str], rules: FamilyRules = RULES) -> FamilyStory:
    return FamilyExploration(SAGAS[name], BELOW, rules, acts).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", every_day(SAGAS, [name for name in SAGAS if name != "in a loop"], pytest.mark.nightly))
@pytest.mark.parametrize("acts", every_day([ALL, END], [ALL]), ids=["cancelled", "terminated"])
def test_whatever_happens_between_them_all_end_as_they_shall(name: str, acts: frozenset[str]) -> None:
    found = explored(name, acts)
    print(name, found.states, sorted(found.ends))  # noqa: T201
    assert found.violation is None, (found.violation, found.story)
    assert {"completed", "compensated"} <= found.ends
    assert acts != END or "terminated" in found.ends


SMALL = ("before the pivot", "without a pivot", "as the pivot")


def with_services(name: str, acts: frozenset[str], rules: FamilyRules = RULES) -> FamilyStory:
    return FamilyExploration(SAGAS[name], BELOW, rules, acts, services=True).run()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [one if one in SMALL else pytest.param(one, marks=pytest.mark.nightly) for one in SAGAS]
)
@pytest.mark.parametrize("acts", [ALL, pytest.param(END, marks=pytest.mark.nightly)], ids=["cancelled", "terminated"])
def test_nor_does_it_matter_when_and_how_often_commands_and_answers_of_services_come(
    name: str, acts: frozenset[str]
) -> None:
    found = with_services(name, acts)
    assert found.violation is None, (found.violation, found.story)
    assert {"completed", "compensated"} <= found.ends


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no tombstone", "the saga is compensated, and : hold_stock still stands"),
        ("no dedupe", "hold_stock has taken effect twice"),
    ],
)
def test_without_a_rule_of_the_barrier_a_promise_breaks(name: str, sentence: str) -> None:
    barrier = next(one for one in MUTANTS if one.name == name).protocol
    found = with_services("before the pivot", CANCEL, FamilyRules(barrier=barrier))
    assert found.violation
    assert sentence in found.violation.sentence, found.story


@pytest.mark.parametrize("name", family_mutants())
def test_a_rule_that_is_left_out_is_missed(name: str) -> None:
    rules = family_mutants()[name]
    for saga in ("left standing below",) if name in LEFT else ("before the pivot", "without a pivot"):
        found = explored(saga, CANCEL, rules)
        print(saga, name, found.violation, *found.story, sep="\n  ")  # noqa: T201
        if found.violation is not None:
            return
    pytest.fail(f"{name} was not caught")
