"""A subscriber: reacts to the facts of others, untracked; each at least once, or exactly once with its transaction."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.hearing import SLOWEST
from choros.app.memory import memory_for
from choros.app.resources import NO_RESOURCES, Resources
from choros.app.service import Service
from choros.app.settings import NOTHING_SET, Settings
from choros.runtime.host.call import ExitWanted, plainly
from choros.runtime.host.effects import Effects
from choros.runtime.host.intake import First, Intake
from choros.runtime.host.jobs import Jobs
from choros.runtime.host.retention import SWEEP_SECONDS, Ages, keep_forgetting
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.runtime.host.slots import Calls
from choros.runtime.host.under_way import UnderWay
from choros.runtime.subscriber.batches import Batches, batch_of
from choros.runtime.subscriber.catch_up import CatchUp, ReadAnew
from choros.runtime.subscriber.facts import NEVER_GIVES_UP, NOBODY_ELSE, UNHANDLED, Admission, Fate, Fates, Heard
from choros.runtime.subscriber.heard_types import HeardTypes
from choros.runtime.subscriber.order import HeldBack
from choros.runtime.subscriber.reactions import Reaction
from choros.sources import now
from choros.store.barrier import Database
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.fact_log import FactLog
from choros.transport.instances import instance_name
from choros.transport.port import Delivery, Transport
from choros.transport.topology import RETRY_LADDER, Names

log = get_logger(__name__)

GIVE_WAY_FOR = 5.0
"""Seconds for which an ordered replica lets go of the queue, for one that handles a type that it does not."""
MOST_WAYS, GAVE_WAY_WITHIN = 3, 600.0
"""How often it does so within how many seconds."""
LAST_SECONDS = 1.0
"""What remains, when all else has ended, to note which facts have left."""
CROWDED = "too many facts waited behind it"


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a subscriber does what nobody tells it to do; in seconds."""

    attempts: int = 6
    """How often a fact is tried before it is parked."""
    delays: Sequence[float] = RETRY_LADDER
    """How long a failed fact is held back, in an ordered service, or where each process hears it."""
    publish_timeout: float = 10.0
    """How long a publisher of facts waits for the broker's answer before it publishes again."""
    reread_every: float = 60.0
    """How often a subscriber with a bounded queue looks into the fact log for what its queue has dropped."""
    prune_every: float = SWEEP_SECONDS


USUAL = Cadence()


def ages_of(service: Service, settings: Settings, fact_log: FactLog | None = None) -> Ages:
    """How long a subscriber knows what it has handled, of facts and of the reactions to them."""
    return {
        "facts": memory_for(service, settings, fact_log).total_seconds(),
        "commands": settings.over(service.settings).seconds("forget_after"),
    }


def prefetch_for(service: Service, settings: Settings) -> int:
    """How many facts may be with it: two batches, where nobody says; and no more than it may handle within the time for
    which the broker leaves one with it."""
    batches = [2 * one.batch.most for one in service.reactions.values() if one.batch and settings.prefetch is None]
    rates = [one.rate for one in service.reactions.values() if one.rate]
    soon = [int(rate.most * (SLOWEST / rate.per)) for rate in rates]
    return max(1, min([max([settings.number("prefetch"), *batches]), *soon]))


class Subscriber:
    """Runs a service's reactions, on a connected transport whose topology is declared, and an open database that fits.

    A fact whose handler fails goes through the ladder of delays and is parked after so many attempts; it never
    holds up another one. In an ordered service it waits the same delays in its place, and holds back its own stream.
    So it does, but for the stream, where each process hears every fact: the ladder is for all of them.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        transport: Transport,
        database: Database,
        settings: Settings = NOTHING_SET,
        cadence: Cadence = USUAL,
        clock: Callable[[], float] = now,
        ages: Ages | None = None,
        instance: str = "",
        resources: Resources = NO_RESOURCES,
        flows: FlowPart = NO_FLOWS,
    ) -> None:
        """What was handled is known for as long as `ages` says, else the service itself. `instance`: which process this
        is, where each of them hears every fact."""
        self._service, self.database, self._cadence, self._clock = service, database, cadence, clock
        self._ages = ages or ages_of(service, settings)
        settings = settings.over(service.settings)
        prefetch, names = prefetch_for(service, settings), Names(namespace)
        name = instance_name(service.name, instance) if instance else service.name
        self.queue: str = names.subscriber_queue(name)
        """Where its facts come from."""
        self._ordered, self._alone = service.subscription.ordered, bool(instance)
        self._intake = Intake(transport, self.queue, prefetch, settings.seconds("drain"), together=self._ordered)
        self._fates = Fates(self._intake, cadence.attempts)
        self.counts = self._fates.counts
        """What became of the facts so far: handled, filtered (none that the reaction wants), of another flow, repeated,
        joined (with others that are still to come), retried, held back, overtaken, withdrawn (taken back before it
        came, or nothing to take back), parked, given up, a second cause, too late (a flow has ended otherwise), not for
        us (passed), or for another replica (put off); how often this one gave way to another, and how many batches were
        taken apart since one of their facts failed."""
        self.lag = 0.0
        """Seconds from the publication of the last fact that was handled to its end."""
        self.calls = Calls(settings, resources, service.surroundings)
        """The handlers that are at work."""
        jobs = Jobs(database)
        self._types = HeardTypes(name, service.reactions, jobs, clock)
        self._admission = Admission(service, name, names, self._types, self._fates, flows)
        self._outbox: ServiceOutbox | None = None
        if service.leaves:
            self._outbox = ServiceOutbox(
                service, namespace=namespace, transport=transport, database=database, clock=clock, flows=flows
            )
        self._reaction = Reaction(service, name, jobs, self.calls, clock, self._outbox, flows)
        self._catching_up = CatchUp(
            transport, names, self.queue, self._intake, jobs,
            prefetch=prefetch, publish_timeout=cadence.publish_timeout, clock=clock,
        )  # fmt: skip
        self._gave_way: list[float] = []
        self._room = prefetch // 2
        self._batches = Batches(prefetch, self._intake.spawn, self._work_together)
        self._begin_lanes()

    def _begin_lanes(self) -> None:
        self._lanes, self._under_way = Effects(), UnderWay()
        self._held = HeldBack(self._lanes, room=self._room)

    async def run(self) -> None:
        """React to facts until stopped; raises Misconfigured where that cannot work."""
        log.info("choros.subscriber.started", queue=self.queue)
        unread = () if self._alone else await self._types.announce()
        background = [
            *(() if self._alone else (self._types.keep_announcing(),)),
            self.calls.keep_watching(),
            keep_forgetting(self.database, self._clock, self._ages, self._cadence.prune_every),
        ]
        if self._outbox:
            background.append(self._outbox.run())
        first = self._catch_up(background, unread) if self._service.needs_log else None
        within = 0.0
        try:
            await self._intake.run(self._take, *background, first=first)
            within = LAST_SECONDS
        finally:
            if self._outbox:
                await self._outbox.close(within)
        log.info("choros.subscriber.stopped")

    def _catch_up(self, background: list[Coroutine[Any, Any, None]], unread: Collection[str]) -> First:
        bounded, from_start = self._service.subscription.at_most > 0, self._service.from_start
        again = partial(self._types.has_read, unread) if unread and from_start else None
        if bounded:
            background.append(self._catching_up.sweep(self._take, self._cadence.reread_every))
        return partial(self._catching_up.begin, self._take, from_start=from_start, bounded=bounded, again=again)

    async def stop(self) -> None:
        """Receive no more, finish what is under way, and return; what did not finish in time comes again."""
        self._held.close()
        await self._intake.stop()

    @property
    def last_delivery(self) -> float | None:
        return self._intake.last_delivery

    # --- a fact from its delivery to its end ---

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        for heard in await self._admission.concerning(deliveries):
            if heard.ordered and (heard.handler is None or heard.handler.gives_up is None):
                self._fates.park(heard.delivery, NEVER_GIVES_UP, type=heard.envelope.type)
                continue
            if not self._service.needs_log and (spare := self._under_way.join(heard)) is not None:
                self._fates.settle("repeated", spare.ack())
                continue
            turn = self._lanes.enter(heard.lane)
            if turn is None and (batch := batch_of(heard)):
                self._batches.add(heard, batch)
                continue
            self._intake.spawn(self._work(heard, turn))
            if turn is not None:
                self._held.look()

    async def _work(self, heard: Heard, turn: asyncio.Future[None] | None = None) -> None:
        if turn is not None:
            await turn
        act = self._reaction.instead if heard.ordered else self._reaction.to
        result = await act(heard) if heard.handler else NOBODY_ELSE
        self._end(heard, await self._given_up(heard, result) if isinstance(result, Exception) else result)

    async def _given_up(self, heard: Heard, error: Exception) -> Fate | Exception:
        """What becomes of one that has failed: where it is the last time, what is declared to be said then."""
        said = heard.handler is not None and heard.handler.gives_up is not None
        if not said or isinstance(error, ExitWanted) or not self._fates.is_last(heard):
            return error
        log.warning("choros.fact.given_up", error=plainly(error), type=heard.envelope.type, **about(heard.envelope))
        return await self._reaction.instead(heard)

    async def _work_together(self, facts: Sequence[Heard]) -> None:
        """Where one of them fails, each is handled alone, and only that one goes the way of those that fail."""
        results = await self._reaction.to_all(facts)
        if isinstance(results, ExitWanted):
            self._end(facts[0], results)
        elif isinstance(results, Exception):
            self.counts["taken apart"] += 1
            log.warning(
                "choros.facts.taken_apart", error=plainly(results), type=facts[0].envelope.type, facts=len(facts)
            )
            for heard in facts:
                self._intake.spawn(self._work(heard))
        else:
            self._end_all(facts, results)

    def _end_all(self, facts: Sequence[Heard], results: Sequence[Fate]) -> None:
        handled = [heard for heard, result in zip(facts, results, strict=True) if result == "handled"]
        if handled:
            self.lag = self._clock() - handled[-1].envelope.time
            self._fates.settle_all("handled", [heard.delivery for heard in handled])
        for heard, result in zip(facts, results, strict=True):
            self._leave(heard)
            if result != "handled":
                self._settle(heard, result)

    def _end(self, heard: Heard, result: Fate | Exception) -> None:
        if isinstance(result, ExitWanted):
            self._lanes.abandon(heard.lane)  # it comes again, and what is behind it in its stream
            self._intake.fail(result)
        elif isinstance(result, Exception) and (self._ordered or self._alone):
            self._hold_back(heard, result)
        else:
            self._leave(heard)
            self._settle(heard, result)

    def _leave(self, heard: Heard) -> None:
        self._lanes.leave(heard.lane)
        self._under_way.leave(heard)

    def _settle(self, heard: Heard, result: Fate | Exception) -> None:
        if isinstance(result, Exception):
            self._fates.failed(heard, result)
        elif result == "too old" and isinstance(heard.delivery, ReadAnew):
            self._fates.settle("passed", heard.delivery.ack())
        elif result in UNHANDLED:
            said = {"type": heard.envelope.type, **about(heard.envelope)}
            self._fates.park(heard.delivery, UNHANDLED[result], result, **said)
        else:
            self.lag = self._clock() - heard.envelope.time
            self._fates.settle(result, heard.delivery.ack())

    # --- in order ---

    def _hold_back(self, heard: Heard, error: Exception) -> None:
        """It keeps its lane, so whatever comes behind it in its stream waits."""
        if heard.handler is None and self._gives_way():
            self._lanes.abandon(heard.lane)
        elif (after := self._fates.next_try(heard, error, self._cadence.delays, "choros.fact.held_back")) is None:
            self._leave(heard)
        else:
            self.counts["held back"] += 1
            self._intake.spawn(self._again(heard, after, error))

    def _gives_way(self) -> bool:
        """One replica at a time has the queue of an ordered service, and this is not the one that handles all of it. If
        no other takes it, it comes back: so not again and again. What comes from the log has no other consumer."""
        if self._intake.gives_way:
            return True
        now = self._clock()
        self._gave_way = [at for at in self._gave_way if at > now - GAVE_WAY_WITHIN]
        if self._service.needs_log or len(self._gave_way) >= MOST_WAYS:
            return False
        self._gave_way.append(now)
        self.counts["gave way"] += 1
        self._held.close()  # what is held back goes to the other, too
        self._intake.give_way(GIVE_WAY_FOR, self._begin_lanes)
        return True

    async def _again(self, heard: Heard, after: float, error: Exception) -> None:
        waited = await self._held.wait(heard.lane, after)
        if waited == "again":
            await self._work(heard)
        elif waited == "crowded":
            self._leave(heard)
            self._fates.give_up(heard, error, f", and {CROWDED}")
        else:
            self._lanes.abandon(heard.lane)
