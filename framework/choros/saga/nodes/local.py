"""A step in the process of whoever decides the saga."""

from dataclasses import dataclass, field, replace
from typing import Any

from choros.errors import DeclarationError
from choros.saga.nodes.commanded import CommandBuilder, CommandNode, Commands, UndoExhausted
from choros.saga.nodes.retriable import Retriable
from choros.saga.nodes.step import Step
from choros.saga.parameters import NodePlace
from choros.saga.policy import RetryPolicy


@dataclass(frozen=True, slots=True)
class Local(Commands):
    """A step that the orchestrator has carried out in its own process, by handlers of the service `to`, in a database
    that it is given: its command goes over no broker. All else is as for a commanded step: its key, its barrier, its
    timeout, its retries, its undo.

    Before the pivot it takes a `compensation`, like a `Step`; behind it none, and may not be refused, like a
    `Retriable`. A service is used by `Local` alone or not at all, and its handlers must not keep the loop waiting."""

    compensation: CommandBuilder | None = None
    undo_retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    undo_exhausted: UndoExhausted = field(default="park", kw_only=True)
    """As for a step."""

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot nothing is undone, before it everything can be."""
        if place.passed and self.compensation is not None:
            raise DeclarationError(
                f"{place.where} can be undone, but stands after the pivot.", "leave its compensation out, or move it."
            )
        if not place.passed and self.compensation is None:
            raise DeclarationError(
                f"{place.where} has no compensation, so it would stay when the saga is undone.",
                "add compensation=..., or move it behind the pivot.",
            )

    def planned(self, place: NodePlace) -> CommandNode:
        """What such a step comes to where it is commanded, but carried out here."""
        given: Any = {"timeout": self.timeout, "retry": self.retry, "finished_within": self.finished_within}
        commanded: Retriable | Step = Retriable(self.action, self.to, **given)
        if not place.passed:
            undone: Any = {"undo_retry": self.undo_retry, "undo_exhausted": self.undo_exhausted}
            commanded = Step(self.action, self.to, self.compensation, **undone, **given)
        return replace(commanded.planned(place), kind="local", local=True)
