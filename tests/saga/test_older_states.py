"""What an older choros stored by place gets the paths of the declaration that it follows."""

from dataclasses import replace
from typing import Any

import pytest

from choros.saga.machine.instance import ROOT, UNTOUCHED, Instance, NodeState, States

OK, SENT = NodeState(progress="ok", reply="{}"), NodeState(progress="sent")
PATHS = ["charge", "hold", "ship"]
older = Instance("s", '{"order":1}', steps=(OK, SENT, UNTOUCHED), cursor=1, seq=3)


def newer(**nodes: NodeState) -> Instance:
    return replace(older, nodes=States(nodes), steps=(), cursor=0)


def test_each_state_gets_the_path_of_its_place_and_what_is_untouched_leaves_no_trace() -> None:
    assert older.named(PATHS) == newer(charge=OK, hold=SENT)


@pytest.mark.parametrize(
    ("cursor", "nodes"),
    [
        (1, {"hold": replace(SENT, parked="no answer")}),
        (2, {"hold": SENT, "ship": replace(UNTOUCHED, parked="no answer")}),
        (3, {"hold": SENT, ROOT: replace(UNTOUCHED, parked="no answer")}),
    ],
    ids=["where it is at work", "at one that is not begun", "at its end"],
)
def test_why_it_waits_is_said_of_the_node_that_it_waits_at(cursor: int, nodes: Any) -> None:
    parked = replace(older, status="parked", cursor=cursor, parked="no answer")
    assert parked.named(PATHS) == replace(newer(charge=OK, **nodes), status="parked")
    assert parked.named(PATHS).why_parked == "no answer"


def test_there_are_as_many_as_there_are_nodes() -> None:
    with pytest.raises(ValueError, match="longer"):
        older.named(PATHS[:2])


def test_what_is_stored_by_path_stays_as_it_is() -> None:
    now = newer(charge=OK)
    assert now.named(PATHS) is now
