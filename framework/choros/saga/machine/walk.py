"""The walk through the tree: what is next goes out, forward or backward, and at the end the closing facts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from choros.messages import Failure
from choros.saga.machine.inputs import Decision, Send, UpdateAnswer
from choros.saga.machine.instance import ROOT, Instance, Leg, NestedOutcome, NodeState, Parent
from choros.saga.machine.turn import AT_ONCE, BuildFailed, Made, Node, Turn, TurnedBack
from choros.saga.outline import Commanded, Outline
from choros.saga.paths import around, declared, item_around, same_item, stands_in
from choros.values import replace
from choros.wire.attributes import LAST_MOMENT
from choros.wire.command_key import CommandKey, Operation


@dataclass(frozen=True, slots=True)
class Tree:
    """A saga that has passed every check, as the machine needs it."""

    outline: Outline
    root: Node
    needed_by: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    """By the path of a leaf: what has to be undone before it."""
    freely: bool = False
    """Whether several may be undone at a time while the whole saga is."""


class SagaWalk(Turn):
    """A turn that knows the whole saga."""

    def __init__(self, tree: Tree, instance: Instance, now: float) -> None:
        super().__init__(instance, now)
        self.outline, self._root = tree.outline, tree.root
        self._needed_by = tree.needed_by
        self.freely: bool = tree.freely
        self._goes_on = False
        self._answers: list[UpdateAnswer] = []

    def decision(self) -> Decision:
        """What the turn came to."""
        decided = super().decision()
        return replace(decided, answers=tuple(self._answers)) if self._answers else decided

    def answer(self, answer: UpdateAnswer) -> None:
        """Answer whoever asked something of the saga, with this turn's commit."""
        self._answers.append(answer)

    @property
    def at_work(self) -> str:
        """The path of the leaf that is next; that of the root when only the closing facts are left."""
        return self._root.at_work(self._nodes, self.instance.backward) or ROOT

    def go_on(self) -> None:
        """Do what is next, once all inputs are applied: one of them may still turn the saga."""
        self._goes_on = True

    def end(self) -> Decision:
        """What the turn comes to, with what is next in it, unless something holds the saga; a bug in the declaration's
        functions parks a node."""
        if self._goes_on and not (self.instance.paused or self.instance.terminal):
            if self.instance.terminating:
                self._terminate()
            elif not self.instance.queued or self._is_called_off:
                self._walk()
        return self.decision()

    @property
    def begun(self) -> bool:
        """Whether there may be something to undo: what it has done, has taken over, or found when it began."""
        return any(path for path, _ in self.states())

    def find_existing(self) -> None:
        """What was there before the saga has to be undone, however early that turns back."""
        for leaf in self.outline.commands:
            if leaf.existing:
                self._node(leaf.path).forward(self)

    @property
    def _is_called_off(self) -> bool:
        """Without its lock, a saga may end that has never begun."""
        return self.instance.backward and not self.begun

    def _terminate(self) -> None:
        """It has ended as it is once nothing of it is open."""
        if self.outline.nests:
            self._release(ended=True)
        if not any(state.leg for _, state in self.states()):
            self.change(status="terminated")
            self.note("terminated")

    def _walk(self) -> None:
        try:
            over = self._backward() if self.instance.backward else self._forward()
            if self.outline.nests:
                self._release(ended=False)
            if over and not self.busy:
                self._finish()
        except BuildFailed as failed:
            self.park(str(failed), failed.path)
        except TurnedBack as turned:
            self.turn_back(turned.failure)
            self._walk()

    def _forward(self) -> bool:
        """Once more where a loser is undone for which the pivot waits."""
        over = self.attempt(self._root.forward)
        return self._root.forward(self) if self._undo_losers() else over

    def _backward(self) -> bool:
        """All of it in one order, what lost before that as well."""
        if not self._root.backward(self):
            return False
        for path in [path for path, state in self.states() if state.turns]:
            self.change_node(path, progress="undone")
        return True

    def _undo_losers(self) -> bool:
        """Each by itself, beside whatever the saga does; whether one of them is undone."""
        undone = [self._is_undone(path) for path, state in self.states() if state.turns]
        return any(undone)

    def _is_undone(self, path: str) -> bool:
        node = self._node(path)
        if not self.undo_part(path, lambda turn: turn.attempt(node.backward)):
            return False
        self.change_node(path, progress="undone")
        return True

    def is_needed(self, path: str) -> bool:
        """What goes on needs nothing of what is undone beside it."""
        named = self._needed_by.get(declared(path), ())
        needing = [same_item(one, path) for one in named]
        mine = [one for one in needing if self.instance.backward or stands_in(one, self._part)]
        self.want(mine)
        return any(self._may_stand(one) for one in mine)

    def _may_stand(self, path: str) -> bool:
        progress = self.state(path).progress
        return progress in ("ok", "in_doubt", "published", "entered") or self.state(path).leg is not None

    def _finish(self) -> None:
        if self.state(ROOT).parked:
            return
        told = self.instance.stage == "settled"
        if self._waits_for_parent() or (self.outline.nests and self._release(ended=True)):
            return
        if not told:
            self._tell()
        end: Literal["completed", "compensated"] = "compensated" if self.instance.backward else "completed"
        self.change(status=end, deadline=None, stage="", ending=False)
        self.note(end)

    def _tell(self) -> None:
        """Publish what it has held and what it ends with, and say what it comes to."""
        facts, result = self._closing()
        self.release_held()
        if self.instance.backward and self._is_left_standing():
            self.change(withheld=tuple((made.kind.type_name, made.body) for made in facts))
            for made in facts:
                self.note("fact_withheld", code=made.kind.type_name)
        else:
            for made in facts:
                self.release(made.kind, made.body)
        self.change(result=result)

    def _is_left_standing(self) -> bool:
        return any(state.progress == "standing" for _, state in self.states())

    def release_withheld(self) -> None:
        """Publish what says that the saga was undone, now that this is true."""
        if self.instance.withheld and not self._is_left_standing():
            kinds = {kind.type_name: kind for builder in self.outline.compensated for kind in builder.kinds}
            for name, body in self.instance.withheld:
                self.release(kinds[name], body)
            self.change(withheld=())

    def _closing(self) -> tuple[Sequence[Made], str]:
        closing = self.outline.compensated if self.instance.backward else self.outline.completed
        return [made for builder in closing if (made := self.made(builder, ROOT))], self._result()

    def _result(self) -> str:
        """What a completed saga comes to; one that was undone came to nothing."""
        builder = None if self.instance.backward else self.outline.result
        return self.certainly(builder, ROOT).body if builder else ""

    def turn_back(self, failure: Failure, refusal: str = "") -> None:
        """Undo what was done: all of it, or what the innermost node is made of that goes on without."""
        if failure.kind != "cancelled" and any(node.catches(self, failure.step) for node in self._around(failure.step)):
            self.go_on()
            return
        said = failure.to_json()
        self.turning = True
        self.change(status="compensating", backward=True, failure=said, refusal=refusal, wanted="", deadline=None)
        self.note("compensating", failure.step, code=failure.code)
        for path, _ in self.states():
            self._node(path).turned(self)
        if any(state.parked for _, state in self.states()):  # the undo of a loser
            self.change(status="parked")
        self.go_on()

    def ring(self, path: str) -> None:
        """A node's own moment may have come."""
        if self._node(path).ring(self):
            self.go_on()

    def let_go(self, path: str) -> None:
        """What this leaf holds back, or waits for, nobody wants any more."""
        if self.outline.leaf(path):
            self._node(path).turned(self)

    def _around(self, path: str) -> Iterator[Node]:
        """The nodes that this one stands in, the innermost first."""
        while path := around(path):
            yield self._node(path)

    def _node(self, path: str) -> Node:
        """The root where the path is that of no other: an item's, for one."""
        node: object = self.outline.nodes.get(declared(path))
        return node.within(item_around(path)) if isinstance(node, Node) else self._root

    def settle(self, leaf: Commanded, reply: str, skipped: bool) -> None:
        """A leaf is done, or undone: go on."""
        self.unpark(leaf.path)
        if leaf.existing or self.state(leaf.path).closes == "undo":
            self.change_node(leaf.path, progress="undone", leg=None)
        else:
            self.change_node(leaf.path, progress="ok", reply=reply, skipped=skipped, leg=None)
            self.accept(leaf.path)
            if leaf.path in self.outline.pivots:
                self._pass_pivot(leaf)
        self.go_on()

    def _pass_pivot(self, leaf: Commanded) -> None:
        self.note("pivot_passed", leaf.path)
        if self.instance.wanted:
            self.note("too_late", leaf.path, code=self.instance.wanted)
        self.change(wanted="", deadline=None)
        self.release_held()

    def give_up(self, leaf: Commanded, leg: Leg, code: str, detail: str = "") -> None:
        """The outcome stays unknown: a step before the pivot is undone with the others, all else waits for a person; in
        a saga that is terminated, nothing. An undo that the saga may go on without is closed first."""
        if self.instance.terminating:
            self.leave_in_doubt(leaf.path)
            return
        if leg.operation != "do" or "in_doubt" not in leaf.turns_on:
            said = f"{code}: {detail}" if detail else code
            why = f"{leaf.path} ({leg.operation}) is in doubt after {leg.attempt} attempts: {said}"
            if leaf.may_skip(leg.operation):
                close_undo(self, leaf, why)
            else:
                self.park(why, leaf.path)
            return
        self.turn_back(Failure(code=code or "unknown", detail=detail, step=leaf.path, kind="in_doubt"))

    def leave_in_doubt(self, path: str) -> None:
        """Nobody can say what became of it, and nobody asks any more."""
        self.change_node(path, progress="in_doubt", leg=None, unreleased=False)
        self.note("left_in_doubt", path)
        self.go_on()

    def leave_standing(self, path: str, why: str) -> None:
        """It goes on without this undo, which nobody will carry out any more."""
        self.unpark(path)
        self.change_node(path, progress="standing", leg=None)
        self.note("left_standing", path, code=why)
        self.go_on()

    def withdraw(self, why: str) -> None:
        """Cancel, or the saga's deadline: undo what was done, unless the pivot is passed or in flight."""
        instance, pivots = self.instance, [self.state(path).progress for path in self.outline.pivots]
        too_late = instance.terminal or instance.backward or instance.ending or instance.stage
        if too_late or "ok" in pivots:
            self.note("too_late", code=why)
        elif "sent" in pivots:
            self.change(wanted=why)
            self.note("wanted", code=why)
            self.go_on()  # where the pivot is a saga, that is told
        else:
            self.turn_back(Failure(code=why, step=self.at_work, kind="cancelled"))

    def release_held(self) -> None:
        """Publish what was held, in the order in which the saga came to it."""
        for path, state in self.states():
            if state.progress == "held" and state.fact:
                self.release(self.outline.fact_at(path, state.choice), state.fact, path)
                self.change_node(path, progress="published")

    # --- sagas within it, and the one that it is within ---

    def _release(self, *, ended: bool) -> bool:
        """Tell the sagas within it, which nobody will undo any more, and begin those that were to wait for that;
        whether any is left. Behind the pivot these are the ones that stand, at the end all."""
        if not (ended or any(self.state(path).progress == "ok" for path in self.outline.pivots)):
            return False
        left = [path for path, state in self.states() if _hangs_on(state, ended)]
        under_way = sum(1 for path in left if self.state(path).leg)
        for path in [path for path in left if not self.state(path).leg][: max(0, AT_ONCE - under_way)]:
            self._node(path).let_end(self)
        if left and ended:
            self.change(ending=True, deadline=None)
        return bool(left)

    def released(self, path: str) -> None:
        """A saga within it has ended for good."""
        self.change_node(path, leg=None, unreleased=False)
        self.note("released", path)
        self.go_on()

    def _waits_for_parent(self) -> bool:
        """Whether it must not end yet, although it is over: the saga that it is nested in might still be undone. What
        nobody can undo any more, it tells at once; of all else it only makes sure that it can be told."""
        parent, backward = self.instance.parent, self.instance.backward
        if parent is None or parent.detached or parent.released:
            return False
        if self.instance.stage:
            return True
        final = backward or any(self.state(path).progress == "ok" for path in self.outline.pivots)
        if final:
            self._tell()
        else:
            self.change(result=self._closing()[1])
        stage: Literal["revocable", "settled"] = "settled" if final else "revocable"
        self.change(stage=stage, deadline=None, parent=replace(parent, outcome=_outcome(parent, backward)))
        self.note(stage)
        return True


def _outcome(parent: Parent, backward: bool) -> NestedOutcome:
    """What its `do` has come to; once that is known, it stays."""
    if parent.outcome or not backward:
        return parent.outcome or "ok"
    return "cancelled" if parent.order and parent.order.operation in ("undo", "close") else "refused"


def _hangs_on(state: NodeState, ended: bool) -> bool:
    """Whether something nested at this node still waits for the saga to say that it will not be undone."""
    if state.progress == "held":
        return not state.fact
    return state.unreleased and (ended or state.progress == "ok")


# --- commands ---


def send_first(
    turn: Turn, leaf: Commanded, operation: Operation, command: str, *, closing: str = "", choice: str = ""
) -> None:
    """Send a command for the first time."""
    send(turn, leaf, Leg(operation, command, attempt=1, first_at=turn.now, due=None, closing=closing, choice=choice))


def close_undo(turn: Turn, leaf: Commanded, why: str = "") -> None:
    """Ask for its undo to be closed. Without a word why the saga goes on without it, a person has undone it."""
    closing = leaf.closing("do" if leaf.existing else "undo", terminates=False)
    leg = Leg("close", closing, attempt=1, first_at=turn.now, due=None, gives_up=why)
    if turn.instance.paused:  # once it goes on
        turn.change_node(leaf.path, leg=replace(leg, attempt=0, due=turn.now, waiting=True))
    else:
        send(turn, leaf, leg)


def send(turn: Turn, leaf: Commanded, leg: Leg) -> None:
    """Send a leaf's command and await its answer; `leg` says which operation and which attempt."""
    state = turn.state(leaf.path)
    not_after = state.not_after
    if leg.operation == "do" and leaf.expires:
        not_after = max(not_after or 0.0, _begins_until(turn, leaf, leg))
    leg = replace(leg, due=turn.now + leaf.timeout.total_seconds(), waiting=False)
    if not_after is not None:  # also one that an older choros has stored
        not_after = min(not_after, LAST_MOMENT)
    began = turn.now if (leg.operation, leg.attempt) == ("do", 1) else state.began
    turn.change_node(leaf.path, leg=leg, not_after=not_after, began=began)
    key = CommandKey(state.owner or turn.instance.saga_id, leaf.path, state.round, leg.operation)
    kind = leaf.sent_as(leg.operation, state.choice, leg.choice)
    turn.send(Send(leaf.to, key, kind.type_name, leg.command, leg.attempt, not_after, began))


def _begins_until(turn: Turn, leaf: Commanded, leg: Leg) -> float:
    """Until when a participant may begin a `do`: as long as it is tried again, or as long as it may lie untaken.

    One that was answered had been taken, and a person's retry begins anew. Silence does not say whether it was taken: a
    copy that is sent then asks what became of it, and gets no more time."""
    if leaf.taken_within is None:
        return max(turn.now + leaf.timeout.total_seconds(), leg.first_at + leaf.retry.total.total_seconds())
    begins_anew = leg.waiting or leg.first_at == turn.now
    return turn.now + leaf.taken_within.total_seconds() if begins_anew else 0.0
