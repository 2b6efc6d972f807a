"""An application: sagas and services under one namespace, checked against each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from choros.app.awaited_fact import AwaitedFact, awaited_facts
from choros.app.choreography import Choreography
from choros.app.fact_start import FactStart
from choros.app.flow_needs import part_of, topology_of
from choros.app.flow_neighbours import check_alike, check_neighbours
from choros.app.flow_part import FlowPart
from choros.app.foreign import ForeignFacts
from choros.app.memory import memory_for
from choros.app.program import Program
from choros.app.resources import Resources, missing
from choros.app.schedule import Schedule
from choros.app.sending import Stamp, stamps_of
from choros.app.service import Service
from choros.app.settings import NOTHING_SET
from choros.errors import DeclarationError, UsageError, unknown
from choros.messages import Close, Message
from choros.names import RESERVED_NAMES, is_name
from choros.saga.checks import listed, shown
from choros.saga.nesting import nested_in
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros.store.sagas import Kind
from choros.transport.fact_log import FactLog
from choros.transport.reply_queues import reply_queues
from choros.transport.topology import Names, Topology, topology

N = TypeVar("N", Service, Schedule, Program, ForeignFacts)
V = TypeVar("V", Saga[Any], Choreography[Any])


class App:
    """Everything that belongs together on one broker; raises DeclarationError where it cannot work.

    `namespace` is the prefix of every name on the broker; `name` is the orchestrator application, which has a reply
    queue of its own (several applications may share a namespace). With a `fact_log` the broker keeps what is
    published, for subscribers that come late or whose queue is bounded. `sends` are functions of what its sagas send
    (`SentMessage`), which say what headers that has: see `Service.sends`.
    """

    def __init__(
        self,
        namespace: str,
        *,
        sagas: Iterable[Saga[Any]] = (),
        services: Iterable[Service] = (),
        name: str = "",
        fact_log: FactLog | None = None,
        schedules: Iterable[Schedule] = (),
        starts: Iterable[FactStart] = (),
        programs: Iterable[Program] = (),
        foreign: Iterable[ForeignFacts] = (),
        choreographies: Iterable[Choreography[Any]] = (),
        sends: Iterable[Stamp] = (),
    ) -> None:
        self.namespace = namespace
        self.fact_log = fact_log
        self.name: str = name or namespace
        self.sagas: Mapping[tuple[str, int], Saga[Any]] = _by_version(_members("sagas", sagas, Saga), "saga")
        self.services: Mapping[str, Service] = _by_name(_members("services", services, Service), "services")
        self.schedules: Mapping[str, Schedule] = _by_name(_members("schedules", schedules, Schedule), "schedules")
        """By name."""
        self.programs: Mapping[str, Program] = _by_name(_members("programs", programs, Program), "programs")
        """Those that publish facts of their own, by name."""
        self.starts: Sequence[FactStart] = _members("starts", starts, FactStart)
        self.foreign: Mapping[str, ForeignFacts] = _by_name(_members("foreign", foreign, ForeignFacts), "foreign facts")
        """By name."""
        flows: Sequence[Choreography[Any]] = _members("choreographies", choreographies, Choreography)
        self.choreographies: Mapping[tuple[str, int], Choreography[Any]] = _by_version(flows, "choreography")
        """By name and version."""
        self.stamps: tuple[Stamp, ...] = stamps_of("sends", listed("sends", sends))
        """What is done around what its sagas send."""
        self.awaited: Mapping[str, AwaitedFact] = awaited_facts(self.sagas.values())
        """The facts that its sagas wait for, by the name of their type."""
        _check_names(self)
        _check_publishers(self)
        _check_started(self)
        _check_type_names(self)
        _check_fact_log(self)
        for saga in self.sagas.values():
            _check_nested(saga, self.sagas)
            _check_handled(saga, self.services)
        _check_local(self)
        heard = {one.name: one.facts for one in self.services.values()}
        heard |= {f"saga {one.saga.name}": (one.on,) for one in self.starts}
        for flow in self.choreographies.values():
            check_neighbours(flow, heard, [(saga.name, saga.outline) for saga in self.sagas.values()])
            check_alike(flow, self.services)

    def within(self, namespace: str) -> App:
        """The same application under another namespace, so that it is apart on a shared broker and store."""
        name = "" if self.name == self.namespace else self.name
        return App(
            namespace, sagas=self.sagas.values(), services=self.services.values(), name=name, fact_log=self.fact_log,
            schedules=self.schedules.values(), starts=self.starts, programs=self.programs.values(),
            foreign=self.foreign.values(), choreographies=self.choreographies.values(),
            sends=self.stamps,
        )  # fmt: skip

    def using(self, resources: Resources) -> App:
        """The same application with these resources, by their types, in place of what lifespans make of them; raises
        UsageError for one that no handler asks for."""
        asked = {kind: None for service in self.services.values() for kind in service.asked}
        if strange := missing(resources, asked):
            raise UsageError(f"No handler asks for a {strange}.", f"one of: {missing(asked, ()) or 'none'}.")
        used = copy(self)
        used.services = {name: service.using(resources) for name, service in self.services.items()}
        return used

    def saga(self, name: str) -> Saga[Any]:
        """The newest version of a saga; raises UsageError if there is none of this name."""
        return _newest("saga", name, self.sagas)

    def choreography(self, name: str) -> Choreography[Any]:
        """The newest version of a choreography; raises UsageError if there is none of this name."""
        return _newest("choreography", name, self.choreographies)

    def scheduled(self, schedule: str) -> Saga[Any]:
        """The saga that this schedule starts."""
        saga = self.schedules[schedule].saga
        return self.sagas[saga.name, saga.version]

    def service(self, name: str) -> Service:
        """The service of this name; raises UsageError if there is none."""
        if name not in self.services:
            raise UsageError(
                *unknown(f"There is no service {name!r} in this application.", name, sorted(self.services))
            )
        return self.services[name]

    @property
    def kinds(self) -> Sequence[Kind]:
        """The kinds of records that this declaration decides."""
        return [Kind(saga.name, saga.version, saga.fingerprint.hash) for saga in self.sagas.values()]

    @property
    def scope(self) -> str:
        """Under what its sagas are stored, where several applications share a database."""
        return f"{self.namespace}.{self.name}"

    @property
    def schedule_scope(self) -> str:
        """Under what its schedules are: apart, so that nothing that looks at sagas sees them."""
        return f"{self.scope}.schedules"

    @property
    def lock_scope(self) -> str:
        """Under what the rows of its locks are: apart as well."""
        return f"{self.scope}.locks"

    @property
    def locks(self) -> bool:
        """Whether some of its sagas take a lock."""
        return any(saga.lock for saga in self.sagas.values())

    @property
    def topology(self) -> Topology:
        """Everything that it needs on the broker. To be declared before anybody sends: a fact reaches only the queues
        that are bound when it is published."""
        subscriptions = [service.subscription for service in self.services.values() if service.facts]
        whole = topology(
            self.namespace,
            services=self.participants,
            applications=[self.name],
            publishers=self.publishers,
            nesting=[self.name] if self.nests else (),
            hearing={self.name: self.heard} if self.heard else {},
            signalling=self.signallers,
            signalled=[self.name] if self.signallers else (),
            subscribers=subscriptions,
            fact_log=self.fact_log,
        )
        names = Names(self.namespace)
        return sum((one.exchange.ours(names) for one in self.foreign.values()), whole)

    def flow_part(self, service: str = "") -> FlowPart:
        """What a service has to know of the flows; by itself what whoever begins some has to."""
        return part_of(self.choreographies.values(), service)

    @property
    def flow_topology(self) -> Topology:
        """What its flows need on the broker before the first of their facts is published."""
        return topology_of(tuple(self.choreographies.values()), self.namespace)

    @property
    def nests(self) -> bool:
        """Whether some of its sagas are nested in others."""
        return any(saga.outline.nests for saga in self.sagas.values())

    @property
    def heard(self) -> Sequence[str]:
        """The types of the facts that its orchestrators act on."""
        return list(dict.fromkeys([*(one.on.type_name for one in self.starts), *self.awaited]))

    @property
    def publishers(self) -> Sequence[str]:
        """Names of the services and programs that publish facts of their own."""
        return [*(one.name for one in self.services.values() if one.publishes), *self.programs]

    @property
    def signallers(self) -> Sequence[str]:
        """Names of the services that may signal its sagas."""
        return [service.name for service in self.services.values() if service.signals]

    @property
    def facts_scope(self) -> str:
        """Under what the facts are stored that its sagas wait for, apart as well."""
        return f"{self.scope}.facts"

    def replies_on(self, store: str, lasting: bool = True) -> Topology:
        """What its replies need on the broker where its sagas are on the store with this identity."""
        return reply_queues(self.namespace, self.name, store, lasting)

    @property
    def participants(self) -> Sequence[str]:
        """Names of the services that carry out commands in processes of their own."""
        local = self.local
        return [service.name for service in self.services.values() if service.commands and service.name not in local]

    @property
    def local(self) -> Mapping[str, Collection[str]]:
        """The services whose commands an orchestrator carries out in its own process, by name: no queue leads to them.
        And the types of commands that each has handlers for by now."""
        commands = (leaf for saga in self.sagas.values() for leaf in saga.outline.commands)
        names = dict.fromkeys(leaf.to for leaf in commands if leaf.local)
        return {name: {Close.type_name, *self.service(name).handlers} for name in names}

    @property
    def subscribers(self) -> Sequence[str]:
        """Names of the services that react to facts."""
        return [service.name for service in self.services.values() if service.facts]


def _members(what: str, value: object, kind: type) -> tuple[Any, ...]:
    members = listed(what, value)
    for member in members:
        if not isinstance(member, kind):
            raise DeclarationError(
                f"{what} holds {shown(member)}, which is no {kind.__name__}.", f"name what {kind.__name__}(...) made."
            )
    return members


def _by_version(declared: Iterable[V], what: str) -> dict[tuple[str, int], V]:
    found: dict[tuple[str, int], V] = {}
    for one in declared:
        if (one.name, one.version) in found:
            sentence = f"{what} {one.name!r} is declared twice in version {one.version}."
            raise DeclarationError(sentence, "raise the version of one.")
        found[one.name, one.version] = one
    return found


def _newest(what: str, name: str, declared: Mapping[tuple[str, int], V]) -> V:
    versions = [one for (known, _), one in declared.items() if known == name]
    if not versions:
        known = sorted(known for known, _ in declared)
        raise UsageError(*unknown(f"There is no {what} {name!r} in this application.", name, known))
    return max(versions, key=lambda one: one.version)


def _by_name(named: Iterable[N], what: str) -> dict[str, N]:
    found: dict[str, N] = {}
    for one in named:
        if one.name in found:
            raise DeclarationError(f"Two {what} are called {one.name!r}.", "give each its own name.")
        found[one.name] = one
    return found


def _check_started(app: App) -> None:
    by_the_clock = [(f"schedule {one.name!r}", one.saga) for one in app.schedules.values()]
    by_facts = [(f"a FactStart on {one.on.__name__}", one.saga) for one in app.starts]
    for what, saga in (*by_the_clock, *by_facts):
        if app.sagas.get((saga.name, saga.version)) is not saga:
            sentence = f"{what} starts saga {saga.name!r}, which is no part of this application."
            raise DeclarationError(sentence, "name it in App(sagas=...).")


def _check_names(app: App) -> None:
    for what, name in (("namespace", app.namespace), ("application", app.name)):
        if not is_name(name) or name in RESERVED_NAMES:
            raise DeclarationError(
                f"{shown(name)} is no name for {what}.", "use lower-case words joined by '-' or '_'."
            )


def _check_publishers(app: App) -> None:
    """Each has an exchange of its own, by its name."""
    names = [app.name, *app.publishers, *app.foreign]
    for name in names:
        if names.count(name) > 1:
            whose = "the application" if name == app.name else "a service" if name in app.services else "a program"
            what = "foreign" if name in app.foreign else "program" if name in app.programs else "service"
            raise DeclarationError(
                f"{what} {name!r} publishes facts, and {whose} is called {name!r} too.",
                "give one another name: whoever publishes needs a name of its own.",
            )


def _check_fact_log(app: App) -> None:
    for service in app.services.values():
        if service.needs_log and app.fact_log is None:
            raise DeclarationError(
                f"service {service.name!r} reads the fact log, and the application keeps none.",
                "App(..., fact_log=FactLog()).",
            )
        if service.facts:
            memory_for(service, NOTHING_SET, app.fact_log)


def _check_type_names(app: App) -> None:
    """One type name, one class; otherwise a message would be read as something else."""
    seen: dict[str, type[Message]] = {}
    for message in _messages(app):
        other = seen.setdefault(message.type_name, message)
        if other is not message:
            raise DeclarationError(
                f"{other.__module__}.{other.__name__} and {message.__module__}.{message.__name__} are both"
                f" {message.type_name} on the wire.",
                "give one of them name='...'.",
            )


def _messages(app: App) -> Iterable[type[Message]]:
    for saga in app.sagas.values():
        yield saga.start
        yield from saga.outline.messages
    for service in app.services.values():
        yield from service.commands
        yield from service.facts
        yield from service.signals
        yield from service.publishes
    yield from (one.on for one in app.starts)
    yield from (fact for program in app.programs.values() for fact in program.publishes)
    for foreign in app.foreign.values():
        yield from foreign.facts


def _check_nested(saga: Saga[Any], sagas: Mapping[tuple[str, int], Saga[Any]]) -> None:
    for leaf in nested_in(saga.outline):
        child = leaf.child
        known = sagas.get((child.saga, child.version))
        if known is None or known.declared_as != child.declared_as:
            which = f"{'which is not part' if known is None else 'of which another one is part'} of this application"
            raise DeclarationError(
                f"saga {saga.name!r}: {leaf.path} begins saga {child.saga!r} version {child.version}, {which}.",
                "name it in App(sagas=...), too.",
            )


def _check_handled(saga: Saga[Any], services: Mapping[str, Service]) -> None:
    for leaf in saga.outline.commands:
        if leaf.nests:
            continue
        where, to = f"saga {saga.name!r}: {leaf.path}", leaf.to
        if to not in services:
            sentence = f"{where} goes to {to!r}, which no service is called."
            raise DeclarationError(*unknown(sentence, to, services, f"declare Service({to!r})."))
        for command in (command for commands in leaf.commands.values() for command in commands):
            if command not in services[to].commands:
                raise DeclarationError(
                    f"{where} sends {command.__name__} to {to!r}, which nobody there is declared to handle.",
                    f"add @{to}.handles({command.__name__}), or name it in Service({to!r}, commands=...).",
                )
        _check_later(where, leaf, services[to])


def _check_later(where: str, leaf: Commanded, service: Service) -> None:
    """What its service finishes later needs a bound, and no undo is."""
    later = {handler.message for handler in service.handlers.values() if handler.later}
    for operation, commands in leaf.commands.items():
        found = next((command for command in commands if command in later), None)
        if found is None or (operation == "do" and leaf.finished_within is not None):
            continue
        sentence = f"{where} sends {found.__name__}, which {service.name!r} may finish later"
        if operation == "do":
            hint = "finished_within=timedelta(days=3): how long that may take."
            raise DeclarationError(f"{sentence}, and no finished_within bounds that.", hint)
        raise DeclarationError(f"{sentence}, as an undo: that is waited for.", "a handler that never returns Later.")


def _check_local(app: App) -> None:
    """Its commands either stay in the process, or go over the broker."""
    local = app.local
    for saga in app.sagas.values():
        for leaf in saga.outline.commands:
            if leaf.to in local and not leaf.local:
                raise DeclarationError(
                    f"saga {saga.name!r}: {leaf.path} sends to {leaf.to!r} over the broker, but a Local has {leaf.to!r}"
                    " carry its commands out in the orchestrator's own process.",
                    "make all steps of that service Local, or none; or give one of them a service of another name.",
                )
