"""The machine's functions with one rule left out, for the mutants that are about decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from choros.messages import Failure, Message
from choros.saga.machine import acts, answers, timers
from choros.saga.machine.inputs import Answered, Send, SkipRequested
from choros.saga.machine.instance import Leg
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.publish import PublishNode
from choros.saga.nodes.sequence import SequenceNode
from choros.saga.outline import Commanded

_BACKWARD, _WITHDRAW, _GIVE_UP, _FAILED = SequenceNode.backward, SagaWalk.withdraw, SagaWalk.give_up, answers._failed
_LEG_DUE, _GO_ON, _SKIP = timers._leg_due, SagaWalk.go_on, acts._skip
_SEND, _RELEASE = Turn.send, Turn.release


def undo_what_is_known(self: SequenceNode, turn: Turn) -> bool:
    """A step in doubt is not undone."""
    for path, state in turn.states():
        if state.progress == "in_doubt":
            turn.change_node(path, progress="refused")
    return _BACKWARD(self, turn)


def always_awaited(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> bool:
    """Every reply counts, whenever it comes."""
    return True


def _own_deadline(self: Turn, command: Send) -> None:
    leg = self.state(command.key.path).leg
    _SEND(self, replace(command, not_after=leg.due) if leg and leg.operation == "undo" else command)


def _count_unsent(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    _LEG_DUE(walk, leaf, leg, held=walk.instance.paused)


def _send_untimed(self: Turn, command: Send) -> None:
    _SEND(self, command)
    leg = self.state(command.key.path).leg
    self.change_node(command.key.path, leg=leg and replace(leg, due=None))


def _count_old_failures(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> None:
    _FAILED(walk, leaf, leg, replace(answer, attempt=leg.attempt))


def _withdraw_at_once(walk: SagaWalk, why: str) -> None:
    pivot = walk.outline.pivot
    if pivot is not None and walk.state(pivot).progress == "sent":
        walk.turn_back(Failure(code=why, kind="cancelled"))
    else:
        _WITHDRAW(walk, why)


def _give_the_pivot_up(walk: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
    if leaf.path == walk.outline.pivot and leg.operation == "do":
        walk.turn_back(Failure(code=code, kind="in_doubt"))
    else:
        _GIVE_UP(walk, leaf, leg, code, detail)


def _take_for_done(walk: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
    if leg.operation != "do":
        _GIVE_UP(walk, leaf, leg, code, detail)
        return
    reply = leaf.reply_type.model_construct().to_json()
    walk.change_node(leaf.path, progress="ok", reply=reply, leg=None)
    walk.go_on()


def _go_on_all_the_same(self: SagaWalk) -> None:
    paused = self.instance.paused
    self.change(paused=False)
    _GO_ON(self)
    self.change(paused=paused)


def _skip_at_once(walk: SagaWalk, act: SkipRequested) -> None:
    state, leaf = walk.state(act.step), walk.outline.commanded(act.step)
    if leaf is None or not state.parked or state.leg is None:
        _SKIP(walk, act)
        return
    walk.settle(leaf, act.reply, skipped=False)


def _number_no_fact(self: Turn, fact: type[Message], body: str, step: str = "") -> None:
    _RELEASE(self, fact, body, step)
    self.change(seq=0)


def _release_twice(self: Turn, fact: type[Message], body: str, step: str = "") -> None:
    _RELEASE(self, fact, body, step)
    _RELEASE(self, fact, body, step)


def _publish_early(self: PublishNode, turn: Turn, fact: str) -> None:
    turn.release(self.fact, fact, self.path)
    turn.change_node(self.path, progress="published", fact=fact)


def _drop_nothing(self: SagaWalk) -> None:
    return None


def _take_nothing_back(self: SequenceNode, turn: Turn) -> bool:
    for path, state in turn.states():
        if state.progress == "published":
            turn.change_node(path, progress="retracted")
    return _BACKWARD(self, turn)


def undo_without_waiting(self: SequenceNode, turn: Turn) -> bool:
    """All undos are sent at once."""
    while not _BACKWARD(self, turn):
        for path, state in turn.states():
            if state.leg:
                turn.change_node(path, progress="undone", leg=None)
    return True


def _undo_oldest_first(self: SequenceNode, turn: Turn) -> bool:
    return all(node.backward(turn) for node in self.nodes)


def _instead(name: str, function: Any, *owners: Any) -> tuple[tuple[Any, str, Any], ...]:
    return tuple((owner, name, function) for owner in owners)


undo_only_what_completed = _instead("backward", undo_what_is_known, SequenceNode)
late_ok_accepted = _instead("_is_awaited", always_awaited, answers)
undo_carries_its_own_deadline = _instead("send", _own_deadline, Turn)
unsent_attempts_count = _instead("_leg_due", _count_unsent, timers)
no_timer = _instead("send", _send_untimed, Turn)
old_failures_count = _instead("_failed", _count_old_failures, answers)
pivot_in_flight_cancelled = _instead("withdraw", _withdraw_at_once, SagaWalk)
pivot_in_doubt_compensated = _instead("give_up", _give_the_pivot_up, SagaWalk)
in_doubt_taken_for_done = _instead("give_up", _take_for_done, SagaWalk)
pause_not_checked = _instead("go_on", _go_on_all_the_same, SagaWalk)
skip_without_close = _instead("_skip", _skip_at_once, acts)
facts_not_numbered = _instead("release", _number_no_fact, Turn)
facts_twice = _instead("release", _release_twice, Turn)
held_facts_leave_early = _instead("_publish", _publish_early, PublishNode)
held_facts_outlive_compensation = _instead("drop_held", _drop_nothing, SagaWalk)
early_fact_not_taken_back = _instead("backward", _take_nothing_back, SequenceNode)
undo_does_not_wait = _instead("backward", undo_without_waiting, SequenceNode)
undo_oldest_first = _instead("backward", _undo_oldest_first, SequenceNode)
