"""The same again until it is enough: bounded, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from choros.errors import DeclarationError
from choros.messages import Failure
from choros.saga.builders import pure_function
from choros.saga.checks import check_count, check_function, listed
from choros.saga.machine.instance import States
from choros.saga.machine.turn import BuildFailed, Node, Turn, TurnedBack
from choros.saga.nodes.beside import MOST_UNDONE, newest_of, undo_items, undo_newest_first
from choros.saga.nodes.composed import Composed
from choros.saga.nodes.sequence import SequenceNode, declared_nodes, plan_sequence
from choros.saga.orders import UndoOrder
from choros.saga.outline import Composite, Declared, Limb, Loop
from choros.saga.parameters import Known, NodePlace
from choros.saga.paths import in_item

USED_UP = "used_up"
"""The code that a saga is undone with where it was never enough."""
MOST_TIMES = 1_000


@dataclass(frozen=True, slots=True)
class Repeat(Composed):
    """The same until it is enough: `Repeat([Step(...)], until=is_full, at_most=10)`.

    `until` is a pure function of what is known when it was done once more, the replies of this time among it. It is
    asked after each time, once, so it is done once at least. Where it is not enough after `at_most` times the saga is
    undone, the newest first; behind the pivot it waits for a person, whose retry allows as many times again. The
    replies of the last time are known behind it.
    """

    steps: Declared | Sequence[Declared]
    until: Callable[..., bool] = field(kw_only=True)
    at_most: int = field(kw_only=True)
    name: str = field(default="", kw_only=True)
    """Part of every command key in it, so it must not change."""
    called = "repeat"

    @property
    def nodes(self) -> Sequence[Any]:
        """What is done each time."""
        return (self.steps,) if isinstance(self.steps, Declared) else listed("Repeat: steps", self.steps)

    def check(self, saga: str) -> None:
        """Whether there is something to do, a bound, and no pivot: a saga has only one."""
        if not self.nodes:
            raise DeclarationError(f"saga {saga!r}: there is nothing to repeat.", "give it a node, or leave it out.")
        if any(node.pivot for node in declared_nodes(saga, self.nodes)):
            raise DeclarationError(
                f"saga {saga!r}: there is a pivot in {self.name or self.called}, which may be done several times.",
                "put the pivot before or behind it.",
            )
        check_function(saga, self.until, "a bool")
        check_count(f"saga {saga!r}: {self.name or self.called}", "at_most", self.at_most, MOST_TIMES)

    def planned(self, place: NodePlace) -> RepeatNode:
        """Its question knows what is known at the end of each time."""
        time = f"{place.path}[]"
        known = replace(place.known, items=(*place.known.items, (time, None)))
        counted = place.path if place.undo == "newest_first" else ""
        plan = plan_sequence(replace(place, path=time, known=known, counted=counted), self.nodes)
        until = pure_function(self.until, plan.known, bool)
        said = f"until {self.until.__name__}, {self.at_most} times at most"
        return RepeatNode(
            path=place.path, kind="repeat", limbs=(Limb("again", plan.parts),), loop=Loop(until, None, said),
            way=plan.node, at_most=self.at_most, turns=not place.passed, order=place.undo,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatNode(Composite, Node):
    """The node, and the ways through it."""

    way: SequenceNode = field(repr=False)
    """Through one time, as the declaration has it."""
    at_most: int
    turns: bool
    """Whether the saga is undone where it is never enough."""
    order: UndoOrder
    """In which order it is undone."""

    def after(self, known: Known) -> Known:
        """Of what it replies with, that of the last time is known."""
        inside = Composite.after(self, replace(known, replies=(), maybe=(), choices=()))
        return replace(
            known,
            replies=(*known.replies, *((self._last(path), kind) for path, kind in inside.replies)),
            maybe=(*known.maybe, *((self._last(path), kind) for path, kind in inside.maybe)),
            choices=(*known.choices, *(replace(one, step=self._last(one.step)) for one in inside.choices)),
        )

    def _last(self, path: str) -> str:
        return f"{self.path}[-1]{path.removeprefix(f'{self.path}[]')}"

    def within(self, item: str) -> Self:
        """As often as that item needs it."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Once more, as long as it is not enough."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "ok":
            return True
        if state.progress == "pending":
            self._enter(turn)
        while self._is_over(turn):
            if self._is_enough(turn):
                turn.change_node(self.path, progress="ok")
                return True
            self._begin(turn)
        return False

    def _enter(self, turn: Turn) -> None:
        """For the first time, or because a person allows more."""
        turn.change_node(self.path, progress="entered")
        if not turn.state(self.path).begun:
            turn.count()
            turn.accept(self.path)
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        state = turn.state(self.path)
        if state.begun >= self.at_most * state.round:
            self._give_up(turn)
        time = f"{self.path}[{state.begun}]"
        turn.change_node(self.path, begun=state.begun + 1)
        turn.reach(time)
        turn.change_node(time, progress="entered")
        turn.note("repeated", self.path, code=str(state.begun + 1))
        self.way.within(time).enter(turn)

    def _give_up(self, turn: Turn) -> None:
        assert self.loop is not None
        begun, name = turn.state(self.path).begun, self.loop.asked.function.__name__
        detail = f"{name} did not say yes after {begun} times"
        if self.turns:
            raise TurnedBack(Failure(code=USED_UP, detail=detail, step=self.path))
        turn.change_node(self.path, progress="refused")
        raise BuildFailed(detail, self.path)

    def _time(self, turn: Turn) -> str:
        return f"{self.path}[{turn.state(self.path).begun - 1}]"

    def _is_over(self, turn: Turn) -> bool:
        time = self._time(turn)
        return turn.state(time).progress == "ok" or self.way.within(time).forward(turn)

    def _is_enough(self, turn: Turn) -> bool:
        """Asked once for each time; the answer is kept with that."""
        assert self.loop is not None
        time, asked = self._time(turn), self.loop.asked
        if turn.state(time).progress == "ok":
            return False
        try:
            answer = turn.ask(asked, time)
        except BuildFailed as failed:
            raise BuildFailed(str(failed), self.path) from failed
        if not isinstance(answer, bool):
            raise BuildFailed(f"{asked.function.__name__} returned {type(answer).__name__}, not bool", self.path)
        turn.change_node(time, progress="ok", choice="enough" if answer else "again")
        return answer

    def backward(self, turn: Turn) -> bool:
        """The last time first, the newest of that first. Each time there was what the one before it had replied with,
        so by dependency it waits for that."""
        if self.order == "newest_first":
            return undo_newest_first(turn, self)
        return undo_items(turn, self, self.way, MOST_UNDONE if self.order == "at_once" else 1)

    def at_work(self, states: States, backward: bool) -> str | None:
        """What is next in this time; on the way back the newest."""
        if backward:
            return newest_of(self, states)
        own = states.of(self.path)
        if own.progress == "ok":
            return None
        return self.way.within(f"{self.path}[{max(0, own.begun - 1)}]").at_work(states, backward) or self.path
