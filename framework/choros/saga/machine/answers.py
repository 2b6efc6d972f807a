"""Answers: OK and refused decide a step, of any attempt, a failure the awaited one; what is late moves nothing."""

from choros.messages import FORGOTTEN, UNFINISHED, Failure
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import Leg
from choros.saga.machine.questions import next_question
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Commanded
from choros.values import replace


def take_answer(walk: SagaWalk, answer: Answered) -> None:
    """Decide what a reply means, and go on."""
    leaf = walk.outline.commanded(answer.key.path)
    if leaf is None or not _was_sent(walk, leaf, answer) or _is_of_another(walk, leaf, answer):
        walk.stray(answer.id)
        return
    leg = walk.state(leaf.path).leg
    if leg is None or not _is_awaited(walk, leaf, leg, answer):
        walk.note_answer("late_reply", answer)
    elif answer.outcome == "ok":
        _accept(walk, leaf, leg, answer)
    elif answer.outcome == "refused" and _may_refuse(walk, leaf, leg, answer.code):
        _refused(walk, leaf, answer)
    else:
        _failed(walk, leaf, leg, answer)


def _was_sent(walk: SagaWalk, leaf: Commanded, answer: Answered) -> bool:
    """Whether this saga ever sent that command; a forged reply names one that it did not."""
    state, key = walk.state(leaf.path), answer.key
    if key.saga_id != (state.owner or walk.instance.saga_id) or key.round > state.round:
        return False
    if key.round < state.round or key.operation == "close":
        return True
    if key.operation == "release":
        return state.progress != "pending"
    if key.operation == "do":
        return state.progress not in (("pending", "ok") if leaf.existing else ("pending",))
    undoing = (state.leg is not None and state.closes == "undo") or state.progress in ("undone", "standing")
    return undoing or (walk.instance.terminating and state.progress != "pending")


def _is_of_another(walk: SagaWalk, leaf: Commanded, answer: Answered) -> bool:
    """Whether it is the reply to another command than the one that was chosen in this round."""
    state = walk.state(leaf.path)
    chosen = answer.kind is not None and answer.key.round == state.round and bool(leaf.action.others)
    return chosen and answer.kind is not leaf.command_of(state.choice).reply_type


def _is_awaited(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> bool:
    """A close is answered by itself, or by the stored outcome of what it closes.

    Once it has landed, a stray copy of that command is refused as cancelled. That is no outcome but the close's own
    doing, and its answer is on the way.
    """
    if leg.operation == "close" and answer.code == "cancelled" and not answer.standing:
        return False
    state = walk.state(leaf.path)
    awaited = ("close", state.closes) if leg.operation == "close" else (leg.operation,)
    if leg.operation == "cancel":  # only what becomes of the `do` tells whether it came in time
        awaited = ("cancel", "do")
    return answer.key.round == state.round and answer.key.operation in awaited


def _may_refuse(walk: SagaWalk, leaf: Commanded, leg: Leg, code: str) -> bool:
    choice = walk.state(leaf.path).choice
    return leg.operation not in ("undo", "release") and not leaf.existing and leaf.may_refuse(code, choice)


def _accept(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> None:
    if leg.operation == "release":
        walk.released(leaf.path)
        return
    if walk.instance.terminating:
        _take_close(walk, leaf, answer)
        return
    closed, undone = answer.key.operation == "close", leaf.existing or walk.state(leaf.path).closes == "undo"
    by_hand = closed and undone and not leg.gives_up
    walk.note_answer("by_hand" if by_hand else "skipped" if closed else "undone" if undone else "replied", answer)
    if closed and leg.gives_up:
        walk.leave_standing(leaf.path, leg.gives_up)
    elif answer.standing:
        walk.leave_standing(leaf.path, _left_below(leaf))
    else:
        walk.settle(leaf, leg.closing if closed else answer.data, closed)


def _left_below(leaf: Commanded) -> str:
    return f"{leaf.whom} has left something standing"


def _take_close(walk: SagaWalk, leaf: Commanded, answer: Answered) -> None:
    """What became of a command that was open: its stored outcome, or that it never had one, and never will.

    Of an undo that never was, one does not know whether there was something to undo; if there was, it stays, as that
    undo can never be carried out any more."""
    undoing = leaf.existing or walk.state(leaf.path).closes == "undo"
    closed = answer.key.operation == "close"
    walk.note_answer("closed" if closed else "undone" if undoing else "replied", answer)
    if not closed:
        undone = {"progress": "standing" if answer.standing else "undone"}
        walk.change_node(leaf.path, leg=None, **(undone if undoing else {"progress": "ok", "reply": answer.data}))
    elif leaf.existing:
        walk.change_node(leaf.path, progress="ok", leg=None)
    elif undoing:
        there = walk.state(leaf.path).progress
        walk.change_node(leaf.path, progress="standing" if there == "ok" else there, leg=None)
    else:
        walk.change_node(leaf.path, progress="closed", leg=None)
    walk.go_on()


def _refused(walk: SagaWalk, leaf: Commanded, answer: Answered) -> None:
    walk.note_answer("refused", answer)
    walk.change_node(leaf.path, progress="refused", leg=None)
    if answer.standing:
        walk.leave_standing(leaf.path, _left_below(leaf))
    if walk.instance.terminating:
        walk.go_on()
        return
    if leaf.ends:
        walk.unpark(leaf.path)
        walk.go_on()
        return
    if "refused" not in leaf.turns_on:
        walk.park(f"{leaf.path} was refused ({answer.code}) after the pivot", leaf.path)
        return
    walk.unpark(leaf.path)
    walk.turn_back(Failure(code=answer.code, detail=answer.detail, step=leaf.path, kind="refused"), answer.refusal)


def _failed(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> None:
    """A refusal nobody declared counts as a failure."""
    if not leg.awaits_answer(answer.key.operation, answer.attempt):
        walk.note_answer("late_reply", answer)
        return
    if answer.code == UNFINISHED and leaf.finished_within is not None and leg.operation == "do":
        _unfinished(walk, leaf, leg, leaf.finished_within.total_seconds())
        return
    if leg.unfinished:  # the time that it took is no time in which it was tried
        leg = replace(leg, first_at=walk.now, rung=0)
    walk.note_answer("undeclared_refusal" if answer.outcome == "refused" else "failed", answer)
    policy = leaf.policy(leg.operation)
    delay = policy.delay(leg.attempt, str(answer.key))
    if answer.code == FORGOTTEN:
        _forgotten(walk, leaf, leg)
    elif not policy.allows(leg.attempt, leg.first_at, walk.now + delay, answer.code):
        walk.give_up(leaf, leg, answer.code, answer.detail)
    else:
        walk.change_node(leaf.path, leg=replace(leg, waiting=True, due=walk.now + delay))
        walk.note("retry_scheduled", leaf.path, operation=leg.operation, attempt=leg.attempt + 1, seconds=delay)


def _unfinished(walk: SagaWalk, leaf: Commanded, leg: Leg, seconds: float) -> None:
    """Its participant has taken it, and somebody outside finishes it: it is asked ever more seldom what has become of
    it, as what is told may be lost, and for the last time when that has taken too long."""
    if leg.unfinished:
        return
    by = leg.finish_by if leg.finish_by is not None else walk.now + seconds
    if by <= walk.now:
        walk.give_up(leaf, leg, UNFINISHED)
    else:
        taken = next_question(replace(leg, finish_by=by), walk.now, f"{walk.instance.saga_id}:{leaf.path}")
        walk.change_node(leaf.path, leg=taken)
        walk.note("unfinished", leaf.path, operation=leg.operation, attempt=leg.attempt, seconds=by - walk.now)


def _forgotten(walk: SagaWalk, leaf: Commanded, leg: Leg) -> None:
    """Its participant cannot tell any more what became of the command, and never will: a person has to look. Of an undo
    that the saga goes on without, that is as good as closed."""
    if walk.instance.terminating:
        walk.leave_in_doubt(leaf.path)
        return
    what = f"{leaf.path} ({leg.operation}): {leaf.to} has forgotten what became of it"
    if leg.gives_up or leaf.may_skip(leg.operation):
        walk.leave_standing(leaf.path, leg.gives_up or what)
        return
    walk.change_node(leaf.path, leg=replace(leg, forgotten=True))
    walk.park(f"{what}; look there, then skip it", leaf.path)
