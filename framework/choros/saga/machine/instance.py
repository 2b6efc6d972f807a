"""The state of one saga instance: a frozen value, readable as JSON, with everything that a decision needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from choros.values import quickly_made, replace

Status = Literal["running", "compensating", "completed", "compensated", "parked", "terminated"]
NestedOutcome = Literal["", "ok", "refused", "cancelled"]
NestedStage = Literal["", "revocable", "settled"]
TERMINAL: tuple[Status, ...] = ("completed", "compensated", "terminated")
_STRICT = ConfigDict(extra="forbid")
"""A field that is not known here was written by a newer choros: to drop it with the next commit would lose it."""
Progress = Literal[
    "pending", "sent", "ok", "refused", "in_doubt", "undone", "held", "published", "retracted", "asleep", "entered",
    "passed_over", "listed", "closed", "awaiting", "lapsed", "standing",
]  # fmt: skip
DECLINED = "declined"
"""The choice of a wait that was told no."""
ROOT = ""
"""The path of the saga's own sequence of steps; its state says what there is to say of the saga's end."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Leg:
    """The command that a step awaits an answer to, over all its attempts. Times are seconds since the epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    operation: Literal["do", "undo", "close", "release", "cancel"]
    command: str
    """The command's body, frozen when it was first sent."""
    attempt: int
    """Starts are counted, not results."""
    first_at: float
    due: float | None
    """When its timer fires; None while parked."""
    waiting: bool = False
    """True between two attempts; False while an answer is awaited."""
    closing: str = ""
    """For a close: the reply that a person supplies if there is no effect."""
    forgotten: bool = False
    """Whether the participant has said that it would not know any more: then it never carries it out either."""
    message: str = ""
    """The id that its last attempt goes by in the outbox; only where several nodes may be under way at a time."""
    finish_by: float | None = None
    """Until when it may take, once its participant has said that it is finished from outside; None before that."""
    rung: int = 0
    """While that is so: which time, at `due`, it is asked what has become of it. A choros that would not ask before the
    bound does not know this field, and leaves the instance alone."""
    choice: str = ""
    """For an undo whose function may choose: what it chose."""
    gives_up: str = ""
    """For the close of an undo: why the saga goes on without it. A choros that would take that for undone does not know
    this field, and leaves the instance alone."""

    @property
    def unfinished(self) -> bool:
        """Whether nothing is to be done but to wait, and to ask now and then, until it is finished from outside, or has
        taken too long."""
        return self.finish_by is not None and self.due is not None and (self.rung > 0 or self.due == self.finish_by)

    @property
    def asks_next(self) -> bool:
        """Whether what is due next is such a question, before its bound."""
        return self.finish_by is not None and self.due is not None and self.rung > 0 and self.due < self.finish_by

    def awaits_answer(self, operation: str, attempt: int) -> bool:
        """Whether an answer to this attempt would decide something, whatever it says."""
        return (operation, attempt) == (self.operation, self.attempt) and not self.waiting and self.due is not None


@quickly_made
@dataclass(frozen=True, slots=True)
class NodeState:
    """How far one node is."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    progress: Progress = "pending"
    round: int = 1
    """Rises when a person retries a step that was definitely refused, closed or undone."""
    reply: str = ""
    """The reply's body, once it is known."""
    leg: Leg | None = None
    not_after: float | None = None
    """The greatest deadline that any `do` was sent with; of a wait, when it lapses."""
    began: float | None = None
    """When the `do` of this round was first sent, None where an older choros did that; of a wait, when it began."""
    skipped: bool = False
    """Whether a person supplied the reply: the participant has promised that there is no effect."""
    owner: str = ""
    """The saga whose id is in the key of a step that was taken over; empty for its own."""
    fact: str = ""
    """The body of a fact that is held, or was published early."""
    parked: str = ""
    """Why it waits for a person."""
    until: float | None = None
    """The moment that it sleeps until, decided once, or when a wait has to be looked at next; None once that is over. A
    choros that would not wake it does not know this field, and leaves the instance alone."""
    choice: str = ""
    """What was chosen, where there was a choice: which way is taken through it, which command is sent, or which fact
    published."""
    lost: bool = False
    """Whether it is undone while the saga goes on without it."""
    number: int = 0
    """How many were accepted before it, where several may be under way at a time; 0 for what no order is asked of."""
    command: str = ""
    """The body of the command that was chosen, where its undo asks for it."""
    items: int = 0
    """How many items it is done for, fixed when the saga came to it."""
    begun: int = 0
    """For how many of them it was begun; of a wait, how often somebody was reminded."""
    item: str = ""
    """Of an item: its body."""
    awaits: str = ""
    """Of a wait for a fact: the key that this has to be about. A choros that would not look for it does not know this
    field, and leaves the instance alone."""
    unreleased: bool = False
    """Of a nested saga that was begun: whether it may still be undone, and has to be told that it will not."""
    left: int = 0
    """While it is undone beside others: of what was accepted in it, all from this number on is undone; of the items of
    a loop, so many have not been come to yet, and one more. 0 before that."""

    @property
    def due(self) -> float | None:
        """When its timer fires."""
        return self.leg.due if self.leg else self.until

    @property
    def turns(self) -> bool:
        """Whether it is being undone while the saga goes on without it, and not there yet."""
        return self.lost and self.progress not in ("undone", "refused", "standing")

    @property
    def unlooked(self) -> bool:
        """Whether it waits for a fact, and nobody has looked since then whether that is kept already."""
        return self.progress == "awaiting" and bool(self.awaits) and self.until == self.began

    @property
    def closes(self) -> Literal["do", "undo"]:
        """The operation of the two that is not over yet, or was the last to be: what a close of it closes."""
        return "do" if self.progress in ("pending", "sent") else "undo"

    @property
    def takes_signal(self) -> bool:
        """Whether it waits for somebody to tell it something, also when that was due some time ago."""
        return self.progress == "awaiting" or (self.progress == "lapsed" and bool(self.parked))


UNTOUCHED = NodeState()


class States(dict[str, NodeState]):
    """The states of the nodes that the saga has come to, by path, in the order in which it came to them."""

    def of(self, path: str) -> NodeState:
        """How far this node is."""
        return self.get(path, UNTOUCHED)

    def last_of(self, places: dict[str, int]) -> int:
        """The last of these places whose node the saga has come to, by their paths; 0 where it has come to none.

        Asked with every answer, so it costs what there is less of: states, or places."""
        known = sorted(self.keys() & places.keys(), key=places.__getitem__, reverse=True)
        return next((places[path] for path in known if self[path] != UNTOUCHED), 0)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(cls, handler(dict[str, NodeState]))

    def __hash__(self) -> int:  # type: ignore[override]  # never changed once it is part of an instance
        return hash(frozenset(self.items()))


@dataclass(frozen=True, slots=True)
class Order:
    """A command of the saga that this one is nested in, which is still to be answered."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    operation: Literal["do", "undo", "close", "release", "cancel"]
    envelope: str
    """The command without its body, as the answer has to repeat it."""
    of: Literal["do", "undo"] = "do"
    terminates: bool = False


@dataclass(frozen=True, slots=True)
class Parent:
    """What a nested saga knows of the one that it is nested in."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    detached: bool = False
    """Whether that does not wait for its end."""
    order: Order | None = None
    outcome: NestedOutcome = ""
    """What the `do` is answered with, once that is known; cancelled by whoever commanded it, before it was over."""
    released: bool = False
    """Whether it will never be undone any more, so that it may end."""
    locks: tuple[str, ...] = ()
    """The keys that are locked for that, and so for this one."""


@dataclass(frozen=True, slots=True)
class LockState:
    """What a saga locks before it begins. Times are seconds since the epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    keys: tuple[str, ...]
    """In the order in which they are taken."""
    when_taken: Literal["queue", "refuse", "join"]
    most: int
    """So many may wait for one key."""
    within: float | None = None
    """How long it may wait."""
    taken: bool = False
    """Whether it has all of them; then until it has ended."""
    until: float | None = None
    """When it has waited long enough."""
    ask_at: float | None = None
    """When it asks again, where nobody has told it anything."""
    key: str = ""
    """The one that it waits for, or was turned away from."""
    holder: str = ""
    """The saga that had that when it was told so."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Instance:
    """One run of a saga."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    saga_id: str
    start: str
    """The start message's body."""
    nodes: States = field(default_factory=States)
    status: Status = "running"
    backward: bool = False
    """Whether the saga is being undone."""
    paused: bool = False
    failure: str = ""
    """Why it is being undone: the body of a Failure."""
    refusal: str = ""
    """What was given with that, where it is a refusal: a body of the type that the command declares for its code."""
    result: str = ""
    """Of a completed saga, where its declaration has one: the body of the message."""
    wanted: str = ""
    """Asked for while the pivot is in flight: 'cancelled' or 'deadline'; acts only if the pivot is refused."""
    withheld: tuple[tuple[str, str], ...] = ()
    """(type, body) of the facts that say that it was undone, and wait until nothing of it is left standing."""
    terminating: bool = False
    """Whether a person has ended it: nothing is done or undone any more, and what is open is being closed."""
    deadline: float | None = None
    seq: int = 0
    """The number of the last fact released."""
    early: tuple[tuple[str, str], ...] = ()
    """(path, body) of signals that came before the saga has come to the waits that they are for."""
    updated: tuple[tuple[str, str], ...] = ()
    """(name, body) of the last update of each type that was accepted."""
    updates: int = 0
    """How many were answered, accepted or not."""
    accepted: int = 0
    """How many nodes were accepted and are not undone, one more than that; 0 as long as no two were ever under way at
    a time."""
    successor: str = ""
    """The instance that this one was run again as; it has taken over the steps that it kept."""
    rerun_from: str = ""
    """The step that the successor began with."""
    moved_from: tuple[int, ...] = ()
    """The versions of the declaration that it was moved away from; replies may still name them."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(path then, path now) of the nodes that are called otherwise than when it was begun: in the keys of their
    commands they go on being called so. A choros that would not know them again does not know this field, and leaves
    the instance alone."""
    nodes_apart: bool = False
    """Whether more nodes have states, which are stored apart: all of them over, and older than those that are here."""
    apart: int = 0
    """How many ids of inputs that it has taken in have left its record, each an entry now. A choros that would not look
    for them does not know this field, and leaves the instance alone."""
    ending: bool = False
    """Whether it has come to its end but for the sagas nested in it, which are told so: too late for anything else."""
    parent: Parent | None = None
    """Of a nested saga."""
    stage: NestedStage = ""
    """Of a nested saga that is over, but not released: whether it would still be undone."""
    lock: LockState | None = None
    """Where it takes one. A choros that would not wait for it does not know this field, and leaves the instance alone.
    """
    cause: str = ""
    """The id of the last message that moved the saga."""
    traceparent: str = ""
    tracestate: str = ""
    own_headers: str = ""
    """Those of the user's own that it was started with: all that it sends has them. A choros that would leave them out
    does not know this field, and leaves the instance alone."""
    steps: tuple[NodeState, ...] = ()
    """The states as an older choros stored them, by place in the declaration, until `named` gives them their paths."""
    cursor: int = 0
    """With these: the place of the step at work."""
    parked: str = ""
    """With these: why that waits for a person."""

    @property
    def terminal(self) -> bool:
        """Whether nothing will happen any more."""
        return self.status in TERMINAL

    @property
    def wake_at(self) -> float | None:
        """When the next timer is due."""
        if self.terminal:
            return None
        times = [due for state in self.nodes.values() if (due := state.due) is not None]
        if self.deadline is not None:
            times.append(self.deadline)
        if self.lock is not None:
            times += [at for at in (self.lock.until, self.lock.ask_at) if at is not None]
        return min(times, default=None)

    @property
    def queued(self) -> bool:
        """Whether it has not taken its lock yet, and so does nothing."""
        return self.lock is not None and not self.lock.taken

    @property
    def locks(self) -> tuple[str, ...]:
        """All keys that are locked for it: its own, and those of the saga that it is nested in."""
        own = self.lock.keys if self.lock and self.lock.taken else ()
        return (*(self.parent.locks if self.parent else ()), *own)

    @property
    def under_way(self) -> frozenset[str]:
        """The nodes whose commands await an answer, or their next attempt."""
        return frozenset(path for path, state in self.nodes.items() if state.leg)

    @property
    def parked_at(self) -> Mapping[str, NodeState]:
        """The nodes that wait for a person."""
        return {path: state for path, state in self.nodes.items() if state.parked}

    @property
    def standing(self) -> Sequence[str]:
        """The steps whose undo it has gone on without: their effect may be there."""
        return [path for path, state in self.nodes.items() if state.progress == "standing"]

    @property
    def is_unsettled(self) -> bool:
        """Whether something is left standing, or at the end in doubt, which a person has to settle."""
        left = ("standing", "in_doubt") if self.terminal else ("standing",)
        return any(state.progress in left for state in self.nodes.values())

    @property
    def why_parked(self) -> str:
        """Why it waits for a person."""
        return next((state.parked for state in self.parked_at.values()), self.parked)

    def state(self, path: str) -> NodeState:
        """How far this node is."""
        return self.nodes.of(path)

    def named(self, paths: Sequence[str]) -> Instance:
        """The same, with the states of an older choros under the paths of the declaration that it follows."""
        if not self.steps:
            return self
        states = zip(paths, self.steps, strict=True)
        nodes = States((path, state) for path, state in states if state != UNTOUCHED)
        if self.parked:
            path = paths[self.cursor] if self.cursor < len(self.steps) else ROOT
            nodes[path] = replace(nodes.get(path, UNTOUCHED), parked=self.parked)
        return replace(self, nodes=nodes, steps=(), cursor=0, parked="")

    def dumps(self) -> str:
        """The instance as JSON text."""
        return _JSON.dump_json(self, exclude_defaults=True).decode()

    @staticmethod
    def loads(text: str) -> Instance:
        """Read what `dumps` wrote; raises ValueError where that is of another format."""
        return _JSON.validate_json(text)


_JSON = TypeAdapter(Instance)
