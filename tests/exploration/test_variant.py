"""A variant of the machine is a value of its own: what it is made of, and what it takes in."""

from typing import Any

from choros.saga.machine import machine
from choros.saga.machine.inputs import Decision, TimerFired
from choros.saga.policy import RetryPolicy
from choros_verify.exploration.variant import Swap, Variant
from tests.saga.shop import ORDER, order_saga

ORDERED = ORDER.to_json()


def never_again(self: RetryPolicy, *_: Any) -> bool:
    return False


def kinds(decided: Decision) -> list[str]:
    return [event.kind for event in decided.events]


def silent(decides: Any) -> Decision:
    """What comes of it when the first command stays unanswered for its whole timeout."""
    begun = decides.begin(order_saga.tree, "s", ORDERED, 0.0, cause="c")
    waits = begun.instance.wake_at
    decided: Decision = decides.decide(order_saga.tree, begun.instance, [TimerFired()], waits)
    return decided


def test_a_declaration_is_carried_over_to_the_classes_of_the_variant() -> None:
    assert "compensating" not in kinds(silent(machine))
    assert "compensating" in kinds(silent(Variant(Swap(RetryPolicy.allows, never_again))))
    assert "compensating" not in kinds(silent(machine)), "the real one is as it was"


def test_two_variants_know_nothing_of_each_other() -> None:
    changed = Variant(Swap(RetryPolicy.allows, never_again))
    same = Variant(Swap(RetryPolicy.allows, RetryPolicy.allows))
    assert "compensating" in kinds(silent(changed))
    assert silent(same) == silent(machine)
