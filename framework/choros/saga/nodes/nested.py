"""A saga within another one: a step of that, which is itself undone by steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from choros.errors import DeclarationError, with_article
from choros.messages import Message
from choros.names import ORCHESTRATOR
from choros.saga.builders import certain, start_builder
from choros.saga.checks import check_function, shown
from choros.saga.machine.instance import States
from choros.saga.machine.turn import BuildFailed, Turn
from choros.saga.machine.walk import send, send_first
from choros.saga.nesting import Child, Nestable, Nesting
from choros.saga.nodes.commanded import CommandNode
from choros.saga.outline import Declared, TurningPoints
from choros.saga.parameters import NodePlace
from choros.saga.policy import LONGEST, RetryPolicy, check_duration
from choros.values import replace
from choros.wire.envelope import why_unreadable

Starter = Callable[..., Message | None]


@dataclass(frozen=True, slots=True)
class Nested(Declared):
    """Another saga as a step of this one: `Nested(credit_saga, reserve_credit)`.

    `start` is a function like that of a step, and builds the other saga's start message. Where that is undone by
    itself, this one is refused with its failure's code; where this one is undone, that is undone by its own
    compensations. What it comes to (`Saga(result=...)`) is known behind it, like a reply. A saga with a pivot is the
    pivot of the one that it is nested in.

    `timeout`: how often it is asked again; it is waited for as long as it takes, or `within` so long, after which it is
    in doubt. `ends`: the saga goes on where the other one was undone, and functions behind it ask for its result as
    `Result | None`. `detached`: it is begun when this saga can not be undone any more, and ends by itself.
    """

    saga: Nestable
    start: Starter
    timeout: timedelta = field(default=timedelta(minutes=10), kw_only=True)
    within: timedelta | None = field(default=None, kw_only=True)
    ends: bool = field(default=False, kw_only=True)
    detached: bool = field(default=False, kw_only=True)
    name: str = field(default="", kw_only=True)
    """The name of the saga, if not given. It is part of every command key, so it must not change."""

    @property
    def called(self) -> str:
        """As the saga is."""
        return self.saga.name

    @property
    def pivot(self) -> bool:
        """Whether the other saga has one, behind which neither is undone."""
        outline = getattr(self.saga, "outline", None)  # what is no saga is told apart by `check`
        return bool(outline and outline.pivots) and not self.detached

    def check(self, saga: str) -> None:
        """Whether it has a saga, and a function that starts it."""
        if not isinstance(self.saga, Nestable):
            raise DeclarationError(
                f"saga {saga!r}: Nested takes a saga, not {shown(self.saga)}.", "name what Saga(...) made."
            )
        check_function(saga, self.start, with_article(self.saga.start))

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot it must not be refused, and as the pivot it has to be."""
        if place.passed and not (self.ends or self.detached):
            raise DeclarationError(
                f"{place.where} may be refused, but stands after the pivot.",
                "say ends=True, and ask for its result as `... | None`; or detached=True, or move it.",
            )
        if self.ends and (self.detached or self.pivot):
            why = "nobody waits for its end" if self.detached else "it is the pivot, since that saga has one"
            raise DeclarationError(f"{place.where} has ends=True, but {why}.", "leave one of the two out.")
        if self.detached and self.within is not None:
            raise DeclarationError(f"{place.where} has within=..., but nobody waits for its end.", "leave it out.")

    def planned(self, place: NodePlace) -> "NestedNode":
        """Its function may ask for what that of a step may ask for."""
        self._check_times(place)
        action = start_builder(self.start, place.known, self.saga.start)
        if self.pivot:
            certain(action, place.where, "is the pivot", "let it always begin, or a step before it choose.")
        result, lock_name = self.saga.outline.result, self.saga.lock.name if self.saga.lock else ""
        child = Child(
            self.saga.name, self.saga.version, self.saga.declared_as, result.builds if result else None, lock_name
        )
        return NestedNode(
            path=place.path, kind="pivot" if self.pivot else "detached" if self.detached else "nested",
            to=ORCHESTRATOR, action=action, timeout=self.timeout, retry=RetryPolicy(total=self.within or LONGEST),
            undo_retry=RetryPolicy(total=LONGEST), expires=False, turns_on=self._turns_on(place), child=child,
            ends=self.ends, detached=self.detached, held=self.detached and not place.passed,
        )  # fmt: skip

    def _turns_on(self, place: NodePlace) -> TurningPoints:
        refused: TurningPoints = frozenset() if self.ends or self.detached else frozenset({"refused"})
        return refused if place.passed or self.pivot or self.detached else refused | {"in_doubt"}

    def _check_times(self, place: NodePlace) -> None:
        for name, value in (("timeout", self.timeout), ("within", self.within)):
            if value is not None:
                check_duration(place.where, name, value, least=timedelta(microseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedNode(Nesting, CommandNode):
    """The node, and the ways through it."""

    held: bool
    """Whether its start waits until the saga cannot be undone any more."""

    def forward(self, turn: Turn) -> bool:
        """Begin it, and wait for its end; a cancel that the saga must not take by itself is handed on."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "pending":
            return not (self.kind == "pivot" and turn.busy) and self._come_to(turn)
        if state.leg and state.leg.operation == "do" and self.kind == "pivot" and turn.instance.wanted:
            leg = state.leg
            send(turn, self, replace(leg, operation="cancel", command=self.order(), attempt=leg.attempt + 1))
        over = self.ends and state.progress in ("refused", "standing")
        return self.detached or over or state.progress in ("ok", "passed_over")

    def _come_to(self, turn: Turn) -> bool:
        made = turn.made(self.action, self.path)
        if made is None:
            turn.pass_over(self.path)
            return True
        locked: Any = {"locks": turn.instance.locks} if turn.instance.locks and not self.detached else {}
        body = self.order(start=made.body, **locked)
        if why := why_unreadable(body):
            raise BuildFailed(f"{self.action.function.__name__} built a message that {why}", self.path)
        turn.count()
        if self.held:
            turn.change_node(self.path, progress="held", command=body)
            turn.note("start_held", self.path, code=made.kind.type_name)
        else:
            self.begin(turn, body)
        return self.detached

    def begin(self, turn: Turn, body: str) -> None:
        """Send its start."""
        send_first(turn, self, "do", body)
        turn.change_node(self.path, progress="sent", command="", unreleased=not self.detached)

    def backward(self, turn: Turn) -> bool:
        """Have it undone, if it may have been begun, and wait until it is."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if not self._can_be_undone(state.progress):
            return True
        if turn.is_needed(self.path):
            return False
        send_first(turn, self, "undo", self.order())
        return False

    def let_end(self, turn: Turn) -> None:
        """Begin it, if that had to wait; else tell it that nobody will undo it any more."""
        state = turn.state(self.path)
        if state.progress == "held":
            self.begin(turn, state.command)
        else:
            send_first(turn, self, "release", self.order())

    def _can_be_undone(self, progress: str) -> bool:
        return not self.detached and progress in ("ok", "in_doubt")

    def turned(self, turn: Turn) -> None:
        """What is under way may happen, so it is undone too; what is held is never begun."""
        if turn.state(self.path).progress == "held":
            turn.change_node(self.path, progress="retracted" if "." in self.path else "pending", command="")
            turn.note("start_dropped", self.path)
        else:
            CommandNode.turned(self, turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        own = states.of(self.path)
        if backward:
            return self.path if own.leg or self._can_be_undone(own.progress) else None
        over = own.progress in ("ok", "passed_over", "held") or (self.ends and own.progress in ("refused", "standing"))
        return None if over or (self.detached and own.leg) else self.path
