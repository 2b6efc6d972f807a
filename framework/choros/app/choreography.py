"""A choreography: a flow that no orchestrator tracks, as a value that can be checked, drawn and explored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from choros.app.flow_checks import check_flow
from choros.app.flow_courses import courses
from choros.app.flow_outline import FlowOutline, FlowReaction
from choros.app.flow_reactions import Reacting, reached_from, reactions_of
from choros.errors import DeclarationError, unknown
from choros.messages import Fact
from choros.names import BusinessKey, is_name
from choros.saga.checks import HIGHEST_VERSION, is_a, listed, shown
from choros.saga.policy import check_duration

S = TypeVar("S", bound=Fact)


class Choreography(Generic[S]):
    """The declaration of a flow of facts; checked as it is written, raises DeclarationError.

    `start` is the fact that begins it, `key` gives its start key: the same key is the same flow, however often it is
    told. `good` and `bad` are the facts that end it. `closer` is the name of the service that publishes these: the
    first end that it commits is the one that counts, what comes later is noted as too late. `turns` are facts of the
    closer that decide for a bad end before what was done is undone; needed where something bad may happen beside a
    good end. `services` are those that take part: what they react to, publish and undo is read off their reactions.
    Who only listens is none of them. `within` is how long a flow takes at most: nobody's timer, but an observer says
    that it has passed. `standing` are reactions whose effect needs no undo, such as one that only looks.
    `retraction` is the fact that takes the start back, where a saga publishes that early: all is undone then, after a
    good end as well. `began` reads off the start when the flow began (a datetime with its zone). Who may tell a start
    again later than services remember has it: then that is parked as too old, and nothing is done twice.
    """

    def __init__(
        self,
        name: str,
        *,
        start: type[S],
        key: Callable[[S], BusinessKey],
        good: type[Fact] | Iterable[type[Fact]],
        closer: str,
        services: Iterable[Reacting],
        bad: type[Fact] | Iterable[type[Fact]] = (),
        turns: type[Fact] | Iterable[type[Fact]] = (),
        version: int = 1,
        within: timedelta | None = None,
        standing: Iterable[Callable[..., Any]] = (),
        retraction: type[Fact] | None = None,
        began: Callable[[S], datetime] | None = None,
    ) -> None:
        where = f"choreography {name!r}"
        _check_head(name, version, start, key)
        if began is not None and not callable(began):
            raise DeclarationError(f"{where}: began={shown(began)} is no function.", "began=lambda fact: fact.at.")
        if within is not None:
            check_duration(where, "within", within, least=timedelta(microseconds=1))
        self.name: str = name
        self.version: int = version
        self.start: type[S] = start
        self.key: Callable[[S], BusinessKey] = key
        self.began: Callable[[S], datetime] | None = began
        self.good: tuple[type[Fact], ...] = _kinds(where, "good", good)
        self.bad: tuple[type[Fact], ...] = _kinds(where, "bad", bad)
        self.turns: tuple[type[Fact], ...] = _kinds(where, "turns", turns)
        self.within: timedelta | None = within
        self.closer: str = closer
        self.services: Mapping[str, Reacting] = _services(where, services)
        """Those that take part, by name."""
        self.retraction: type[Fact] | None = retraction
        declared = reactions_of(self.services.values())
        begun: list[type[Fact]] = [start, *_kinds(where, "retraction", () if retraction is None else retraction)]
        self.outline: FlowOutline = FlowOutline(
            name, version, start, self.good, self.bad, self.turns, closer, reached_from(begun, declared),
            listed(f"{where}: standing", standing), retraction,
        )  # fmt: skip
        """What is read of it: its facts, and what its services do about them."""
        _check_ends(where, self)
        _check_closer(where, self)
        _check_standing(where, self)
        _check_subscriptions(where, self)
        check_flow(self.outline, declared, courses(self.outline))

    def __repr__(self) -> str:
        return f"Choreography({self.name!r}, version={self.version})"

    @property
    def ends(self) -> tuple[type[Fact], ...]:
        """The facts that end it."""
        return (*self.good, *self.bad)

    @property
    def reactions(self) -> Sequence[FlowReaction]:
        """What its services do about its facts."""
        return self.outline.reactions

    @property
    def facts(self) -> Sequence[type[Fact]]:
        """All of its facts: its start, and what its services may publish in turn."""
        return self.outline.facts


def _check_head(name: object, version: object, start: object, key: object) -> None:
    if not is_name(name):
        sentence = f"{shown(name)} is no name for a choreography."
        raise DeclarationError(sentence, "use lower-case words joined by '-' or '_'.")
    where = f"choreography {name!r}"
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= HIGHEST_VERSION:
        raise DeclarationError(f"{where}: version {shown(version)} is no number of a version.", "count from 1.")
    if not is_a(start, Fact):
        raise DeclarationError(f"{where}: start={shown(start)} is no Fact.", "derive it from choros.Fact.")
    if not callable(key):
        raise DeclarationError(f"{where}: key={shown(key)} is no function.", "write key=lambda fact: fact.id.")


def _kinds(where: str, what: str, value: object) -> tuple[type[Fact], ...]:
    """One type of facts, or several."""
    kinds = (value,) if isinstance(value, type) else listed(f"{where}: {what}", value)
    for kind in kinds:
        if not is_a(kind, Fact):
            raise DeclarationError(
                f"{where}: {what} names {shown(kind)}, which is no Fact.", "derive it from choros.Fact."
            )
    return kinds


def _services(where: str, services: object) -> dict[str, Reacting]:
    found: dict[str, Reacting] = {}
    for service in listed(f"{where}: services", services):
        if not hasattr(service, "reactions"):
            raise DeclarationError(f"{where}: {shown(service)} is no Service.", "name what Service(...) made.")
        if service.name in found:
            raise DeclarationError(f"{where}: service {service.name!r} is named twice.", "name each once.")
        found[service.name] = service
    return found


def _check_ends(where: str, flow: Choreography[Any]) -> None:
    if not flow.good:
        raise DeclarationError(f"{where} has no good end.", "good=(OrderCompleted,), with the fact that ends it.")
    said = [flow.start, *flow.good, *flow.bad, *flow.turns, *([flow.retraction] if flow.retraction else [])]
    for fact in said:
        if said.count(fact) > 1:
            sentence = f"{where}: {fact.__name__} is said to be two of its start, an end, a turn and its retraction."
            raise DeclarationError(sentence, "give each a type of its own.")


def _check_standing(where: str, flow: Choreography[Any]) -> None:
    for function in flow.outline.standing:
        if function not in [reaction.function for reaction in flow.reactions]:
            sentence = f"{where}: standing names {shown(function)}, which is no reaction of it."
            raise DeclarationError(sentence, "name the function that is registered with on(...).")


def _check_closer(where: str, flow: Choreography[Any]) -> None:
    """Whether it is there, and nobody else ends the flow."""
    if flow.closer not in flow.services:
        sentence = f"{where}: its closer is {shown(flow.closer)}, which is none of its services."
        raise DeclarationError(
            *unknown(sentence, str(flow.closer), flow.services, "closer='orders', a service's name.")
        )
    for reaction in flow.reactions:
        strange = next((one for one in reaction.publishes if one in (*flow.ends, *flow.turns)), None)
        if strange and reaction.service != flow.closer:
            sentence = f"{where}: {reaction.said} publishes {strange.__name__}, and {flow.closer!r} is its closer."
            raise DeclarationError(sentence, f"let {flow.closer!r} alone publish how the flow ends.")


def _check_subscriptions(where: str, flow: Choreography[Any]) -> None:
    """Nothing may be dropped before a service that the flow needs, and nothing of before it was there comes to it."""
    for service in flow.services.values():
        if service.from_start or service.subscription.at_most or service.subscription.replicas == "every":
            sentence = f"{where}: service {service.name!r} takes part, and may drop facts or hear those of before it."
            raise DeclarationError(sentence, "Service(...) without queue_limit, from_start and replicas='every'.")
