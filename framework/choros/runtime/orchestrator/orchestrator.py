"""The orchestrator: replies and timers in, commands and facts out. Any number may run side by side."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from choros.app.app import App
from choros.errors import MessageRejected, StoreUnreachable
from choros.runtime.host.call import in_order, plainly
from choros.runtime.host.off_the_wire import read_envelope
from choros.runtime.host.retention import SWEEP_SECONDS
from choros.runtime.orchestrator.absence import Absent
from choros.runtime.orchestrator.decider import Decider
from choros.runtime.orchestrator.facts import AppFacts, FactMemory
from choros.runtime.orchestrator.kept_facts import KeptFacts, opened_for
from choros.runtime.orchestrator.lock_store import opened_locks
from choros.runtime.orchestrator.nesting import read_order
from choros.runtime.orchestrator.replies import read_reply
from choros.runtime.orchestrator.retention import Retention, Sweep
from choros.runtime.orchestrator.return_address import ReturnAddress
from choros.runtime.orchestrator.schedules import Schedules, opened
from choros.runtime.orchestrator.signals import read_signal
from choros.runtime.orchestrator.signature import Signature
from choros.runtime.orchestrator.start import Startable
from choros.runtime.orchestrator.stuck import Watch
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Folded, Unjudged, Work
from choros.sources import now
from choros.store.sagas import Loaded, Store
from choros.telemetry.logs import get_logger
from choros.transport.handover import Handover
from choros.transport.permissions import orchestrator
from choros.transport.port import Carrier, Consumer, Delivery, Transport
from choros.transport.topology import Names

log = get_logger("choros.orchestrator")

SURVEY_EVERY = 60.0
LAST_SECONDS = 1.0
"""What remains at least, when the drain time is over, to note what has been sent."""
DEFAULT = Retention()


class Orchestrator:
    """Runs the sagas of an application on a connected transport, whose topology it can `declare`, and an open store."""

    def __init__(
        self,
        app: App,
        *,
        transport: Transport,
        store: Store,
        prefetch: int = 500,
        timers_every: float = 0.2,
        resend_after: float = 5.0,
        scan_every: float = 1.0,
        drain: float = 10.0,
        retention: Retention = DEFAULT,
        sweep_every: float = SWEEP_SECONDS,
        handover: Handover | None = None,
        schedules: Store | None = None,
        locks: Store | None = None,
        kept: Store | None = None,
    ) -> None:
        """By the `handover` it has local commands carried out; without one it leaves them to other orchestrators.
        `schedules` is an open store of the scope `App.schedule_scope`, where the application has any,
        `locks` one of `App.lock_scope`, and `kept` one of `App.facts_scope`, where its sagas wait for facts."""
        self._address = ReturnAddress(app, store)
        self._make = Transitions(app, lambda: self._address.queue).make
        self._handover = handover
        self.decider = Decider(
            self._decide, store, transport, resend_after=resend_after, scan_every=scan_every,
            local=handover.send if handover else None, local_every=timers_every,
            locks=opened_locks(app, locks),
        )  # fmt: skip
        self._app = app
        self._names = Names(app.namespace)
        self._starts = Startable(app.scope, app.sagas)
        self.transport = transport
        self.absent = Absent(self._names, transport.attendance)
        """Services that owe it an answer."""
        self.schedules = Schedules(app, opened(app, schedules), self.decider.ask) if app.schedules else None
        """What starts sagas by the clock."""
        memory = FactMemory(retention.start_keys, store.now)
        self._kept = KeptFacts(app, store, opened_for(app, kept), self.decider.ask) if app.awaited else None
        answer = self._kept.take if self._kept else None
        self._facts = AppFacts(app, self.decider.ask, lambda: self.decider.deciding, memory, answer)
        self.decider.look = self._kept.look if self._kept else None
        self.store = store
        self._prefetch = prefetch
        self._timers_every = timers_every
        self._drain = drain
        self._known = app.kinds
        self.sweep = Sweep(store, retention, sweep_every)
        """Deletes what has ended and is old enough."""
        self.stranded = Watch(app.sagas, app.kinds, store)
        """What it leaves alone."""
        self.oldest: float | None = None
        """When the saga began that has not ended and is the oldest; None where all have."""
        self._stopping = asyncio.Event()
        self.last_delivery: float | None = None
        """When the last reply came, in seconds since the epoch."""

    async def declare(self) -> None:
        """Create everything that the application needs on the broker, before anybody sends."""
        app = self._app
        writes = orchestrator(
            self._names, app.name, nests=app.nests, hears=bool(app.heard), signalled=bool(app.signallers)
        ).writes
        await self.transport.declare(replace(app.topology, writes=writes))
        await self._address.declare(self.transport)

    async def run(self) -> None:
        """Run until stopped, once all is declared; raises Misconfigured where the broker or the store cannot be used
        at all."""
        await self._look_for_stranded()
        carriers: Sequence[Carrier] = (self.transport, *([self._handover] if self._handover else []))
        queues = self._address.queues
        consumers = [await carrier.consume(queue, self._prefetch) for carrier in carriers for queue in queues]
        told, signals = await self._told(), await self._signals()
        jobs = (
            *(in_order(partial(self._receive, consumer, self._read)) for consumer in consumers),
            *(in_order(partial(self._receive, consumer, self._read_signal)) for consumer in signals),
            *(in_order(partial(self._hear, consumer)) for consumer in told),
            self.decider.timers.run(self._known, self._timers_every),
            self._survey(),
            self.sweep.run(),
            self.absent.run(),
            *([self.schedules.run()] if self.schedules else []),
            *([self.decider.locks.run()] if self.decider.locks else []),
            *([self._kept.run()] if self._kept else []),
            *(relay.run() for relay in self.decider.outboxes.relays),
        )
        tasks = [asyncio.create_task(job) for job in jobs]
        deciding = asyncio.create_task(in_order(self.decider.run))
        stopping = asyncio.create_task(self._stopping.wait())
        log.info("choros.orchestrator.started", application=self._app.name)
        try:
            await asyncio.wait([*tasks, deciding, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._wind_down([*consumers, *signals, *told], [*tasks, stopping], deciding)
        for task in (*tasks, deciding):
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise plainly(error)

    async def _wind_down(
        self, consumers: Sequence[Consumer], tasks: Sequence[asyncio.Task[object]], deciding: asyncio.Task[None]
    ) -> None:
        """Take nothing more in, decide what was taken in, publish it; what is left comes again elsewhere. What is being
        carried out here may first be answered."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain
        if self._handover and self._stopping.is_set() and not deciding.done():
            await self._handover.end(self._drain)
        for consumer in consumers:
            await consumer.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=max(LAST_SECONDS, deadline - loop.time()))
        self.decider.stop()
        await asyncio.wait([deciding], timeout=max(LAST_SECONDS, deadline - loop.time()))
        deciding.cancel()
        await self.decider.close(max(LAST_SECONDS, deadline - loop.time()))
        log.info("choros.orchestrator.stopped", application=self._app.name)

    @property
    def reply_queues(self) -> Sequence[str]:
        """Where what its sagas wait for comes."""
        return list(self._address.queues)

    def stop(self) -> None:
        """Let `run` finish what is under way and return."""
        self._stopping.set()

    async def _receive(self, consumer: Consumer, read: Callable[[Delivery], Work | None]) -> None:
        while deliveries := await consumer.receive(self._prefetch):
            self.last_delivery = now()
            self.decider.submit(work for delivery in deliveries if (work := read(delivery)))

    async def _told(self) -> Sequence[Consumer]:
        """What facts come by, where the application acts on any."""
        queue = self._names.application_facts(self._app.name)
        return [await self.transport.consume(queue, self._prefetch)] if self._app.heard else []

    async def _signals(self) -> Sequence[Consumer]:
        """What signals come by, where a service may send any; what is in them is decided as replies are."""
        queue = self._names.signal_queue(self._app.name)
        return [await self.transport.consume(queue, self._prefetch)] if self._app.signallers else []

    async def _hear(self, consumer: Consumer) -> None:
        while deliveries := await consumer.receive(self._prefetch):
            self.last_delivery = now()
            for delivery in deliveries:
                self.decider.background(self._facts.take(delivery))

    def _read(self, delivery: Delivery) -> Work | None:
        try:
            envelope = read_envelope(delivery)
            if envelope.kind == "command":
                saga_id, _ = read_order(envelope, delivery.exchange, self._names, self._app.name)
                return Work(saga_id, Unjudged(envelope), delivery)
            reply = read_reply(envelope, delivery.exchange, self._names, self._app.name)
        except MessageRejected as rejected:
            log.warning("choros.reply.parked", reason=rejected.sentence)
            self.decider.background(delivery.dead_letter(rejected.sentence))
            return None
        self.absent.heard(reply.source.rpartition("/")[2])
        return Work(reply.correlation_id, Unjudged(reply), delivery)

    def _read_signal(self, delivery: Delivery) -> Work | None:
        try:
            signal = read_signal(read_envelope(delivery), delivery.exchange, self._names, self._app.services)
        except MessageRejected as rejected:
            log.warning("choros.signal.parked", reason=rejected.sentence)
            self.decider.background(delivery.dead_letter(rejected.sentence))
            return None
        saga_id = signal.correlation_id or self._starts.id_of(signal.saga, signal.subject)
        return Work(saga_id, Unjudged(signal), delivery, signature=Signature(signal.source))

    def _decide(self, works: Sequence[Work], loaded: Loaded | None, at: float) -> Folded:
        """What the declaration makes of it; who lets a command wait too long is noted."""
        folded = self._make(works, loaded, at)
        for event in folded.events:
            if event.kind == "timed_out" and folded.transition:
                record = folded.transition.record
                leaf = self._app.sagas[record.saga, record.saga_version].outline.commanded(event.step)
                if leaf and not (leaf.local or leaf.nests):
                    self.absent.overdue(leaf.to)
        return folded

    async def _survey(self) -> None:
        """Now and then look for what is left alone: an instance may stand that gets no reply and no timer."""
        while True:
            await asyncio.sleep(SURVEY_EVERY)
            await self._look_for_stranded()

    async def _look_for_stranded(self) -> None:
        with contextlib.suppress(StoreUnreachable):  # said where sagas are decided; the next look is not far
            await self.stranded.look()
            self.oldest = await self.store.oldest()
