"""The same for each item of a list that is known when the saga comes to it, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, get_args, get_origin

from pydantic.errors import PydanticUserError

from choros.errors import DeclarationError
from choros.saga.checks import check_count, check_function, listed
from choros.saga.items import adapter_of, written_items
from choros.saga.machine.instance import States
from choros.saga.machine.turn import BuildFailed, Node, Turn
from choros.saga.nodes.beside import newest_of, undo_items, undo_newest_first
from choros.saga.nodes.composed import Composed
from choros.saga.nodes.sequence import SequenceNode, declared_nodes, plan_sequence
from choros.saga.orders import UndoOrder, within
from choros.saga.outline import Composite, Declared, Limb, Loop
from choros.saga.parameters import NodePlace, PureFunction, needs_of, shown_type, signature_of
from choros.saga.paths import in_item, index_of
from choros.saga.undo_order import check_undo, order_in

MOST_ITEMS = 10_000
MOST_AT_ONCE = 1_000
"""What is under way stands in the saga's record, which each answer writes again."""


@dataclass(frozen=True, slots=True)
class ForEach(Composed):
    """The same for each item of a list: `ForEach(lines, Step(reserve_line, ...))`.

    `items` is a pure function of the messages known here that returns a list. It is asked when the saga comes to it,
    and never again. The functions inside take their item by its type. So many items are under way `at_once`; it is over
    when all of them are. Refused in one of them, all is undone, the newest first. What each replies with is known
    behind it as a list, in the order of the items: `list[LineReserved]`.

    `undo`: "newest_first" over all items; "side_by_side", where no item waits for another; "by_dependency" or
    "at_once", where that is true within each item, too. Without it, as what it stands in.
    """

    items: Callable[..., Sequence[Any]]
    steps: Declared | Sequence[Declared]
    at_once: int = field(default=1, kw_only=True)
    limit: int = field(default=MOST_ITEMS, kw_only=True)
    """Of a longer list none is begun: the saga waits for a person."""
    undo: UndoOrder | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)
    """The name of the function, if not given. It is part of every command key in it, so it must not change."""

    @property
    def called(self) -> str:
        """As its function is."""
        return self.items.__name__

    @property
    def nodes(self) -> Sequence[Any]:
        """What is done for each."""
        return (self.steps,) if isinstance(self.steps, Declared) else listed("ForEach: steps", self.steps)

    def check(self, saga: str) -> None:
        """Whether there are items, something to do for each, and no pivot: a saga has only one."""
        check_function(saga, self.items, "a list")
        if not self.nodes:
            raise DeclarationError(
                f"saga {saga!r}: there is nothing to do for each of {self.called}.", "give it a node, or leave it out."
            )
        if any(node.pivot for node in declared_nodes(saga, self.nodes)):
            raise DeclarationError(
                f"saga {saga!r}: there is a pivot in ForEach({self.called}), and there may be many items or none.",
                "put the pivot before or behind it.",
            )
        where = f"saga {saga!r}: ForEach({self.called})"
        check_count(where, "at_once", self.at_once, MOST_AT_ONCE)
        check_count(where, "limit", self.limit, MOST_ITEMS)
        check_undo(where, self.undo, ways=True)

    def planned(self, place: NodePlace) -> EachNode:
        """Those inside know the item, besides what is known here."""
        kind = _item_type(self.items, place.saga)
        if kind is place.known.start:
            raise DeclarationError(
                f"{place.where}: its items are of the type that the saga starts with, so nobody knows which is meant.",
                "give the items a type of their own.",
            )
        asked = PureFunction(self.items, needs_of(self.items, place.known))
        at_once = f", {self.at_once} at a time" if self.at_once > 1 else ""
        loop = Loop(asked, kind, f"for each of {self.items.__name__}: {shown_type(kind)}{at_once}", self.at_once)
        item = f"{place.path}[]"
        known = replace(place.known, items=(*place.known.items, (item, kind)))
        undo = order_in(place, self.undo)
        counted = place.path if undo == "newest_first" else ""
        inside = replace(place, path=item, known=known, undo=within(undo), counted=counted)
        plan = plan_sequence(inside, self.nodes)
        return EachNode(
            path=place.path, kind="for each", limbs=(Limb("each", plan.parts),), loop=loop, way=plan.node,
            at_once=self.at_once, limit=self.limit, undo=self.undo, order=undo,
        )  # fmt: skip


def _item_type(function: Any, saga: str) -> Any:
    """The type of what the function returns several of; raises DeclarationError."""
    _, returned = signature_of(function, saga)
    origin, arguments = get_origin(returned), get_args(returned)
    if origin not in (list, tuple, Sequence) or (origin is tuple and arguments[1:] != (...,)):
        raise DeclarationError(
            f"saga {saga!r}: ForEach takes a function that returns a list, but {function.__name__} returns"
            f" {shown_type(returned)}.",
            "annotate it: -> list[OrderLine], for example.",
        )
    try:
        adapter_of(arguments[0])
    except (PydanticUserError, TypeError):
        raise DeclarationError(
            f"saga {saga!r}: {function.__name__} returns {shown_type(arguments[0])}, which cannot be written as JSON.",
            "return what pydantic knows: a model, a dataclass, a str, ...",
        ) from None
    return arguments[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EachNode(Composite, Node):
    """The node, and the ways through it."""

    way: SequenceNode = field(repr=False)
    """Through one item, as the declaration has it."""
    at_once: int
    limit: int
    order: UndoOrder
    """In which order it is undone."""

    def within(self, item: str) -> Self:
        """For each item of that item's."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Through all items that are open, and of the others those that there is room for."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "ok":
            return True
        if state.progress == "pending":
            self._enter(turn)
        begun = (f"{self.path}[{index}]" for index in turn.open_items(self.path))
        left = [item for item in begun if not self._is_over(turn, item)]
        while len(left) < self.at_once and (item := self._next(turn)) is not None:
            left += [] if self._is_over(turn, item) else [item]
        if not left:
            turn.change_node(self.path, progress="ok")
        return not left

    def _enter(self, turn: Turn) -> None:
        texts = self._items(turn)
        turn.count()
        turn.change_node(self.path, progress="entered", items=len(texts))
        turn.accept(self.path)
        for index, text in enumerate(texts):
            turn.list_item(f"{self.path}[{index}]", text)
        turn.note("listed", self.path, code=str(len(texts)))

    def _items(self, turn: Turn) -> list[str]:
        """Their bodies; raises BuildFailed."""
        assert self.loop is not None
        items, name = turn.ask(self.loop.asked, self.path), self.loop.asked.function.__name__
        if not isinstance(items, Sequence) or isinstance(items, str | bytes):
            raise BuildFailed(f"{name} returned {type(items).__name__}, not a list", self.path)
        if len(items) > self.limit:
            raise BuildFailed(f"{name} returned {len(items)} items; {self.limit} are allowed", self.path)
        try:
            return written_items(self.loop.item, items)
        except ValueError:
            sentence = f"{name} returned what is not all {shown_type(self.loop.item)}, or cannot be written"
            raise BuildFailed(sentence, self.path) from None

    def _next(self, turn: Turn) -> str | None:
        """Begin the next item, if there is one."""
        state = turn.state(self.path)
        if state.begun == state.items:
            return None
        item = f"{self.path}[{state.begun}]"
        turn.change_node(self.path, begun=state.begun + 1)
        turn.change_node(item, progress="entered")
        self.way.within(item).enter(turn)
        return item

    def _is_over(self, turn: Turn, item: str) -> bool:
        over = turn.attempt(self.way.within(item).forward)
        if over:
            turn.change_node(item, progress="ok")
        return over

    def backward(self, turn: Turn) -> bool:
        """The newest of all items, then the one before it; or each item by itself."""
        return undo_newest_first(turn, self) if self.order == "newest_first" else undo_items(turn, self, self.way)

    def at_work(self, states: States, backward: bool) -> str | None:
        """What is next in the first item that is open; on the way back the newest."""
        if backward:
            return newest_of(self, states)
        own = states.of(self.path)
        if own.progress == "ok":
            return None
        entered = (path for path, state in states.items() if state.progress == "entered")
        ways = (self.way.within(path) for path in entered if index_of(self.path, path) is not None)
        return next((at for way in ways if (at := way.at_work(states, backward)) is not None), self.path)
