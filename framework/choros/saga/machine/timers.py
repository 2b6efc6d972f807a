"""Timers: the saga's own deadline, each command under way or to be tried again, each sleep, and each wait."""

from choros.saga.machine.inputs import TimerFired
from choros.saga.machine.instance import Leg
from choros.saga.machine.questions import next_question
from choros.saga.machine.walk import SagaWalk, send
from choros.saga.outline import Commanded
from choros.values import replace


def take_timer(walk: SagaWalk, fired: TimerFired) -> None:
    """The saga's own deadline comes first: past it, no step before the pivot is tried again. A sleep that ends while
    the saga is paused is over, or its timer would fire for ever; what follows it is not begun."""
    deadline = walk.instance.deadline
    if deadline is not None and deadline <= walk.now:
        walk.change(deadline=None)
        walk.withdraw("deadline")
    for path, _ in walk.states():
        leg, leaf = walk.state(path).leg, walk.outline.commanded(path)  # the timer before this one may have turned it
        if leaf and leg and leg.due is not None and leg.due <= walk.now:
            # Between two attempts the last one has been answered, so it did leave.
            _leg_due(walk, leaf, leg, held=walk.instance.paused or (path in fired.unsent and not leg.waiting))
        elif walk.state(path).until is not None and path not in fired.blind:
            walk.ring(path)


def _leg_due(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    """Time for the next attempt, or no answer came. While the command cannot leave, that counts no attempt, and no
    time: else an outage as long as the policy's `total` would leave one attempt, and then a parked saga. What it adds
    is one timeout, not what the clock says has passed: another orchestrator's clock may have set the timer."""
    if leg.asks_next:
        _ask(walk, leaf, leg, held=held)
        return
    if held:
        timeout = leaf.timeout.total_seconds()
        due = walk.now + timeout
        by = due if leg.unfinished else leg.finish_by
        again = replace(leg, due=due, finish_by=by, first_at=leg.first_at + timeout)
        walk.change_node(leaf.path, leg=again)
        return
    if leg.unfinished:  # asked once more what has become of it, as often as if it were for the first time
        send(walk, leaf, replace(leg, attempt=leg.attempt + 1, first_at=walk.now, rung=0))
        return
    if not leg.waiting:
        walk.note("timed_out", leaf.path, operation=leg.operation, attempt=leg.attempt)
        if not leaf.policy(leg.operation).allows(leg.attempt, leg.first_at, walk.now):
            walk.give_up(leaf, leg, "timeout")
            return
    send(walk, leaf, replace(leg, attempt=leg.attempt + 1))


def _ask(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    """The same attempt once more: its participant does not begin it anew, but says what has become of it. Whether it is
    answered, nobody waits for; what cannot leave is asked the next time."""
    if not held:
        send(walk, leaf, leg)
    walk.change_node(leaf.path, leg=next_question(leg, walk.now, f"{walk.instance.saga_id}:{leaf.path}"))
