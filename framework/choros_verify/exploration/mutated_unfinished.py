"""The same for what is finished from outside: verdicts, and a function of the machine, with a rule left out."""

from choros.messages import Done
from choros.runtime.participant.verdicts import CarryOut, GoesOn, Matter, Settle, Verdict, concluded, judge
from choros.saga.machine import answers
from choros.saga.machine.instance import Leg
from choros.saga.machine.walk import SagaWalk
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
