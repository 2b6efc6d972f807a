"""Work for the decider: one input for one saga instance, with whoever waits for it to be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from choros.errors import ChorosError, DeclaredOtherwise, StoreUnreachable
from choros.runtime.orchestrator.signature import UNSIGNED, Signature
from choros.saga.machine.inputs import Act, Event, LockTold, SignalRequested, UpdateRequested
from choros.saga.machine.instance import Instance, NodeState
from choros.store.sagas import Transition
from choros.transport.port import Delivery
from choros.values import quickly_made
from choros.wire.envelope import Envelope


@quickly_made
@dataclass(frozen=True, slots=True)
class Start:
    """A saga shall begin."""

    id: str
    saga: str
    version: int
    key: str
    body: str
    digest: str
    traceparent: str = ""
    tracestate: str = ""
    kept: Mapping[str, NodeState] = field(default_factory=dict)
    """The first steps, where it takes over those of another instance."""
    updated: Sequence[tuple[str, str]] = ()
    """The updates that it takes over with them."""
    renamed: Sequence[tuple[str, str]] = ()
    """What they are called in the keys that they were carried out with, where that is otherwise."""
    signal: SignalRequested | None = None
    """What the saga is told at once; one that has begun is told it then."""
    fact: str = ""
    """The type of the fact that begins it; `id` is that fact's then."""
    said: str = ""
    """The canonical text of the body, by which it is compared where the digests differ; empty where they decide."""
    own_headers: str = ""
    """As in the envelope."""


@dataclass(frozen=True, slots=True)
class Move:
    """A person wants the saga to go on under the declaration of this version here."""

    id: str
    version: int
    text: str
    """The fingerprint's text of the declaration that it follows so far, as its history has it."""
    names: tuple[tuple[str, str], ...] = ()
    """(path there, path here) of the nodes that are called otherwise in the declaration here."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A reply as it came, or a command to a nested saga. A worker that does not know the declaration of its saga sets
    it aside in the record, as a text, for one that does."""

    envelope: Envelope

    @property
    def id(self) -> str:
        """The envelope's."""
        return self.envelope.id

    @classmethod
    def loads(cls, text: str) -> Unjudged:
        """One that was set aside; raises DeclaredOtherwise where a newer choros did so."""
        try:
            return cls(Envelope.loads(text))
        except (ValueError, TypeError):
            raise DeclaredOtherwise(
                "A reply was set aside in a format that this choros does not know.", "the choros that wrote it."
            ) from None


@dataclass(frozen=True, slots=True)
class Due:
    """The store has handed the saga out: a timer of its own is due, or replies were set aside for whoever knows it."""

    id: ClassVar[str] = ""
    looked: frozenset[str] = frozenset()
    """The waits for which it was looked what is kept of the facts that they wait for."""


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What became of a piece of work, once it is committed."""

    instance: Instance
    events: Sequence[Event] = ()
    """What this input brought about; empty if it had been taken in before."""
    repeated: bool = False

    @property
    def word(self) -> str:
        """What an act came to, in a word: what it did first, but that it has ended a saga."""
        kinds = [str(event.kind) for event in self.events] or ["repeated"]
        return "terminated" if "terminated" in kinds else kinds[0]


@dataclass(slots=True, eq=False)
class Work:
    """One input, and where its acknowledgement goes: to a delivery, to a waiting caller, or nowhere (a timer)."""

    saga_id: str
    given: Act | SignalRequested | UpdateRequested | Start | Move | Unjudged | Due | LockTold
    delivery: Delivery | None = None
    waiter: asyncio.Future[WorkDone] | None = field(default=None)
    signature: Signature = UNSIGNED
    """Of the person who asks for it."""
    handed_over: bool = False
    """Whether the store was asked to take it: then nobody knows that it has not, until it answers."""

    @property
    def id(self) -> str:
        """The input's id, kept among the received ones; empty for a timer."""
        return self.given.id

    @property
    def is_order(self) -> bool:
        """Whether it is a command to a nested saga."""
        return isinstance(self.given, Unjudged) and self.given.envelope.kind == "command"

    @property
    def kind(self) -> str:
        """What came: a signal, or else a reply."""
        return "signal" if isinstance(self.given, Unjudged) and self.given.envelope.kind == "signal" else "reply"

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it: who has been told that it failed must not see it happen later."""
        return self.waiter is None or not self.waiter.done()

    @property
    def signed(self) -> dict[str, str]:
        """What the history says of who asked for it. The class of an act is the word for it, so its name is stored."""
        name = type(self.given).__name__.removesuffix("Requested").lower()
        return self.signature.of(self.kind if isinstance(self.given, Unjudged) else name)

    def not_taken(self, seconds: float) -> StoreUnreachable:
        """What whoever waited so long is told: what was never handed to the store is dropped, and does not begin behind
        the caller's back."""
        said = f"The store did not take the request within {seconds:g} s"
        if self.handed_over:
            return StoreUnreachable(f"{said}; it may have been taken all the same.", "ask again under the same key.")
        return StoreUnreachable(f"{said}; it is dropped.", "ask again when the store answers.")

    def finish(self, done: WorkDone) -> None:
        """Tell the caller."""
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(done)

    def fail(self, error: Exception) -> None:
        """Tell the caller what went wrong."""
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(error)


@quickly_made
@dataclass(frozen=True, slots=True)
class Folded:
    """What a group of work on one saga comes to."""

    done: Sequence[Work] = ()
    """Work that this transition takes in."""
    repeated: Sequence[Work] = ()
    """Work that had been taken in before."""
    rejected: Sequence[tuple[Work, ChorosError]] = ()
    instance: Instance | None = None
    events: Sequence[Event] = ()
    transition: Transition | None = None
    """None where there is nothing to store."""
    stuck: str = ""
    """Why this worker decides nothing for the saga."""
    lacking: frozenset[str] = frozenset()
    """Names of entries without which nothing can be said: the rest of this is empty then."""
