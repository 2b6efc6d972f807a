"""The outline of a saga: what it commands, publishes and undoes, for whoever has to know a saga.

Checks, diagram, topology, docs, exploration, dialogue tests and desk read it; none of them asks what kind a node is.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from choros.errors import DeclarationError
from choros.messages import Command, Message, Reply
from choros.names import is_name
from choros.saga.parameters import Builder, Known, PureFunction
from choros.saga.policy import RetryPolicy

TurningPoints = frozenset[Literal["refused", "in_doubt"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What is true of every node that has none within it."""

    path: str
    kind: str
    """What a person calls it, as the declaration's fingerprint has it."""
    changes: bool = True
    """Whether it has an effect; where it has none, there is nothing to undo."""

    @property
    def builders(self) -> Sequence[Builder]:
        """All of its functions that build a message."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Messaging(Leaf):
    """A leaf that sends or publishes a message."""

    action: Builder
    """Builds the command, or the fact."""
    undo: Builder | None = None
    """Builds the compensation, or the retraction."""

    @property
    def builders(self) -> Sequence[Builder]:
        """Both, where there are two."""
        return (self.action, self.undo) if self.undo else (self.action,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commanded(Messaging):
    """A leaf that commands a service, and awaits the answer."""

    to: str
    timeout: timedelta
    retry: RetryPolicy
    undo_retry: RetryPolicy
    expires: bool
    """Whether its commands say until when they may be carried out: those at the pivot and behind it do not."""
    taken_within: timedelta | None = None
    """How long its command may lie before somebody begins it; without that, for as long as it is tried again."""
    turns_on: TurningPoints
    """The outcomes on which the saga turns back; on the others it waits for a person."""

    @property
    def command(self) -> type[Command[Any]]:
        """The type of its command."""
        return cast("type[Command[Any]]", self.action.builds)  # as text: pydantic would build it at every call

    @property
    def compensation(self) -> type[Command[Any]] | None:
        """The type of the command that undoes it, if any."""
        return cast("type[Command[Any]]", self.undo.builds) if self.undo else None

    @property
    def commands(self) -> Mapping[Literal["do", "undo"], type[Command[Any]]]:
        """The types of its commands, by operation."""
        return {"do": self.command, "undo": self.compensation} if self.compensation else {"do": self.command}

    @property
    def reply_type(self) -> type[Reply]:
        """The type of the reply to its command."""
        return self.command.reply_type

    def policy(self, operation: str) -> RetryPolicy:
        """How such a command is tried again."""
        return self.undo_retry if operation == "undo" else self.retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication(Messaging):
    """A leaf that publishes a fact, and awaits nothing."""

    early: bool
    """Whether it leaves before it is sure that the saga will not be undone."""
    held: bool
    """Whether it waits for the pivot, or for the end where there is none."""

    @property
    def fact(self) -> type[Message]:
        """The type of its fact."""
        return self.action.builds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeping(Leaf):
    """A leaf that waits for a moment, which is decided when the saga comes to it."""

    wait: PureFunction | timedelta | datetime
    """How long, or until when."""
    until: bool
    """Whether that is said as a moment."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A saga that has passed every check."""

    start: type[Message]
    leaves: Mapping[str, Leaf] = field(repr=False)
    """By path, in the order of the declaration."""
    places: Mapping[str, int] = field(repr=False)
    """How many stand before it, by path."""
    completed: tuple[Builder, ...]
    compensated: tuple[Builder, ...]
    pivot: str | None
    """The path of the pivot, if there is one."""
    deadline: timedelta | None = None
    """Bounds the time up to the pivot."""
    result: Builder | None = None
    """Builds what the saga comes to when it is completed, if it is asked for that."""

    @property
    def commands(self) -> Sequence[Commanded]:
        """The leaves that command somebody."""
        return [leaf for leaf in self.leaves.values() if isinstance(leaf, Commanded)]

    @property
    def publications(self) -> Sequence[Publication]:
        """The leaves that publish a fact."""
        return [leaf for leaf in self.leaves.values() if isinstance(leaf, Publication)]

    @property
    def messages(self) -> Iterator[type[Message]]:
        """The types of all that the saga may send and publish."""
        yield from (builder.builds for leaf in self.leaves.values() for builder in leaf.builders)
        yield from (builder.builds for builder in (*self.completed, *self.compensated))

    @property
    def answers(self) -> Iterator[type[Reply]]:
        """The types of all that the saga may be answered with, and of what is given with refusals."""
        for leaf in self.commands:
            yield from (command.reply_type for command in leaf.commands.values())
            yield from leaf.command.refusal_data.values()

    @property
    def facts(self) -> Iterator[type[Message]]:
        """The types of all facts that the saga may publish."""
        yield from (builder.builds for leaf in self.publications for builder in leaf.builders)
        yield from (builder.builds for builder in (*self.completed, *self.compensated))

    @property
    def paths(self) -> list[str]:
        """The paths of all leaves."""
        return list(self.leaves)

    def commanded(self, path: str) -> Commanded | None:
        """The leaf of this path, if it commands somebody."""
        leaf = self.leaves.get(path)
        return leaf if isinstance(leaf, Commanded) else None

    def fact_at(self, path: str) -> type[Message]:
        """The type of the fact that the leaf of this path publishes."""
        return cast("Publication", self.leaves[path]).fact


# --- what becomes of what a user writes ---


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where in a saga a node stands: what its functions may ask for there, and what may stand there."""

    path: str
    known: Known
    """The start message, and the replies known by then."""
    pivot: bool
    """Whether the saga has a pivot."""
    passed: bool
    """Whether it lies behind."""

    @property
    def saga(self) -> str:
        """The name of the saga."""
        return self.known.saga

    @property
    def where(self) -> str:
        """What sentences about it begin with."""
        return f"saga {self.saga!r}: {self.path}"


class Declared(ABC):
    """What a user writes among a saga's steps: one class for each kind of node."""

    __slots__ = ()
    name: str
    commands = True
    """Whether it commands somebody."""
    pivot = False
    """Whether from here on the saga only goes forward."""

    @property
    @abstractmethod
    def called(self) -> str:
        """Its name, if it is given none."""

    @abstractmethod
    def check(self, saga: str) -> None:
        """What can be said of it without knowing where it stands; raises DeclarationError."""

    def check_place(self, place: NodePlace) -> None:  # noqa: B027  # asks for nothing, where a kind does not say more
        """Whether it may stand there; raises DeclarationError. Most may stand anywhere."""

    @abstractmethod
    def planned(self, place: NodePlace) -> Leaf:
        """The node, with everything that is read from its functions; raises DeclarationError."""

    def named(self, saga: str) -> str:
        """The name that it goes by; raises DeclarationError."""
        self.check(saga)
        name = self.name or self.called
        if not is_name(name):
            raise DeclarationError(f"saga {saga!r}: {name!r} is no name for a step.", "give it one: name='...'.")
        return name
