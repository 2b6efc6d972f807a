"""What a service has to know of the flows that it takes part in, or begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from choros.errors import UsageError
from choros.messages import Fact
from choros.names import BusinessKey, key_text
from choros.sources import derived_id

FIRST_RUN = 1


class Begun(Protocol):
    """A flow, by what begins it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> int:
        """Its version."""
        ...

    @property
    def start(self) -> type[Fact]:
        """Its first fact."""
        ...

    @property
    def key(self) -> Callable[[Any], BusinessKey]:
        """The start key in its first fact."""
        ...

    @property
    def began(self) -> Callable[[Any], datetime] | None:
        """When it began, in its first fact; None where that does not say."""
        ...


class SaidOfFlow(Protocol):
    """What an envelope says of the flow that its fact belongs to."""

    @property
    def type(self) -> str:
        """Of the fact."""
        ...

    @property
    def flow(self) -> str:
        """Its name."""
        ...

    @property
    def flow_version(self) -> int:
        """Its version."""
        ...

    @property
    def flow_id(self) -> str:
        """Which of them it is."""
        ...

    @property
    def stream(self) -> str:
        """Of the fact."""
        ...


@dataclass(frozen=True, slots=True)
class Decisions:
    """The facts that say how a flow ends, by their types."""

    good: frozenset[str]
    turns: frozenset[str]
    """A bad end may follow them."""
    bad: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Each of them."""
        return self.good | self.turns | self.bad


@dataclass(frozen=True, slots=True)
class FlowPart:
    """The part of one service."""

    starts: Mapping[str, Begun] = field(default_factory=dict)
    """The flows that facts of these types begin."""
    heard: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)
    """The flows of which it takes facts of these types, by name and version. Of other types it takes all facts."""

    closes: Mapping[tuple[str, int], Decisions] = field(default_factory=dict)
    """The flows that it closes, by name and version."""
    retracts: Mapping[str, Begun] = field(default_factory=dict)
    """The flows whose start facts of these types take back."""

    def wants(self, fact: SaidOfFlow) -> bool:
        """Whether it acts on this one, and not only others of its type."""
        return fact.type not in self.heard or (fact.flow, fact.flow_version) in self.heard[fact.type]

    def begins(self, fact: SaidOfFlow) -> bool:
        """Whether a flow begins with it, and nothing was before that: a saga is older than what it publishes."""
        return fact.type in self.starts and fact.stream == fact.flow_id


NO_FLOWS = FlowPart()


def flow_id(namespace: str, flow: Begun, fact: Fact, run: int = FIRST_RUN) -> str:
    """Which flow this fact begins: the same key is the same flow, whoever says so. Another try is the next run. Raises
    UsageError where the declaration has no key for it."""
    return flow_id_of(namespace, flow.name, start_key(flow, fact), run)


def start_key(flow: Begun, fact: Fact) -> str:
    """What the declaration says that the flow is about; raises UsageError where it has no key for this fact."""
    try:
        key = key_text(flow.key(fact))
    except Exception as error:
        sentence = f"The key of choreography {flow.name!r} failed: {type(error).__name__}."
        raise UsageError(sentence, "a function that has an answer for every fact that begins it.") from error
    if not isinstance(key, str) or not key:
        raise UsageError(f"Choreography {flow.name!r} has no key for this fact.", "key=lambda fact: fact.id.")
    return key


def began_at(flow: Begun, fact: Fact, now: float) -> float:
    """When a flow began, in seconds since the epoch: as its first fact says, where the declaration reads that off
    it, so that whoever tells it again says the same; else now. Raises UsageError where it does not say."""
    if flow.began is None:
        return now
    try:
        moment: object = flow.began(fact)
    except Exception as error:
        sentence = f"began of choreography {flow.name!r} failed: {type(error).__name__}."
        raise UsageError(sentence, "a function that has an answer for every fact that begins it.") from error
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        sentence = f"began of choreography {flow.name!r} gives no moment for this fact."
        raise UsageError(sentence, "a datetime with its zone, as in datetime(2026, 10, 25, tzinfo=UTC).")
    return moment.timestamp()


def flow_id_of(namespace: str, flow: str, key: str, run: int = FIRST_RUN) -> str:
    """The same, by the start key itself."""
    return derived_id("choros.flow", namespace, flow, key, str(run))
