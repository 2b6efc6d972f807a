"""A step before the pivot that can be undone."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

from choros.errors import DeclarationError
from choros.saga.builders import command_builder
from choros.saga.nodes.commanded import (
    CommandBuilder,
    CommandNode,
    Commands,
    UndoExhausted,
    check_retry,
    check_taken,
    check_undo_exhausted,
)
from choros.saga.parameters import NodePlace
from choros.saga.policy import RetryPolicy


@dataclass(frozen=True, slots=True)
class Step(Commands):
    """A commanded step before the pivot, with the command that undoes it."""

    compensation: CommandBuilder | None = None
    undo_retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    undo_exhausted: UndoExhausted = field(default="park", kw_only=True)
    """What becomes of the saga once its undo was tried as often as `undo_retry` says: it waits for a person, or goes on
    without, "skip": the undo is closed, the step is left standing, and somebody is told."""
    taken_within: timedelta | None = field(default=None, kw_only=True)
    """How long its command may lie before somebody begins it; after that it is refused as expired, and never begun."""

    def check_place(self, place: NodePlace) -> None:
        """It has to be possible to undo it."""
        if place.passed:
            raise DeclarationError(
                f"{place.where} can be undone, but stands after the pivot.", "make it Retriable or move it."
            )
        if self.compensation is None:
            raise DeclarationError(
                f"{place.where} has no compensation, so it would stay when the saga is undone.",
                "add compensation=..., or make it the Pivot or Retriable; if it changes nothing, a Check.",
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """Its undo may ask for its own reply, which may not be known."""
        node = self.node(
            place, "step", undo_retry=self.undo_retry, expires=True, taken_within=self.taken_within,
            skips_undo=check_undo_exhausted(place, self.undo_exhausted),
        )  # fmt: skip
        check_taken(place, self.taken_within, node)
        check_retry(place, "undo_retry", self.undo_retry)
        maybe = replace(node.perhaps(place.known), own=node.choice)
        compensation = cast(CommandBuilder, self.compensation)  # check_place has refused a Step without one
        node = replace(node, undo=command_builder(compensation, maybe))
        _check_undo(place, node)
        return node


def _check_undo(place: NodePlace, node: CommandNode) -> None:
    for undo in node.commands.get("undo", ()):
        if undo.refusals:
            raise DeclarationError(
                f"saga {place.saga!r}: {undo.__name__} undoes {place.path}, but may be refused"
                f" ({', '.join(undo.refusals)}).",
                "a compensation has to be possible: take its refusals away.",
            )
