"""The outline of a saga: what it commands, publishes and undoes, for whoever has to know a saga.

Checks, diagram, topology, docs, exploration, dialogue tests and desk read it; none of them asks what kind a node is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar, Literal, cast

from choros.errors import DeclarationError
from choros.messages import Command, Message, Reply
from choros.names import is_name
from choros.saga.conversation import Conversation
from choros.saga.orders import UndoOrder
from choros.saga.parameters import Builder, Choosing, DeclaredUpdate, Known, NodePlace, PureFunction
from choros.saga.paths import declared
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
    insists: bool = False
    """Whether the saga goes on only once somebody has told it something."""
    nests: ClassVar[bool] = False
    """Whether it stands for another saga."""

    @property
    def builders(self) -> Sequence[Builder]:
        """All of its functions that build a message."""
        return ()

    @property
    def functions(self) -> Sequence[PureFunction]:
        """All of its functions."""
        return self.builders

    @property
    def facts(self) -> Sequence[Builder]:
        """Those of them that build a fact."""
        return ()

    @property
    def signals(self) -> Sequence[type[Message]]:
        """The types of what somebody outside tells it."""
        return ()

    @property
    def leaves(self) -> Iterator[Leaf]:
        """Itself, as a composite has those within it."""
        yield self

    def after(self, known: Known) -> Known:
        """What is known once it is over, of what was known before it."""
        return known


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
class Commanded(Messaging, Conversation):
    """A leaf that commands a service, and awaits the answer."""

    to: str
    timeout: timedelta
    retry: RetryPolicy
    undo_retry: RetryPolicy
    expires: bool
    """Whether its commands say until when they may be carried out: those at the pivot and behind it do not."""
    taken_within: timedelta | None = None
    """How long its command may lie before somebody begins it; without that, for as long as it is tried again."""
    finished_within: timedelta | None = None
    """How long it may take where its service has taken it, to be finished from outside; None where it must not."""
    turns_on: TurningPoints
    """The outcomes on which the saga turns back; on the others it waits for a person."""
    ends: bool = False
    skips_undo: bool = False
    """Whether the saga goes on without its undo, once that was tried as often as it may be."""
    local: bool = False
    """Whether it is carried out in the process of whoever decides the saga: no queue leads there."""
    existing: bool = False
    """Whether it was there before the saga: its one command takes that back, where the saga is undone."""

    @property
    def commands(self) -> Mapping[Literal["do", "undo"], Sequence[type[Command[Any]]]]:
        """The types of the commands that it may send, by operation."""
        return {"do": _commands_of(self.action), "undo": _commands_of(self.undo)} if self.undo else {"do": self.does}

    @property
    def does(self) -> Sequence[type[Command[Any]]]:
        """The types of the commands, one of which carries it out."""
        return _commands_of(self.action)

    def command_of(self, choice: str = "") -> type[Command[Any]]:
        """The type of the command that was chosen; the only one where there was no choice."""
        return cast("type[Command[Any]]", self.action.chosen(choice))  # as text: pydantic would build it at every call

    def undo_of(self, choice: str) -> type[Message]:
        """The type of the command that undoes it, by what was chosen."""
        return (self.undo or self.action).chosen(choice)

    def answers(self, operation: str) -> Sequence[type[Reply]]:
        """The types of the replies to its commands, each of them once."""
        sent = _commands_of(self.undo) if operation == "undo" and self.undo else self.does
        return list(dict.fromkeys(command.reply_type for command in sent))

    @property
    def choice(self) -> Choosing:
        """What functions behind it may ask for."""
        return Choosing(self.path, tuple(self.does), self.action.optional)

    def perhaps(self, known: Known) -> Known:
        """What is known of it, of what was known before it, where nobody can be sure that it was carried out."""
        after = self.after(replace(known, replies=(), choices=()))
        unsure = tuple(replace(choice, optional=True) for choice in after.choices)
        return replace(known, maybe=(*known.maybe, *after.replies), choices=(*known.choices, *unsure))

    def after(self, known: Known) -> Known:
        """Its reply is; where it may choose, or be passed over, the one of what it chose."""
        if self.action.others or self.action.optional:
            return replace(known, choices=(*known.choices, self.choice))
        return replace(known, replies=(*known.replies, (self.path, self.command_of().reply_type)))

    def may_skip(self, operation: str) -> bool:
        """Whether such a command is its undo, and the saga goes on without once it was tried often enough."""
        return self.skips_undo and operation == ("do" if self.existing else "undo")

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
    def facts(self) -> Sequence[Builder]:
        """The fact, and what takes it back."""
        return self.builders

    def fact_of(self, choice: str = "") -> type[Message]:
        """The type of the fact that was chosen; the only one where there was no choice."""
        return self.action.chosen(choice)


def _commands_of(builder: Builder) -> Sequence[type[Command[Any]]]:
    return cast("Sequence[type[Command[Any]]]", builder.kinds)


@dataclass(frozen=True, slots=True)
class Limb:
    """One way through a composite: what stands in it, one behind the other."""

    name: str
    parts: tuple[SagaPart, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What a composite is done for again and again."""

    asked: PureFunction
    """Tells the items, or says whether it is enough."""
    item: Any
    """Of which type they are; None where there are none."""
    said: str
    """For what, in words."""
    at_once: int = 1
    """How many at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """What is true of every node that has others within it."""

    path: str
    kind: str
    """What a person calls it, as the declaration's fingerprint has it."""
    limbs: tuple[Limb, ...]
    questions: tuple[PureFunction, ...] = ()
    """The functions that decide which way is taken, one for each of the first limbs."""
    loop: Loop | None = None
    """Of one that is gone through again and again: for what."""
    alternatives: bool = False
    """Whether one of its limbs comes to stand, and not all."""
    wins: int = 0
    """How many of them have to, where that is not all."""
    join: str = ""
    """The same in words."""
    undo: UndoOrder | None = None
    """In which order all in it is undone; None where it is as around it."""

    @property
    def leaves(self) -> Iterator[Leaf]:
        """All that stand in it, however deep."""
        for limb in self.limbs:
            for part in limb.parts:
                yield from part.leaves

    @property
    def functions(self) -> Sequence[PureFunction]:
        """Those that decide which way is taken, and how often."""
        return (*self.questions, *([self.loop.asked] if self.loop else []))

    @property
    def parts(self) -> Iterator[SagaPart]:
        """All nodes in it, however deep, and before each the one that it stands in."""
        for limb in self.limbs:
            yield from _deep(limb.parts)

    def after(self, known: Known) -> Known:
        """What is known once it is over, of what was known before it."""
        for limb in self.limbs:
            for part in limb.parts:
                known = part.after(known)
        return known

    def perhaps(self, known: Known) -> Known:
        """The same, where nobody can be sure of any of it."""
        inside = Composite.after(self, replace(known, replies=(), maybe=(), choices=()))
        unsure = tuple(replace(choice, optional=True) for choice in inside.choices)
        maybe = (*known.maybe, *inside.replies, *inside.maybe)
        return replace(known, maybe=maybe, choices=(*known.choices, *unsure))


SagaPart = Leaf | Composite


def _deep(parts: Sequence[SagaPart]) -> Iterator[SagaPart]:
    for part in parts:
        yield part
        if isinstance(part, Composite):
            yield from part.parts


@dataclass(frozen=True, slots=True)
class Outline:
    """A saga that has passed every check."""

    start: type[Message]
    parts: tuple[SagaPart, ...] = field(repr=False)
    """What it is made of, one behind the other."""
    completed: tuple[Builder, ...]
    compensated: tuple[Builder, ...]
    deadline: timedelta | None = None
    """Bounds the time up to the pivot."""
    result: Builder | None = None
    """Builds what the saga comes to when it is completed, if it is asked for that."""
    undo: UndoOrder = "newest_first"
    updates: Mapping[str, DeclaredUpdate] = field(default_factory=dict)
    """What may be asked of it while it runs, by name."""
    nodes: Mapping[str, SagaPart] = field(init=False, repr=False)
    leaves: Mapping[str, Leaf] = field(init=False, repr=False)
    """By path, in the order of the declaration, and before each the one that it stands in; and those without others."""
    pivots: tuple[str, ...] = field(init=False)
    """The paths of the pivots: no more than one on any way through."""
    nests: bool = field(init=False, default=False)
    """Whether other sagas are nested in it."""
    _places: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes = {part.path: part for part in _deep(self.parts)}
        leaves = {path: part for path, part in nodes.items() if isinstance(part, Leaf)}
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "leaves", leaves)
        object.__setattr__(self, "pivots", tuple(path for path, leaf in leaves.items() if leaf.kind == "pivot"))
        object.__setattr__(self, "nests", any(leaf.nests for leaf in leaves.values()))
        object.__setattr__(self, "_places", {path: place for place, path in enumerate(nodes)})

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
        """The types of all that the saga may send, publish, and be told."""
        yield from (kind for leaf in self.leaves.values() for builder in leaf.builders for kind in builder.kinds)
        yield from (kind for leaf in self.leaves.values() for kind in leaf.signals)
        yield from (kind for builder in (*self.completed, *self.compensated) for kind in builder.kinds)
        yield from (kind for one in self.updates.values() for kind in (one.update, one.builds))

    @property
    def answers(self) -> Iterator[type[Reply]]:
        """The types of all that the saga may be answered with, and of what is given with refusals."""
        for leaf in self.commands:
            yield from (reply for operation in leaf.commands for reply in leaf.answers(operation))
            yield from leaf.refusal_data.values()

    @property
    def facts(self) -> Iterator[type[Message]]:
        """The types of all facts that the saga may publish."""
        yield from (kind for leaf in self.leaves.values() for builder in leaf.facts for kind in builder.kinds)
        yield from (kind for builder in (*self.completed, *self.compensated) for kind in builder.kinds)

    @property
    def paths(self) -> list[str]:
        """The paths of all leaves."""
        return list(self.leaves)

    def place(self, path: str) -> int:
        """How many nodes stand before this one; behind all others what is no node."""
        return self._places.get(declared(path), len(self._places))

    def leaf(self, path: str) -> Leaf | None:
        """The leaf of this path, under it; for one in an item too."""
        leaf = self.leaves.get(path)
        if leaf is None and "[" in path and (leaf := self.leaves.get(declared(path))):
            return replace(leaf, path=path)
        return leaf

    def commanded(self, path: str) -> Commanded | None:
        """The leaf of this path, if it commands somebody."""
        leaf = self.leaf(path)
        return leaf if isinstance(leaf, Commanded) else None

    def fact_at(self, path: str, choice: str = "") -> type[Message]:
        """The type of the fact that the leaf of this path publishes, by what it chose."""
        return cast("Publication", self.leaf(path)).fact_of(choice)


# --- what becomes of what a user writes ---


class Declared(ABC):
    """What a user writes among a saga's steps: one class for each kind of node."""

    __slots__ = ()
    name: str

    @property
    def commands(self) -> bool:
        """Whether it commands somebody."""
        return True

    @property
    def pivot(self) -> bool:
        """Whether from here on the saga only goes forward."""
        return False

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
    def planned(self, place: NodePlace) -> SagaPart:
        """The node, with everything that is read from its functions; raises DeclarationError."""

    def named(self, saga: str) -> str:
        """The name that it goes by; raises DeclarationError."""
        self.check(saga)
        name = self.name or self.called
        if not is_name(name):
            raise DeclarationError(f"saga {saga!r}: {name!r} is no name for a step.", "give it one: name='...'.")
        return name
