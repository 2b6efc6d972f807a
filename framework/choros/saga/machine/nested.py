"""A nested saga and the one that it is nested in: what that commands, and what it is answered, once that is known."""

from choros.messages import (
    FORGOTTEN,
    Closed,
    Done,
    Failure,
    LeftStanding,
    NothingToUndo,
    Refusal,
    Reply,
)
from choros.saga.machine.inputs import Decision, NestedReply, OrderReceived
from choros.saga.machine.instance import Instance, Order, Parent
from choros.saga.machine.walk import SagaWalk
from choros.saga.outline import Outline
from choros.values import replace
from choros.wire.command_key import Operation

_RANKS = ("do", "cancel", "close", "undo", "close undo", "release")
"""What is commanded later ends what was before: to that, nobody awaits an answer."""


def take_order(walk: SagaWalk, given: OrderReceived) -> bool:
    """Do as the other saga says, and remember to answer; whether it is to be terminated, as that is."""
    parent, order = walk.instance.parent, given.order
    if parent is None:
        walk.stray(given.id)
    elif parent.order is None or _rank(order) >= _rank(parent.order):
        walk.change(parent=replace(parent, order=order))
        if not (parent.detached or walk.instance.terminal or walk.instance.terminating):
            return _obey(walk, order)
    return False


def _rank(order: Order) -> int:
    return _RANKS.index("close undo" if order.of == "undo" else order.operation)


def _obey(walk: SagaWalk, order: Order) -> bool:
    parent, instance = walk.instance.parent, walk.instance
    assert parent is not None
    if order.operation == "release":
        walk.change(parent=replace(parent, released=True))
        walk.go_on()
    elif order.terminates and order.of == "undo" and instance.stage == "revocable":
        walk.change(parent=replace(parent, released=True))  # its undo, which may come yet, is not wanted any more
        walk.go_on()
    elif order.terminates:
        return not instance.stage
    elif order.operation == "undo" and instance.stage == "revocable" and not parent.released:
        walk.change(stage="", result="")
        walk.turn_back(Failure(code="cancelled", step=walk.at_work, kind="cancelled"))
    elif order.operation != "do" and not (instance.backward or instance.stage):
        walk.withdraw("cancelled")
    return False


def answered(outline: Outline, decision: Decision) -> Decision:
    """The decision with the answer to what the other saga has commanded, if that is known by then."""
    parent = decision.instance.parent
    if parent is None or parent.order is None:
        return decision
    reply = _reply(outline, decision.instance, parent.order)
    if reply is None:
        return decision
    instance = replace(decision.instance, parent=replace(parent, order=None))
    return replace(decision, instance=instance, replies=(reply,))


def _reply(outline: Outline, instance: Instance, order: Order) -> NestedReply | None:
    parent, operation = instance.parent, order.operation
    assert parent is not None
    if operation == "release":
        return _ok(order, Done()) if instance.terminal else None
    if parent.detached and not parent.outcome:
        return _ok(order, Done(), "do")
    if instance.status == "terminated":
        return _no(order, Failure(code=FORGOTTEN, detail="It was terminated.", kind="failed"), operation)
    if operation == "undo" or order.of == "undo":
        if operation == "close" and parent.released and not instance.backward:
            return _ok(order, Closed())
        undone = instance.backward and bool(instance.stage or instance.terminal)
        return _ok(order, _undone(instance, parent), "undo") if undone else None
    if parent.outcome == "cancelled" and operation == "close" and not instance.standing:
        return _ok(order, Closed())
    return _outcome(outline, instance, order)


def _undone(instance: Instance, parent: Parent) -> Reply:
    if left := instance.standing:
        return LeftStanding(steps=tuple(left))
    return Done() if parent.outcome == "ok" else NothingToUndo()


def _outcome(outline: Outline, instance: Instance, order: Order) -> NestedReply | None:
    """What the `do` came to."""
    parent = instance.parent
    assert parent is not None
    if parent.outcome == "ok":
        kind = outline.result.builds.type_name if outline.result else Done.type_name
        return NestedReply(order, "do", "ok", kind, instance.result or Done().to_json())
    if parent.outcome:
        failure = Failure.from_json(instance.failure)
        said = Failure(code=failure.code, detail=failure.detail)
        if left := instance.standing:
            said = Refusal(code=failure.code, detail=failure.detail, data={"left_standing": left})
        return _no(order, said, "do")
    return None


def _ok(order: Order, reply: Reply, operation: Operation | None = None) -> NestedReply:
    return NestedReply(order, operation or order.operation, "ok", reply.type_name, reply.to_json())


def _no(order: Order, failure: Failure, operation: Operation) -> NestedReply:
    return NestedReply(
        order, operation, "failed" if failure.kind == "failed" else "refused", failure.type_name, failure.to_json()
    )
