"""Nodes one after the other, more than stand in a record: what is over is found again on the way back."""

from dataclasses import replace

from choros.messages import Done
from choros.saga.machine.turn import AT_ONCE
from choros.saga.nodes import Branch, Parallel, Step
from choros.wire.command_key import CommandKey
from tests.saga.apart import Stored
from tests.saga.stand import crew, opening, plan_of, stand_of

COUNT = 60


def crews(name: str, count: int) -> list[Step]:
    return [replace(crew, name=f"{name}_{number}") for number in range(count)]


def newest_first(name: str, count: int) -> list[str]:
    return [f"{name}_{number}" for number in reversed(range(count))]


def to_the_pivot_and_back(run: Stored) -> list[str]:
    """All is done but the pivot, which is refused. The undos in the order in which they were sent; each is answered."""
    answered = 0
    while not run.sent[answered].endswith("open_stand:1:do"):
        run.answer(run.sent[answered], Done())
        answered += 1
    assert len(run.entries) > COUNT // 2
    run.looks.clear()
    run.loaded.clear()
    run.refuse(run.sent[answered], "forbidden")
    while not run.instance.terminal:
        answered += 1
        run.answer(run.sent[answered], Done())
    return [CommandKey.parse(key).step for key in run.sent if key.endswith("undo")]


def test_a_long_saga_is_undone_with_a_look_for_many_of_its_nodes() -> None:
    """One whenever the next one is not here; with it come the others of the same sixteen, and nothing else."""
    run = Stored(stand_of(*crews("crew", COUNT), opening), plan_of())
    assert to_the_pivot_and_back(run) == newest_first("crew", COUNT)
    assert max(run.looks) == 1
    assert [loaded for loaded in run.loaded if loaded] == [5, AT_ONCE, AT_ONCE]


def test_a_branch_of_which_all_lies_apart_is_undone_from_its_end() -> None:
    sides = Parallel(Branch("one", *crews("near", 20)), Branch("two", *crews("far", 40)), undo="side_by_side")
    undone = to_the_pivot_and_back(Stored(stand_of(sides, opening), plan_of()))
    assert [one for one in undone if one.startswith("near")] == newest_first("near", 20)
    assert [one for one in undone if one.startswith("far")] == newest_first("far", 40)
    assert len(undone) == COUNT
