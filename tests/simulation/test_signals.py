"""Signals in the simulation: who tells sagas something, and that whoever judges a run notices what is not right."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from choros.saga.machine.instance import Instance, NodeState, States
from choros.store.sagas import Record, Transition
from choros_verify.simulation.observer import Note
from choros_verify.simulation.signal_invariants import signal_violations
from choros_verify.simulation.wait_paths import waits_of
from tests.simulation.every_node import choices, loops, races

BLANK = Record(
    saga_id="s", saga="choices", saga_version=1, key="k", digest="d", application="fair", version=1, transition="t",
    status="running", state="", started_at=0.0, updated_at=0.0,
)  # fmt: skip
WAITS = NodeState("awaiting", until=50.0, not_after=50.0, began=0.0)


def test_what_is_told_has_a_place_in_every_list_and_none_in_a_repeat() -> None:
    assert waits_of(choices.outline) == [
        "is_large.both.food.taste", "stands[0].wish", "stands[1].wish", "stands[2].wish", "thanks",
    ]  # fmt: skip
    assert waits_of(races.outline) == ["mayor"]
    assert waits_of(loops.outline) == ["party.evenings[].applause"]


def judged(*states: Instance, at: float = 10.0, notes: tuple[str, ...] = ()) -> list[str]:
    records = [replace(BLANK, state=one.dumps(), updated_at=at) for one in states]
    run: Any = SimpleNamespace(
        commits=[SimpleNamespace(transition=Transition(record)) for record in records],
        notes=[Note(0.0, text) for text in notes],
        were=lambda *kinds: False,
        name=lambda saga_id: "saga 0",
    )
    return list(signal_violations(run))


def saga(state: NodeState | None = None, **more: Any) -> Instance:
    return Instance("s", "{}", States({"thanks": state} if state else {}), **more)


TOLD = saga(NodeState("ok", reply="{}"))
EARLY = (("thanks", "{}"),)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ((saga(early=EARLY), saga(WAITS, early=EARLY)), "still waits at thanks, where it is told already"),
        ((saga(early=EARLY), saga(WAITS)), "lost what it was told early for thanks"),
        ((saga(WAITS), saga(WAITS, backward=True)), "still waits at thanks, where it is undone"),
        ((saga(WAITS), saga(NodeState("lapsed"))), "lapsed too soon at thanks"),
        ((saga(WAITS), TOLD, saga(NodeState("ok", reply='{"yes": false}'))), "was told something else later at thanks"),
    ],
)
def test_what_must_not_be_is_noticed(states: tuple[Instance, ...], said: str) -> None:
    assert judged(*states) == [f"27: saga 0 {said}."]


def test_what_is_as_it_should_be_is_not() -> None:
    assert judged(saga(early=EARLY), TOLD) == []
    assert judged(saga(early=EARLY), saga(backward=True)) == []
    assert judged(saga(WAITS), TOLD, TOLD) == []
    assert judged(saga(WAITS), saga(NodeState("lapsed")), at=50.0) == []


def test_two_answers_to_one_signal_are_noticed() -> None:
    (said,) = judged(notes=("client: signal saga 0: kept, and asked again too_late",))
    assert said.startswith("27: a signal was answered in two ways")
