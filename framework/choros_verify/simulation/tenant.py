"""One application of a world: its part of the store and of the databases, its processes, and whoever calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from choros.app.app import App
from choros.app.service import Service
from choros.app.settings import Settings
from choros.messages import Message
from choros.runtime.host.retention import Ages
from choros.runtime.host.service_outbox import way_out
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.retention import Retention
from choros.runtime.participant.participant import Participant
from choros.runtime.participant.unfinished import Unfinished
from choros.runtime.subscriber.subscriber import Cadence, Subscriber
from choros.saga.saga import Saga
from choros.sources import saga_id_for
from choros.store.barrier import Database
from choros.transport.handover import Handover
from choros.transport.permissions import Rights, participant, subscriber
from choros.transport.port import Carrier, Transport
from choros.transport.topology import Names, Topology, topology
from choros_verify.simulation.callbacks import finishing
from choros_verify.simulation.drift import drifted, lacking
from choros_verify.simulation.evidence import settled
from choros_verify.simulation.keeping import KeptRows, KeptSagas, opened
from choros_verify.simulation.nested_sagas import held_below
from choros_verify.simulation.outside_world import HANDLER_SECONDS
from choros_verify.simulation.part import Ground, Part
from choros_verify.simulation.script import RIVAL, chance_of

Main = Callable[[], Coroutine[Any, Any, None]]
_ALL = "all subscribers"
LATEST = 900.0
"""Seconds that a fact may be on its way in a run: the ladder of delays, and what holds a message up."""


class Tenant:
    """An application with its orchestrators, services and subscribers.

    One beside another works on the same store and databases, under a namespace of its own; as a rival of that one on a
    store of its own, with its services."""

    def __init__(self, ground: Ground, part: Part) -> None:
        self._ground, self._prefix, self._part = ground, part.prefix, part
        self.app, self.plan = part.app, part.plan
        self.store: KeptSagas = self._sagas(part.app.scope)
        self.locks: KeptSagas | None = self._sagas(part.app.lock_scope) if part.app.locks else None
        self.kept: KeptSagas | None = self._sagas(part.app.facts_scope) if part.app.awaited else None
        keeping, namespace = ground.keeping, part.app.namespace
        self.databases: Mapping[str, KeptRows] = {
            name: keeping.rows(f"{name} database", namespace) for name in self.app.services
        }
        self.inboxes = self.databases  # by service: where its subscriber keeps its rows and its effects
        if self.plan.together:
            together = keeping.rows("database of all subscribers", namespace)
            leaving = {name: one for name, one in self.databases.items() if self.app.service(name).leaves}
            self.inboxes = dict.fromkeys(self.databases, together) | leaving  # facts are counted in one place
            self.databases = {**self.databases, _ALL: together}
        self.saga_ids = [self._saga_id(index) for index in range(len(self.plan.starts))]
        self.flows, self.flow_ids = part.flows, part.flow_ids
        self.client = f"{self._prefix}client"
        self.mains: Mapping[str, Main] = dict(self._mains())
        """What each of its processes runs, by its name; the client belongs to whoever uses it."""

    def _sagas(self, scope: str) -> KeptSagas:
        """The rival's has a name that no fault names: what strikes the store strikes the other one."""
        name, identity = (f"{RIVAL}store", "2") if self._part.rival else ("store", "1")
        return self._ground.keeping.sagas(name, scope, identity)

    def _saga_id(self, index: int) -> str:
        saga, _ = self.start(index)
        return saga_id_for(f"{self.app.namespace}.{self.app.name}.{saga.name}", self._part.key(index))

    def start(self, index: int) -> tuple[Saga[Any], Message]:
        """The saga of this number, and its start message."""
        return self._part.starts[self.plan.kind(index, len(self._part.starts))]

    @property
    def begun(self) -> Mapping[str, Saga[Any]]:
        """The declarations that its sagas are begun with."""
        return {saga_id: self.start(index)[0] for index, saga_id in enumerate(self.saga_ids)}

    # --- who there is ---

    def _mains(self) -> Iterator[tuple[str, Main]]:
        for number in range(1, self.plan.orchestrators + 1) if self.app.sagas else ():
            yield self._main(f"orchestrator-{number}", self._orchestrate)
        for service in () if self._part.rival else self.app.services.values():
            if service.name in self.app.participants:
                yield self._main(f"service:{service.name}", partial(self._participate, service))
            if service.facts:
                yield self._main(f"subscriber:{service.name}", partial(self._subscribe, service))
            if service.finishes_later:
                yield self._main(finishing(service.name), partial(self._finish, service))

    def _main(self, name: str, run: Callable[[str], Coroutine[Any, Any, None]]) -> tuple[str, Main]:
        full = f"{self._prefix}{name}"
        return full, lambda: run(full)

    @property
    def keys(self) -> list[str]:
        """The start keys of its sagas."""
        return [self._part.key(index) for index in range(len(self.plan.starts))]

    @property
    def deciding(self) -> set[str]:
        """Names of those that decide its sagas."""
        return {self.client, *(name for name in self.mains if name.startswith(f"{self._prefix}orchestrator-"))}

    def strangers(self, other: Tenant) -> set[str]:
        """Names of the other one's processes that have nothing to do with this one; rivals share the services."""
        return other.deciding if self.app.namespace == other.app.namespace else {*other.mains, other.client}

    def transport(self, process: str) -> Transport:
        """What a process reaches the broker with."""
        return self._ground.transport(self.app.namespace, process)

    @cached_property
    def _drifted(self) -> App:
        return drifted(self.app, chance_of(self.plan, "declaration"))

    async def _orchestrate(self, name: str) -> None:
        transport, store = self.transport(name), self.store.view()
        app = self._drifted if name in self._ground.deployed else self.app
        await transport.connect()
        await store.open()
        every = self.plan.every
        handover = Handover(self._queues, app.local)
        orchestrator = Orchestrator(
            app, transport=transport, store=store, timers_every=every, scan_every=every, resend_after=every * 2,
            retention=self._retention, sweep_every=every, handover=handover if app.local else None,
            locks=await opened(self.locks),
            kept=await opened(self.kept),
        )  # fmt: skip
        await orchestrator.declare()
        own = [(app.service(each), handover, await self._opened(each), transport) for each in app.local]
        await asyncio.gather(orchestrator.run(), *(self._participant(*one).run() for one in own))

    @property
    def _retention(self) -> Retention:
        return Retention(None if self.plan.keep is None else timedelta(seconds=self.plan.keep), None)

    async def _participate(self, service: Service, name: str) -> None:
        rights, needed = participant(self._queues, service.name), topology(self.app.namespace, services=[service.name])
        transport, database = await self._open(
            name, service, self.databases, self._with_outbox(service, needed, rights)
        )
        await self._participant(self._released(name, service), transport, database, transport).run()

    def _with_outbox(self, service: Service, needed: Topology, rights: Rights) -> Topology:
        """What it needs on the broker, with what its handlers publish by."""
        more, besides = way_out(service, self._queues)
        more = more + self.app.flow_topology if service.leaves else more
        return replace(needed + more, writes=(rights | besides).writes)

    def _participant(self, service: Service, carrier: Carrier, database: Database, publisher: Transport) -> Participant:
        namespace, every = self.app.namespace, max(10.0, self.plan.every)
        return Participant(
            service, namespace=namespace, transport=carrier, database=database, scan_every=every, prune_every=every,
            sagas=self.app.sagas, ages=self._ages, publisher=publisher, flows=self.app.flow_part(service.name),
            settings=Settings(handler_time=timedelta(seconds=HANDLER_SECONDS)),
        )  # fmt: skip

    async def _subscribe(self, service: Service, name: str) -> None:
        rights = subscriber(self._queues, service.subscription, reads_log=service.needs_log)
        needed = topology(self.app.namespace, subscribers=[service.subscription], fact_log=self.app.fact_log)
        transport, database = await self._open(name, service, self.inboxes, self._with_outbox(service, needed, rights))
        service = self._released(name, service)
        namespace, every = self.app.namespace, max(10.0, self.plan.every)
        await Subscriber(
            service, namespace=namespace, transport=transport, database=database, ages=self._ages,
            cadence=Cadence(prune_every=every), flows=self.app.flow_part(service.name),
        ).run()  # fmt: skip

    async def _finish(self, service: Service, name: str) -> None:
        outside = Unfinished(service, await self._opened(service.name), namespace=self.app.namespace)
        await self._ground.finish(name, outside)

    def _released(self, name: str, service: Service) -> Service:
        """A release that lacks a reaction of a flow would be there before the flow's queues are: such is no release."""
        if self.app.flow_part(service.name).heard:
            return service
        return lacking(service, chance_of(self.plan, "handlers")) if name in self._ground.deployed else service

    @property
    def _queues(self) -> Names:
        return Names(self.app.namespace)

    @property
    def _ages(self) -> Ages | None:
        """A fact may be long on its way, and clocks wrong; what comes later than that is parked, and not told."""
        facts = self.plan.forgets + LATEST + self.plan.clocks_off
        return {"commands": self.plan.forgets, "facts": facts, "outbox": 1e9} if self.plan.forgets else None

    async def _open(
        self, process: str, service: Service, databases: Mapping[str, KeptRows], needed: Topology
    ) -> tuple[Transport, Database]:
        transport = self.transport(process)
        await transport.connect()
        await transport.declare(needed)
        return transport, await self._opened(service.name, databases)

    async def _opened(self, service: str, databases: Mapping[str, KeptRows] | None = None) -> Database:
        database = (databases or self.databases)[service].view(f"{service} database")
        await database.open()
        await database.run(list(self.app.service(service).preparations))
        return database

    @property
    def listening(self) -> Topology:
        """The queues of those who only hear how flows end: a deployment has them before the first fact."""
        part = {name for flow in self.flows.declared for name in flow.services}
        only = [one for one in self.app.services.values() if self.flows and one.facts and one.name not in part]
        return topology(self.app.namespace, subscribers=[one.subscription for one in only])

    # --- how far it is ---

    def quiet(self) -> bool:
        """Whether it has nothing more to do, apart from what is on the broker."""
        records = self.store.records()
        held = held_below(records)
        return not self.busy() and all(settled(one) or one.saga_id in held for one in records.values())

    def busy(self) -> bool:
        """Whether it still has messages that no broker has confirmed."""
        return bool(self.store.outbox() or self.owing())

    def owing(self) -> list[str]:
        """Databases with a reply that no broker has confirmed."""
        return [name for name, database in self.databases.items() if database.owes()]

    @property
    def names(self) -> Mapping[str, str]:
        """What to call each of its sagas and flows in a story."""
        flows = {flow_id: f"{self._prefix}flow {index}" for index, flow_id in enumerate(self.flow_ids)}
        return {saga_id: f"{self._prefix}saga {index}" for index, saga_id in enumerate(self.saga_ids)} | flows
