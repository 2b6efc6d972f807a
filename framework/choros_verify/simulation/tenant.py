"""One application of a world: its part of the store and of the databases, and the processes that work on them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from choros.app.app import App
from choros.app.service import Service
from choros.app.settings import Settings
from choros.messages import Message
from choros.runtime.host.retention import Ages
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.retention import Retention
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Cadence, Subscriber
from choros.saga.saga import Saga
from choros.sources import saga_id_for
from choros.transport.port import Transport
from choros.transport.topology import Topology
from choros_verify.simulation.drift import drifted
from choros_verify.simulation.evidence import settled
from choros_verify.simulation.faults import Faults
from choros_verify.simulation.observer import Observer
from choros_verify.simulation.script import RIVAL, RunPlan, chance_of
from choros_verify.simulation.stage import HANDLER_SECONDS
from choros_verify.simulation.stores import SimDatabase, SimStore

Main = Callable[[], Coroutine[Any, Any, None]]
_ALL = "all subscribers"
LATEST = 900.0
"""Seconds that a fact may be on its way in a run: the ladder of delays, and what holds a message up."""


@dataclass(frozen=True)
class Ground:
    """What all applications of a world stand on."""

    transport: Callable[[str, str], Transport]
    """A process's way to the broker, by namespace and name."""
    faults: Faults
    observer: Observer
    deployed: set[str] = field(default_factory=set)
    """Orchestrators that have another declaration just now."""


@dataclass(frozen=True)
class Part:
    """An application, and what it does in a run."""

    app: App
    topology: Topology
    starts: Sequence[tuple[Saga[Any], Message]]
    plan: RunPlan
    prefix: str = ""
    """Before the names of its processes."""

    @property
    def rival(self) -> bool:
        """Whether it has a store of its own, and no services."""
        return self.prefix == RIVAL

    def key(self, index: int) -> str:
        """The start key of the saga of this number; that of a rival is another one, or the services would take both
        for one saga."""
        return f"{'rival' if self.rival else 'sim'}-{index}"


class Tenant:
    """An application with its orchestrators, services and subscribers.

    `beside` another one it works on the same store and databases, under a namespace of its own; as a rival of that one
    on a store of its own, with its services."""

    def __init__(self, ground: Ground, part: Part, beside: Tenant | None = None) -> None:
        self._ground, self._topology, self._prefix, self._part = ground, part.topology, part.prefix, part
        self.app, self.starts, self.plan = part.app, part.starts, part.plan
        self.store: SimStore = self._a_store(beside.store if beside and not part.rival else None)
        shared: Mapping[str, SimDatabase] = beside.databases if beside else {}
        self.databases: Mapping[str, SimDatabase] = {
            name: self._a_database(f"{name} database", shared.get(name)) for name in self.app.services
        }
        self.inboxes = self.databases
        """By service: where its subscriber keeps its rows and its effects."""
        if self.plan.together:
            together = self._a_database("database of all subscribers", shared.get(_ALL))
            self.inboxes = dict.fromkeys(self.databases, together)
            self.databases = {**self.databases, _ALL: together}
        self.saga_ids = [self._saga_id(index) for index in range(len(self.plan.starts))]
        self.client = f"{self._prefix}client"
        self.mains: Mapping[str, Main] = dict(self._mains())
        """What each of its processes runs, by its name; the client belongs to whoever uses it."""

    def _a_store(self, shared: SimStore | None) -> SimStore:
        """The rival's has a name that no fault names: what strikes the store strikes the other one."""
        ground, scope = self._ground, f"{self.app.namespace}.{self.app.name}"
        name, identity = (f"{RIVAL}store", "2") if self._part.rival else ("store", "1")
        on_commit = ground.observer.committed
        return SimStore(ground.faults, shared, name=name, on_commit=on_commit, namespace=scope, identity=identity)

    def _a_database(self, name: str, shared: SimDatabase | None) -> SimDatabase:
        if shared is not None and self._part.rival:
            return shared
        return SimDatabase(self._ground.faults, shared, name=name, namespace=self.app.namespace)

    def _saga_id(self, index: int) -> str:
        saga, _ = self.starts[index % len(self.starts)]
        return saga_id_for(f"{self.app.namespace}.{self.app.name}.{saga.name}", self._part.key(index))

    def _services(self) -> list[Service]:
        return list(self.app.services.values())

    # --- who there is ---

    def _mains(self) -> Iterator[tuple[str, Main]]:
        for number in range(1, self.plan.orchestrators + 1):
            yield self._main(f"orchestrator-{number}", self._orchestrate)
        for service in () if self._part.rival else self._services():
            if service.commands:
                yield self._main(f"service:{service.name}", partial(self._participate, service))
            if service.facts:
                yield self._main(f"subscriber:{service.name}", partial(self._subscribe, service))

    def _main(self, name: str, run: Callable[[str], Coroutine[Any, Any, None]]) -> tuple[str, Main]:
        full = f"{self._prefix}{name}"
        return full, lambda: run(full)

    @property
    def keys(self) -> list[str]:
        """The start keys of its sagas."""
        return [self._part.key(index) for index in range(len(self.plan.starts))]

    @property
    def deciding(self) -> set[str]:
        """Names of the processes that decide its sagas."""
        return {self.client, *(name for name in self.mains if name.startswith(f"{self._prefix}orchestrator-"))}

    def strangers(self, other: Tenant) -> set[str]:
        """Names of the other one's processes that have nothing to do with this one; rivals share the services."""
        return other.deciding if self.app.namespace == other.app.namespace else {*other.mains, other.client}

    def view(self) -> SimStore:
        """What a process that starts sees of the store."""
        return self._a_store(self.store)

    def transport(self, process: str) -> Transport:
        """What a process reaches the broker with."""
        return self._ground.transport(self.app.namespace, process)

    @cached_property
    def _drifted(self) -> App:
        return drifted(self.app, chance_of(self.plan, "declaration"))

    async def _orchestrate(self, name: str) -> None:
        transport, store = self.transport(name), self.view()
        app = self._drifted if name in self._ground.deployed else self.app
        await transport.connect()
        await store.open()
        every = self.plan.every
        await Orchestrator(
            app, transport=transport, store=store, timers_every=every, scan_every=every, resend_after=every * 2,
            retention=self._retention, sweep_every=every,
        ).run()  # fmt: skip

    @property
    def _retention(self) -> Retention:
        return Retention(None if self.plan.keep is None else timedelta(seconds=self.plan.keep), None)

    async def _participate(self, service: Service, name: str) -> None:
        transport, database = await self._open(name, service, self.databases)
        namespace, every = self.app.namespace, max(10.0, self.plan.every)
        await Participant(
            service,
            namespace=namespace,
            transport=transport,
            database=database,
            scan_every=every,
            prune_every=every,
            sagas=self.app.sagas,
            ages=self._ages,
            settings=Settings(handler_time=timedelta(seconds=HANDLER_SECONDS)),
        ).run()

    async def _subscribe(self, service: Service, name: str) -> None:
        transport, database = await self._open(name, service, self.inboxes)
        namespace, every = self.app.namespace, max(10.0, self.plan.every)
        await Subscriber(
            service,
            namespace=namespace,
            transport=transport,
            database=database,
            cadence=Cadence(prune_every=every),
            ages=self._ages,
        ).run()

    @property
    def _ages(self) -> Ages | None:
        """A fact may be long on its way; what comes later than that is parked, and not told."""
        return {"commands": self.plan.forgets, "facts": self.plan.forgets + LATEST} if self.plan.forgets else None

    async def _open(
        self, process: str, service: Service, databases: Mapping[str, SimDatabase]
    ) -> tuple[Transport, SimDatabase]:
        transport = self.transport(process)
        database = self._a_database(f"{service.name} database", databases[service.name])
        await transport.connect()
        await transport.declare(self._topology)
        await database.open()
        await database.run(list(service.preparations))
        return transport, database

    # --- how far it is ---

    def quiet(self) -> bool:
        """Whether it has nothing more to do, apart from what is on the broker."""
        return not self.store.outbox() and all(map(settled, self.store.records().values())) and not self.owing()

    def owing(self) -> list[str]:
        """Databases with a reply that no broker has confirmed."""
        return [name for name, database in self.databases.items() if database.owes()]

    @property
    def names(self) -> Mapping[str, str]:
        """What to call each of its sagas in a story."""
        return {saga_id: f"{self._prefix}saga {index}" for index, saga_id in enumerate(self.saga_ids)}
