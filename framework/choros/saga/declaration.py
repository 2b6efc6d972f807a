"""A saga as a value: which steps are commanded, to whom, undone by what; and which facts are published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

from choros.messages import Message
from choros.saga.checks import check_head, check_start, listed
from choros.saga.plan import make_plan
from choros.saga.steps import FactBuilder, Node

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
        self.plan = make_plan(name, start, nodes, _several(completed), _several(compensated))

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version})"


def _several(facts: object) -> tuple[Any, ...]:
    """One function or several; what is neither is refused when the plan is made."""
    return tuple(facts) if isinstance(facts, Iterable) and not isinstance(facts, str) else (facts,)
