"""A saga with a loop, as it is gone through here: the items are those that this start and these replies give, each with
its own steps, side by side. Functions of the declaration are pure, so there are no others on any way."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from choros.saga.machine.inputs import Answered, Decision, Input, SignalRequested, TimerFired
from choros.saga.machine.instance import Instance, States
from choros.saga.machine.machine import begin, decide
from choros.saga.outline import Composite, Leaf, Limb, SagaPart
from choros.saga.paths import in_item
from choros.saga.saga import Saga
from choros_verify.exploration.times import NOW


def unrolled(saga: Saga[Any], start: str, replies: Mapping[str, str]) -> Saga[Any]:
    """The saga, in whose outline each item has a limb of its own; `replies` are the bodies by type name."""
    if not any(isinstance(part, Composite) and part.loop for part in saga.outline.nodes.values()):
        return saga
    states = _gone_through(saga, start, replies).nodes
    other = copy(saga)
    other.outline = replace(saga.outline, parts=tuple(_at(part, "", states) for part in saga.outline.parts))
    return other


def _gone_through(saga: Saga[Any], start: str, replies: Mapping[str, str]) -> Instance:
    """The instance as it is when all was done that this saga does, or as much of it as its functions allow."""
    decision = begin(saga.tree, "saga", start, NOW, cause="start")
    while decision.instance.status == "running":
        instance = decision.instance
        given = [*_answers(saga, decision, replies), *_signals(saga, instance, replies)]
        now = NOW if given else instance.wake_at or NOW
        decision = decide(saga.tree, instance, given or [TimerFired()], now)
    return decision.instance


def _answers(saga: Saga[Any], decision: Decision, replies: Mapping[str, str]) -> Iterator[Answered]:
    kinds = {command.type_name: command.reply_type for leaf in saga.outline.commands for command in leaf.does}
    for send in decision.sends:
        body = replies[kinds[send.type].type_name]
        yield Answered(f"of {send.key}", send.key, send.attempt, "ok", body)


def _signals(saga: Saga[Any], instance: Instance, replies: Mapping[str, str]) -> Iterator[Input]:
    for path, state in instance.nodes.items():
        leaf = saga.outline.leaf(path) if state.takes_signal else None
        if leaf:
            yield SignalRequested(f"to {path}", path, replies[leaf.signals[0].type_name])


def _at(part: SagaPart, item: str, states: States) -> SagaPart:
    """This node in this item."""
    path = in_item(part.path, item)
    if isinstance(part, Leaf):
        return replace(part, path=path)
    if not part.loop:
        limbs = tuple(Limb(limb.name, _all_at(limb, item, states)) for limb in part.limbs)
        return Composite(
            path=path, kind=part.kind, limbs=limbs, questions=part.questions, alternatives=part.alternatives,
            wins=part.wins, join=part.join, undo=part.undo,
        )  # fmt: skip
    own = states.of(path)
    items = [f"{path}[{index}]" for index in range(own.begun if part.loop.item is None else own.items)]
    if part.loop.item is None:  # one time behind the other
        times = (node for one in items for node in _all_at(part.limbs[0], one, states))
        again = (Limb("again", tuple(times)),)
        return Composite(path=path, kind=part.kind, limbs=again, loop=part.loop, undo=part.undo)
    each = tuple(Limb(one, _all_at(part.limbs[0], one, states)) for one in items)
    return Composite(path=path, kind=part.kind, limbs=each, loop=part.loop, undo=part.undo)


def _all_at(limb: Limb, item: str, states: States) -> tuple[SagaPart, ...]:
    return tuple(_at(part, item, states) for part in limb.parts)
