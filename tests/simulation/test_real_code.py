"""Every combination of what can become of each step, through the real runtime; and bugs of it that are found so."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import combinations, product

import pytest

from choros import App, Pivot, Refused, RetryPolicy, Saga, Step
from choros.runtime.participant import verdicts
from choros.runtime.participant.verdicts import AnswerAgain, Conclude, Matter, Verdict, on_do
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Commanded
from choros_verify.simulation.invention import invent
from choros_verify.simulation.real_code import every_combination, fixed_replies, run_case
from choros_verify.simulation.real_code_cases import DOES, UNDOES, Case, Do, Undoing, all_pairs, cases, must_end
from choros_verify.simulation.scene import Scene
from reference_services.order.app import app
from reference_services.order.saga import order_saga
from tests.simulation import planted, trip
from tests.simulation.planted import Plant

STEPS = ("charge_payment", "reserve_inventory", "ship_order")


def case(*does: Do, undo: Undoing = "ok") -> Case:
    """One combination of the order saga."""
    return Case(tuple(zip(STEPS, does, strict=True)), undo)


# --- the combinations -------------------------------------------------------------------------------------------------


def test_the_three_step_saga_has_every_combination() -> None:
    chosen = cases(order_saga, 0)
    assert chosen.complete
    assert len(set(chosen.chosen)) == chosen.possible == len(DOES) ** 3 * len(UNDOES)


def test_what_cannot_be_refused_or_undone_has_fewer() -> None:
    chosen = cases(trip.trip_saga, 0, most=100_000)
    assert chosen.possible == 9 * 9 * 9 * 8 * 3
    assert all(dict(one.does)["send_tickets"] != "refused" for one in chosen.chosen)
    paid = Saga("paid", start=trip.BookTrip, key=lambda it: it.trip_id, steps=(Pivot(trip.take_money, to="bank"),))
    assert cases(paid, 0).possible == 9


def test_a_longer_saga_has_all_pairs_and_does_not_claim_to_be_complete() -> None:
    chosen = cases(trip.trip_saga, 0)
    assert not chosen.complete
    assert len(chosen.chosen) < 200 < chosen.possible
    assert chosen.chosen == cases(trip.trip_saga, 0).chosen != cases(trip.trip_saga, 1).chosen


@pytest.mark.parametrize("seed", range(5))
def test_all_pairs_are_all_pairs(seed: int) -> None:
    choices: list[list[str]] = [list(DOES), list(DOES[:4]), list(DOES), list(UNDOES), list(DOES[:2])]
    rows = list(all_pairs(choices, random.Random(seed)))
    for (i, first), (j, second) in combinations(enumerate(choices), 2):
        assert {(row[i], row[j]) for row in rows} == set(product(first, second))
    assert len(rows) < 2 * 81


@pytest.mark.parametrize(
    ("one", "status"),
    [
        (case("ok", "transient", "reply_lost"), "completed"),
        (case("crash_before_commit", "crash_after_commit", "reply_twice"), "completed"),
        (case("refused", "ok", "ok", undo="stuck"), "compensated"),
        (case("ok", "refused", "ok", undo="transient"), "compensated"),
        (case("ok", "refused", "ok", undo="stuck"), "parked"),
        (case("timeout_lands", "ok", "ok", undo="stuck"), "parked"),
        (case("timeout_never_lands", "ok", "ok", undo="stuck"), "compensated"),
        (case("ok", "timeout_lands", "ok"), "compensated"),
        (case("ok", "ok", "timeout_lands"), "completed"),
        (case("ok", "ok", "timeout_never_lands"), "parked"),
        (case("ok", "ok", "refused"), "compensated"),
    ],
)
def test_the_declaration_says_how_it_must_end(one: Case, status: str) -> None:
    assert must_end(one, order_saga) == status


def test_where_time_decides_nothing_is_foretold() -> None:
    policy = RetryPolicy(attempts=1)
    hasty = Saga(
        "hasty",
        start=trip.BookTrip,
        key=lambda it: it.trip_id,
        steps=(Step(trip.reserve_seat, to="railway", compensation=trip.free_seat, retry=policy),),
    )
    assert must_end(Case((("reserve_seat", "transient"),), "ok"), hasty) is None
    assert must_end(Case((("reserve_seat", "timeout_lands"),), "ok"), trip.trip_saga) is None
    soon = RetryPolicy(total=timedelta(seconds=15))
    pressed = Step(trip.reserve_seat, to="railway", compensation=trip.free_seat, retry=soon)
    brief = Saga("brief", start=trip.BookTrip, key=lambda it: it.trip_id, steps=(pressed,))
    assert must_end(Case((("reserve_seat", "reply_lost"),), "ok"), brief) is None
    assert must_end(Case((("reserve_seat", "transient"),), "ok"), brief) == "completed"


# --- the runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_all_pairs_of_the_order_saga_hold_and_every_end_occurs() -> None:
    told: list[tuple[int, int]] = []
    report = every_combination(app, order_saga, seed=1, most=0, progress=lambda *so_far: told.append(so_far))
    assert report.violations == []
    assert set(report.statuses) == {"completed", "compensated", "parked"}
    assert set(report.outcomes) == set(DOES)
    assert told == [(number, report.runs) for number in range(1, report.runs + 1)]
    assert report.runs >= 81
    assert report.to_json()["complete"] is False


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_every_combination_of_the_order_saga_holds() -> None:
    report = every_combination(app, order_saga, seed=2)
    assert report.violations == []
    assert report.complete
    assert report.runs == sum(report.statuses.values()) == 2187
    assert set(report.statuses) == {"completed", "compensated", "parked"}


def lonely() -> Saga[trip.BookTrip]:
    """One step, and what undoes it."""
    step = Step(trip.reserve_seat, to="railway", compensation=trip.free_seat)
    return Saga("lonely", start=trip.BookTrip, key=lambda it: it.trip_id, steps=(step,))


@pytest.mark.long
def test_the_same_seed_gives_the_same_report() -> None:
    saga = lonely()
    alone = App("travel", sagas=[saga], services=[trip.railway])
    first, second = (every_combination(alone, saga, seed=7).to_json() for _ in range(2))
    assert first["runs"] == 27
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_messages_that_nobody_can_make_up_are_given() -> None:
    saga = lonely()
    alone = App("travel", sagas=[saga], services=[trip.railway])
    replies = fixed_replies(saga, {trip.SeatReserved.type_name: '{"seat": "1a"}', "unknown": "{}"})
    assert [answer(trip.ReserveSeat(trip_id="t")) for answer in replies.values()] == [trip.SeatReserved(seat="1a")]
    report = every_combination(alone, saga, start=trip.BookTrip(trip_id="t", nights=3), replies=replies)
    assert report.violations == []
    assert report.statuses["completed"]


@pytest.mark.nightly
def test_a_saga_with_every_kind_of_node_holds_in_all_pairs() -> None:
    report = every_combination(trip.app, trip.trip_saga, seed=3)
    assert report.violations == []
    assert not report.complete
    assert set(report.statuses) == {"completed", "compensated", "parked"}


# --- bugs that it must find -------------------------------------------------------------------------------------------


def an_answer_is_given_once(patch: pytest.MonkeyPatch) -> None:
    """A command that was answered before is refused when it comes again."""

    def forgetful(matter: Matter) -> Verdict:
        verdict = on_do(matter)
        return Conclude(Refused("cancelled"), verdict.row) if isinstance(verdict, AnswerAgain) else verdict

    patch.setattr(verdicts, "on_do", forgetful)


def whatever_is_in_doubt_is_parked(patch: pytest.MonkeyPatch) -> None:
    """A step that its policy wants undone waits for a person: nothing is lost, and it is not what was declared."""

    def park(walk: SagaWalk, leaf: Commanded, *_: object) -> None:
        walk.park("in doubt", leaf.path)

    patch.setattr(SagaWalk, "give_up", park)


BUGS: tuple[Plant, ...] = (
    planted.no_dedupe,
    planted.a_step_in_doubt_is_left_alone,
    planted.a_late_answer_counts,
    planted.timers_that_give_up,
    an_answer_is_given_once,
    whatever_is_in_doubt_is_parked,
)


@pytest.mark.nightly
@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_bug_in_the_runtime_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    scene = Scene(app, starts=[(order_saga, invent(order_saga.start))])
    broken = (
        sentences
        for number, one in enumerate(cases(order_saga, 1, most=0).chosen)
        if (sentences := run_case(scene, order_saga, one, number)[1])
    )
    assert next(broken, ())


def test_a_broken_combination_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    planted.a_step_in_doubt_is_left_alone(monkeypatch)
    saga = lonely()
    report = every_combination(App("travel", sagas=[saga], services=[trip.railway]), saga, seed=5)
    assert report.complete
    assert {broken.case.partition(";")[0] for broken in report.violations} == {"reserve_seat: timeout lands"}
    assert all("effect" in " ".join(broken.sentences) for broken in report.violations)
    assert report.to_json()["violations"][0]["case"].startswith("reserve_seat: timeout lands; undo: ")
