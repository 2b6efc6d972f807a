"""A subscriber: reacts to the facts of others, untracked; each at least once, or exactly once with its transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from choros.app.checks import check
from choros.app.service import Handler, Service, memory_for
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import ChorosError, MessageRejected
from choros.messages import Message
from choros.runtime.host.admission import is_fanned_out, read_envelope
from choros.runtime.host.call import ExitWanted, plainly
from choros.runtime.host.effects import Effects
from choros.runtime.host.intake import Intake
from choros.runtime.host.jobs import Jobs
from choros.runtime.host.retention import SWEEP_SECONDS, Ages, keep_forgetting
from choros.runtime.host.slots import Calls
from choros.runtime.host.under_way import UnderWay
from choros.runtime.subscriber.catch_up import CatchUp, ReadAnew
from choros.runtime.subscriber.heard_types import PASS_ON, HeardTypes, put_off
from choros.runtime.subscriber.inbox import inbox_key, stream_key
from choros.runtime.subscriber.order import HeldBack, is_overtaken, remember
from choros.runtime.subscriber.reactions import admits
from choros.sources import now
from choros.store.barrier import Database, NotDone, Ok, Raised, Transaction
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger, words
from choros.transport.copies import redriven_of
from choros.transport.port import Delivery, Transport
from choros.transport.topology import RETRY_LADDER, Names
from choros.wire.envelope import Envelope

log = get_logger(__name__)

REREAD_SECONDS = 60.0
"""How often a subscriber with a bounded queue looks into the fact log for what its queue has dropped."""
PUBLISH_SECONDS = 10.0
"""How long a publisher of facts waits for the broker's answer before it publishes again."""
GIVE_WAY_FOR = 5.0
"""Seconds for which an ordered replica lets go of the queue, for one that handles a type that it does not."""
MOST_WAYS, GAVE_WAY_WITHIN = 3, 600.0
"""How often it does so within how many seconds."""
OVERTAKEN = "a later fact of its stream was handled before it came"
TOO_OLD = "it is no younger than what this service has forgotten, so it may have been handled"
CROWDED = "too many facts waited behind it"
UNHANDLED: dict[str, str] = {"overtaken": OVERTAKEN, "too old": TOO_OLD}
"""Fates that leave a fact to a person, and why."""


class HandledElsewhere(ChorosError):
    """A fact of a type that only another release of this service handles."""


NOBODY_ELSE = HandledElsewhere("Another release of this service handles this type of fact, and has not taken this one.")

Fate = Literal["handled", "repeated", "overtaken", "too old", "withdrawn", "new"]


@dataclass(slots=True, eq=False)
class _ToldFacts:
    """A fact that concerns this subscriber."""

    delivery: Delivery
    envelope: Envelope
    fact: Message | None
    handler: Handler | None
    """None where only another replica handles this type."""
    lane: str
    """What it must not be worked on together with."""
    tried: int = 0
    """How often its handler has failed while it was held back here."""


class Subscriber:
    """Runs a service's reactions, on a connected transport whose topology is declared, and an open database.

    A fact whose handler fails goes through the ladder of delays and is parked after so many `attempts`; it never
    holds up another one. In an ordered service it waits the same delays in its place, and holds back its own stream.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        transport: Transport,
        database: Database,
        settings: Settings = NOTHING_SET,
        prefetch: int | None = None,
        handler_timeout: float | None = None,
        drain: float | None = None,
        attempts: int = 6,
        clock: Callable[[], float] = now,
        delays: Sequence[float] = RETRY_LADDER,
        publish_timeout: float = PUBLISH_SECONDS,
        reread_every: float = REREAD_SECONDS,
        prune_every: float = SWEEP_SECONDS,
        memory: timedelta | None = None,
        ages: Ages | None = None,
    ) -> None:
        """What was handled is known for so long as `memory` says, else the service itself."""
        settings = Settings.of(prefetch, handler_timeout, drain).over(settings).over(service.settings)
        prefetch = settings.number("prefetch")
        self.counts: Counter[str] = Counter()
        """What became of the facts so far: handled, repeated, retried, held back, overtaken, withdrawn (taken
        back before it came, or nothing to take back), parked, not for us (passed), or for another replica (put off);
        and how often this one gave way to another."""
        self.lag = 0.0
        """Seconds from the publication of the last fact that was handled to its end."""
        self._clock = clock
        self._service = service
        self._unknown_type = f"The service {service.name} has no handler for this type of fact."
        self._database = database
        self._attempts = attempts
        self.calls = Calls(settings)
        """The handlers that are at work."""
        names = Names(namespace)
        self._names = names
        self._jobs = Jobs(database)
        self._heard = HeardTypes(service.name, service.reactions, self._jobs, clock)
        self._gave_way: list[float] = []
        self._room = prefetch // 2
        self._begin_lanes()
        self._queue = names.subscriber_queue(service.name)
        self._intake = Intake(
            transport, self._queue, prefetch, settings.seconds("drain"), together=service.subscription.ordered
        )
        self._delays = delays
        self._reread_every = reread_every
        self._ordered = service.subscription.ordered
        self._prune_every = prune_every
        self._ages: Ages = ages or {
            "facts": (memory or memory_for(service, settings)).total_seconds(),
            "commands": settings.seconds("forget_after"),
        }
        self._catching_up = CatchUp(
            transport, names, self._queue, self._intake, self._jobs,
            prefetch=prefetch, publish_timeout=publish_timeout, clock=clock,
        )  # fmt: skip

    def _begin_lanes(self) -> None:
        self._facts, self._under_way = Effects(), UnderWay()
        self._held = HeldBack(self._facts, room=self._room)

    async def run(self) -> None:
        """React to facts until stopped; raises DeclarationError or Misconfigured where that cannot work."""
        check(self._service, self._service.reactions.values(), self._database)
        log.info("choros.subscriber.started", queue=self._queue)
        unread = await self._heard.announce()
        background = [
            self._heard.keep_announcing(),
            self.calls.keep_watching(),
            keep_forgetting(self._database, self._clock, self._ages, self._prune_every),
        ]
        if self._service.needs_log:
            await self._run_with_log(background, unread)
        else:
            await self._intake.run(self._take, *background)
        log.info("choros.subscriber.stopped")

    async def _run_with_log(self, background: list[Coroutine[Any, Any, None]], unread: Collection[str]) -> None:
        bounded, from_start = self._service.subscription.at_most > 0, self._service.from_start
        again = partial(self._heard.has_read, unread) if unread and from_start else None
        first = partial(self._catching_up.begin, self._take, from_start=from_start, bounded=bounded, again=again)
        if bounded:
            background.append(self._catching_up.sweep(self._take, self._reread_every))
        await self._intake.run(self._take, *background, first=first)

    async def stop(self) -> None:
        """Receive no more, finish what is under way, and return; what did not finish in time comes again."""
        self._held.close()
        await self._intake.stop()

    @property
    def last_delivery(self) -> float | None:
        """When the last delivery came, in seconds since the epoch."""
        return self._intake.last_delivery

    # --- taking facts in ---

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        for told in await self._concerning([told for delivery in deliveries if (told := self._read(delivery))]):
            if not self._service.needs_log and (spare := self._under_way.join(told)) is not None:
                self._settle("repeated", spare.ack())
                continue
            turn = self._facts.enter(told.lane)
            self._intake.spawn(self._work(told, turn))
            if turn is not None:
                self._held.look()

    async def _concerning(self, read: Sequence[_ToldFacts]) -> list[_ToldFacts]:
        """Those that some replica of this service handles; the others are passed over."""
        elsewhere = await self._heard.elsewhere(told.envelope.type for told in read if told.handler is None)
        concerning: list[_ToldFacts] = []
        for told in read:
            ours = told.handler is not None
            if ours or told.envelope.type in elsewhere:
                concerning.append(told)
            elif redriven_of(told.delivery.wire.headers):  # it was put back for this subscriber, not fanned out
                self._park(told.delivery, self._unknown_type)
            else:
                self._settle("passed", told.delivery.ack())
            if not ours:
                self._heard.tell(told.envelope.type, told.envelope.type in elsewhere)
        return concerning

    def _read(self, delivery: Delivery) -> _ToldFacts | None:
        """What is not for us came by the fan-out; all else is parked."""
        try:
            envelope = read_envelope(delivery.wire)
            if envelope.kind != "fact":
                raise MessageRejected(f"A {envelope.kind} came to a subscriber's queue.")
            fanned_out = is_fanned_out(delivery.exchange, envelope.source, self._names)
            handler = self._service.reactions.get(envelope.type)
            lane = (stream_key if self._ordered else inbox_key)(self._service.name, envelope)
            if handler is not None:
                return _ToldFacts(delivery, envelope, handler.message.from_json(envelope.data), handler, lane)
            if fanned_out:
                return _ToldFacts(delivery, envelope, None, None, lane)
            raise MessageRejected(self._unknown_type)
        except MessageRejected as rejected:
            self._park(delivery, rejected.sentence)
            return None

    def _park(self, delivery: Delivery, reason: str) -> None:
        log.warning("choros.fact.parked", reason=reason)
        self._settle("parked", delivery.dead_letter(reason))

    def _settle(self, fate: str, settling: Coroutine[Any, Any, None]) -> None:
        self.counts[fate] += 1
        self._intake.spawn(settling)

    # --- handling them ---

    async def _work(self, told: _ToldFacts, turn: asyncio.Future[None] | None = None) -> None:
        if turn is not None:
            await turn
        self._end(told, await self._result(told) if told.handler else NOBODY_ELSE)

    async def _result(self, told: _ToldFacts) -> Fate | Exception:
        await self.calls.enter(told.handler)
        try:
            match await self._jobs.insist(partial(self._react, told)):
                case Ok("new"):
                    return await self._outside(told)
                case Ok(fate):
                    return fate
                case Raised(error):
                    return error
                case NotDone(why):
                    raise why
        finally:
            self.calls.leave(told.handler)

    async def _react(self, told: _ToldFacts, transaction: Transaction) -> Fate:
        """Inbox row and effect together; for a handler without transaction only a look into the inbox."""
        if await transaction.read_row(inbox_key(self._service.name, told.envelope)) is not None:
            return "repeated"
        if told.envelope.time <= await transaction.horizon("facts"):
            return "too old"
        if self._ordered and await is_overtaken(self._service.name, told.envelope, transaction):
            return "overtaken"
        assert told.handler is not None
        if told.handler.transaction is None:
            return "new"
        admitted = await admits(self._service, told.handler, told.envelope, transaction, self._clock())
        if admitted == "too old":
            return admitted
        await self._remember(told, transaction)
        if admitted == "withdrawn":
            return admitted
        await self._call(told, transaction)
        return "handled"

    async def _remember(self, told: _ToldFacts, transaction: Transaction) -> None:
        now = self._clock()
        await remember(self._service.name, told.envelope, transaction, ordered=self._ordered, now=now)

    async def _call(self, told: _ToldFacts, transaction: Transaction | None) -> None:
        assert told.handler is not None
        assert told.fact is not None
        await self.calls.call(told.handler, told.envelope, told.fact, transaction)

    async def _outside(self, told: _ToldFacts) -> Fate | Exception:
        """No transaction holds this together: after a crash in between, the handler runs again."""
        try:
            await self._call(told, None)
        except Exception as error:
            return error
        noted = await self._jobs.insist(partial(self._remember, told))
        if isinstance(noted, NotDone):
            raise noted.why
        return noted.error if isinstance(noted, Raised) else "handled"

    def _end(self, told: _ToldFacts, result: Fate | Exception) -> None:
        if isinstance(result, ExitWanted):
            self._facts.abandon(told.lane)  # it comes again, and what is behind it in its stream
            self._intake.fail(result)
            return
        if isinstance(result, Exception) and self._ordered:
            self._hold_back(told, result)
            return
        self._leave(told)
        if isinstance(result, Exception):
            self._failed(told, result)
        elif result == "too old" and isinstance(told.delivery, ReadAnew):
            self._settle("passed", told.delivery.ack())
        elif result in UNHANDLED:
            log.warning("choros.fact.parked", type=told.envelope.type, reason=UNHANDLED[result], **about(told.envelope))
            self._settle(result, told.delivery.dead_letter(UNHANDLED[result]))
        else:
            self.lag = self._clock() - told.envelope.time
            self._settle(result, told.delivery.ack())

    def _leave(self, told: _ToldFacts) -> None:
        self._facts.leave(told.lane)
        self._under_way.leave(told)

    def _put_off(self, told: _ToldFacts) -> None:
        returns, after = told.delivery.returns, put_off(told.delivery.waits)
        if after is not None and returns < len(PASS_ON):
            self.counts["put off"] += 1
            told.delivery.pass_on(PASS_ON[returns])
        elif after is None:
            self._settle("parked", told.delivery.dead_letter(NOBODY_ELSE.sentence))
        else:
            self._settle("put off", told.delivery.retry(after, tried=False))

    def _failed(self, told: _ToldFacts, error: Exception) -> None:
        if told.handler is None:
            self._put_off(told)
            return
        tried = told.delivery.retries + 1
        if tried >= self._attempts:
            self._give_up(told, tried, error)
            return
        after = RETRY_LADDER[min(tried, len(RETRY_LADDER)) - 1]
        words = {"error": plainly(error), **about(told.envelope)}
        log.warning("choros.fact.failed", type=told.envelope.type, retries=tried, retry_in=after, **words)
        self._settle("retried", told.delivery.retry(after))

    def _give_up(self, told: _ToldFacts, tried: int, error: BaseException, more: str = "") -> None:
        log.error("choros.fact.parked", type=told.envelope.type, error=plainly(error), **about(told.envelope))
        said = ": ".join([type(plainly(error)).__name__, *words(plainly(error)).values()])
        reason = f"handler failed {tried} times: {said}{more}"
        if told.handler is None:
            reason = NOBODY_ELSE.sentence
        self._settle("parked", told.delivery.dead_letter(reason))

    # --- in order ---

    def _hold_back(self, told: _ToldFacts, error: Exception) -> None:
        """It keeps its lane, so whatever comes behind it in its stream waits."""
        if told.handler is None and self._gives_way():
            self._facts.abandon(told.lane)
            return
        told.tried += 1
        tried = told.delivery.retries + told.tried
        if tried >= self._attempts:
            self._leave(told)
            self._give_up(told, tried, error)
            return
        after = self._delays[min(tried, len(self._delays)) - 1]
        words = {"error": plainly(error), **about(told.envelope)}
        log.warning("choros.fact.held_back", type=told.envelope.type, retries=tried, retry_in=after, **words)
        self.counts["held back"] += 1
        self._intake.spawn(self._again(told, after, tried, error))

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

    async def _again(self, told: _ToldFacts, after: float, tried: int, error: Exception) -> None:
        waited = await self._held.wait(told.lane, after)
        if waited == "again":
            await self._work(told)
        elif waited == "crowded":
            self._leave(told)
            self._give_up(told, tried, error, f", and {CROWDED}")
        else:
            self._facts.abandon(told.lane)
