"""The machine's functions with one rule left out, for the mutants that are about decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from choros.messages import Failure
from choros.saga.machine import machine
from choros.saga.machine.inputs import Answered, SkipRequested
from choros.saga.machine.instance import Leg
from choros.saga.machine.turn import Turn
from choros.saga.nodes.steps import Pivot, Publish
from choros.saga.plan import Planned

_BACKWARD, _WITHDRAW, _GIVE_UP, _FAILED = machine._backward, machine._withdraw, machine._give_up, machine._failed
_LEG_DUE, _GO_ON, _PUBLISH, _SKIP = machine._leg_due, machine._go_on, machine._publish, machine._skip
_SEND, _RELEASE = Turn.send, Turn.release


def undo_what_is_known(turn: Turn) -> None:
    """A step in doubt is not undone."""
    for index, state in enumerate(turn.instance.steps):
        if state.progress == "in_doubt":
            turn.change_step(index, progress="refused")
    _BACKWARD(turn)


def always_awaited(turn: Turn, planned: Planned, leg: Leg, answer: Answered) -> bool:
    """Every reply counts, whenever it comes."""
    return True


def _own_deadline(self: Turn, planned: Planned, leg: Leg) -> None:
    _SEND(self, planned, leg)
    sent, due = self._sends[-1], self.state(planned.index).leg
    if due and leg.operation == "undo":
        self._sends[-1] = replace(sent, not_after=due.due)


def _count_unsent(turn: Turn, planned: Planned, leg: Leg, *, held: bool) -> None:
    _LEG_DUE(turn, planned, leg, held=turn.instance.paused)


def _send_untimed(self: Turn, planned: Planned, leg: Leg) -> None:
    _SEND(self, planned, leg)
    sent = self.state(planned.index).leg
    if sent:
        self.change_step(planned.index, leg=replace(sent, due=None))


def _count_old_failures(turn: Turn, planned: Planned, leg: Leg, answer: Answered) -> None:
    _FAILED(turn, planned, leg, replace(answer, attempt=leg.attempt))


def _withdraw_at_once(turn: Turn, why: str) -> None:
    pivot = turn.plan.pivot
    if pivot is None or turn.state(pivot).progress != "sent":
        _WITHDRAW(turn, why)
        return
    turn.change_step(pivot, progress="in_doubt", leg=None)
    machine._turn_back(turn, Failure(code=why, kind="cancelled"))


def _give_the_pivot_up(turn: Turn, planned: Planned, leg: Leg, code: str, detail: str = "") -> None:
    if not isinstance(planned.node, Pivot) or leg.operation != "do":
        _GIVE_UP(turn, planned, leg, code, detail)
        return
    turn.change_step(planned.index, progress="in_doubt", leg=None)
    machine._turn_back(turn, Failure(code=code, kind="in_doubt"))


def _take_for_done(turn: Turn, planned: Planned, leg: Leg, code: str, detail: str = "") -> None:
    if leg.operation != "do":
        _GIVE_UP(turn, planned, leg, code, detail)
        return
    reply = planned.command.reply_type.model_construct().to_json()
    turn.change_step(planned.index, progress="ok", reply=reply, leg=None)
    turn.change(cursor=planned.index + 1)
    machine._go_on(turn)


def _go_on_all_the_same(turn: Turn) -> None:
    paused = turn.instance.paused
    turn.change(paused=False)
    _GO_ON(turn)
    turn.change(paused=paused)


def _skip_at_once(turn: Turn, act: SkipRequested) -> None:
    index = turn.instance.cursor
    if turn.instance.status != "parked" or not act.step or turn.state(index).leg is None:
        _SKIP(turn, act)
        return
    turn.unpark()
    if turn.instance.backward:
        turn.change_step(index, progress="undone", leg=None)
    else:
        turn.change_step(index, progress="ok", reply=act.reply, leg=None)
        turn.change(cursor=index + 1)
    machine._go_on(turn)


def _number_no_fact(self: Turn, type_name: str, data: str, step: str = "") -> None:
    _RELEASE(self, type_name, data, step)
    self.change(seq=0)


def _release_twice(self: Turn, type_name: str, data: str, step: str = "") -> None:
    _RELEASE(self, type_name, data, step)
    _RELEASE(self, type_name, data, step)


def _publish_early(turn: Turn, planned: Planned, early: bool) -> None:
    _PUBLISH(turn, planned, True)


def _drop_nothing(self: Turn) -> None:
    return None


def _take_nothing_back(turn: Turn) -> None:
    for index, state in enumerate(turn.instance.steps):
        if state.progress == "published":
            turn.change_step(index, progress="retracted")
    _BACKWARD(turn)


def undo_without_waiting(turn: Turn) -> None:
    """All undos are sent at once."""
    _BACKWARD(turn)
    while not turn.instance.terminal:
        turn.change_step(turn.instance.cursor, progress="undone", leg=None)
        _BACKWARD(turn)


def _undo_oldest_first(turn: Turn) -> None:
    first = next(planned.index for planned in turn.plan.steps if not isinstance(planned.node, Publish))
    idle = not any(state.leg for state in turn.instance.steps)
    if idle and turn.state(first).progress in ("ok", "in_doubt"):
        turn.change(cursor=first)
    _BACKWARD(turn)
    if not turn.instance.terminal and turn.state(turn.instance.cursor).leg is None:
        turn.change(cursor=len(turn.instance.steps))
        _BACKWARD(turn)


def _instead(owner: Any, name: str, function: Any) -> tuple[tuple[Any, str, Any], ...]:
    return ((owner, name, function),)


undo_only_what_completed = _instead(machine, "_backward", undo_what_is_known)
late_ok_accepted = _instead(machine, "_is_awaited", always_awaited)
undo_carries_its_own_deadline = _instead(Turn, "send", _own_deadline)
unsent_attempts_count = _instead(machine, "_leg_due", _count_unsent)
no_timer = _instead(Turn, "send", _send_untimed)
old_failures_count = _instead(machine, "_failed", _count_old_failures)
pivot_in_flight_cancelled = _instead(machine, "_withdraw", _withdraw_at_once)
pivot_in_doubt_compensated = _instead(machine, "_give_up", _give_the_pivot_up)
in_doubt_taken_for_done = _instead(machine, "_give_up", _take_for_done)
pause_not_checked = _instead(machine, "_go_on", _go_on_all_the_same)
skip_without_close = _instead(machine, "_skip", _skip_at_once)
facts_not_numbered = _instead(Turn, "release", _number_no_fact)
facts_twice = _instead(Turn, "release", _release_twice)
held_facts_leave_early = _instead(machine, "_publish", _publish_early)
held_facts_outlive_compensation = _instead(Turn, "drop_held", _drop_nothing)
early_fact_not_taken_back = _instead(machine, "_backward", _take_nothing_back)
undo_does_not_wait = _instead(machine, "_backward", undo_without_waiting)
undo_oldest_first = _instead(machine, "_backward", _undo_oldest_first)
