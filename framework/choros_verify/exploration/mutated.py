"""The machine's functions with one rule left out, for the mutants that are about decisions."""

from dataclasses import replace

from choros.messages import Failure, Message
from choros.saga.machine import acts, answers, timers
from choros.saga.machine.inputs import Answered, Decision, Send, SkipRequested
from choros.saga.machine.instance import Leg
from choros.saga.machine.turn import Made, Turn
from choros.saga.machine.walk import SagaWalk, send_first
from choros.saga.nodes.commanded import CommandNode
from choros.saga.nodes.existing import ExistingNode
from choros.saga.nodes.publish import PublishNode
from choros.saga.nodes.sequence import SequenceNode
from choros.saga.nodes.sleep import SleepNode
from choros.saga.outline import Commanded
from choros_verify.exploration.variant import instead_of

_BACKWARD, _WITHDRAW, _GIVE_UP, _FAILED = SequenceNode.backward, SagaWalk.withdraw, SagaWalk.give_up, answers._failed
_LEG_DUE, _END, _SKIP = timers._leg_due, SagaWalk.end, acts._skip
_SEND, _RELEASE, _WAKE = Turn.send, Turn.release, Turn.wake
_GO, _GO_BACK = CommandNode.forward, CommandNode.backward
_FORWARD, _TURN_BACK, _TAKE_BACK = SleepNode.forward, SagaWalk.turn_back, ExistingNode.backward


@instead_of(SequenceNode.backward)
def undo_only_what_completed(self: SequenceNode, turn: Turn) -> bool:
    """A step in doubt is taken for one that did not happen."""
    for path, state in turn.states():
        if state.progress == "in_doubt":
            turn.change_node(path, progress="refused")
    return _BACKWARD(self, turn)


@instead_of(answers._is_awaited)
def late_ok_accepted(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> bool:
    """An OK counts although its step is no longer awaited."""
    return True


@instead_of(Turn.send)
def undo_carries_its_own_deadline(self: Turn, command: Send) -> None:
    """An undo carries the deadline of its own send, not the greatest."""
    leg = self.state(command.key.path).leg
    _SEND(self, replace(command, not_after=leg.due) if leg and leg.operation == "undo" else command)


@instead_of(timers._leg_due)
def unsent_attempts_count(walk: SagaWalk, leaf: Commanded, leg: Leg, *, held: bool) -> None:
    """A timer counts an attempt although its command has not left yet."""
    _LEG_DUE(walk, leaf, leg, held=walk.instance.paused)


@instead_of(Turn.send)
def no_timer(self: Turn, command: Send) -> None:
    """A command is sent without a timer."""
    _SEND(self, command)
    leg = self.state(command.key.path).leg
    self.change_node(command.key.path, leg=leg and replace(leg, due=None))


@instead_of(answers._failed)
def old_failures_count(walk: SagaWalk, leaf: Commanded, leg: Leg, answer: Answered) -> None:
    """The failure of an earlier attempt counts for the attempt that is awaited."""
    _FAILED(walk, leaf, leg, replace(answer, attempt=leg.attempt))


@instead_of(SagaWalk.withdraw)
def pivot_in_flight_cancelled(walk: SagaWalk, why: str) -> None:
    """A cancel undoes the saga although its pivot is on its way."""
    if any(walk.state(pivot).progress == "sent" for pivot in walk.outline.pivots):
        walk.turn_back(Failure(code=why, kind="cancelled"))
    else:
        _WITHDRAW(walk, why)


@instead_of(SagaWalk.give_up)
def pivot_in_doubt_compensated(walk: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
    """A pivot that may have happened is taken for refused."""
    if leaf.path in walk.outline.pivots and leg.operation == "do":
        walk.turn_back(Failure(code=code, kind="in_doubt"))
    else:
        _GIVE_UP(walk, leaf, leg, code, detail)


@instead_of(SagaWalk.give_up)
def in_doubt_taken_for_done(walk: SagaWalk, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
    """A command that may have been carried out is taken for carried out."""
    if leg.operation != "do":
        _GIVE_UP(walk, leaf, leg, code, detail)
        return
    reply = leaf.command_of(walk.state(leaf.path).choice).reply_type.model_construct().to_json()
    walk.change_node(leaf.path, progress="ok", reply=reply, leg=None)
    walk.go_on()


@instead_of(SagaWalk.end)
def pause_not_checked(self: SagaWalk) -> Decision:
    """A commit that sends does not look whether the saga is paused."""
    paused = self.instance.paused
    self.change(paused=False)
    decision = _END(self)
    return replace(decision, instance=replace(decision.instance, paused=paused))


@instead_of(acts._skip)
def skip_without_close(walk: SagaWalk, act: SkipRequested) -> None:
    """A skipped step counts as done before its participant has closed it."""
    state, leaf = walk.state(act.step), walk.outline.commanded(act.step)
    if leaf is None or not state.parked or state.leg is None:
        _SKIP(walk, act)
        return
    walk.settle(leaf, act.reply, skipped=False)


@instead_of(Turn.release)
def facts_not_numbered(self: Turn, fact: type[Message], body: str, step: str = "") -> None:
    """Facts are released without a number of their own."""
    _RELEASE(self, fact, body, step)
    self.change(seq=0)


@instead_of(Turn.release)
def facts_twice(self: Turn, fact: type[Message], body: str, step: str = "") -> None:
    """A fact is released twice."""
    _RELEASE(self, fact, body, step)
    _RELEASE(self, fact, body, step)


@instead_of(ExistingNode.backward)
def undone_as_if_it_had_been_done(self: ExistingNode, turn: Turn) -> bool:
    """What was there before the saga is taken back by an undo, for which there never was a do."""
    state = turn.state(self.path)
    if state.progress == "ok" and not state.leg and not state.parked:
        made = turn.made(self.action, self.path)
        send_first(turn, self, "undo", made.body if made else "")
        return False
    return _TAKE_BACK(self, turn)


@instead_of(ExistingNode.backward)
def existing_left_standing(self: ExistingNode, turn: Turn) -> bool:
    """What was there before the saga is not taken back."""
    return True


@instead_of(CommandNode.forward)
def local_done_once_sent(self: CommandNode, turn: Turn) -> bool:
    """A local step counts as done in the decision that sends it, as if its handler had run there."""
    done = _GO(self, turn)
    if self.local and turn.state(self.path).progress == "sent":
        turn.change_node(self.path, progress="ok", leg=None)
        turn.accept(self.path)
        return True
    return done


@instead_of(CommandNode.backward)
def local_left_standing(self: CommandNode, turn: Turn) -> bool:
    """A local step is not undone, as if its database went back with the saga."""
    return True if self.local else _GO_BACK(self, turn)


@instead_of(Turn.wake)
def sleep_cut_short(self: Turn, path: str) -> bool:
    """A sleep ends with whatever comes next."""
    if (until := self.state(path).until) and self.instance.state(path).until:
        self.change_node(path, until=min(until, self.now))
    return _WAKE(self, path)


@instead_of(Turn.wake)
def sleep_without_end(self: Turn, path: str) -> bool:
    """The timer of a sleep is lost."""
    return False


@instead_of(SleepNode.forward)
def sleep_decided_anew(self: SleepNode, turn: Turn) -> bool:
    """How long a sleep is, is decided anew whenever the saga comes by."""
    if turn.state(self.path).progress == "asleep":
        turn.change_node(self.path, progress="pending", until=None)
    return _FORWARD(self, turn)


@instead_of(SagaWalk.turn_back)
def sleep_not_cancelled(self: SagaWalk, failure: Failure, refusal: str = "") -> None:
    """A saga that turns back sleeps on."""
    asleep = [(path, state.until) for path, state in self.states() if state.until is not None]
    _TURN_BACK(self, failure, refusal)
    for path, until in asleep:
        self.change_node(path, progress="asleep", until=until)


@instead_of(PublishNode._publish)
def held_facts_leave_early(self: PublishNode, turn: Turn, made: Made) -> None:
    """A fact that should wait for the pivot is published at once."""
    turn.release(made.kind, made.body, self.path)
    turn.change_node(self.path, progress="published", fact=made.body)


@instead_of(PublishNode.turned)
def held_facts_outlive_compensation(self: PublishNode, turn: Turn) -> None:
    """A fact that was held is published although the saga was undone."""


@instead_of(SequenceNode.backward)
def early_fact_not_taken_back(self: SequenceNode, turn: Turn) -> bool:
    """A fact published early is not taken back when the saga is undone."""
    for path, state in turn.states():
        if state.progress == "published":
            turn.change_node(path, progress="retracted")
    return _BACKWARD(self, turn)


@instead_of(SagaWalk._result)
def result_not_kept(self: SagaWalk) -> str:
    """What the saga came to is not kept."""
    return ""


@instead_of(acts._close)
def terminated_without_closing(walk: SagaWalk, leaf: Commanded) -> None:
    """A saga that is terminated closes none of its commands."""
    walk.change_node(leaf.path, progress="closed", leg=None)


@instead_of(SagaWalk._terminate)
def terminated_goes_on(self: SagaWalk) -> None:
    """An answer moves a saga that is being terminated."""
    self._walk()


@instead_of(SequenceNode.backward)
def undo_does_not_wait(self: SequenceNode, turn: Turn) -> bool:
    """The next undo is sent before the last one is answered."""
    while not _BACKWARD(self, turn):
        for path, state in turn.states():
            if state.leg:
                turn.change_node(path, progress="undone", leg=None)
    return True


@instead_of(SequenceNode.backward)
def undo_oldest_first(self: SequenceNode, turn: Turn) -> bool:
    """Steps are undone in the order in which they were done."""
    return all(node.backward(turn) for node in self.nodes)
