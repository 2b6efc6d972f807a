"""Rule 2, of waits: run again, a saga asks anew whoever has said no, or nothing in time; a yes stays."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.saga.machine.instance import Instance, NodeState
from choros.saga.machine.machine import begin
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Sleep, Wait
from choros.saga.saga import Saga
from tests.saga.driving import Run
from tests.saga.loan import (
    DECISION,
    PAY_OUT,
    SET_ASIDE,
    AskForLoan,
    Countersigned,
    Decided,
    granted,
    make_loan,
)

ASKED = replace(DECISION, accept=granted)
DAY = timedelta(days=1)


def ended(saga: Saga[Any], *told: bool) -> Run:
    """A run that is told this, or nothing, and is undone."""
    run = Run(saga, start=AskForLoan())
    for yes in told:
        run.signal("decided", Decided(yes=yes))
    while run.status == "running" and not told:
        run.fire()
    if run.status == "running":
        run.refuse("no_money")
    assert run.status == "compensated"
    return run


def again(run: Run, step: str) -> Run:
    """Run again from this step."""
    assert why_not(run.saga.outline, run.instance, step) == ""
    successor = Run(run.saga, start=AskForLoan())
    kept = kept_by(run.saga.outline, run.instance, step)
    successor._take(begin(run.saga.tree, "s2", AskForLoan().to_json(), run.now, cause="rerun", kept=kept))
    return successor


@pytest.mark.parametrize(("told", "state"), [((False,), "ok"), ((), "lapsed")])
def test_who_said_no_or_nothing_is_asked_anew(told: tuple[bool, ...], state: str) -> None:
    run = ended(make_loan(ASKED, SET_ASIDE, PAY_OUT), *told)
    assert run.instance.state("decided").progress == state
    successor = again(run, "set_aside")
    assert (successor.instance.state("decided").progress, successor.last.sends) == ("awaiting", ())
    successor.signal("decided", Decided())
    assert successor.sent.to == "bank"


def test_who_said_yes_is_not() -> None:
    successor = again(ended(make_loan(ASKED, SET_ASIDE, PAY_OUT), True), "set_aside")
    assert (successor.instance.state("decided").choice, len(successor.last.sends)) == ("accepted", 1)


def test_a_yes_before_a_no_stays_and_so_does_a_sleep() -> None:
    first = Wait(Countersigned, within=DAY, name="signed")
    run = Run(make_loan(first, Sleep(DAY, name="night"), ASKED, SET_ASIDE, PAY_OUT), start=AskForLoan())
    run.signal("signed", Countersigned())
    run.fire()
    run.signal("decided", Decided(yes=False), id="no")
    kept = kept_by(run.saga.outline, run.instance, "set_aside")
    assert {path: state.progress for path, state in kept.items()} == {"signed": "ok", "night": "ok"}


@pytest.mark.parametrize(("otherwise", "kept"), [("go_on", True), ("park", False)])
def test_a_wait_that_nobody_told_stands_where_the_saga_went_on_without(otherwise: Any, kept: bool) -> None:
    wait = Wait(Countersigned, within=DAY, otherwise=otherwise, name="signed")
    saga = make_loan(wait, SET_ASIDE)
    instance = Instance("s1", "{}", status="compensated", backward=True)
    instance.nodes["signed"] = NodeState("lapsed")
    assert ("signed" in kept_by(saga.outline, instance, "set_aside")) == kept
