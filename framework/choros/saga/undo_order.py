"""In which order what was done is undone: by what the declaration says, and which undo waits for which."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard, get_args

from choros.errors import DeclarationError
from choros.saga.checks import shown
from choros.saga.orders import UndoOrder
from choros.saga.outline import Composite, Leaf, Messaging, Outline, SagaPart
from choros.saga.parameters import Need, NodePlace
from choros.saga.paths import stands_in

_WORDS = get_args(UndoOrder)


def check_undo(where: str, undo: object, *, ways: bool = False) -> None:
    """Raises DeclarationError for what is no order; there are ways side by side to speak of only in some nodes."""
    words = [word for word in _WORDS if ways or word != "side_by_side"]
    if undo is not None and undo not in words:
        told = f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
        raise DeclarationError(f"{where} has undo={shown(undo)}, which means nothing here.", f"write {told}.")


def order_in(place: NodePlace, undo: UndoOrder | None) -> UndoOrder:
    """In which order what stands in this node is undone; raises DeclarationError where that cannot be another."""
    if place.counted and undo not in (None, "newest_first"):
        raise DeclarationError(
            f"{place.where} has undo={undo!r}, but all in {place.counted} is undone newest first.",
            f"say undo={undo!r} of {place.counted}.",
        )
    return undo or place.undo


def is_strict(outline: Outline) -> bool:
    """Whether all of the saga is undone newest first."""
    orders = (part.undo for part in outline.nodes.values() if isinstance(part, Composite))
    return {outline.undo, *orders} <= {"newest_first", None}


def order_between(outline: Outline, one: str, other: str) -> UndoOrder:
    """In which order these two leaves of the declaration are undone: as the innermost that has both of them says."""
    order, parts = outline.undo, outline.parts
    while around := next((part for part in parts if _has(part, one) and _has(part, other)), None):
        order, parts = around.undo or order, tuple(part for limb in around.limbs for part in limb.parts)
    return order


def _has(part: SagaPart, path: str) -> TypeGuard[Composite]:
    return isinstance(part, Composite) and stands_in(path, part.path)


def needed_by(outline: Outline) -> Mapping[str, Sequence[str]]:
    """By the path of a leaf: what is undone before it, where that is by dependency. These are the leaves whose
    functions asked what it replied with, themselves or about something that leaves nothing to undo. Of those that stand
    in a loop, and it does not, the loop as a whole."""
    found: dict[str, list[str]] = defaultdict(list)
    for leaf, asked in _asked(outline).items():
        for step in asked if not _leaves_nothing(outline.leaves[leaf]) else ():
            if step != leaf and order_between(outline, step, leaf) == "by_dependency":
                found[step].append(_as_seen_from(step, leaf))
    return {step: tuple(dict.fromkeys(leaves)) for step, leaves in found.items()}


def _asked(outline: Outline) -> Mapping[str, Sequence[str]]:
    """By leaf: the steps whose replies went into it."""
    found: dict[str, list[str]] = {}
    for leaf in outline.leaves.values():
        steps = [need.step.replace("[-1]", "[]") for need in _needs(outline, leaf) if need.source == "reply"]
        behind = (one for step in steps if _leaves_nothing(outline.leaves[step]) for one in found[step])
        found[leaf.path] = list(dict.fromkeys([*steps, *behind]))
    return found


def _leaves_nothing(leaf: Leaf) -> bool:
    """What is nested has an undo of its own."""
    return not (isinstance(leaf, Messaging) and (leaf.undo or leaf.nests))


def _needs(outline: Outline, leaf: Leaf) -> Iterator[Need]:
    """Also those of the functions that decided whether, and how often, the saga came to it."""
    for builder in leaf.builders:
        yield from builder.needs
    for part in outline.nodes.values():
        if isinstance(part, Composite) and stands_in(leaf.path, part.path):
            yield from (need for one in part.functions for need in one.needs if not stands_in(need.step, part.path))


def _as_seen_from(step: str, leaf: str) -> str:
    loop, bracket, _ = leaf.partition("[]")
    while bracket and step.startswith(f"{loop}[]"):
        rest, bracket, _ = leaf[len(loop) + 2 :].partition("[]")
        loop = f"{loop}[]{rest}"
    return loop if bracket else leaf
