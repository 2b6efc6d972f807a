"""Roles: one of them run until it is stopped, all of them in one process, or a client of what runs elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

from choros.app.app import App
from choros.app.foreign import ForeignFacts
from choros.app.service import Service
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import UsageError, unknown
from choros.roles.addresses import (
    Addresses,
    connected,
    opened_barrier,
    opened_database,
    opened_facts,
    opened_locks,
    opened_schedules,
    opened_store,
)
from choros.roles.looks import look_into_database, look_into_rows, look_into_store
from choros.roles.own_queues import bind_foreign, instance_of
from choros.roles.resources import opened_resources
from choros.runtime.client.client import Client
from choros.runtime.client.program_outbox import ProgramOutbox, fact_place, program_named
from choros.runtime.client.publisher import FactPublisher
from choros.runtime.client.start_outbox import StartRelay, place_of, started_by
from choros.runtime.foreign.translator import Translator
from choros.runtime.host.call import ExitWanted, in_order, plainly
from choros.runtime.host.patience import Waiting
from choros.runtime.host.service_outbox import way_out
from choros.runtime.host.vitals import Receiver, Vitals
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.retention import Retention, outlasting, too_short
from choros.runtime.orchestrator.unsettled import Unsettled
from choros.runtime.participant.participant import Participant
from choros.runtime.participant.unfinished import Unfinished
from choros.runtime.subscriber.subscriber import Subscriber, ages_of
from choros.store.barrier import Database
from choros.store.sagas import Store
from choros.telemetry.logs import get_logger
from choros.transport.handover import Handover
from choros.transport.permissions import Rights, participant, publisher, subscriber
from choros.transport.port import Carrier, Transport
from choros.transport.topology import Names, Topology, topology

log = get_logger(__name__)

T = TypeVar("T")
HANDLER_SECONDS = 60.0
"""A handler may hold its service's SQLite file so long before the file counts as away."""


CallsLeft = Callable[[], Sequence[str]]
"""Names the calls that have not ended, from any thread."""
OnBegun = Callable[[Callable[[], None], CallsLeft], None]
"""Told once a role is open: what stops it in order, and what names the calls that have not ended."""


class RunningRole(Receiver, Protocol):
    """Something with a loop of its own."""

    async def run(self) -> None:
        """Run until stopped."""

    def stop(self) -> Awaitable[None] | None:
        """Finish what is under way, then let `run` return."""


PATIENT = timedelta(seconds=30)
"""How long a call of a client may take, where nobody says."""


@asynccontextmanager
async def client_of(
    app: App, addresses: Addresses, *, name: str = "client", patience: timedelta = PATIENT
) -> AsyncIterator[Client]:
    """A client for starting and following sagas; what it starts is carried on by the orchestrators that run. With so
    much `patience` a store is waited for that does not answer."""
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, name))
        yield await _client_on(transport, app, addresses, stack, patience)


async def _client_on(
    transport: Transport, app: App, addresses: Addresses, stack: AsyncExitStack, patience: timedelta = PATIENT
) -> Client:
    store = await stack.enter_async_context(opened_store(addresses, app))
    schedules = await stack.enter_async_context(opened_schedules(addresses, app)) if app.schedules else None
    locks = await stack.enter_async_context(opened_locks(addresses, app)) if app.locks else None
    client = Client(app, store=store, transport=transport, schedules=schedules, locks=locks, timeout=patience)
    return await stack.enter_async_context(client)


@asynccontextmanager
async def publisher_of(app: App, program: str, addresses: Addresses) -> AsyncIterator[FactPublisher]:
    """A publisher of the facts of this program. It declares what that and the flows need, and the fact log, which has
    only what was published after it was there; others declare theirs."""
    declared = program_named(app, program)
    async with connected(addresses, app, f"{app.namespace}.{program}") as transport:
        rights = publisher(Names(app.namespace), program)
        needed = topology(app.namespace, publishers=[program], fact_log=app.fact_log) + app.flow_topology
        await transport.declare(replace(needed, writes=rights.writes))
        starts = app.flow_part().starts
        yield FactPublisher(declared, namespace=app.namespace, transport=transport, starts=starts)


@asynccontextmanager
async def unfinished_of(
    app: App, service: str, addresses: Addresses, *, settings: Settings = NOTHING_SET
) -> AsyncIterator[Unfinished]:
    """What a service has taken, to be finished from outside, in its own database: for a webhook's program. What that
    says is sent by whichever process runs the service. `settings` as those of that process."""
    named = app.service(service)
    skew = settings.over(named.settings).seconds("clock_skew")
    async with opened_database(addresses, app, named) as database:
        yield Unfinished(named, database, namespace=app.namespace, clock_skew=skew)


@asynccontextmanager
async def running(
    app: App, addresses: Addresses | None = None, *, settings: Settings = NOTHING_SET
) -> AsyncIterator[Client]:
    """The whole application in this process: an orchestrator, and every service and subscriber that has handlers.

    Yields a client for it. For a first try, for tests, and for small installations. Without addresses nothing outlives
    it: broker and store are in memory, and the services' databases SQLite files in a temporary folder. `settings` go
    before those of each service."""
    async with AsyncExitStack() as stack:
        if addresses is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="choros-"))
            addresses = Addresses("memory://", "memory://", f"sqlite:///{folder}/{{service}}.db")
        parts = await open_role(app, "all", addresses, stack, settings=settings)
        orchestrator = next((part for part in parts if isinstance(part, Orchestrator)), None)
        if orchestrator is None:
            raise UsageError("This application has no saga to run, and no choreography.", "name one in App(sagas=...).")
        loops = asyncio.create_task(in_order(partial(run_together, parts)))
        loops.add_done_callback(_say_what_ended_it)
        try:
            at_work: Any = {"transport": orchestrator.transport, "decider": orchestrator.decider}
            schedules = orchestrator.schedules.store if orchestrator.schedules else None
            locks = orchestrator.decider.locks.rows.store if orchestrator.decider.locks else None
            yield Client(app, store=orchestrator.store, schedules=schedules, locks=locks, **at_work)
        finally:
            await stop_all(parts)
            try:
                await loops
            except ExitWanted as error:
                raise error.wanted from None


def _say_what_ended_it(loops: asyncio.Task[None]) -> None:
    """At once: it is raised only where `running` ends, which may be long after."""
    if not loops.cancelled() and (error := loops.exception()) is not None:
        log.error(
            "choros.running.ended", error=type(plainly(error)).__name__, reason=getattr(plainly(error), "sentence", "")
        )


async def open_role(
    app: App,
    role: str,
    addresses: Addresses,
    stack: AsyncExitStack,
    vitals: Vitals | None = None,
    settings: Settings = NOTHING_SET,
) -> list[RunningRole]:
    """Connect what a role needs; `stack` closes it. Raises UsageError for a role that the application has not."""
    kind, _, name = _role_of(app, role)
    vitals, waiting = vitals or Vitals(role), Waiting(settings.seconds("wait"))
    connecting = partial(connected, addresses, app, f"{app.namespace}.{role}")
    transport = await waiting.until(lambda: stack.enter_async_context(connecting()))
    opening = _Opening(
        app, addresses, settings, stack, waiting, vitals, transport, Handover(Names(app.namespace), app.local)
    )
    parts: list[RunningRole] = []
    if kind == "all":
        for service in app.services.values():
            if service.handlers or service.reactions:
                parts += await opening.service(service)
        parts += [await opening.translator(foreign) for foreign in app.foreign.values()]
    elif role == "starts":
        parts.append(await opening.starts())
    elif kind == "program":
        parts.append(await opening.program(name))
    elif kind == "foreign":
        parts.append(await opening.translator(app.foreign[name]))
    elif name:
        parts += await opening.service(app.service(name), kind)
    else:
        for local in app.local:
            parts += await opening.service(app.service(local), "service")
    if role == "orchestrator" or (kind == "all" and (app.sagas or app.choreographies)):
        parts.append(await opening.orchestrator())
    vitals.attendance = transport.attendance
    vitals.broker = lambda: transport.health  # from now on the role is open
    return parts


def _role_of(app: App, role: str) -> tuple[str, str, str]:
    """Its parts, known to be there before any server is waited for."""
    kind, _, name = parts = role.partition(":")
    if kind in ("service", "subscriber"):
        app.service(name)
        if kind == "service" and name in app.local:
            raise UsageError(f"service {name!r} is local: the orchestrator carries it out.", "--role orchestrator.")
    elif kind == "program":
        program_named(app, name)
    elif kind == "foreign":
        if name not in app.foreign:
            raise UsageError(*unknown(f"There are no foreign facts {name!r}.", name, sorted(app.foreign)))
    elif role not in ("orchestrator", "all", "starts"):
        hint = "orchestrator, service:NAME, subscriber:NAME, foreign:NAME, program:NAME, starts or all."
        raise UsageError(*unknown(f"There is no role {role!r}.", role, ("orchestrator", "all", "starts"), hint))
    return parts


@dataclass(frozen=True, slots=True)
class _Opening:
    """What the parts of one role are opened with, and whom they tell how they are."""

    app: App
    addresses: Addresses
    settings: Settings
    stack: AsyncExitStack
    waiting: Waiting
    vitals: Vitals
    transport: Transport
    handover: Handover

    async def _entered(self, url: str, opening: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """Open a store, and wait for its server; a file that cannot be had does not come by waiting."""
        patience = Waiting() if url.startswith("sqlite:") else self.waiting
        return await patience.until(lambda: self.stack.enter_async_context(opening()))

    async def starts(self) -> StartRelay:
        """What takes over the starts that `start_in` has written into the database."""
        client = await _client_on(self.transport, self.app, self.addresses, self.stack)
        database = await self._rows_of(place_of(self.app), "starts")
        relay = StartRelay(self.app, started_by(client), database, remember=self.settings.seconds("forget_after"))
        relay.meters = client.metered
        return relay

    async def program(self, name: str) -> ProgramOutbox:
        """What sends the facts that `publish_in` has written into the database."""
        rights = publisher(Names(self.app.namespace), name)
        await self._declare(topology(self.app.namespace, publishers=[name], fact_log=self.app.fact_log), rights)
        database = await self._rows_of(fact_place(self.app, name), name)
        remember = self.settings.seconds("forget_after")
        return ProgramOutbox(self.app, name, database, transport=self.transport, remember=remember)

    async def _rows_of(self, place: str, whose: str) -> Database:
        """Those that somebody writes beside rows of their own."""
        opening = partial(opened_barrier, self.addresses, place)
        database = await self._entered(self.addresses.database, opening)
        self.vitals.watch_store(f"database of {whose}", partial(look_into_rows, database))
        return database

    async def orchestrator(self) -> Orchestrator:
        """The one of this application."""
        app, settings, vitals = self.app, self.settings, self.vitals
        store = await self._entered(self.addresses.store, partial(opened_store, self.addresses, app))
        unsettled = Unsettled(store)
        vitals.watch_store("saga store", partial(look_into_store, store, app, unsettled))
        vitals.room.ask = store.room
        retention = Retention(settings.age("keep_sagas"), settings.age("keep_start_keys"))
        drain = settings.seconds("drain")
        orchestrator = Orchestrator(
            app, transport=self.transport, store=store, drain=drain, retention=retention,
            handover=self.handover if app.local else None, schedules=await self._schedules(),
            locks=await self._locks(),
            kept=await self._facts(),
        )  # fmt: skip
        await self.waiting.until(orchestrator.declare)
        timers = orchestrator.decider.timers
        vitals.stranded = lambda: orchestrator.stranded.count + timers.strange
        vitals.unreadable = lambda: orchestrator.decider.unreadable
        memories = [settings.over(service.settings).seconds("forget_after") for service in app.services.values()]
        shortest = min(memories, default=settings.seconds("forget_after"))
        vitals.noticing += (
            lambda: outlasting(orchestrator.oldest, shortest),
            lambda: too_short(retention, max(memories, default=0.0)),
            lambda: timers.noticed,
            lambda: orchestrator.absent.noticed,
            lambda: unsettled.noticed,
            lambda: orchestrator.schedules.noticed if orchestrator.schedules else (),
            lambda: orchestrator.decider.locks.noticed if orchestrator.decider.locks else (),
        )
        return orchestrator

    async def _schedules(self) -> Store | None:
        if not self.app.schedules:
            return None
        return await self._entered(self.addresses.store, partial(opened_schedules, self.addresses, self.app))

    async def _locks(self) -> Store | None:
        if not self.app.locks:
            return None
        return await self._entered(self.addresses.store, partial(opened_locks, self.addresses, self.app))

    async def _facts(self) -> Store | None:
        if not self.app.awaited:
            return None
        return await self._entered(self.addresses.store, partial(opened_facts, self.addresses, self.app))

    async def service(self, service: Service, kind: str = "") -> Sequence[RunningRole]:
        """Its participant and its subscriber, or the one that is wanted."""
        app, names = self.app, Names(self.app.namespace)
        database = await self._entered(self.addresses.database, partial(opened_database, self.addresses, app, service))
        parts: list[Participant | Subscriber] = []
        given: Any = {"namespace": app.namespace, "database": database, "settings": self.settings}
        given["flows"] = app.flow_part(service.name)
        given["resources"] = await self.stack.enter_async_context(opened_resources(service))
        if service.commands and kind != "subscriber":
            carrier = await self._carrier(service, names)
            commanded = Participant(service, sagas=app.sagas, transport=carrier, publisher=self.transport, **given)
            self.vitals.noticing.append(lambda: commanded.passing_on.noticed)
            parts.append(commanded)
        if service.leaves:
            needed, rights = way_out(service, names)
            await self._declare(needed + app.flow_topology, rights)
        if service.facts and kind != "service":
            rights = subscriber(names, service.subscription, reads_log=service.needs_log)
            needed = topology(app.namespace, subscribers=[service.subscription], fact_log=app.fact_log)
            await self._declare(needed, rights)
            given |= {
                "ages": ages_of(service, self.settings, app.fact_log),
                "instance": await instance_of(service, app.namespace, self._declare),
            }
            parts.append(Subscriber(service, transport=self.transport, **given))
        if not parts:
            other = {"service": "subscriber", "subscriber": "service"}.get(kind)
            does = service.facts or service.commands
            hint = f"--role {other}:{service.name}." if other and does else "look at: choros check."
            raise UsageError(f"service {service.name!r} has nothing to do as {kind}.", hint)
        calls = [part.calls for part in parts]
        look = partial(look_into_database, database, service, self.vitals.unfinished)
        self.vitals.watch_store(f"database of {service.name}", look, HANDLER_SECONDS, calls)
        self.vitals.calls += calls
        return parts

    async def translator(self, foreign: ForeignFacts) -> Translator:
        """Of what comes from one exchange of theirs."""
        await bind_foreign(foreign, self.app.namespace, self._declare)
        return Translator(foreign, namespace=self.app.namespace, transport=self.transport, settings=self.settings)

    async def _carrier(self, service: Service, names: Names) -> Carrier:
        """What its commands come by."""
        if service.name in self.app.local:
            return self.handover
        await self._declare(topology(self.app.namespace, services=[service.name]), participant(names, service.name))
        return self.transport

    async def _declare(self, needed: Topology, rights: Rights, *, strictly: bool = False) -> None:
        writes = tuple(name for name in rights.writes if name not in rights.configures)  # else it is no exchange
        await self.waiting.until(partial(self.transport.declare, replace(needed, writes=writes), strictly=strictly))


async def run_together(parts: list[RunningRole]) -> None:
    """Run all until one ends, then stop the others; raises what ended it."""
    tasks = [asyncio.create_task(in_order(part.run)) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_all(parts)
        await asyncio.wait(tasks, timeout=30)
    for task in tasks:
        task.cancel()
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise plainly(error)


async def stop_all(parts: list[RunningRole]) -> None:
    """Ask all to finish."""
    stopping = [waiting for part in parts if (waiting := part.stop()) is not None]
    await asyncio.gather(*stopping)
