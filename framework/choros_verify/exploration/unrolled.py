"""A saga with a loop, as it is gone through here: the items are those that this start and these replies give, each with
its own steps, side by side. Functions of the declaration are pure, so there are no others on any way."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from choros.saga.machine.instance import States
from choros.saga.outline import Composite, Leaf, Limb, SagaPart
from choros.saga.paths import in_item
from choros.saga.saga import Saga
from choros_verify.exploration.courses import gone_through


def unrolled(saga: Saga[Any], start: str, replies: Mapping[str, str]) -> Saga[Any]:
    """The saga, in whose outline each item has a limb of its own; `replies` are the bodies by type name."""
    if not any(isinstance(part, Composite) and part.loop for part in saga.outline.nodes.values()):
        return saga
    states = gone_through(saga, start, replies)
    other = copy(saga)
    other.outline = replace(saga.outline, parts=tuple(_at(part, "", states) for part in saga.outline.parts))
    return other


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
