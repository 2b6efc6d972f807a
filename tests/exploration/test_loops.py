"""Sagas with loops, explored to the end: each item has its own steps, and its own way back."""

from typing import Any

import pytest

from choros import Branch, ForEach, Parallel, Repeat, Saga, Scope, When
from choros_verify import Bounds
from choros_verify.exploration.examples import reply_examples
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.report import lines as told
from choros_verify.exploration.states import Left
from choros_verify.exploration.unrolled import unrolled
from tests.exploration.composites import Go, step
from tests.exploration.pairs import Pair, two
from tests.saga.parcels import Line, Order, is_gift, lines, order_of, reserve, saga_of, wrap
from tests.saga.refill import Refill, Stocked, is_full, pallet, shelve
from tests.saga.refill import saga_of as refills
from tests.saga.test_each import nested, reserve_first

PLAIN = Bounds(Left(0, 0, 0), acts=frozenset({"cancel"}))


def explored(saga: Saga[Any], order: Order, bounds: Bounds = PLAIN) -> Any:
    return Exploration(saga, bounds, start=order.to_json()).run()


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_every_interleaving_of_two_items_keeps_every_promise(at_once: int) -> None:
    found = explored(saga_of(ForEach(lines, reserve, at_once=at_once)), order_of("a", "b"))
    assert found.complete, "\n".join(told(found))
    assert {"completed", "compensated", "parked"} == set(found.ends)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [5, 6])
def test_every_interleaving_of_what_is_enough_at_once_or_never(wanted: int) -> None:
    fill = Repeat([pallet, shelve], until=is_full, at_most=2)
    stocked = {Stocked.type_name: Stocked(on_shelf=5).to_json()}
    found: Any = Exploration(refills(fill), PLAIN, start=Refill(wanted=wanted).to_json(), replies=stocked).run()
    assert found.complete, "\n".join(told(found))
    assert found.ends.keys() == {"compensated", "parked"} | ({"completed"} if wanted == 5 else set())


@pytest.mark.cross
def test_items_of_two_steps_of_which_one_has_a_choice() -> None:
    saga = saga_of(ForEach(lines, [reserve, When(is_gift, then=wrap)], at_once=2))
    found = explored(saga, order_of("a", "b", gifts="a"))
    assert found.complete, "\n".join(told(found))


def never(refill: Refill) -> bool:
    return False


def test_what_is_explored_has_the_items_that_there_are() -> None:
    order = Order(lines=[Line(article="a", count=2), Line(article="b", count=0)])
    saga = unrolled(nested, order.to_json(), reply_examples(nested, {}))
    assert saga.outline.paths == [
        "lines[0].halves[0].reserve_half", "lines[0].halves[1].reserve_half", "lines[0].gather", "lines[1].gather",
        "pay_halves",
    ]  # fmt: skip
    refilled = refills(Repeat(pallet, until=never, at_most=2), shelve)
    filled = unrolled(refilled, Refill().to_json(), reply_examples(refilled, {}))
    assert filled.outline.paths == ["repeat[0].order_pallet", "repeat[1].order_pallet", "put_on_shelf"]
    assert unrolled(plain := saga_of(reserve_first), order.to_json(), {}) is plain


def test_also_of_what_is_come_to_only_where_something_fails_or_is_late() -> None:
    def paths_of(*steps: Any) -> list[str]:
        saga = Pair(steps).saga
        return unrolled(saga, Go(key="g").to_json(), reply_examples(saga)).outline.paths

    instead = Scope(step("a"), otherwise=Scope(step("b"), otherwise=ForEach(two, step("c")), name="other"))
    assert paths_of(instead) == ["scope.a", "scope.other.b", *(f"scope.other.two[{item}].c" for item in range(2))]
    behind = Branch("long", step("b"), ForEach(two, step("c")))
    assert paths_of(Parallel(step("a"), behind, first=1)) == [
        "parallel.a", "parallel.long.b", "parallel.long.two[0].c", "parallel.long.two[1].c",
    ]  # fmt: skip
