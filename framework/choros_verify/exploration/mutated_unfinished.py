"""The same for what is finished from outside: verdicts, and a function of the machine, with a rule left out."""

from choros.messages import UNFINISHED, Done
from choros.runtime.participant.verdicts import CarryOut, GoesOn, Matter, Settle, Verdict, concluded, judge
from choros.saga.machine import answers, timers
from choros.saga.machine.instance import Leg
from choros.saga.machine.walk import SagaWalk, send
from choros.saga.outline import Commanded
from choros.store.barrier import Row
from choros.values import replace
from choros_verify.exploration.variant import instead_of


def also_when_undone(row: Row) -> bool:
    """Whoever finishes it is heard although it was undone before."""
    return row.state in ("unfinished", "tombstone")


def also_when_answered(row: Row) -> bool:
    """Whoever finishes it is heard as often as they like."""
    return row.state in ("unfinished", "ok", "refused")


def taken_for_done(matter: Matter) -> Verdict:
    """What is not finished is answered as if it were."""
    verdict = judge(matter)
    unfinished = isinstance(verdict, Settle | GoesOn) and verdict.row.state == "unfinished"
    return concluded(matter, Done()) if unfinished and matter.key.operation == "do" else verdict


def not_withdrawn(matter: Matter) -> Verdict:
    """An undo leaves what is not finished as it is."""
    verdict = judge(matter)
    return CarryOut(verdict.row, (), verdict.withdrawn) if isinstance(verdict, CarryOut) else verdict


@instead_of(answers._unfinished)
def never_given_up(walk: SagaWalk, leaf: Commanded, leg: Leg, seconds: float) -> None:
    """What is finished from outside is waited for without end."""
    walk.change_node(leaf.path, leg=replace(leg, due=None))
    walk.note("unfinished", leaf.path, operation=leg.operation, attempt=leg.attempt)


@instead_of(timers._leg_due)
def asked_without_end(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    """What has become of it is asked again and again, past its bound too."""
    if leg.unfinished:
        timers._ask(walk, leaf, leg, held=held)
    else:
        timers._leg_due(walk, leaf, leg, held=held)


@instead_of(timers._ask)
def asked_as_tried_again(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    """To ask what has become of it counts as to try again."""
    send(walk, leaf, replace(leg, attempt=leg.attempt + 1))


@instead_of(answers._unfinished)
def given_up_for_being_asked(walk: SagaWalk, leaf: Commanded, leg: Leg, seconds: float) -> None:
    """Who is asked before its bound, and is not finished yet, is given up."""
    if leg.unfinished:
        walk.give_up(leaf, leg, UNFINISHED)
    else:
        answers._unfinished(walk, leaf, leg, seconds)
