"""A step after the pivot."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from choros.errors import DeclarationError
from choros.saga.builders import command_builder
from choros.saga.nodes.commanded import CommandBuilder, CommandNode, Commands
from choros.saga.outline import NodePlace
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy


@dataclass(frozen=True, slots=True)
class Retriable(Commands):
    """A commanded step after the pivot: it cannot be refused and is tried until it succeeds."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)

    def check_place(self, place: NodePlace) -> None:
        """Only behind the pivot."""
        if not place.passed:
            reason = "it comes later" if place.pivot else "there is none"
            raise DeclarationError(
                f"{place.where} is Retriable, so it must stand after the pivot, but {reason}.",
                "make it a Step with a compensation.",
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """Whatever becomes of it, the saga does not turn back."""
        self.check_command(place)
        node = CommandNode(
            path=place.path, kind="retriable", to=self.to, action=command_builder(self.action, place.known),
            timeout=self.timeout, retry=self.retry, undo_retry=self.retry, expires=False, turns_on=frozenset(),
        )  # fmt: skip
        if node.command.refusals:
            raise DeclarationError(
                f"{place.where} stands after the pivot, but {node.command.__name__} may be refused"
                f" ({', '.join(node.command.refusals)}).",
                "take the refusals away, or move the step before the pivot.",
            )
        return node
