"""The same for waits: the machine's functions with one of their rules left out."""

from choros.saga.machine import signals
from choros.saga.machine.inputs import SignalRequested
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.saga.nodes.wait import WaitNode
from choros_verify.exploration.variant import instead_of

_TAKES, _LOOK, _BEGIN = signals._takes, WaitNode._look, WaitNode._begin


@instead_of(signals._keep)
def early_signal_dropped(walk: SagaWalk, path: str, body: str) -> None:
    """What comes before the saga waits for it is answered, and not kept."""
    walk.note("kept", path)


@instead_of(WaitNode._begin)
def early_signal_not_taken(self: WaitNode, turn: Turn) -> None:
    """What was kept for a wait is not looked at when the saga comes to it."""
    early = turn.instance.early
    turn.change(early=())
    _BEGIN(self, turn)
    turn.change(early=early)


@instead_of(signals.take_signal)
def late_signal_acted_on(walk: SagaWalk, signal: SignalRequested) -> None:
    """The last signal counts, whatever was said before, and whatever has become of the saga since."""
    walk.unpark(signal.step)
    walk.change_node(signal.step, progress="ok", reply=f"{signal.body} ", until=None, not_after=None)
    walk.note("signalled", signal.step)
    walk.go_on()


@instead_of(signals._takes)
def signal_outlived_by_its_wait(walk: SagaWalk, path: str) -> bool:
    """A signal for a wait that is open comes too late."""
    return _TAKES(walk, path) and not walk.state(path).takes_signal


@instead_of(WaitNode.ring)
def wait_without_end(self: WaitNode, turn: Turn) -> bool:
    """The timer of a wait is lost."""
    return False


@instead_of(WaitNode._look)
def lapsed_with_the_reminder(self: WaitNode, turn: Turn) -> None:
    """A wait is over as soon as its timer fires, whatever that was set for."""
    state = turn.state(self.path)
    if state.until is not None and state.until <= turn.now:
        turn.change_node(self.path, not_after=max(turn.now + 1.0, state.not_after or 0.0))
        self._lapse(turn)
        return
    _LOOK(self, turn)


@instead_of(WaitNode._remind)
def reminded_again_and_again(self: WaitNode, turn: Turn, builder: object) -> None:
    """Nobody counts the reminders: a rung is stepped on twice."""
    made = turn.certainly(self.reminders[0][1], self.path)
    turn.change_node(self.path, begun=turn.state(self.path).begun + 1)
    for _ in range(2):
        turn.release(made.kind, made.body, self.path)


@instead_of(WaitNode.turned)
def wait_not_cancelled(self: WaitNode, turn: Turn) -> None:
    """A saga that turns back waits to be told all the same."""
