"""The world: an application's processes, which may crash, at times with those of another application beside them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any

from choros.app.app import App
from choros.messages import Message
from choros.saga.saga import Saga
from choros.sources import rerun_id_for
from choros.transport.port import Transport
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.reply_queues import reply_queue
from choros_verify.simulation.amqp.server import AmqpServer
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_ledger import message_of
from choros_verify.simulation.caller import Caller
from choros_verify.simulation.evidence import Evidence, reason_of
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.keeping import Deed, Keeping, standing
from choros_verify.simulation.loop import SimLoop
from choros_verify.simulation.nested_sagas import with_nested
from choros_verify.simulation.nights import Nights
from choros_verify.simulation.observer import Observer
from choros_verify.simulation.outside_world import OutsideWorld
from choros_verify.simulation.part import Ground, Part
from choros_verify.simulation.pipe import Pipes
from choros_verify.simulation.processes import Process, ProcessClock, context_of, running
from choros_verify.simulation.redis.keeping import RedisKeeping
from choros_verify.simulation.releases import called_now, names_between, newest, renamings_of
from choros_verify.simulation.script import BESIDE, RIVAL, FlowLine, RunPlan, ScriptLine, chance_of
from choros_verify.simulation.sqlite.keeping import SqliteKeeping
from choros_verify.simulation.stage import Troupe
from choros_verify.simulation.staged_flows import OF_FLOWS
from choros_verify.simulation.stores import MemoryKeeping
from choros_verify.simulation.tenant import Main, Tenant
from choros_verify.simulation.transport import SimTransport

RESTART_AFTER = 1.0
"""Seconds until a process that ended is started again."""
MOST_STEPS = 400_000
MOST_STEPS_ON_ADAPTERS = 2_000_000
MOST_STEPS_ON_FRAMES = 8_000_000
_BY_THE_WORLD = ("skew", "jump")


class World:
    """One run of a troupe's application under one plan."""

    def __init__(self, troupe: Troupe, starts: Sequence[tuple[Saga[Any], Message]], plan: RunPlan) -> None:
        self.plan = plan
        self.app: App = troupe.app
        self._stepping = {fault.target for fault in plan.faults if fault.kind in ("crash", "pause")}
        self.faults = Faults(plan.faults)
        most = MOST_STEPS if plan.store == "memory" else MOST_STEPS_ON_ADAPTERS
        most = MOST_STEPS_ON_FRAMES if plan.frames else most
        self.loop = SimLoop(chance_of(plan, "order"), a_step=plan.a_step, stays=plan.stays, most_steps=most)
        self.loop.before_step = self._before_step
        self.observer = Observer(self.loop.time)
        self._processes: dict[str, Process] = {}
        self._mains: dict[str, Main] = {}
        self._offsets: dict[str, float] = {}
        self._nights = Nights(self.loop.time, troupe.app)
        self._outside = self._context(self.loop.outside)
        self._outside.run(lambda: self._set_up(troupe, starts))

    def _set_up(self, troupe: Troupe, starts: Sequence[tuple[Saga[Any], Message]]) -> None:
        self.broker = SimBroker(self.faults, self.plan.broker, chance=chance_of(self.plan, "broker"))
        self.pipes = Pipes(self.broker.network)
        """What processes reach servers by."""
        self.keeping = self._a_keeping()
        self._ground = Ground(self._transport, self.keeping, lambda *given: self.stage.finish(*given))
        first = Tenant(self._ground, Part(troupe.app, starts, self.plan, troupe.flows))
        self.tenants = [first]
        """The application, and whoever is beside it."""
        if self.plan.beside:
            part = Part(troupe.beside, starts, _less(self.plan), troupe.flows, BESIDE)
            self.tenants.append(Tenant(self._ground, part))
        if self.plan.rival:
            part = Part(troupe.app, starts, replace(_less(self.plan), flows=()), troupe.flows, RIVAL)
            self.tenants.append(Tenant(self._ground, part))
        self.store, self.saga_ids = first.store, first.saga_ids
        self.databases: Mapping[str, Any] = first.databases
        """By service; in memory each has its `items`."""
        note = self.observer.note
        self._callers = {tenant.client: Caller(tenant, note, troupe.example) for tenant in self.tenants}
        self.caller = self._callers[first.client]
        self.stage = OutsideWorld(
            self.loop, self._outside, self._script(), troupe.answer, self.keeping, self._reactions()
        )
        troupe.enter(self.stage)
        for tenant in self.tenants:
            self._mains |= {**tenant.mains, tenant.client: self._callers[tenant.client].run}

    def _transport(self, namespace: str, process: str) -> Transport:
        if self.plan.frames:
            opening = AmqpServer(self.broker, self.pipes).opening(process)
            return RabbitMQTransport("amqp://broker/", namespace, process, opening=opening)
        return SimTransport(self.broker, namespace, process)

    def _a_keeping(self) -> Keeping:
        if self.plan.store == "redis":
            return RedisKeeping(self.pipes, self.faults, self._nights.time, self.observer.committed)
        if self.plan.store == "sqlite":
            about = self.broker.network, self.faults, self.loop.time
            return SqliteKeeping(*about, self._kill, self.observer.committed)
        return MemoryKeeping(self.faults, self.observer.committed)

    def _kill(self) -> None:
        """In the middle of whatever it does."""
        if process := running.get():
            self.crash(process)

    def _script(self) -> dict[tuple[str, str, str], ScriptLine]:
        """What a saga meets with, it meets with under every name of its steps, and when it is run again."""
        found: dict[tuple[str, str, str], ScriptLine] = {}
        for tenant in self.tenants:
            for line in tenant.plan.script:
                saga, saga_id = tenant.start(line.saga)[0], tenant.saga_ids[line.saga]
                steps = (line.step, names_between(saga, newest(tenant.app, saga)).here(line.step))
                ids = (saga_id, rerun_id_for(saga_id))
                found |= {(one, step, str(line.operation)): line for one in ids for step in steps}
        return found

    def _reactions(self) -> dict[tuple[str, str], FlowLine]:
        """What a flow meets with, that of the same number of the application beside does as well."""
        lines = [(tenant, line) for tenant in self.tenants for line in tenant.plan.reactions]
        numbers = {tenant: len(tenant.flow_ids) for tenant in self.tenants}
        return {(t.flow_ids[line.flow], line.reaction): line for t, line in lines if line.flow < numbers[t]}

    # --- their lives ---

    def _context(self, process: Process) -> Context:
        name = process.name
        chance = chance_of(self.plan, f"{name}/{process.life}")
        return context_of(process, ProcessClock(self._nights.time, chance, lambda: self._offsets.get(name, 0.0)))

    def _boot(self, name: str) -> None:
        before = self._processes.get(name)
        process = self._processes[name] = Process(name, before.life + 1 if before else 1)
        context = self._context(process)
        task = self.loop.create_task(context.run(self._mains[name]), context=context)
        task.add_done_callback(lambda task: self._ended(process, task), context=self._outside)

    def _ended(self, process: Process, task: Any) -> None:
        """A process came to its own end: whatever supervises it starts it again."""
        error = None if task.cancelled() else task.exception()
        if error is None and process.name in self._callers:
            return
        self.observer.note(f"{process} ended: {type(error).__name__}: {error}")
        self._bury(process)
        self._later(RESTART_AFTER, lambda: self._boot(process.name))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self.loop.call_later(seconds, act, context=self._outside)

    def _bury(self, process: Process) -> None:
        self.loop.kill(process)
        self.pipes.drop(process.name)
        self.broker.drop(process.name)
        self.keeping.crashed(process)

    def _before_step(self, process: Process) -> bool:
        if process.name in self._stepping:
            for fault in self.faults.count("step", process.name):
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
        if fault.kind in ("deploy", "older"):
            self._deploy(fault.target, fault.amount)
        elif fault.kind == "outage":
            self._go_away(fault.target, fault.amount)
        elif fault.kind in _BY_THE_WORLD:
            self._offsets[fault.target] = self._offsets.get(fault.target, 0.0) + fault.amount
        else:
            self.broker.strike(fault)

    def _go_away(self, name: str, seconds: float) -> None:
        self.faults.away[name] += 1
        self._later(seconds, lambda: self.faults.away.subtract([name]))

    def _deploy(self, name: str, seconds: float) -> None:
        """A rolling deploy reaches this process: another release, and some time later its own again."""
        self._ground.deployed.add(name)
        self._start_anew(name)
        self._later(seconds, lambda: self._ground.deployed.discard(name))
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
            self._later(at, partial(self._strike_timed, fault))
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
        """Whether all that was to happen has happened; a night passes where all sleep."""
        done = all(caller.done for caller in self._callers.values())
        if done and all(tenant.quiet() for tenant in self.tenants) and not self._on_its_way():
            return True
        if self._nights.come and all(caller.waits for caller in self._callers.values()):
            self._sleep()
        return False

    def _on_its_way(self) -> bool:
        return self._on_the_broker() or self.stage.under_way > 0 or self.stage.callbacks.pending

    def _on_the_broker(self) -> bool:
        return any(queue.contents() for queue in self.working_queues())

    def _sleep(self) -> None:
        if not any(tenant.busy() for tenant in self.tenants) and not self._on_the_broker():
            self._nights.pass_by(record for tenant in self.tenants for record in tenant.store.records().values())

    def working_queues(self) -> list[Any]:
        """The broker's queues, except those in which messages are parked for a person."""
        return [queue for queue in self.broker.queues() if not queue.name.endswith(".dead")]

    def evidence(self) -> list[Evidence]:
        """All that invariants are checked against, for each application."""
        return [self._evidence(tenant) for tenant in self.tenants]

    def _evidence(self, of: Tenant) -> Evidence:
        others = [other for other in self.tenants if other is not of]
        begun = [one.transition.record for one in self.observer.commits]
        caller, theirs = self._callers[of.client], [self._callers[other.client] for other in others]
        foreign = with_nested({saga_id for other in theirs for saga_id in other.saga_ids}, begun)
        records = {saga_id: one for saga_id, one in of.store.records().items() if saga_id not in foreign}
        renamings = dict(renamings_of(of.app, of.begun, records, caller.reruns))
        contents = ((queue.name, len(queue.contents())) for queue in self.working_queues())
        foreign |= {flow_id for other in others for flow_id in other.flow_ids}
        deeds = [effect for effect in self.effects() if effect.saga_id not in foreign]
        return Evidence(
            app=of.app, saga_ids=of.saga_ids, names=of.names, seconds=self.loop.time(),
            struck=self.faults.struck,
            effects=[called_now(effect, renamings) for effect in deeds if effect.kind not in OF_FLOWS],
            forgets=self.plan.forgets, reacted=[one for one in deeds if one.kind in OF_FLOWS],
            flows={flow_id: of.flows.flow(index) for index, flow_id in enumerate(of.flow_ids)},
            begun=frozenset(of.flow_ids[index] for index in caller.begun),
            rows={name: database.rows() for name, database in of.databases.items()},
            commits=[one for one in self.observer.commits if one.transition.record.saga_id not in foreign],
            records=records, told_early=caller.told_early, reruns=caller.reruns, renamings=renamings,
            deleted=of.store.deleted(), ledger=self.broker.ledger, account=self.broker.account(),
            accepted=sorted(caller.accepted), skipped=frozenset(caller.skipped),
            dropped=[of.saga_ids[index] for index in sorted(caller.dropped)], refused=caller.refused,
            started=caller.done, outbox=len(of.store.outbox()), owing=of.owing(),
            left={name: count for name, count in contents if count}, parked=self._parked(),
            notes=self.observer.notes, trouble=[*self.loop.trouble, *self.stage.overheard],
            callbacks=[one for one in self.stage.callbacks.promised if one.call.correlation_id not in foreign],
            strangers=frozenset(name for other in others for name in of.strangers(other)),
            replies=reply_queue(of.app.namespace, of.app.name, of.store.identity),
        )  # fmt: skip

    def _parked(self) -> dict[str, str]:
        graves = (queue for queue in self.broker.queues() if queue.name.endswith(".dead"))
        return {message_of(copy.wire): reason_of(copy.wire) for queue in graves for copy in queue.contents()}

    def effects(self) -> list[Deed]:
        """All ledgers together, in the order of the world."""
        lines = [effect for database in self.databases.values() for effect in database.deeds()]
        return standing([*lines, *self.stage.provided.values()])

    def statuses(self) -> Iterator[str]:
        """How far each saga is."""
        return (record.status for tenant in self.tenants for record in tenant.store.records().values())

    def acts(self) -> Counter[str]:
        """What was asked for in the run, and how it was answered: so often."""
        asked: Counter[str] = Counter()
        for caller in self._callers.values():
            asked.update(caller.answered)
            asked.update(["flow begun"] * len(caller.begun))
        asked.update(f"finish {answer}" for one in self.stage.callbacks.promised for answer in one.answers[:1])
        return asked

    @property
    def names(self) -> Mapping[str, str]:
        """What to call each saga in a story."""
        return {saga_id: name for tenant in self.tenants for saga_id, name in tenant.names.items()}

    def end(self) -> None:
        """Let go of everything."""
        self.loop.end()
        self.keeping.end()


def _less(plan: RunPlan) -> RunPlan:
    """What the second application does: its first saga is started under the same key, and meets with the same."""
    script = tuple(line for line in plan.script if line.saga == 0)
    first: dict[str, Any] = {"starts": plan.starts[:1], "sagas": plan.sagas[:1], "flows": plan.flows[:1]}
    return replace(plan, orchestrators=1, script=script, acts=(), **first)
