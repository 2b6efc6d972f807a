"""A saga as a value: which steps are commanded, to whom, undone by what; and which facts are published.

And its fingerprint: what two declarations must agree on to decide the same instance, as a text that a person can read.
Every instance carries the hash of the text that it was begun with; a worker whose own text hashes to something else
decides nothing for it. So the text holds what a stored instance depends on (paths, kinds, types, destinations, what
fills each function, facts) and nothing that may change while sagas run: timeouts, retries, deadlines, refusals,
versions of messages, function bodies, names of functions and parameters, files.

It is kept in stores and pin files for years. An attribute that choros gets later is written only where it is used, so
that the declarations of today keep their text; a golden file holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from choros.messages import Message
from choros.saga.checks import check_head, check_start, listed
from choros.saga.nodes.steps import Commanded, FactBuilder, Node, Pivot, Publish, Retriable, Step
from choros.saga.parameters import Need
from choros.saga.plan import Builder, Plan, Planned, make_plan

S = TypeVar("S", bound=Message)


class Saga(Generic[S]):
    """The declaration of a distributed workflow; checked as it is written, raises DeclarationError.

    `key` gives the start key from the start message: the same key starts one instance, however often it is asked
    for. `deadline` bounds the time up to the pivot: past it the saga is undone. `version` counts declarations that
    differ; instances keep the version that they started with, so keep the old one beside the new while any run.
    """

    def __init__(
        self,
        name: str,
        *,
        start: type[S],
        steps: Sequence[Node],
        version: int = 1,
        key: Callable[[S], str] | None = None,
        completed: FactBuilder | Sequence[FactBuilder] = (),
        compensated: FactBuilder | Sequence[FactBuilder] = (),
        deadline: timedelta | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.start = start
        self.key = key
        self.deadline = deadline
        check_head(name, version, start)
        check_start(name, key, deadline)
        nodes = listed(f"saga {name!r}: steps", steps)
        self.plan: Plan = make_plan(name, start, nodes, _several(completed), _several(compensated))
        self.fingerprint: Fingerprint = _fingerprint(name, version, self.plan)

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version})"


Sagas = Mapping[tuple[str, int], Saga[Any]]
"""Declarations by name and version."""


def _several(facts: object) -> tuple[Any, ...]:
    """One function or several; what is neither is refused when the plan is made."""
    return tuple(facts) if isinstance(facts, Iterable) and not isinstance(facts, str) else (facts,)


# --- the fingerprint --------------------------------------------------------------------------------------------------

RULES = 1
"""The number of the rules that the machine follows: it rises when the same declaration would decide otherwise."""
_KINDS: dict[type[Any], str] = {Step: "step", Pivot: "pivot", Retriable: "retriable", Publish: "publish"}
"""Written out: a class may get another name."""
_HASH_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The text of a declaration, and its hash."""

    text: str
    hash: str


def _fingerprint(saga: str, version: int, plan: Plan) -> Fingerprint:
    head = (f"saga {saga}, version {version}, rules {RULES}", f"start {_type(plan.start)}")
    text = "\n".join([*head, *_nodes(plan), *_closings(plan)]) + "\n"
    return Fingerprint(text, hash_of(text))


def hash_of(text: str) -> str:
    """The hash of a fingerprint's text, as records carry it."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _type(message: type[Message]) -> str:
    """What a message is called, in whatever version."""
    return message.type_name.rpartition(".v")[0]


def _nodes(plan: Plan) -> Iterator[str]:
    for planned in plan.steps:
        yield f"{planned.name}: {next(word for kind, word in _KINDS.items() if isinstance(planned.node, kind))}"
        lines = (
            _published(plan, planned, planned.node)
            if isinstance(planned.node, Publish)
            else _commanded(plan, planned, planned.node)
        )
        yield from (f"  {line}" for line in lines)


def _commanded(plan: Plan, planned: Planned, node: Commanded) -> Iterator[str]:
    yield f"do {_built(plan, planned.action)} to {node.to}, {_answer(planned.command.reply_type)}"
    if planned.undo and planned.compensation:
        yield f"undo {_built(plan, planned.undo)}, {_answer(planned.compensation.reply_type)}"


def _published(plan: Plan, planned: Planned, node: Publish) -> Iterator[str]:
    yield f"fact {_built(plan, planned.action)}"
    if node.early:
        yield "early"
    if planned.undo:
        yield f"retraction {_built(plan, planned.undo)}"


def _closings(plan: Plan) -> Iterator[str]:
    for when, builders in (("completed", plan.completed), ("compensated", plan.compensated)):
        yield from (f"when {when}: {_built(plan, builder)}" for builder in builders)


def _answer(reply: type[Message]) -> str:
    return f"answered by {_type(reply)}"


def _built(plan: Plan, builder: Builder) -> str:
    """The message, and all that fills the parameters of the function that builds it, in whatever order it has them."""
    filled = ", ".join(sorted({_filled(plan, need) for need in builder.needs}))
    return f"{_type(builder.builds)}({filled})"


def _filled(plan: Plan, need: Need) -> str:
    path = f"{plan.steps[need.step].name}: " if need.source == "reply" else ""
    return f"{path}{_type(need.message)}{' or none' if need.optional else ''}"
