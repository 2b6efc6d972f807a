"""The world: an application's orchestrators, services, subscribers and a client as processes that may crash."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from typing import Any

from choros.ids import saga_id_for
from choros.messages import Message
from choros.runtime.application import App
from choros.runtime.orchestrator import Orchestrator
from choros.runtime.participant import Participant
from choros.runtime.service import Service
from choros.runtime.subscriber import Subscriber
from choros.saga.declaration import Saga
from choros.testing.simulation.broker import SimBroker
from choros.testing.simulation.caller import Caller, Wishes
from choros.testing.simulation.drifting import drifted
from choros.testing.simulation.evidence import Evidence, settled
from choros.testing.simulation.faults import Fault, Faults
from choros.testing.simulation.loop import SimLoop
from choros.testing.simulation.observer import Observer
from choros.testing.simulation.processes import Clock, Process, context_of
from choros.testing.simulation.script import Plan
from choros.testing.simulation.stage import LEDGER, Effect, Stage, Troupe
from choros.testing.simulation.stores import SimDatabase, SimStore
from choros.testing.simulation.transport import SimTransport

Main = Callable[[], Coroutine[Any, Any, None]]
RESTART_AFTER = 1.0
"""Seconds until a process that ended is started again."""
MOST_STEPS = 400_000
_BY_THE_WORLD = ("skew", "jump")


class World:
    """One run of a troupe's application under one plan."""

    def __init__(self, troupe: Troupe, starts: Sequence[tuple[Saga[Any], Message]], plan: Plan) -> None:
        self.plan = plan
        self.app: App = troupe.app
        self.starts = starts
        self._topology = troupe.topology
        self._stepping = {fault.target for fault in plan.faults if fault.kind in ("crash", "pause")}
        self.faults = Faults(plan.faults)
        self.loop = SimLoop(self._chance("order"), a_step=plan.a_step, stays=plan.stays, most_steps=MOST_STEPS)
        self.loop.before_step = self._before_step
        self.observer = Observer(self.loop.time)
        self._processes: dict[str, Process] = {}
        self._mains: dict[str, Main] = {}
        self._offsets: dict[str, float] = {}
        self._deployed: set[str] = set()
        """Orchestrators that have another declaration just now."""
        self._drifted = drifted(self.app, self._chance("declaration"))
        self._outside = self._context(self.loop.outside)
        self._outside.run(lambda: self._set_up(troupe))

    def _set_up(self, troupe: Troupe) -> None:
        plan = self.plan
        self.broker = SimBroker(self.faults, plan.broker, chance=self._chance("broker"))
        self.store = SimStore(self.faults, on_commit=self.observer.committed)
        self.databases = {s.name: SimDatabase(self.faults, name=f"{s.name} database") for s in self._services()}
        self.inboxes = self.databases
        """By service: where its subscriber keeps its rows and its effects."""
        if plan.together:
            together = SimDatabase(self.faults, name="database of all subscribers")
            self.inboxes = dict.fromkeys(self.databases, together)
            self.databases = {**self.databases, "all subscribers": together}
        self.saga_ids = [self._saga_id(index) for index in range(len(plan.starts))]
        by_command = {(self.saga_ids[line.saga], line.step, str(line.operation)): line for line in plan.script}
        self.stage = troupe.stage = Stage(self.loop, self._outside, by_command)
        records = self.store.records
        wishes = Wishes(self.app, plan, self.starts, self.saga_ids, records, self.observer.note, troupe.example)
        self.caller = Caller(wishes)
        self._declare_processes()

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self.plan.seed} {what}")

    def _saga_id(self, index: int) -> str:
        saga, _ = self.starts[index % len(self.starts)]
        return saga_id_for(f"{self.app.namespace}.{self.app.name}.{saga.name}", f"sim-{index}")

    def _services(self) -> list[Service]:
        return list(self.app.services.values())

    # --- who there is ---

    def _declare_processes(self) -> None:
        for number in range(1, self.plan.orchestrators + 1):
            self._mains[f"orchestrator-{number}"] = self._orchestrator(f"orchestrator-{number}")
        for service in self._services():
            if service.commands:
                self._mains[f"service:{service.name}"] = self._participant(service)
            if service.facts:
                self._mains[f"subscriber:{service.name}"] = self._subscriber(service)
        self._mains["client"] = lambda: self.caller.run(self._transport("client"), self._open_store())

    def _transport(self, process: str) -> SimTransport:
        return SimTransport(self.broker, self.app.namespace, process)

    def _open_store(self) -> SimStore:
        return SimStore(self.faults, self.store, on_commit=self.observer.committed)

    def _orchestrator(self, name: str) -> Main:
        async def main() -> None:
            transport, store = self._transport(name), self._open_store()
            app = self._drifted if name in self._deployed else self.app
            await transport.connect()
            await store.open()
            every = self.plan.every
            await Orchestrator(
                app, transport=transport, store=store, timers_every=every, scan_every=every, resend_after=every * 2
            ).run()

        return main

    def _participant(self, service: Service) -> Main:
        async def main() -> None:
            transport, database = await self._open(f"service:{service.name}", service, self.databases)
            namespace, every = self.app.namespace, max(10.0, self.plan.every)
            await Participant(
                service,
                namespace=namespace,
                transport=transport,
                database=database,
                scan_every=every,
                sagas=self.app.sagas,
            ).run()

        return main

    def _subscriber(self, service: Service) -> Main:
        async def main() -> None:
            transport, database = await self._open(f"subscriber:{service.name}", service, self.inboxes)
            await Subscriber(service, namespace=self.app.namespace, transport=transport, database=database).run()

        return main

    async def _open(
        self, process: str, service: Service, databases: Mapping[str, SimDatabase]
    ) -> tuple[SimTransport, SimDatabase]:
        transport = self._transport(process)
        database = SimDatabase(self.faults, databases[service.name], name=f"{service.name} database")
        await transport.connect()
        await transport.declare(self._topology)
        await database.open()
        await database.run(list(service.preparations))
        return transport, database

    # --- their lives ---

    def _context(self, process: Process) -> Context:
        name = process.name
        chance = self._chance(f"{name}/{process.life}")
        return context_of(process, Clock(self.loop.time, chance, lambda: self._offsets.get(name, 0.0)))

    def _boot(self, name: str) -> None:
        before = self._processes.get(name)
        process = self._processes[name] = Process(name, before.life + 1 if before else 1)
        context = self._context(process)
        task = self.loop.create_task(context.run(self._mains[name]), context=context)
        task.add_done_callback(lambda task: self._ended(process, task), context=self._outside)

    def _ended(self, process: Process, task: Any) -> None:
        """A process came to its own end: whatever supervises it starts it again."""
        error = None if task.cancelled() else task.exception()
        if error is None and process.name == "client":
            return
        self.observer.note(f"{process} ended: {type(error).__name__}: {error}")
        self._bury(process)
        self._later(RESTART_AFTER, lambda: self._boot(process.name))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self.loop.call_later(seconds, act, context=self._outside)

    def _bury(self, process: Process) -> None:
        self.loop.kill(process)
        self.broker.drop(process.name)
        for database in self.databases.values():
            database.crashed(process)

    def _before_step(self, process: Process) -> bool:
        if process.name in self._stepping:
            for fault in self.faults.step(process.name):
                self._strike_process(process, fault)
        return process.alive and not process.held

    def _strike_process(self, process: Process, fault: Fault) -> None:
        self.observer.note(f"{fault.kind} of {process} for {fault.amount:g} s")
        if fault.kind == "crash" and process.alive:
            self._bury(process)
            self._later(fault.amount or RESTART_AFTER, lambda: self._boot(process.name))
        elif fault.kind == "pause" and process.alive:
            self.loop.hold(process)
            self._later(fault.amount, lambda: self.loop.release(process))

    def crash(self, process: Process, seconds: float = RESTART_AFTER) -> None:
        """This process is no more; so many seconds later it starts again."""
        self._strike_process(process, Fault("crash", process.name, process.steps, seconds))

    def end_process(self, name: str) -> None:
        """This process is no more, and is not started again."""
        self._bury(self._processes[name])

    def _strike_timed(self, fault: Fault) -> None:
        if self.faults.calm:
            return
        self.faults.strike(fault)
        self.observer.note(f"{fault.kind} {fault.target} ({fault.amount:g})")
        if fault.kind == "deploy":
            self._deploy(fault.target, fault.amount)
        elif fault.kind in _BY_THE_WORLD:
            self._offsets[fault.target] = self._offsets.get(fault.target, 0.0) + fault.amount
        else:
            self.broker.strike(fault)

    def _deploy(self, name: str, seconds: float) -> None:
        """A rolling deploy reaches this orchestrator: another declaration, and some time later its own again."""
        self._deployed.add(name)
        self._start_anew(name)
        self._later(seconds, lambda: self._deployed.discard(name))
        self._later(seconds, lambda: self._start_anew(name))

    def _start_anew(self, name: str) -> None:
        process = self._processes[name]
        if process.alive:  # else it starts soon, with what is deployed by then
            self._bury(process)
            self._later(RESTART_AFTER, lambda: self._boot(name))

    # --- the run ---

    def run(self, until: float) -> bool:
        """Run until all is done; False if it was not by that moment. Raises OutOfSteps."""
        for fault in self.faults.timed:
            at = 0.0 if fault.kind == "skew" else float(fault.nth)
            self._later(at, lambda fault=fault: self._strike_timed(fault))  # type: ignore[misc]
        if self.plan.calm_at is not None:
            self._later(self.plan.calm_at, self._calm)
        for name in self._mains:
            self._outside.run(self._boot, name)
        return self.loop.run(self.quiet, until)

    def occasions(self) -> dict[str, int]:
        """How often each fault that is counted could have struck."""
        steps = {f"step {process.name}": process.steps for process in self._processes.values()}
        return {name: max(3, count) for name, count in (self.faults.occasions() | steps).items()}

    @property
    def process_names(self) -> list[str]:
        """Everybody who can be struck."""
        return list(self._mains)

    def _calm(self) -> None:
        self.faults.calm = True
        self.observer.note("from here on nothing goes wrong any more")

    def quiet(self) -> bool:
        """Whether all that was to happen has happened."""
        return (
            not self.store.outbox()
            and self.caller.done
            and all(map(settled, self.store.records().values()))
            and not any(database.owes() for database in self.databases.values())
            and not any(queue.contents() for queue in self.working_queues())
        )

    def working_queues(self) -> list[Any]:
        """The broker's queues, except those in which messages are parked for a person."""
        return [queue for queue in self.broker.queues() if not queue.name.endswith(".dead")]

    def evidence(self) -> Evidence:
        """All that invariants are checked against."""
        contents = ((queue.name, len(queue.contents())) for queue in self.working_queues())
        return Evidence(
            app=self.app, saga_ids=self.saga_ids, names=self.names, seconds=self.loop.time(),
            struck=self.faults.struck, effects=self.effects(),
            rows={name: database.rows() for name, database in self.databases.items()},
            commits=self.observer.commits, records=self.store.records(),
            ledger=self.broker.ledger, account=self.broker.account(),
            accepted=sorted(self.caller.accepted), skipped=frozenset(self.caller.skipped),
            refused=self.caller.refused, started=self.caller.done, outbox=len(self.store.outbox()),
            owing=[name for name, database in self.databases.items() if database.owes()],
            left={name: count for name, count in contents if count},
            notes=self.observer.notes, trouble=self.loop.trouble,
        )  # fmt: skip

    def effects(self) -> list[Effect]:
        """All ledgers together, in the order of the world."""
        lines = [effect for database in self.databases.values() for effect in database.items.get(LEDGER, ())]
        return sorted([*lines, *self.stage.provided.values()], key=lambda effect: effect.number)

    @property
    def names(self) -> Mapping[str, str]:
        """What to call each saga in a story."""
        return {saga_id: f"saga {index}" for index, saga_id in enumerate(self.saga_ids)}

    def end(self) -> None:
        """Let go of everything."""
        self.loop.end()
