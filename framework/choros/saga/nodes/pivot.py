"""The step from which on a saga only goes forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from choros.saga.builders import command_builder
from choros.saga.nodes.commanded import CommandBuilder, CommandNode, Commands
from choros.saga.outline import NodePlace
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy


@dataclass(frozen=True, slots=True)
class Pivot(Commands):
    """The go/no-go step: refused, all before it is undone; carried out, the saga only goes forward."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)
    pivot = True

    def check_place(self, place: NodePlace) -> None:
        """Anywhere."""

    def planned(self, place: NodePlace) -> CommandNode:
        """One in doubt is never undone."""
        self.check_command(place)
        return CommandNode(
            path=place.path, kind="pivot", to=self.to, action=command_builder(self.action, place.known),
            timeout=self.timeout, retry=self.retry, undo_retry=self.retry, expires=False,
            turns_on=frozenset({"refused"}),
        )  # fmt: skip
