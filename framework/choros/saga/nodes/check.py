"""A step before the pivot that has nothing to undo."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from choros.errors import DeclarationError
from choros.saga.builders import command_builder
from choros.saga.nodes.commanded import CommandBuilder, CommandNode, Commands, before_pivot
from choros.saga.outline import NodePlace
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy


@dataclass(frozen=True, slots=True)
class Check(Commands):
    """A commanded step before the pivot that changes nothing: it asks, and the answer may be no.

    Refused, or its retries used up, all before it is undone, and of it there is nothing to undo."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    name: str = field(default="", kw_only=True)

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing may be refused."""
        if place.passed:
            raise DeclarationError(
                f"{place.where} may end the saga, but stands after the pivot.", "make it Retriable or move it."
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """A step without an undo."""
        self.check_command(place)
        return CommandNode(
            path=place.path, kind="check", to=self.to, action=command_builder(self.action, place.known),
            timeout=self.timeout, retry=self.retry, undo_retry=self.retry, expires=True,
            turns_on=before_pivot(self.retry),
            changes=False,
        )  # fmt: skip
