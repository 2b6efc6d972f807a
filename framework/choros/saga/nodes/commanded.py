"""A node that commands a service and awaits its answer: what all steps have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from choros.errors import DeclarationError
from choros.messages import Command
from choros.names import RESERVED_NAMES, valid_name
from choros.saga.checks import check_function, shown
from choros.saga.machine.dispatch import send_first
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.outline import Commanded, Declared, NodePlace, TurningPoints
from choros.saga.policy import RetryPolicy, check_duration

CommandBuilder = Callable[..., Command[Any]]


@dataclass(frozen=True, slots=True)
class CommandNode(Commanded, Node):
    """The node, and the ways through it."""

    def forward(self, turn: Turn) -> bool:
        """Send its command, and wait for the answer."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if state.progress == "pending":
            send_first(turn, self, "do", turn.body_of(self.action))
            turn.change_node(self.path, progress="sent")
            return False
        return True

    def backward(self, turn: Turn) -> bool:
        """Send the command that undoes it, if it may have happened, and wait for the answer."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if self.undo and state.progress in ("ok", "in_doubt"):
            send_first(turn, self, "undo", turn.body_of(self.undo))
            return False
        return True

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        own = states.of(self.path)
        if backward:
            return self.path if own.leg or (self.undo and own.progress in ("ok", "in_doubt")) else None
        return None if own.progress == "ok" else self.path


class Commands(Declared):
    """What a user writes of a node that commands somebody."""

    __slots__ = ()
    action: CommandBuilder
    to: str
    timeout: timedelta
    retry: RetryPolicy

    @property
    def function(self) -> CommandBuilder:
        """What it is named after."""
        return self.action

    def check(self, saga: str) -> None:
        """Whether it has a function."""
        check_function(saga, self.action, "a Command")

    def check_command(self, place: NodePlace, **policies: RetryPolicy) -> None:
        """Where the command goes, and how long it is waited for; raises DeclarationError."""
        _check_destination(place, self.to)
        check_duration(place.where, "timeout", self.timeout)
        if self.timeout <= timedelta(0):
            raise DeclarationError(f"{place.where} has no time to answer.", "give it a timeout above zero.")
        for name, policy in {"retry": self.retry, **policies}.items():
            if not isinstance(policy, RetryPolicy):
                raise DeclarationError(
                    f"{place.where}: {name}={shown(policy)} is no RetryPolicy.",
                    f"write {name}=RetryPolicy(attempts=3), for example.",
                )


def before_pivot(retry: RetryPolicy) -> TurningPoints:
    """The outcomes on which a saga turns back that has not passed its pivot."""
    return frozenset({"refused", "in_doubt"} if retry.exhausted == "compensate" else {"refused"})


def _check_destination(place: NodePlace, to: object) -> None:
    if not isinstance(to, str):
        called = getattr(to, "name", "...")
        raise DeclarationError(
            f"{place.where} goes to {shown(to)}, which is not the name of a service.",
            f"write the name itself: to={called!r}.",
        )
    if not valid_name(to):
        raise DeclarationError(
            f"{place.where} goes to {to!r}, which is no name for a service.",
            "use lower-case words joined by '-' or '_'.",
        )
    if to in RESERVED_NAMES:
        raise DeclarationError(
            f"{place.where} goes to {to!r}, a name that choros keeps for itself.", "give the service another name."
        )
