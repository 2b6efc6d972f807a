"""Every kind of fault strikes in the world as it was planned, and the saga ends all the same."""

from __future__ import annotations

from typing import get_args

import pytest

from choros_verify import Fault, PersonAct, RunPlan, Scene, ScriptLine
from choros_verify.simulation.faults import ON_FRAMES, ON_STORES, CallFault, FaultKind, StoreFault, kinds_of
from choros_verify.simulation.scene import Result
from choros_verify.simulation.script import StoreKind
from tests.simulation.trip import app

TARGETS: dict[FaultKind, str] = {
    "refuse": "store", "unknown": "railway database", "stall": "store", "lose": "store", "away": "hotel database",
    "skew": "orchestrator-1", "jump": "service:hotel", "block": "broker", "restart": "broker", "empty": "broker",
    "cancel": "travel.railway", "ack_timeout": "travel.replies.travel.1", "full": "travel.hotel",
    "crash": "service:hotel", "pause": "orchestrator-1", "deny": "store", "outage": "store", "older": "service:hotel",
}  # fmt: skip
TIMED = ("skew", "jump", "block", "restart", "empty", "cancel", "ack_timeout", "full", "deploy", "outage", "older")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app)


@pytest.fixture(scope="module")
def on_frames() -> Scene:
    return Scene(app, frames=True)


def run(scene: Scene, *faults: Fault, **more: object) -> Result:
    """A slow saga, so that whatever goes by the clock finds it in the middle of something."""
    plan = {"seed": 3, "starts": (0.9,), "a_step": 5e-3, "faults": faults, **more}
    return scene.examine(RunPlan(**plan), story=True)  # type: ignore[arg-type]  # the names are those of a plan


def ended(result: Result) -> str:
    assert result.violations == ()
    (status,) = result.statuses
    return status


OF_STORES = (*get_args(StoreFault), *get_args(CallFault))


@pytest.mark.parametrize(
    ("kind", "store"),
    [
        (kind, store)
        for store in ON_STORES
        for kind in kinds_of(frames=False, stores=(store,))
        if store == "memory" or kind in (*ON_STORES[store], *OF_STORES)
    ],
)
def test_each_kind_strikes_once_and_the_saga_ends(scene: Scene, kind: FaultKind, store: StoreKind) -> None:
    nth = 1 if kind in (*TIMED, "away") else 3
    target = "store" if kind in ON_STORES[store] else TARGETS.get(kind, "orchestrator-1")
    result = run(scene, Fault(kind, target, nth, 3.0), store=store)
    assert ended(result) == "completed"
    assert result.struck == {kind: 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ON_FRAMES)
def test_so_does_what_strikes_frames(on_frames: Scene, kind: FaultKind) -> None:
    target, nth = ("travel.railway", 1) if kind in ("undecodable", "oversized") else ("orchestrator-1", 90)
    result = run(on_frames, Fault(kind, target, nth, 0.0 if kind == "half_open" else 3.0), frames=True, a_step=1e-4)
    assert ended(result) == "completed"
    assert result.struck == {kind: 1}


def test_a_crashed_process_starts_again_when_it_was_said(scene: Scene) -> None:
    result = run(scene, Fault("crash", "service:hotel", 12, 7.0))
    assert any("crash of service:hotel/1 for 7 s" in line for line in result.story)
    crash = next(float(line.split()[0]) for line in result.story if "crash of" in line)
    hotel = [float(line.split()[0]) for line in result.story if "hotel: do took effect" in line]
    assert ended(result) == "completed" and len(hotel) == 1
    assert not crash < hotel[0] < crash + 7


def test_a_paused_orchestrator_decides_nothing(scene: Scene) -> None:
    result = run(scene, Fault("pause", "orchestrator-1", 40, 30.0))
    paused = next(float(line.split()[0]) for line in result.story if "pause of" in line)
    commits = [float(line.split()[0]) for line in result.story if " orchestrator-1: saga" in line]
    assert ended(result) == "completed"
    assert not [at for at in commits if paused < at < paused + 30]


def test_a_clock_that_jumps_takes_its_deadlines_with_it(scene: Scene) -> None:
    """Three hours ahead the orchestrator takes the saga's own deadline for passed, so it is undone."""
    slow = ScriptLine(0, "hold_room", "do", "slow", 8)
    assert ended(run(scene, script=(slow,))) == "completed"
    assert ended(run(scene, Fault("jump", "orchestrator-1", 3, 10_800.0), script=(slow,))) == "compensated"


def test_a_saga_that_a_store_forgot_is_started_again(scene: Scene) -> None:
    result = run(scene, Fault("lose", "store", 1, 1))
    assert ended(result) == "completed"
    assert sum("saga 0 v1: started" in line for line in result.story) == 2


def test_an_emptied_broker_loses_no_saga(scene: Scene) -> None:
    assert ended(run(scene, Fault("empty", "broker", 1, 2.0))) == "completed"


def test_faults_end_where_the_calm_begins(scene: Scene) -> None:
    late = tuple(Fault("restart", "broker", second, 1.0) for second in (1, 4, 5, 6))
    result = run(scene, *late, calm_at=3.0)
    assert result.struck == {"restart": 1} and ended(result) == "completed"


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (ScriptLine(0, "hold_room", "do", "refused", code="no_room"), "compensated"),
        (ScriptLine(0, "hold_room", "do", "transient", 2), "completed"),
        (ScriptLine(0, "hold_room", "do", "stuck"), "compensated"),
        (ScriptLine(0, "hold_room", "do", "slow", 15), "completed"),
        (ScriptLine(0, "hold_room", "do", "hangs", 1), "compensated"),
        (ScriptLine(0, "hold_room", "do", "deaf", 1), "compensated"),
        (ScriptLine(0, "take_money", "do", "hangs", 2), "parked"),
        (ScriptLine(0, "take_money", "do", "deaf", 2), "parked"),
        (ScriptLine(0, "take_money", "do", "landed", 2), "completed"),
        (ScriptLine(0, "take_money", "do", "refused", code="card_declined"), "compensated"),
        (ScriptLine(0, "take_money", "do", "stuck"), "parked"),
        (ScriptLine(0, "send_tickets", "do", "stuck"), "parked"),
    ],
    ids=str,
)
def test_participants_do_what_the_script_says(scene: Scene, line: ScriptLine, status: str) -> None:
    assert ended(run(scene, script=(line,))) == status


def test_an_undo_that_never_works_parks_the_saga(scene: Scene) -> None:
    refused = ScriptLine(0, "take_money", "do", "refused", code="card_declined")
    assert ended(run(scene, script=(refused, ScriptLine(0, "reserve_seat", "undo", "stuck")))) == "parked"


def test_a_person_who_skips_the_parked_step_lets_it_go_on(scene: Scene) -> None:
    stuck = (ScriptLine(0, "send_tickets", "do", "stuck"),)
    assert ended(run(scene, script=stuck, acts=(PersonAct(1.0, 0, "skip"),))) == "completed"


def test_a_person_who_cancels_has_it_undone(scene: Scene) -> None:
    assert ended(run(scene, acts=(PersonAct(1.1, 0, "cancel"),))) == "compensated"
