"""A saga within another one: what that has to know of it, and how such a node is commanded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from choros.messages import Command, Done, LeftStanding, Message, NestedCommand, NestedUnderLock, Reply
from choros.saga.lock import Lock
from choros.saga.outline import Commanded, Outline
from choros.saga.parameters import Known
from choros.saga.policy import RetryPolicy
from choros.wire.command_key import Operation


class Nestable(ABC):
    """A saga, as far as another one is concerned that it may be nested in."""

    name: str
    version: int
    start: type[Message]
    outline: Outline
    lock: Lock | None

    @property
    @abstractmethod
    def declared_as(self) -> str:
        """The hash of its declaration's fingerprint."""


@dataclass(frozen=True, slots=True)
class Child:
    """The saga that a node stands for."""

    saga: str
    version: int
    declared_as: str
    """The hash of its declaration's fingerprint."""
    result: type[Message] | None
    """What it comes to, if anything can be asked for."""
    lock: str = ""
    """The name of the lock that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting(Commanded):
    """A leaf that commands another saga, as others command a service."""

    nests: ClassVar[bool] = True
    child: Child
    detached: bool = False
    """Whether the other one ends by itself, and nobody waits for that."""

    @property
    def whom(self) -> str:
        """The other saga."""
        return f"saga {self.child.saga}"

    @property
    def commands(self) -> Mapping[Literal["do", "undo"], Sequence[type[Command[Any]]]]:
        """Nothing that a service could get."""
        return {}

    @property
    def does(self) -> Sequence[type[Command[Any]]]:
        """The same."""
        return ()

    def command_of(self, choice: str = "") -> type[Command[Any]]:
        """One type for all of it: the operation stands in the key."""
        return NestedCommand  # type: ignore[return-value]  # no service gets it, so it is none

    def reply_of(self, choice: str = "") -> type[Message]:
        """What the other saga comes to, if anybody waits for that."""
        return Done if self.detached or self.child.result is None else self.child.result

    def answers(self, operation: str) -> Sequence[type[Reply]]:
        """That of a `do`; whatever else it is told, it has nothing to tell."""
        result: Any = self.reply_of() if operation == "do" else Done  # no reply of a service, but read like one
        return [result, LeftStanding] if operation == "undo" else [result]

    def after(self, known: Known) -> Known:
        """What it comes to, if there is such a thing; nobody can be sure of it where the saga goes on without."""
        if self.child.result is None or self.detached:
            return known
        if self.ends or self.action.optional:
            return replace(known, maybe=(*known.maybe, (self.path, self.child.result)))
        return replace(known, replies=(*known.replies, (self.path, self.child.result)))

    def perhaps(self, known: Known) -> Known:
        """The same, where nobody can be sure that it was carried out."""
        after = self.after(replace(known, replies=(), maybe=()))
        return replace(known, maybe=(*known.maybe, *after.replies, *after.maybe))

    def sent_as(self, operation: Operation, choice: str, undoing: str) -> type[Message]:
        """The same, whatever it says."""
        return NestedCommand

    def closing(self, of: Literal["do", "undo"], *, terminates: bool) -> str:
        """Undone first, unless the saga ends as it is."""
        return self.order(of=of, terminates=terminates)

    def may_refuse(self, code: str, choice: str) -> bool:
        """Whatever the other saga was undone for."""
        return True

    def policy(self, operation: str) -> RetryPolicy:
        """Only its `do` may ever be in doubt."""
        return self.retry if operation == "do" else self.undo_retry

    def order(self, **more: Any) -> str:
        """The body of a command to it; which one it is, the operation in its key says."""
        child, kind = self.child, NestedUnderLock if more.get("locks") else NestedCommand
        return kind(saga=child.saga, version=child.version, detached=self.detached, **more).to_json()


def nested_in(outline: Outline) -> Sequence[Nesting]:
    """The leaves that stand for other sagas."""
    return [leaf for leaf in outline.leaves.values() if isinstance(leaf, Nesting)]
