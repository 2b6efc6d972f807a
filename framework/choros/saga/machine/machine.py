"""The machine: `(saga, instance, inputs, now) -> (instance', what to send)`. A pure function; all else is shell.

Three outcomes of a step: OK; refused (it did not happen and never will, so it is not undone); in doubt (it may have
happened, so it is undone too). From the pivot on the saga only goes forward. What neither succeeds nor may be undone
parks the saga for a person. The rules are numbered in `docs/decisions/0001-rules.md`.

Each input is applied to the node that it names; then the tree is walked from its root, and what is next goes out.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from choros.messages import Failure
from choros.saga.machine.acts import take_act
from choros.saga.machine.answers import take_answer
from choros.saga.machine.inputs import (
    Answered,
    Decision,
    Event,
    Input,
    LockTold,
    OrderReceived,
    SignalRequested,
    TerminateRequested,
    TimerFired,
    UpdateRequested,
)
from choros.saga.machine.instance import Instance, LockState, NodeState, Parent, States
from choros.saga.machine.locks import ask_again, lock_due, refuse_nested, take_lock
from choros.saga.machine.nested import answered, take_order
from choros.saga.machine.signals import take_signal
from choros.saga.machine.timers import take_timer
from choros.saga.machine.updates import take_update
from choros.saga.machine.walk import SagaWalk, Tree
from choros.values import replace

NOTHING: Mapping[str, NodeState] = MappingProxyType({})


def begin(
    tree: Tree, saga_id: str, start: str, now: float, *,
    cause: str, traceparent: str = "", tracestate: str = "", kept: Mapping[str, NodeState] = NOTHING,
    told: Sequence[SignalRequested] = (), parent: Parent | None = None, lock: LockState | None = None,
    updated: Sequence[tuple[str, str]] = (), renamed: Sequence[tuple[str, str]] = (), own_headers: str = "",
) -> Decision:  # fmt: skip
    """The first decision of a saga instance; `cause` is the id that the start message goes by, `kept` are the first
    steps of an instance that this one takes over, `updated` the updates, and `renamed` what the keys of these steps
    call otherwise; `told` is what it is told at once, `parent` is the saga that it is nested in; `lock` is what it has
    to lock before it does anything."""
    deadline, passed = None, not kept.keys().isdisjoint(tree.outline.pivots)
    if tree.outline.deadline and not passed:
        deadline = now + tree.outline.deadline.total_seconds()
    instance = Instance(
        saga_id,
        start,
        States(kept),
        deadline=deadline,
        cause=cause,
        traceparent=traceparent,
        tracestate=tracestate,
        own_headers=own_headers,
        accepted=max((state.number + 1 for state in kept.values() if state.number), default=1 if parent else 0),
        parent=parent,
        lock=lock,
        updated=tuple(updated),
        renamed=tuple(renamed),
    )
    walk = SagaWalk(tree, instance, now)
    walk.note("started")
    for signal in told:
        _apply(walk, signal)
    walk.change(cause=cause)
    if passed:  # what the other instance held when somebody ended it is true
        walk.release_held()
    walk.go_on()
    if lock:
        walk.find_existing()
    if lock and parent and not parent.detached:
        walk.change(lock=None)
        if lacking := [key for key in lock.keys if key not in parent.locks]:
            refuse_nested(walk, lacking[0])
    return answered(tree.outline, walk.end())


def never_begun(
    tree: Tree, saga_id: str, orders: Sequence[OrderReceived], now: float, *, detached: bool = False
) -> Decision:
    """A nested saga that was undone before it was begun: it will never be. Who waits for no end of it will not release
    it, either."""
    failure = Failure(code="cancelled", kind="cancelled")
    parent = Parent(detached, outcome="cancelled")
    instance = Instance(saga_id, "", backward=True, failure=failure.to_json(), parent=parent)
    if detached:
        instance = replace(instance, status="compensated")
    else:
        instance = replace(instance, status="compensating", stage="settled")
    decision = decide(tree, instance, orders, now)
    event = Event("never_begun", cause=orders[0].id)
    return replace(decision, events=(event, *decision.events))


def decide(tree: Tree, instance: Instance, inputs: Sequence[Input], now: float) -> Decision:
    """Fold all inputs into one decision: answers first, then what people want, then the timers, and then one walk."""
    walk = SagaWalk(tree, instance, now)
    for given in sorted(inputs, key=_precedence):
        _apply(walk, given)
    decision = answered(tree.outline, walk.end())
    if decision.instance.cause != instance.cause and not (decision.sends or decision.facts or decision.replies):
        as_before = replace(decision.instance, cause=instance.cause)
        return replace(decision, instance=as_before) if as_before == instance else decision
    return decision


def _precedence(given: Input) -> int:
    return 0 if isinstance(given, Answered | LockTold) else 2 if isinstance(given, TimerFired) else 1


def _apply(walk: SagaWalk, given: Input) -> None:
    """What moves nothing is not the cause of what follows."""
    if isinstance(given, TimerFired):
        take_timer(walk, given)
        lock_due(walk)
        if walk.begun:  # the deadline may have turned it, that was parked because it was turned away
            ask_again(walk)
        return
    if isinstance(given, LockTold):
        take_lock(walk, given)
        return
    before = walk.as_it_is()
    walk.change(cause=given.id)
    if isinstance(given, Answered):
        take_answer(walk, given)
    elif isinstance(given, SignalRequested):
        take_signal(walk, given)
    elif isinstance(given, UpdateRequested):
        take_update(walk, given)
    elif isinstance(given, OrderReceived):
        if take_order(walk, given):
            take_act(walk, TerminateRequested(given.id))
    else:
        take_act(walk, given)
        ask_again(walk)
    after, cause = walk.as_it_is(), before[0].cause
    if after[1] == before[1] and replace(after[0], cause=cause, updates=before[0].updates) == before[0]:
        walk.change(cause=cause)
