"""What services do about the facts of a flow, read off the handlers that are registered with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from choros.app.flow_outline import FlowReaction
from choros.messages import Fact, Message
from choros.transport.topology import Subscription


class FactHandler(Protocol):
    """What is known of a reaction where it is registered."""

    @property
    def message(self) -> type[Message]:
        """What it is called for."""
        ...

    @property
    def function(self) -> Callable[..., Any]:
        """What is called."""
        ...

    @property
    def name(self) -> str:
        """As its author calls it."""
        ...

    @property
    def publishes(self) -> tuple[type[Fact], ...]:
        """The facts that it may publish."""
        ...

    @property
    def silent(self) -> bool:
        """Whether it may publish none of them."""
        ...

    @property
    def undoes(self) -> type[Fact] | None:
        """The fact whose reaction it takes back."""
        ...

    @property
    def transaction(self) -> type | None:
        """The transaction that it asks for, if any."""
        ...


class Reacting(Protocol):
    """A service, by what it does about facts."""

    name: str
    from_start: bool
    subscription: Subscription

    @property
    def reactions(self) -> Mapping[str, FactHandler]:
        """Its fact handlers, by type name."""
        ...


def reactions_of(services: Iterable[Reacting]) -> Sequence[FlowReaction]:
    """All reactions of these services."""
    return [_reaction(service.name, handler) for service in services for handler in service.reactions.values()]


def _reaction(service: str, handler: FactHandler) -> FlowReaction:
    fact: Any = handler.message
    writes = handler.transaction is not None
    silent = handler.silent or not handler.publishes
    return FlowReaction(
        service, (fact,), handler.publishes, silent, handler.undoes, handler.function, handler.name, writes
    )


def reached_from(begun: Iterable[type[Fact]], reactions: Sequence[FlowReaction]) -> Sequence[FlowReaction]:
    """Those of them that are called once these facts are published, in an order in which it comes about."""
    facts, reached = {*begun}, list[FlowReaction]()
    left = list(reactions)
    while ready := [one for one in left if facts.issuperset(one.hears)]:
        reached += ready
        left = [one for one in left if one not in ready]
        facts.update(fact for one in ready for fact in one.publishes)
    return tuple(reached)
