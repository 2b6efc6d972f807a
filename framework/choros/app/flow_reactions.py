"""What services do about the facts of a flow, read off the handlers that are registered with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from choros.app.flow_outline import FlowReaction
from choros.app.joining import undone_by
from choros.app.promises import said_at_last
from choros.errors import DeclarationError
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
    def undoes(self) -> type[Fact] | tuple[type[Fact], ...] | str | None:
        """What it takes back."""
        ...

    @property
    def effect(self) -> str:
        """What it does, by name."""
        ...

    @property
    def join(self) -> tuple[type[Fact], ...]:
        """What it waits for."""
        ...

    @property
    def gives_up(self) -> Callable[..., Fact] | None:
        """What it says once it was tried for the last time."""
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
    """All reactions of these services; one that waits for several facts once."""
    return [
        _reaction(service, handler)
        for service in services
        for handler in service.reactions.values()
        if not handler.join or handler.message is handler.join[0]
    ]


def _reaction(service: Reacting, handler: FactHandler) -> FlowReaction:
    fact: Any = handler.message
    silent = handler.silent or not handler.publishes
    effect = handler.undoes if isinstance(handler.undoes, str) else handler.effect
    return FlowReaction(
        service.name, handler.join or (fact,), handler.publishes, silent,
        _undone(service, handler), handler.function, handler.name, handler.transaction is not None,
        gives_up=said_at_last(handler.gives_up), effect=effect,
    )  # fmt: skip


def _undone(service: Reacting, undo: FactHandler) -> type[Fact] | None:
    """The fact about which what it takes back is done; raises DeclarationError for a name that nothing has."""
    done: Any = undone_by(undo, service.reactions)
    heard: type[Fact] | None = done.message if done else None
    match heard or undo.undoes:
        case str() as effect:
            sentence = f"service {service.name!r}: {undo.name} undoes {effect!r}, and nothing there is called so."
            raise DeclarationError(sentence, f"@{service.name}.on(..., effect={effect!r}).")
        case tuple() as join:
            first: type[Fact] = join[0]
            return first
        case fact:
            return fact


def reached_from(begun: Iterable[type[Fact]], reactions: Sequence[FlowReaction]) -> Sequence[FlowReaction]:
    """Those of them that are called once these facts are published, in an order in which it comes about."""
    facts, reached = {*begun}, list[FlowReaction]()
    left = list(reactions)
    while ready := [one for one in left if facts.issuperset(one.hears)]:
        reached += ready
        left = [one for one in left if one not in ready]
        facts.update(fact for one in ready for fact in one.publishes)
    return tuple(reached)
