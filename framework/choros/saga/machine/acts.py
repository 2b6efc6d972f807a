"""Acts: cancel, pause, retry, skip, terminate, rerun, as people want. What comes too late is said to, and changes
nothing."""

from choros.messages import FORGOTTEN
from choros.saga.machine.inputs import (
    Act,
    CancelRequested,
    PauseRequested,
    RerunRequested,
    ResumeRequested,
    RetryRequested,
    SettleRequested,
    SkipRequested,
    TerminateRequested,
)
from choros.saga.machine.instance import NodeState
from choros.saga.machine.rerun import why_not
from choros.saga.machine.walk import SagaWalk, close_undo, send, send_first
from choros.saga.outline import Commanded, Publication
from choros.values import replace


def take_act(walk: SagaWalk, act: Act) -> None:
    """Do as a person says. A saga that is being terminated takes no other act."""
    if walk.instance.terminating and not walk.instance.terminal:
        walk.note("too_late", code=_named(act))
        return
    match act:
        case CancelRequested():
            walk.withdraw("cancelled")
        case PauseRequested() | ResumeRequested():
            _pause(walk, isinstance(act, PauseRequested))
        case RetryRequested():
            _retry(walk, act)
        case TerminateRequested():
            _terminate(walk)
        case RerunRequested():
            _hand_over(walk, act)
        case SettleRequested():
            _settle(walk, act)
        case _:
            _skip(walk, act)


def _pause(walk: SagaWalk, paused: bool) -> None:
    if walk.instance.terminal or walk.instance.paused == paused:
        walk.note("too_late", code="pause" if paused else "resume")
        return
    walk.change(paused=paused)
    walk.note("paused" if paused else "resumed", walk.at_work)
    walk.go_on()


def _still_parked(walk: SagaWalk, act: RetryRequested | SkipRequested | SettleRequested) -> bool:
    """Whether the saga still waits where the act says; otherwise the act comes too late."""
    state = walk.state(act.step)
    if state.parked and state.round == act.round and not walk.instance.paused:
        return True
    walk.note("too_late", act.step, code=_named(act))
    return False


def _named(act: Act) -> str:
    return type(act).__name__.removesuffix("Requested").lower()


def _retry(walk: SagaWalk, act: RetryRequested) -> None:
    if not _still_parked(walk, act):
        return
    walk.unpark(act.step)
    state, leaf = walk.state(act.step), walk.outline.commanded(act.step)
    if leaf and state.leg:
        send(walk, leaf, replace(state.leg, attempt=state.leg.attempt + 1, first_at=walk.now, finish_by=None))
    elif state.progress in ("refused", "lapsed") and not walk.instance.backward:
        walk.change_node(act.step, progress="pending", round=state.round + 1)
    walk.go_on()


def _skip(walk: SagaWalk, act: SkipRequested) -> None:
    """Close the key first: only if the participant promises that nothing comes of it any more does the act count. What
    it has forgotten it never does again; whether it did, only the person can know. A step whose undo is skipped is left
    standing."""
    if not _still_parked(walk, act):
        return
    state, leaf = walk.state(act.step), walk.outline.commanded(act.step)
    if leaf is None or state.leg is None:
        walk.note("too_late", act.step, code="skip")
    elif state.leg.forgotten:
        walk.note("skipped", act.step, operation=state.leg.operation, code=FORGOTTEN)
        if _is_undo(state, leaf):
            walk.leave_standing(act.step, state.parked)
        else:
            walk.settle(leaf, act.reply, skipped=False)
    elif _is_undo(state, leaf):
        walk.unpark(act.step)
        close_undo(walk, leaf, state.parked)
    else:
        walk.unpark(act.step)
        send_first(walk, leaf, "close", leaf.closing(state.closes, terminates=False), closing=act.reply)


def _is_undo(state: NodeState, leaf: Commanded) -> bool:
    """Whether what waits there for a person is the undo of the step."""
    return state.leg is not None and (leaf.existing or state.closes == "undo")


def _settle(walk: SagaWalk, act: SettleRequested) -> None:
    """A person says what nobody else can: that what was left standing is undone, or what became of what is in doubt.
    An undo that is parked is closed first, as for a skip."""
    if walk.instance.terminal:
        _settle_at_end(walk, act)
        return
    if not _still_parked(walk, act):
        return
    state, leaf = walk.state(act.step), walk.outline.commanded(act.step)
    if leaf is None or act.stands or not _is_undo(state, leaf):
        walk.note("too_late", act.step, code="settle")
    elif state.leg and state.leg.forgotten:
        walk.note("by_hand", act.step, code="undone")
        walk.settle(leaf, "", skipped=False)
    else:
        walk.unpark(act.step)
        close_undo(walk, leaf)


def _settle_at_end(walk: SagaWalk, act: SettleRequested) -> None:
    """The saga has ended, and nothing more is done; but what it says of itself becomes true, or known."""
    state = walk.state(act.step)
    match (state.progress if state.round == act.round else "", act.stands):
        case "standing", False:
            walk.change_node(act.step, progress="undone")
        case "in_doubt", True:
            there = "standing" if walk.instance.backward or state.lost else "ok"  # its undo was closed
            walk.change_node(act.step, progress=there, reply=state.reply or act.reply)
        case "in_doubt", False:
            leaf = walk.outline.commanded(act.step)
            walk.change_node(act.step, progress="undone" if leaf and leaf.existing else "closed")
        case _:
            walk.note("too_late", act.step, code="settle")
            return
    walk.note("by_hand", act.step, code="stands" if act.stands else "undone")
    walk.release_withheld()


def _hand_over(walk: SagaWalk, act: RerunRequested) -> None:
    """Note the one successor, before that begins: two must never own the same effects."""
    walk.want(walk.outline.nodes)
    if why_not(walk.outline, walk.decision().instance, act.step):
        walk.note("too_late", act.step, code="rerun")
        return
    walk.change(successor=act.successor, rerun_from=act.step)
    walk.note("rerun", act.step, code=act.successor)


# --- terminate: nothing more is done, and nothing undone; what is open is closed first ---


def _terminate(walk: SagaWalk) -> None:
    """Begin with it: held facts never leave, and whoever was commanded is asked to close."""
    if walk.instance.terminal:
        walk.note("too_late", code="terminate")
        return
    status = "compensating" if walk.instance.backward else "running"
    walk.change(status=status, terminating=True, paused=False, wanted="", deadline=None)
    walk.note("terminating")
    for path, _ in walk.states():
        _stop(walk, path)
    walk.go_on()


def _stop(walk: SagaWalk, path: str) -> None:
    state, leaf = walk.state(path), walk.outline.commanded(path)
    if state.parked:
        walk.change_node(path, parked="")
    fact = walk.outline.leaf(path)
    if isinstance(fact, Publication) and state.progress == "held":  # whoever runs the saga again has it to tell
        walk.note("fact_dropped", path, code=fact.fact_of(state.choice).type_name)
    elif leaf is None or state.progress == "held":
        walk.let_go(path)
    elif state.leg and state.leg.forgotten:
        walk.leave_in_doubt(path)
    elif state.leg and state.leg.operation != "release":
        _close(walk, leaf)
    elif state.progress == "in_doubt":  # its undo was not sent yet
        walk.change_node(path, progress="sent")
        _close(walk, leaf)


def _close(walk: SagaWalk, leaf: Commanded) -> None:
    send_first(walk, leaf, "close", leaf.closing(walk.state(leaf.path).closes, terminates=True))
