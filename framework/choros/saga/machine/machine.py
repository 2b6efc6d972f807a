"""The machine: `(saga, instance, inputs, now) -> (instance', what to send)`. A pure function; all else is shell.

Three outcomes of a step: OK; refused (it did not happen and never will, so it is not undone); in doubt (it may have
happened, so it is undone too). From the pivot on the saga only goes forward. What neither succeeds nor may be undone
parks the saga for a person. The rules are numbered in `docs/decisions/0001-rules.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from choros.messages import FORGOTTEN, SYSTEM_REFUSALS, Close, Failure
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Input,
    PauseRequested,
    RerunRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    TimerFired,
)
from choros.saga.machine.instance import Instance, Leg, StepState
from choros.saga.machine.rerun import why_not
from choros.saga.machine.turn import BuildFailed, Turn, commanded, retry_policy
from choros.saga.nodes.steps import Publish, Retriable, Step
from choros.saga.plan import Planned
from choros.saga.saga import Saga


def begin(
    saga: Saga[Any], saga_id: str, start: str, now: float, *,
    cause: str, traceparent: str = "", tracestate: str = "", kept: tuple[StepState, ...] = (),
) -> Decision:  # fmt: skip
    """The first decision of a saga instance; `cause` is the id that the start message goes by, `kept` are the first
    steps of an instance that this one takes over."""
    passed = saga.plan.pivot is not None and len(kept) > saga.plan.pivot
    deadline = now + saga.deadline.total_seconds() if saga.deadline and not passed else None
    steps = kept + (StepState(),) * (len(saga.plan.steps) - len(kept))
    instance = Instance(
        saga_id, start, steps, cursor=len(kept), deadline=deadline,
        cause=cause, traceparent=traceparent, tracestate=tracestate,
    )  # fmt: skip
    turn = Turn(saga.plan, instance, now)
    turn.note("started")
    _go_on(turn)
    return turn.decision()


def decide(saga: Saga[Any], instance: Instance, inputs: Sequence[Input], now: float) -> Decision:
    """Fold all inputs into one decision: answers first, then what people want, then the timers."""
    turn = Turn(saga.plan, instance, now)
    for given in sorted(inputs, key=_precedence):
        _apply(turn, given)
    return turn.decision()


def _precedence(given: Input) -> int:
    return 0 if isinstance(given, Answered) else 2 if isinstance(given, TimerFired) else 1


def _apply(turn: Turn, given: Input) -> None:
    before = turn.instance
    if not isinstance(given, TimerFired):
        turn.change(cause=given.id)
    _take(turn, given)
    if replace(turn.instance, cause=before.cause) == before:
        turn.change(cause=before.cause)  # it moved nothing, so nothing that follows is its doing


def _take(turn: Turn, given: Input) -> None:
    match given:
        case Answered():
            _answered(turn, given)
        case TimerFired():
            _timer_fired(turn, given)
        case CancelRequested():
            _withdraw(turn, "cancelled")
        case PauseRequested() | ResumeRequested():
            _pause(turn, isinstance(given, PauseRequested))
        case RetryRequested():
            _retry(turn, given)
        case RerunRequested():
            _hand_over(turn, given)
        case _:
            _skip(turn, given)


# --- going on -------------------------------------------------------------------------------------------------------


def _go_on(turn: Turn) -> None:
    """Do what is next, unless something holds the saga; a bug in the declaration's functions parks it."""
    instance = turn.instance
    if instance.paused or instance.terminal or instance.status == "parked":
        return
    try:
        if instance.backward:
            _backward(turn)
        else:
            _forward(turn)
    except BuildFailed as failed:
        turn.park(str(failed), turn.at_work)


def _forward(turn: Turn) -> None:
    for planned in turn.plan.steps[turn.instance.cursor :]:
        turn.change(cursor=planned.index)
        if turn.state(planned.index).leg:
            return
        if not isinstance(planned.node, Publish):
            _send_first(turn, planned, "do", turn.build_body(planned.action))
            turn.change_step(planned.index, progress="sent")
            return
        _publish(turn, planned, planned.node.early)
    turn.change(cursor=len(turn.plan.steps))
    _finish(turn)


def _send_first(turn: Turn, planned: Planned, operation: Any, command: str) -> None:
    turn.send(planned, Leg(operation, command, attempt=1, first_at=turn.now, due=None))


def _publish(turn: Turn, planned: Planned, early: bool) -> None:
    """Facts before the pivot wait for it; with no pivot, for the end."""
    fact = turn.build_body(planned.action)
    if early or (turn.plan.pivot is not None and planned.index > turn.plan.pivot):
        turn.release(planned.action.builds.type_name, fact, planned.name)
        turn.change_step(planned.index, progress="published", fact=fact)
    else:
        turn.change_step(planned.index, progress="held", fact=fact)
        turn.note("fact_held", planned.name, code=planned.action.builds.type_name)


def _backward(turn: Turn) -> None:
    """Undo the newest step that may have happened, and wait; with none left the saga is compensated."""
    for index in range(min(turn.instance.cursor, len(turn.plan.steps) - 1), -1, -1):
        planned, state = turn.plan.steps[index], turn.state(index)
        turn.change(cursor=index)
        if state.leg:
            return
        if state.progress in ("ok", "in_doubt") and planned.undo:
            _send_first(turn, planned, "undo", turn.build_body(planned.undo))
            return
        if state.progress == "published" and planned.undo:
            turn.release(planned.undo.builds.type_name, turn.build_body(planned.undo), planned.name)
            turn.change_step(index, progress="retracted")
    _finish(turn)


def _finish(turn: Turn) -> None:
    backward = turn.instance.backward
    closing = turn.plan.compensated if backward else turn.plan.completed
    facts = [(builder.builds.type_name, turn.build_body(builder)) for builder in closing]
    turn.release_held()
    for type_name, data in facts:
        turn.release(type_name, data)
    turn.change(status="compensated" if backward else "completed", deadline=None)
    turn.note("compensated" if backward else "completed")


# --- answers --------------------------------------------------------------------------------------------------------


def _answered(turn: Turn, answer: Answered) -> None:
    planned = turn.plan.find(answer.key.path)
    if planned is None or not _was_sent(turn, planned, answer):
        turn.stray(answer.id)
        return
    leg = turn.state(planned.index).leg
    if leg is None or not _is_awaited(turn, planned, leg, answer):
        _note(turn, "late_reply", planned, answer)
        return
    if answer.outcome == "ok":
        _accept(turn, planned, leg, answer)
    elif answer.outcome == "refused" and _may_refuse(planned, leg, answer.code):
        _refused(turn, planned, answer)
    else:
        _failed(turn, planned, leg, answer)


def _note(turn: Turn, kind: Any, planned: Planned, answer: Answered) -> None:
    turn.note_answer(kind, planned.name, answer)


def _was_sent(turn: Turn, planned: Planned, answer: Answered) -> bool:
    """Whether this saga ever sent that command; a forged reply names one that it did not."""
    state, key = turn.state(planned.index), answer.key
    owner = state.owner or turn.instance.saga_id
    if isinstance(planned.node, Publish) or key.saga_id != owner or key.round > state.round:
        return False
    if key.round < state.round or key.operation == "close":
        return True
    if key.operation == "do":
        return state.progress != "pending"
    return state.progress == "undone" or (state.leg is not None and turn.instance.backward)


def _is_awaited(turn: Turn, planned: Planned, leg: Leg, answer: Answered) -> bool:
    """A close is answered by itself, or by the stored outcome of what it closes.

    Once it has landed, a stray copy of that command is refused as cancelled. That is no outcome but the close's own
    doing, and its answer is on the way.
    """
    if leg.operation == "close" and answer.code == "cancelled":
        return False
    closes = "undo" if turn.instance.backward else "do"
    awaited = (leg.operation,) if leg.operation != "close" else ("close", closes)
    return answer.key.round == turn.state(planned.index).round and answer.key.operation in awaited


def _may_refuse(planned: Planned, leg: Leg, code: str) -> bool:
    return leg.operation != "undo" and code in (*planned.command.refusals, *SYSTEM_REFUSALS)


def _accept(turn: Turn, planned: Planned, leg: Leg, answer: Answered) -> None:
    skipped = answer.key.operation == "close"
    _note(turn, "skipped" if skipped else "undone" if turn.instance.backward else "replied", planned, answer)
    _settled(turn, planned, leg.closing if skipped else answer.data, skipped)


def _settled(turn: Turn, planned: Planned, reply: str, skipped: bool) -> None:
    turn.unpark()
    if turn.instance.backward:
        turn.change_step(planned.index, progress="undone", leg=None)
    else:
        turn.change_step(planned.index, progress="ok", reply=reply, skipped=skipped, leg=None)
        turn.change(cursor=planned.index + 1)
        if planned.index == turn.plan.pivot:
            _pass_pivot(turn, planned)
    _go_on(turn)


def _pass_pivot(turn: Turn, planned: Planned) -> None:
    turn.note("pivot_passed", planned.name)
    if turn.instance.wanted:
        turn.note("too_late", planned.name, code=turn.instance.wanted)
    turn.change(wanted="", deadline=None)
    turn.release_held()


def _refused(turn: Turn, planned: Planned, answer: Answered) -> None:
    _note(turn, "refused", planned, answer)
    turn.change_step(planned.index, progress="refused", leg=None)
    if isinstance(planned.node, Retriable):
        turn.park(f"{planned.name} was refused ({answer.code}) after the pivot", planned.name)
        return
    turn.unpark()
    _turn_back(turn, Failure(code=answer.code, detail=answer.detail, step=planned.name, kind="refused"))


def _failed(turn: Turn, planned: Planned, leg: Leg, answer: Answered) -> None:
    """A retryable failure counts only for the attempt that is awaited; a refusal nobody declared counts as one."""
    if (answer.key.operation, answer.attempt) != (leg.operation, leg.attempt) or leg.waiting or leg.due is None:
        _note(turn, "late_reply", planned, answer)
        return
    _note(turn, "undeclared_refusal" if answer.outcome == "refused" else "failed", planned, answer)
    policy = retry_policy(planned, leg)
    delay = policy.delay(leg.attempt, str(answer.key))
    if answer.code == FORGOTTEN:
        turn.forgotten(planned, leg)
    elif not policy.allows(leg.attempt, leg.first_at, turn.now + delay, answer.code):
        _give_up(turn, planned, leg, answer.code, answer.detail)
    else:
        turn.change_step(planned.index, leg=replace(leg, waiting=True, due=turn.now + delay))
        turn.note("retry_scheduled", planned.name, operation=leg.operation, attempt=leg.attempt + 1, seconds=delay)


def _give_up(turn: Turn, planned: Planned, leg: Leg, code: str, detail: str = "") -> None:
    """The outcome stays unknown: a step before the pivot is undone with the others, all else waits for a person."""
    node = planned.node
    if leg.operation != "do" or not isinstance(node, Step) or node.retry.exhausted == "park":
        why = f"{code}: {detail}" if detail else code
        turn.park(f"{planned.name} ({leg.operation}) is in doubt after {leg.attempt} attempts: {why}", planned.name)
        return
    turn.change_step(planned.index, progress="in_doubt", leg=None)
    _turn_back(turn, Failure(code=code or "unknown", detail=detail, step=planned.name, kind="in_doubt"))


def _turn_back(turn: Turn, failure: Failure) -> None:
    turn.change(status="compensating", backward=True, failure=failure.to_json(), parked="", wanted="", deadline=None)
    turn.note("compensating", failure.step, code=failure.code)
    turn.drop_held()
    _go_on(turn)


# --- timers ---------------------------------------------------------------------------------------------------------


def _timer_fired(turn: Turn, fired: TimerFired) -> None:
    """The saga's own deadline comes first: past it, no step before the pivot is tried again."""
    deadline = turn.instance.deadline
    if deadline is not None and deadline <= turn.now:
        turn.change(deadline=None)
        _withdraw(turn, "deadline")
    for planned in turn.plan.steps:
        leg = turn.state(planned.index).leg
        if leg and leg.due is not None and leg.due <= turn.now:
            # Between two attempts the last one has been answered, so it did leave.
            _leg_due(turn, planned, leg, held=turn.instance.paused or (fired.unsent and not leg.waiting))


def _leg_due(turn: Turn, planned: Planned, leg: Leg, *, held: bool) -> None:
    """Time for the next attempt, or no answer came. While the command cannot leave, that counts no attempt, and no
    time: else an outage as long as the policy's `total` would leave one attempt, and then a parked saga. What it adds
    is one timeout, not what the clock says has passed: another orchestrator's clock may have set the timer."""
    if held:
        timeout = commanded(planned).timeout.total_seconds()
        again = replace(leg, due=turn.now + timeout, first_at=leg.first_at + timeout)
        turn.change_step(planned.index, leg=again)
        return
    if not leg.waiting:
        turn.note("timed_out", planned.name, operation=leg.operation, attempt=leg.attempt)
        if not retry_policy(planned, leg).allows(leg.attempt, leg.first_at, turn.now):
            _give_up(turn, planned, leg, "timeout")
            return
    turn.send(planned, replace(leg, attempt=leg.attempt + 1))


# --- what people want -----------------------------------------------------------------------------------------------


def _withdraw(turn: Turn, why: str) -> None:
    """Cancel, or the saga's deadline: undo what was done, unless the pivot is passed or in flight."""
    instance, pivot = turn.instance, turn.plan.pivot
    progress = turn.state(pivot).progress if pivot is not None else "pending"
    if instance.terminal or instance.backward or progress == "ok":
        turn.note("too_late", code=why)
    elif progress == "sent":
        turn.change(wanted=why)
        turn.note("wanted", code=why)
    else:
        step = turn.at_work
        if instance.cursor < len(instance.steps) and turn.state(instance.cursor).progress == "sent":
            turn.change_step(instance.cursor, progress="in_doubt", leg=None)
        _turn_back(turn, Failure(code=why, step=step, kind="cancelled"))


def _pause(turn: Turn, paused: bool) -> None:
    if turn.instance.terminal or turn.instance.paused == paused:
        turn.note("too_late", code="pause" if paused else "resume")
        return
    turn.change(paused=paused)
    turn.note("paused" if paused else "resumed", turn.at_work)
    _go_on(turn)


def _still_parked(turn: Turn, act: RetryRequested | SkipRequested) -> bool:
    """Whether the saga still waits where the act says; otherwise the act comes too late."""
    instance = turn.instance
    round_ = instance.steps[instance.cursor].round if instance.cursor < len(instance.steps) else 1
    if instance.status == "parked" and not instance.paused and (act.step, act.round) == (turn.at_work, round_):
        return True
    turn.note("too_late", act.step, code="skip" if isinstance(act, SkipRequested) else "retry")
    return False


def _retry(turn: Turn, act: RetryRequested) -> None:
    if not _still_parked(turn, act):
        return
    turn.unpark()
    index = turn.instance.cursor
    state = turn.state(index) if act.step else StepState()
    if state.leg:
        again = replace(state.leg, attempt=state.leg.attempt + 1, first_at=turn.now)
        turn.send(turn.plan.steps[index], again)
    elif state.progress == "refused" and not turn.instance.backward:
        turn.change_step(index, progress="pending", round=state.round + 1)
    _go_on(turn)


def _skip(turn: Turn, act: SkipRequested) -> None:
    """Close the key first: only if the participant promises that there is no effect does the act count. What it has
    forgotten it never does again; whether it did, only the person can know."""
    if not _still_parked(turn, act):
        return
    planned = turn.plan.steps[turn.instance.cursor] if act.step else None
    leg = turn.state(planned.index).leg if planned else None
    if planned is None or leg is None:
        turn.note("too_late", act.step, code="skip")
    elif leg.forgotten:
        turn.note("skipped", act.step, operation=leg.operation, code=FORGOTTEN)
        _settled(turn, planned, act.reply, skipped=False)
    else:
        turn.unpark()
        closes = Close(of="undo" if turn.instance.backward else "do").to_json()
        turn.send(planned, Leg("close", closes, attempt=1, first_at=turn.now, due=None, closing=act.reply))


def _hand_over(turn: Turn, act: RerunRequested) -> None:
    """Note the one successor, before that begins: two must never own the same effects."""
    if why_not(turn.plan, turn.instance, act.step):
        turn.note("too_late", act.step, code="rerun")
        return
    turn.change(successor=act.successor, rerun_from=act.step)
    turn.note("rerun", act.step, code=act.successor)
