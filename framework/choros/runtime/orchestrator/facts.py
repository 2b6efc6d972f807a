"""The facts that an application acts on: each is done with once all that it begins is committed.

What makes a start single is its key, so a fact that is told again, by whoever and under whatever id, begins the same
saga, as two orchestrators do that have it at the same time. A fact leaves its queue only behind the commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from choros.app.app import App
from choros.app.awaited_fact import AwaitedFact
from choros.app.fact_start import FactStart
from choros.errors import ChorosError, MessageRejected, StartConflict, StoreUnreachable
from choros.messages import Fact
from choros.runtime.host.off_the_wire import is_fanned_out, read_envelope
from choros.runtime.orchestrator.start import Startable
from choros.runtime.orchestrator.work import Start, Work, WorkDone
from choros.sources import CLOCK_SKEW
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger
from choros.transport.port import Delivery
from choros.transport.topology import RETRY_LADDER, Names
from choros.values import replace
from choros.wire.envelope import Envelope

log = get_logger("choros.orchestrator")

TakeFact = Callable[[AwaitedFact, Fact, Envelope], Awaitable[None]]
"""Keeps a fact, and tells it to the sagas that wait for it."""
ATTEMPTS = 6
"""How often a fact is tried of which no start can be made, before it is parked."""
GIVEN_BACK = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds until a fact that only another release acts on goes back to the queue; after that it is put off."""
PUT_OFF = ((10, 1.0), (20, 5.0), (140, 30.0))
"""How long it is put off, by how often it has been: for about an hour in all. Then nobody acts on it any more."""
MOST_TOLD = 1000


@dataclass(frozen=True, slots=True)
class FactMemory:
    """How long it is known which sagas a fact has begun."""

    start_keys: timedelta | None
    """For so long at least after a saga has begun; None is for ever."""
    clock: Callable[[], float]

    def check(self, fact: Envelope) -> None:
        """Raises MessageRejected for one that is so old that what it has begun may be forgotten."""
        if self.start_keys is None:
            return
        if fact.time <= self.clock() - self.start_keys.total_seconds() + CLOCK_SKEW:
            raise MessageRejected("It is no younger than what is forgotten, so it may have begun its saga already.")


class AppFacts:
    """Acts on the facts of one application, on whose queue any number of orchestrators may work."""

    def __init__(
        self, app: App, ask: Callable[[Work], Awaitable[WorkDone]], deciding: Callable[[], bool], memory: FactMemory,
        answer: TakeFact | None = None,
    ) -> None:  # fmt: skip
        """`ask` commits a start: that is `Decider.ask`, as long as it is `deciding`. `answer` is
        `KeptFacts.take`, where its sagas wait for facts."""
        self._app, self._ask, self._deciding, self._memory, self._answer = app, ask, deciding, memory, answer
        self._names = Names(app.namespace)
        self._starts = Startable(app.scope, app.sagas)
        self._kinds: dict[str, type[Fact]] = {
            **{one.on.type_name: one.on for one in app.starts},
            **{name: one.kind for name, one in app.awaited.items()},
        }
        self._told: set[str] = set()

    async def take(self, delivery: Delivery) -> None:
        """From its delivery to its end."""
        try:
            envelope = self._read(delivery)
        except MessageRejected as rejected:
            await _park(delivery, rejected)
            return
        if envelope.type not in self._kinds:
            await self._pass(delivery, envelope)
            return
        try:
            await self._act(envelope)
        except (MessageRejected, StartConflict) as unfit:
            await _park(delivery, unfit, envelope)
        except Exception as error:
            if not self._deciding():
                return  # unsettled: it comes again
            if not isinstance(error, ChorosError):
                raise
            await self._failed(delivery, envelope, error)
        else:
            await delivery.ack()

    def _read(self, delivery: Delivery) -> Envelope:
        """Raises MessageRejected for what is no fact, or came by the way of another publisher than it names."""
        envelope = read_envelope(delivery)
        if envelope.kind != "fact":
            raise MessageRejected(f"A {envelope.kind} came to the facts of an application.")
        is_fanned_out(delivery.exchange, envelope.source, self._names)
        return envelope

    async def _act(self, envelope: Envelope) -> None:
        fact = self._kinds[envelope.type].from_json(envelope.data)
        if self._answer and (awaited := self._app.awaited.get(envelope.type)):
            await self._answer(awaited, fact, envelope)
        starts = [one for one in self._app.starts if one.on.type_name == envelope.type]
        if starts:
            self._memory.check(envelope)
        works = list(self._begun(starts, fact, envelope))
        results = await asyncio.gather(*map(self._ask, works), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    def _begun(self, starts: Sequence[FactStart], fact: Fact, envelope: Envelope) -> Iterator[Work]:
        """The sagas that it starts, told apart by the fact alone."""
        for one in starts:
            if (message := one.message(fact)) is not None:
                saga = self._app.sagas[one.saga.name, one.saga.version]
                trace, own = (envelope.traceparent, envelope.tracestate), envelope.own_headers
                work = self._starts.work(saga, message, one.key_of(fact), *trace)
                assert isinstance(work.given, Start)
                yield Work(work.saga_id, replace(work.given, id=envelope.id, fact=envelope.type, own_headers=own))

    async def _failed(self, delivery: Delivery, envelope: Envelope, error: ChorosError) -> None:
        """The next release may mend it; what the store has no room for is no attempt."""
        tried = delivery.retries + 1
        if isinstance(error, StoreUnreachable):
            await delivery.retry(RETRY_LADDER[0], tried=False)
        elif tried >= ATTEMPTS:
            await _park(delivery, error, envelope)
        else:
            after = RETRY_LADDER[min(tried, len(RETRY_LADDER)) - 1]
            said = about(envelope)
            log.warning("choros.fact.failed", reason=error.sentence, retries=tried, retry_in=after, **said)
            await delivery.retry(after)

    async def _pass(self, delivery: Delivery, envelope: Envelope) -> None:
        """Only what some release of this application acts on comes here: in a rolling deploy one of the others does.
        What none does any more, since its binding is still there, is passed over in the end."""
        if delivery.returns < len(GIVEN_BACK):
            delivery.pass_on(GIVEN_BACK[delivery.returns])
        elif after := next((seconds for below, seconds in PUT_OFF if delivery.waits < below), 0.0):
            await delivery.retry(after, tried=False)
        else:
            self._tell(envelope.type)
            await delivery.ack()

    def _tell(self, kind: str) -> None:
        """Once for each type."""
        if kind not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(kind)
            log.warning("choros.fact.passed_over", type=kind)


async def _park(delivery: Delivery, why: ChorosError, envelope: Envelope | None = None) -> None:
    log.warning("choros.fact.parked", reason=why.sentence, **(about(envelope) if envelope else {}))
    await delivery.dead_letter(why.sentence)
