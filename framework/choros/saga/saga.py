"""A saga as a value: which steps are commanded, to whom, undone by what; and which facts are published.

And its fingerprint: what two declarations must agree on to decide the same instance, as a text that a person can read.
Every instance carries the hash of the text that it was begun with; a worker whose own text hashes to something else
decides nothing for it. So the text holds what a stored instance depends on (paths, kinds, types, destinations, what
fills each function, facts) and nothing that may change while sagas run: timeouts, retries, deadlines, refusals,
versions of messages, function bodies, names of functions and parameters, files.

It is kept in stores and pin files for years. An attribute that choros gets later is written only where it is used, so
that the declarations of today keep their text; a golden file holds it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic

from typing_extensions import TypeVar

from choros.errors import DeclarationError
from choros.messages import Message, Update
from choros.names import BusinessKey
from choros.saga.builders import fact_builder, result_builder
from choros.saga.checks import check_head, check_start, listed
from choros.saga.lambdas import lambdas_of
from choros.saga.lock import Lock, check_lock
from choros.saga.machine.instance import ROOT, Instance
from choros.saga.machine.walk import Tree
from choros.saga.nesting import Nestable, Nesting, nested_in
from choros.saga.nodes.publish import FactBuilder
from choros.saga.nodes.sequence import plan_saga
from choros.saga.orders import UndoOrder
from choros.saga.outline import Commanded, Composite, Declared, Leaf, Outline, Publication, SagaPart
from choros.saga.parameters import (
    Builder,
    DeclaredUpdate,
    Known,
    Need,
    PureFunction,
    bare_name,
    shown_type,
)
from choros.saga.undo_order import check_undo, is_strict, needed_by
from choros.saga.updates import Answering, asked_by, at_any_time, planned_update
from choros.saga.waiting import SignalWait, Sleeping

S = TypeVar("S", bound=Message)
Result_co = TypeVar("Result_co", bound=Message, covariant=True, default=Any)
"""What it comes to; `Saga[PlaceOrder]` says nothing of that."""


class Saga(Nestable, Generic[S, Result_co]):
    """The declaration of a distributed workflow; checked as it is written, raises DeclarationError.

    `key` gives the start key from the start message: the same key starts one instance, however often it is asked
    for. `deadline` bounds the time up to the pivot: past it the saga is undone. `version` counts declarations that
    differ; instances keep the version that they started with, so keep the old one beside the new while any run.
    `result` is a function of the start message and the replies: what it returns when the saga is completed is kept
    with it, and told to whoever waits for it.
    `undo` is the order in which it is undone: "newest_first", each step when the one behind it is undone;
    "by_dependency", each when nothing is left that was made with its reply; or "at_once".
    `lock` keeps out others that name the same lock for the same business key, until this one has ended.
    `updates` are functions that answer what may be asked of it while it runs: each takes an Update and what is known
    by then, and returns the reply that this is declared with, or raises Refused.
    """

    def __init__(
        self,
        name: str,
        *,
        start: type[S],
        steps: Sequence[Declared],
        version: int = 1,
        key: Callable[[S], BusinessKey] | None = None,
        completed: FactBuilder | Sequence[FactBuilder] = (),
        compensated: FactBuilder | Sequence[FactBuilder] = (),
        deadline: timedelta | None = None,
        result: Callable[..., Result_co] | None = None,
        undo: UndoOrder = "newest_first",
        lock: Lock | None = None,
        updates: Sequence[Answering] = (),
    ) -> None:
        self.name: str = name
        self.version = version
        self.start: type[S] = start
        self.key = key
        self.deadline = deadline
        check_head(name, version, start)
        check_start(name, key, deadline)
        check_lock(name, lock)
        self.lock = lock
        self.steps: tuple[Declared, ...] = listed(f"saga {name!r}: steps", steps)
        closings = _several(completed), _several(compensated)
        check_undo(f"saga {name!r}", undo)
        self.tree: Tree = _planned(name, start, self.steps, *closings, deadline, result, undo, updates)
        self.outline: Outline = self.tree.outline
        _check_locked_around(name, lock, self.outline)
        self.waits: bool = any(leaf.signals for leaf in self.outline.leaves.values())
        """Whether it waits to be told anything."""
        self.fingerprint: Fingerprint = _fingerprint(name, version, self.outline, lock)

    def at_work(self, instance: Instance) -> str:
        """The path of the step that is next in this instance; empty where none is."""
        return self.tree.root.at_work(instance.nodes, instance.backward) or ROOT

    @property
    def declared_as(self) -> str:
        """The hash of its declaration's fingerprint."""
        return self.fingerprint.hash

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version})"


def _facts(what: str, functions: Iterable[FactBuilder], known: Known) -> tuple[Builder, ...]:
    with lambdas_of(f"{what}="):
        return tuple(fact_builder(function, known) for function in functions)


Sagas = Mapping[tuple[str, int], Saga[Any]]
"""Declarations by name and version."""


def _several(facts: object) -> tuple[Any, ...]:
    """One function or several; what is neither is refused when the plan is made."""
    return tuple(facts) if isinstance(facts, Iterable) and not isinstance(facts, str) else (facts,)


def _planned(
    saga: str,
    start: type[Message],
    steps: Sequence[object],
    completed: Iterable[FactBuilder],
    compensated: Iterable[FactBuilder],
    deadline: timedelta | None,
    result: Callable[..., Message] | None,
    undo: UndoOrder,
    updates: Sequence[Answering],
) -> Tree:
    with lambdas_of("updates="):
        asked = asked_by(saga, updates)
    begun = Known(saga, start, (), updates=[update for _, update in asked])
    planned = plan_saga(begun, steps, undo)
    leaves = [leaf for part in planned.parts for leaf in part.leaves]
    done = replace(planned.known, no_failure="a completed saga has no failure")
    undone = _undone(begun, [leaf for leaf in leaves if isinstance(leaf, Commanded)])
    closing = _facts("compensated", compensated, undone)
    _check_existing_first(saga, leaves)
    _check_taken_back_once(saga, leaves, closing)
    outline = Outline(
        start=start,
        parts=planned.parts,
        completed=_facts("completed", completed, done),
        compensated=closing,
        deadline=deadline,
        result=None if result is None else result_builder(result, done),
        undo=undo,
    )
    outline = replace(outline, updates=_answered(outline, asked, at_any_time(begun, planned.parts)))
    return Tree(outline, planned.node, needed_by(outline), freely=not is_strict(outline))


def _answered(
    outline: Outline, asked: Sequence[tuple[Answering, type[Update[Any]]]], known: Known
) -> Mapping[str, DeclaredUpdate]:
    closings = [*outline.completed, *outline.compensated, *([outline.result] if outline.result else [])]
    planned = [planned_update(*one, known, outline.nodes.values(), closings) for one in asked]
    return {one.name: one for one in planned}


def _undone(known: Known, leaves: Sequence[Commanded]) -> Known:
    """What may be known of a saga that was undone."""
    for leaf in leaves:
        known = leaf.perhaps(known)
    return replace(known, refusals=[(leaf.path, command) for leaf in leaves for command in leaf.does], failure=True)


def _check_existing_first(saga: str, leaves: Iterable[Leaf]) -> None:
    """What was there before has to be undone whatever the saga has come to, and last."""
    begun = False
    for leaf in leaves:
        existing = isinstance(leaf, Commanded) and leaf.existing and "." not in leaf.path
        if isinstance(leaf, Commanded) and leaf.existing and (begun or not existing):
            raise DeclarationError(
                f"saga {saga!r}: {leaf.path} takes back what was there before the saga, but does not stand at its"
                " beginning.",
                "move it before all other steps.",
            )
        begun = begun or not existing


def _check_locked_around(saga: str, lock: Lock | None, outline: Outline) -> None:
    """A nested saga must not wait for a lock while this one holds others, or another one nested in it: it has its keys
    from this one."""
    for leaf in nested_in(outline):
        if leaf.child.lock and not leaf.detached and leaf.child.lock != (lock.name if lock else ""):
            raise DeclarationError(
                f"saga {saga!r}: {leaf.path} begins a saga under lock {leaf.child.lock!r}, but takes none itself.",
                f"Saga(..., lock=Lock({leaf.child.lock!r}, ...)), for all keys that the other one needs.",
            )


def _check_taken_back_once(saga: str, leaves: Iterable[Leaf], closing: Iterable[Builder]) -> None:
    """A reaction that is undone about the retraction must not be undone about the closing fact again."""
    last = {kind for builder in closing for kind in builder.kinds}
    for leaf in leaves:
        undo = leaf.undo.kinds if isinstance(leaf, Publication) and leaf.undo else ()
        for kind in undo:
            if kind in last:
                raise DeclarationError(
                    f"saga {saga!r}: {kind.__name__} takes back what {leaf.path} published, and is published again"
                    " at the end.",
                    "give the closing fact a type of its own.",
                )


# --- the fingerprint --------------------------------------------------------------------------------------------------

RULES = 1
"""The number of the rules that the machine follows: it rises when the same declaration would decide otherwise."""
_HASH_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The text of a declaration, and its hash."""

    text: str
    hash: str


def _fingerprint(saga: str, version: int, outline: Outline, lock: Lock | None) -> Fingerprint:
    head = [f"saga {saga}, version {version}, rules {RULES}", f"start {bare_name(outline.start)}"]
    head += [f"undone {outline.undo}"] if outline.undo != "newest_first" else []
    head += [f"lock {lock.name}"] if lock else []
    head += [f"update {name}, answered by {bare_name(one.builds)}" for name, one in sorted(outline.updates.items())]
    nodes = (line for part in outline.nodes.values() for line in (f"{part.path}: {part.kind}", *_part(part)))
    text = "\n".join([*head, *nodes, *_closings(outline)]) + "\n"
    return Fingerprint(text, hash_of(text))


def hash_of(text: str) -> str:
    """The hash of a fingerprint's text, as records carry it."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _types(messages: Iterable[type[Message]]) -> str:
    """What messages are called, in whatever version and order."""
    return " | ".join(sorted({bare_name(message) for message in messages}))


def _part(part: SagaPart) -> Iterator[str]:
    if isinstance(part, Composite):
        yield from _composite(part)
    else:
        yield from _leaf(part)


def _composite(composite: Composite) -> Iterator[str]:
    """Each way through it, by its name; asked for what, and what stands in it; and how it is undone."""
    if composite.undo:
        yield f"  undone {composite.undo}"
    if composite.loop:
        names = ", ".join(part.path.rpartition(".")[2] for part in composite.limbs[0].parts)
        what = "until" if composite.loop.item is None else f"of {shown_type(composite.loop.item)}"
        yield f"  {what}({_needed(composite.loop.asked)}): {names}"
        return
    if composite.join:
        yield f"  {composite.join}"
    questions = {one.function.__name__: one for one in composite.questions}
    for limb in composite.limbs:
        asked = f"({_needed(questions[limb.name])})" if limb.name in questions else ""
        names = ", ".join(part.path.rpartition(".")[2] for part in limb.parts) or "nothing"
        yield f"  {limb.name}{asked}: {names}"


def _leaf(leaf: Leaf) -> Iterator[str]:
    if isinstance(leaf, Nesting):
        yield from _nested(leaf)
    elif isinstance(leaf, Commanded):
        word = "undo" if leaf.existing else "do"
        yield f"  {word} {_built(leaf.action)} to {leaf.to}, answered by {_types(leaf.answers('do'))}"
        if leaf.undo:
            yield f"  undo {_built(leaf.undo)}, answered by {_types(leaf.answers('undo'))}"
    if isinstance(leaf, Publication):
        yield f"  fact {_built(leaf.action)}"
        if leaf.early:
            yield "  early"
        if leaf.undo:
            yield f"  retraction {_built(leaf.undo)}"
    if isinstance(leaf, SignalWait):
        yield from _waiting(leaf)
    if isinstance(leaf, Sleeping) and isinstance(leaf.wait, PureFunction):
        yield f"  {'until a moment' if leaf.until else 'for a time'} of ({_needed(leaf.wait)})"


def _waiting(leaf: SignalWait) -> Iterator[str]:
    within = f", for a time of ({_needed(leaf.limit)})" if isinstance(leaf.limit, PureFunction) else ""
    accept = f", accepted by ({_needed(leaf.accept)})" if leaf.accept else ""
    about = f", about ({_needed(leaf.about)})" if leaf.about else ""
    yield f"  for {bare_name(leaf.signal)}{about}{within}{accept}"
    yield from (f"  reminder {_built(builder)}" for builder in leaf.builders)


def _nested(leaf: Nesting) -> Iterator[str]:
    what = f", comes to {bare_name(leaf.child.result)}" if leaf.child.result else ""
    yield f"  saga {leaf.child.saga}, version {leaf.child.version}, begun by {_built(leaf.action)}{what}"
    if leaf.ends:
        yield "  goes on without it"


def _closings(outline: Outline) -> Iterator[str]:
    for when, builders in (("completed", outline.completed), ("compensated", outline.compensated)):
        yield from (f"when {when}: {_built(builder)}" for builder in builders)
    if outline.result:
        yield f"when completed: comes to {_built(outline.result)}"


def _built(builder: Builder) -> str:
    """The message, and all that fills the parameters of the function that builds it, in whatever order it has them."""
    return f"{_types(builder.kinds)}({_needed(builder)}){' or none' if builder.optional else ''}"


def _needed(function: PureFunction) -> str:
    return ", ".join(sorted({_filled(need) for need in function.needs}))


def _filled(need: Need) -> str:
    if need.source == "item":
        return f"{need.step}: {shown_type(need.message)}"
    path = {
        "reply": f"{need.step}: ", "refusal": f"{need.step} refused: ", "command": f"{need.step} sent: ",
        "update": "updated: ",
    }  # fmt: skip
    message = _types(kind for _, kind in need.by_choice) or bare_name(need.message)
    each = "each " if need.collected else ""
    return f"{path.get(need.source, '')}{each}{message}{' or none' if need.optional else ''}"
