"""A participant: carries the commands of one service out, each at most once, and answers them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.resources import NO_RESOURCES, Resources
from choros.app.service import Service
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import MessageRejected, Refused, UsageError
from choros.runtime.host.admission import NoHandler, Received, read_command
from choros.runtime.host.call import ExitWanted, HandlerBroke, plainly
from choros.runtime.host.effects import Effects
from choros.runtime.host.intake import Intake
from choros.runtime.host.jobs import Jobs
from choros.runtime.host.retention import SWEEP_SECONDS, Ages, keep_forgetting
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.runtime.host.slots import Calls
from choros.runtime.host.under_way import UnderWay
from choros.runtime.participant.answers import Answer, addressed, failure
from choros.runtime.participant.execution import Execution, may_refuse
from choros.runtime.participant.operations import NO_SAGAS, check_operation
from choros.runtime.participant.passing_on import PassingOn
from choros.runtime.participant.reply_outbox import ReplyOutbox
from choros.runtime.participant.settlement import Settling
from choros.saga.saga import Sagas
from choros.sources import now
from choros.store.barrier import Database
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.port import Carrier, Delivery, Transport
from choros.transport.topology import Names

log = get_logger(__name__)

OUTSIDE_SECONDS = 1.0
"""How often replies are looked for that another process may have written: one that finishes a command from outside."""
LAST_SECONDS = 1.0
"""What remains, when all else has ended, to note which replies have left."""


class Participant:
    """Runs a service's command handlers, on a connected transport whose topology is declared, and an open database that
    fits.

    Commands are carried out side by side, those on one effect one after another; with a transaction, as many at a time
    as the database allows. Commit, reply with confirm, then acknowledge.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        transport: Carrier,
        database: Database,
        settings: Settings = NOTHING_SET,
        clock: Callable[[], float] = now,
        scan_every: float = 30.0,
        prune_every: float = SWEEP_SECONDS,
        sagas: Sagas = NO_SAGAS,
        ages: Ages | None = None,
        publisher: Transport | None = None,
        resources: Resources = NO_RESOURCES,
        flows: FlowPart = NO_FLOWS,
    ) -> None:
        """A command of one of these `sagas` is parked where its type does not fit the operation of its key.
        `settings` go before those of the service. What its handlers publish leaves by `publisher`."""
        settings = settings.over(service.settings)
        self.counts: Counter[str] = Counter()
        """What became of the commands so far: ok, refused, failed, unfinished, repeated, parked, copies of what is
        under way, or passed on to another replica; and replies unconfirmed."""
        self.calls = Calls(settings, resources, service.surroundings)
        """The handlers that are at work."""
        self._service, self._sagas = service, sagas
        self._names = Names(namespace)
        self.queue: str = self._names.service_queue(service.name)
        """Where its commands come from."""
        self.database: Database = database
        self._clock = clock
        self._prune_every = prune_every
        self._ages: Ages = ages or {"commands": settings.seconds("forget_after")}
        source = f"/{namespace}/{service.name}"
        skew = settings.seconds("clock_skew")
        self._outbox: ServiceOutbox | None = None
        if service.leaves:
            if publisher is None:
                sentence = f"Handlers of service {service.name!r} publish, and its participant is given no way to."
                raise UsageError(sentence, "Participant(..., publisher=transport).")
            self._outbox = ServiceOutbox(
                service, namespace=namespace, transport=publisher, database=database, clock=clock, flows=flows
            )
        opens = self._outbox.open_for if self._outbox else None
        self._execution = Execution(
            source, clock=clock, clock_skew=skew, calls=self.calls, outbox=opens, stamps=service.stamps
        )
        self._settling = Settling(service, self._execution, Jobs(database))
        if service.finishes_later:
            scan_every = min(scan_every, OUTSIDE_SECONDS)
        self._replies = ReplyOutbox(transport, database, self.counts, self._names.replies_of(service.name), scan_every)
        self._effects = Effects()
        self._under_way = UnderWay()
        self.passing_on = PassingOn(service.name, max(1, settings.number("prefetch") // 4), clock)
        """Commands that this replica does not handle."""
        self._intake = Intake(
            transport, self._names.service_queue(service.name), settings.number("prefetch"), settings.seconds("drain")
        )

    async def run(self) -> None:
        """Carry commands out until stopped; raises Misconfigured where that cannot work."""
        log.info("choros.participant.started", queue=self._names.service_queue(self._service.name))
        forgetting = keep_forgetting(self.database, self._clock, self._ages, self._prune_every)
        within = 0.0
        try:
            leaving = [self._outbox.run()] if self._outbox else []
            background = (self._replies.relay.run(), forgetting, self.calls.keep_watching(), *leaving)
            await self._intake.run(self._take, *background)
            within = LAST_SECONDS
        finally:
            if self._outbox:
                await self._outbox.close(within)
            await self._replies.relay.close(within)
        log.info("choros.participant.stopped")

    async def stop(self) -> None:
        """Receive no more, finish what is under way, and return; what did not finish in time comes again."""
        await self._intake.stop()

    @property
    def last_delivery(self) -> float | None:
        return self._intake.last_delivery

    # --- taking commands in ---

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            received = self._read(delivery)
            if received is None:
                continue
            if (spare := self._under_way.join(received)) is not None:
                self.counts["copies"] += 1
                await spare.ack()
            else:
                self._intake.spawn(self._carry_out(received, self._effects.enter(received.key.effect)))

    def _read(self, delivery: Delivery) -> Received | None:
        try:
            received = read_command(delivery, self._service, self._names)
            check_operation(received.envelope, received.key, self._sagas)
        except MessageRejected as rejected:
            self._reject(delivery, rejected)
            return None
        received.delivery = delivery
        return received

    def _reject(self, delivery: Delivery, rejected: MessageRejected) -> None:
        if isinstance(rejected, NoHandler) and self.passing_on.take(delivery, rejected.kind):
            self.counts["passed on"] += 1
        else:
            self._park(delivery, rejected.sentence)

    def _park(self, delivery: Delivery, reason: str) -> None:
        self.counts["parked"] += 1
        log.warning("choros.command.parked", reason=reason)
        self._intake.spawn(delivery.dead_letter(reason))

    # --- carrying them out ---

    async def _carry_out(self, received: Received, turn: asyncio.Future[None] | None) -> None:
        """One command, once nobody works on its effect, and there is a place."""
        if turn is not None:
            await turn
        try:
            async with self.calls.place(received.handler):
                result = await self._settling.carry_out(received)
            if self._outbox and isinstance(result, Answer):
                self._outbox.dispatch(received.written)
        finally:
            self._effects.leave(received.key.effect)
        if isinstance(result, ExitWanted):
            self._intake.fail(result)  # the command comes again
        elif isinstance(result, HandlerBroke) and isinstance(result.raised, GeneratorExit):
            self._park(self._under_way.leave(received), "Its handler raised GeneratorExit, which is never an answer.")
        else:
            await self._answer(received, result)

    # --- answering them ---

    async def _answer(self, received: Received, result: Answer | Exception) -> None:
        """Reply with confirm, then acknowledge; parked is a command whose reply nobody takes."""
        if not isinstance(result, Answer):
            self._under_way.leave(received)  # the next attempt asks for more than this answer
        leave = partial(self._under_way.leave, received)
        delivery, why = await self._replies.deliver(self._answer_of(received, result), leave)
        if why:
            self.counts["parked"] += 1
            await delivery.dead_letter(why)
        else:
            await delivery.ack()

    def _answer_of(self, received: Received, result: Answer | Exception) -> Answer:
        if isinstance(result, Answer):
            self._count(received, result)
            return addressed(result, received.envelope)
        self.counts["failed"] += 1
        error = plainly(result)
        self._say_why(received, error)
        body = failure(received.envelope, error)
        return Answer(self._execution.answer(received.envelope, body, "failed"))

    def _count(self, received: Received, result: Answer) -> None:
        reply = result.reply
        self.counts["unfinished" if result.goes_on else "repeated" if result.repeated else reply.outcome] += 1
        if reply.outcome == "refused" and not result.repeated:
            log.info("choros.command.refused", type=received.envelope.type, **about(received.envelope))

    def _say_why(self, received: Received, error: BaseException) -> None:
        undeclared = isinstance(error, Refused) and not may_refuse(received, error)
        event = "choros.command.undeclared_refusal" if undeclared else "choros.command.failed"
        say = log.error if undeclared else log.warning
        say(event, type=received.envelope.type, error=error, **about(received.envelope))
