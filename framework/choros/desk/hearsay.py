"""Who publishes which facts, and who listens to them, as the declarations of some applications say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from choros.app.app import App
from choros.app.awaited_fact import awaited_facts
from choros.app.joining import undone_by
from choros.app.service import Service
from choros.errors import UsageError
from choros.messages import Fact
from choros.saga.outline import Publication
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.transport.topology import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who publishes a type of fact."""

    fact: str
    name: str
    """A service's; else with what it is: `saga order`, `program till`, `foreign facts github`."""
    when: str = ""
    """What it says that of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearer:
    """Who listens to a type of fact."""

    fact: str
    name: str
    """A service's; `app.NAME` of an application that acts on the fact itself."""
    queue: str
    undoes: str = ""
    """The type of fact whose effect it takes back."""
    answers: tuple[str, ...] = ()
    """The types of facts of which it publishes one in turn."""
    silent: bool = True
    """Whether it may publish none of them."""
    sagas: tuple[str, ...] = ()
    """The sagas that it begins, or that may wait for it."""
    beside: tuple[str, ...] = ()
    """The types of facts that it waits for as well."""
    every: bool = False
    """Whether each instance has an inbox of its own."""


@dataclass(frozen=True, slots=True)
class FlowTerms:
    """Within how many seconds a flow should have ended, and which facts are its ends, by type."""

    within: float
    ends: frozenset[str]


NO_TERMS: Mapping[tuple[str, int], FlowTerms] = MappingProxyType({})
"""Of no flow anybody says when it should be over."""
T = TypeVar("T", Speaker, Hearer)


@dataclass(frozen=True, slots=True)
class Hearsay:
    """Both, of applications on one broker, by type."""

    namespace: str
    speakers: Mapping[str, Sequence[Speaker]]
    hearers: Mapping[str, Sequence[Hearer]]

    @property
    def facts(self) -> Sequence[str]:
        """All types, those first that nobody here publishes."""
        unsaid = [fact for fact in self.hearers if fact not in self.speakers]
        return [*sorted(unsaid), *self.speakers]


def hearsay_of(apps: Sequence[App]) -> Hearsay:
    """What these applications say to each other; raises UsageError where they cannot hear each other."""
    namespaces = sorted({app.namespace for app in apps})
    if len(namespaces) != 1:
        sentence = f"These are applications of the namespaces {', '.join(namespaces)}, which do not hear each other."
        raise UsageError(sentence, "applications of one namespace.")
    speakers = dict.fromkeys(one for app in apps for one in _speakers(app))
    return Hearsay(namespaces[0], _by_fact(speakers), _by_fact(_whole(one for app in apps for one in _hearers(app))))


def terms_of(apps: Iterable[App]) -> Mapping[tuple[str, int], FlowTerms]:
    """By name and version of each flow that has a time."""
    flows = [flow for app in apps for flow in app.choreographies.values()]
    return {
        (flow.name, flow.version): FlowTerms(flow.within.total_seconds(), frozenset(end.type_name for end in flow.ends))
        for flow in flows
        if flow.within is not None
    }


def _by_fact(found: Iterable[T]) -> dict[str, list[T]]:
    by_fact: dict[str, list[T]] = {}
    for one in found:
        by_fact.setdefault(one.fact, []).append(one)
    return by_fact


# --- who publishes ----------------------------------------------------------------------------------------------------


def _speakers(app: App) -> Iterator[Speaker]:
    for saga in app.sagas.values():
        yield from _of_saga(saga)
    for service in app.services.values():
        yield from _of_service(service)
    for program in app.programs.values():
        yield from (Speaker(fact=fact.type_name, name=f"program {program.name}") for fact in program.publishes)
    for foreign in app.foreign.values():
        yield from (Speaker(fact=fact.type_name, name=f"foreign facts {foreign.name}") for fact in foreign.facts)


def _of_saga(saga: Saga[Any]) -> Iterator[Speaker]:
    name, outline = f"saga {saga.name}", saga.outline
    leaves = [(path, one) for path, one in outline.leaves.items() if isinstance(one, (Publication, SignalWait))]
    ways = [(f"at {path}", leaf.facts) for path, leaf in leaves]
    ways += [("when completed", outline.completed), ("when compensated", outline.compensated)]
    for when, builders in ways:
        for kind in dict.fromkeys(kind for builder in builders for kind in builder.kinds):
            yield Speaker(fact=kind.type_name, name=name, when=when)


def _of_service(service: Service) -> Iterator[Speaker]:
    said: set[type[Fact]] = set()
    for handler in (*service.handlers.values(), *service.reactions.values()):
        said.update(handler.publishes)
        when = f"on {handler.message.type_name}"
        yield from (Speaker(fact=fact.type_name, name=service.name, when=when) for fact in handler.publishes)
    yield from (Speaker(fact=fact.type_name, name=service.name) for fact in service.publishes if fact not in said)


# --- who listens ------------------------------------------------------------------------------------------------------


def _hearers(app: App) -> Iterator[Hearer]:
    names = Names(app.namespace)
    for service in app.services.values():
        queue = names.subscriber_queue(service.name)
        yield from (_hearer(service, fact, queue) for fact in service.facts)
    for fact in app.heard:
        begun = [one.saga.name for one in app.starts if one.on.type_name == fact]
        waiting = [saga.name for saga in app.sagas.values() if fact in awaited_facts([saga])]
        yield Hearer(
            fact=fact, name=f"app.{app.name}", queue=names.subscriber_queue(f"app.{app.name}"),
            sagas=tuple(dict.fromkeys([*begun, *waiting])),
        )  # fmt: skip


def _hearer(service: Service, fact: type[Fact], queue: str) -> Hearer:
    handler, every = service.reactions.get(fact.type_name), service.subscription.replicas == "every"
    if handler is None:
        return Hearer(fact=fact.type_name, name=service.name, queue=queue, every=every)
    undone = undone_by(handler, service.reactions)
    return Hearer(
        fact=fact.type_name, name=service.name, queue=queue, every=every,
        undoes=undone.message.type_name if undone else "",
        beside=tuple(one.type_name for one in handler.join if one is not fact),
        answers=tuple(one.type_name for one in handler.publishes), silent=handler.silent or not handler.publishes,
    )  # fmt: skip


def _whole(found: Iterable[Hearer]) -> Iterator[Hearer]:
    """Each once; that which says more, where one application has the handlers that another only names."""
    known: dict[tuple[str, str], Hearer] = {}
    for one in found:
        other = known.setdefault((one.fact, one.name), one)
        if one.answers or one.undoes or one.beside or (one.sagas and not other.sagas):
            known[one.fact, one.name] = one
    yield from known.values()
