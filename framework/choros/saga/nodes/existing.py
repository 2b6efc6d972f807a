"""What is there before the saga begins, and is taken back where that is undone: a step with an undo alone."""

from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Self

from choros.errors import DeclarationError
from choros.saga.checks import check_function
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.machine.walk import send_first
from choros.saga.nodes.commanded import CommandBuilder, UndoExhausted, check_retry, check_undo_exhausted
from choros.saga.nodes.retriable import Retriable
from choros.saga.outline import Commanded, Declared
from choros.saga.parameters import Known, NodePlace
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy


@dataclass(frozen=True, slots=True)
class Existing(Declared):
    """What was there before the saga, such as an order that has been placed: nothing is sent for it, and where the saga
    is undone, `compensation` takes it back, last of all. It stands at the beginning of a saga."""

    to: str
    compensation: CommandBuilder = field(kw_only=True)
    """Builds the command that takes it back. Its participant gets it like any command, under the key of a `do`."""
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    undo_retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    undo_exhausted: UndoExhausted = field(default="park", kw_only=True)
    """As for a step."""
    name: str = field(default="", kw_only=True)
    """The name of the function, if not given. It is part of the command key, so it must not change."""
    commands = False

    @property
    def called(self) -> str:
        """As its function is."""
        return self.compensation.__name__

    def check(self, saga: str) -> None:
        """Whether it has a function."""
        check_function(saga, self.compensation, "a Command")

    def planned(self, place: NodePlace) -> "ExistingNode":
        """What takes it back has to be possible, as every undo."""
        check_retry(place, "undo_retry", self.undo_retry)
        sent = Retriable(self.compensation, self.to, timeout=self.timeout, retry=self.undo_retry)
        skips = check_undo_exhausted(place, self.undo_exhausted)
        node = sent.node(place, "existing", frozenset(), existing=True, skips_undo=skips)
        if node.refusals:
            names = ", ".join(command.__name__ for command in node.does if command.refusals)
            raise DeclarationError(
                f"{place.where} takes back what was there before, but {names} may be refused"
                f" ({', '.join(node.refusals)}).",
                "a compensation has to be possible: take its refusals away.",
            )
        return ExistingNode(**{one.name: getattr(node, one.name) for one in fields(node)})


@dataclass(frozen=True, slots=True)
class ExistingNode(Commanded, Node):
    """The node, and the ways through it."""

    def after(self, known: Known) -> Known:
        """Nobody has answered."""
        return known

    def within(self, item: str) -> Self:
        """It stands in none."""
        return self

    def forward(self, turn: Turn) -> bool:
        """It is done from the start."""
        if turn.state(self.path).progress == "pending":
            turn.change_node(self.path, progress="ok")
        return True

    def backward(self, turn: Turn) -> bool:
        """Take it back: by a `do`, since an undo without one before it would find nothing to undo."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if state.progress == "ok":
            return self._taken_back(turn)
        return True

    def _taken_back(self, turn: Turn) -> bool:
        made = turn.made(self.action, self.path)
        if made is None:
            turn.change_node(self.path, progress="undone")
            turn.note("passed_over", self.path, operation="undo")
            return True
        turn.change_node(self.path, choice=self.action.choice(made.kind))
        send_first(turn, self, "do", made.body)
        turn.change_node(self.path, progress="sent")
        return False

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        own = states.of(self.path)
        return self.path if backward and (own.leg or own.progress == "ok") else None
