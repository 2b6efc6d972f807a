"""What is finished later, in the simulated world, where the answer is lost with an emptied broker: the saga asks, and
learns it long before its bound."""

from __future__ import annotations

from datetime import timedelta

import pytest

from choros import App, Service
from choros.saga.machine import questions
from choros.saga.policy import RetryPolicy
from choros_verify import RunPlan, Scene, ScriptLine, campaign
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.report import failure
from choros_verify.simulation.scene import Result
from tests.saga.test_finished_later import Charge, Order, Refund, Ship, saga

BOUND = timedelta(minutes=30)
FINISHED = 100.0
"""Seconds after which somebody outside finishes it, between the first question and the second."""


def lost(nth: int) -> tuple[Fault, ...]:
    """The answer, so many messages after the first of its service, waits in its queue, and is gone with that."""
    return Fault("delay", "service:payment", nth, 300.0), Fault("empty", "broker", 110, 5.0)


def scene_of(within: timedelta = BOUND) -> Scene:
    order = saga(within=within)
    payment, shipping = Service("payment", commands=[Charge, Refund]), Service("shipping", commands=[Ship])
    return Scene(App("shop", sagas=[order], services=[payment, shipping]), starts=[(order, Order(order_id="o1"))])


def examined(nth: int) -> Result:
    script = (ScriptLine(0, "charge", "do", "later", FINISHED),)
    return scene_of().examine(RunPlan(seed=1, starts=(0.0,), script=script, faults=lost(nth)))


def test_an_answer_that_was_lost_with_the_broker_is_asked_for() -> None:
    result = examined(3)  # it has answered the first question before
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 1})
    assert FINISHED < result.seconds < 2.5 * FINISHED


def test_without_a_question_it_is_learned_at_the_bound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it was lost: else the first test would show nothing."""
    monkeypatch.setattr(questions, "LADDER", RetryPolicy(initial=BOUND, max=BOUND, jitter=0.0))
    result = examined(2)
    assert (result.violations, dict(result.statuses)) == ((), {"completed": 1})
    assert result.seconds > BOUND.total_seconds()


@pytest.mark.long
def test_whatever_strikes_it_each_ends_well_or_undone() -> None:
    tally = campaign(scene_of(timedelta(minutes=10)), range(1, 31))
    assert ["\n".join(failure(result)) for result in tally.failures] == []
