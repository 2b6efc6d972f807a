"""Facts as they went out: putting them out again after their broker was emptied, and seeing who lacks them.

A store's history holds every fact that a saga has released, and a service's outbox what it has published, as the
envelope that went out. It is published again as it was: same id, source, stream and number, so an inbox takes it for
the same fact.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

from choros.errors import BrokerUnreachable
from choros.runtime.host.outbox_rows import is_of, readable
from choros.runtime.orchestrator.history import UNREADABLE, read_history
from choros.sources import CLOCK_SKEW, full_jitter
from choros.store.barrier import Database
from choros.store.paging import pages
from choros.store.sagas import LIVE, HistoryRow, Record, Store
from choros.telemetry.logs import get_logger
from choros.transport.port import Published, Transport
from choros.wire.envelope import Envelope

log = get_logger(__name__)

PAGE = 200
"""Sagas, or rows of an outbox, that are looked at together."""
_ROUNDS = 6
"""How often in a row the broker may take nothing before we give up."""
_OUT = (Published.CONFIRMED, Published.RETURNED)


async def released(
    store: Store, since: float, *, saga: str = "", saga_id: str = ""
) -> AsyncIterator[Sequence[Envelope]]:
    """The facts that were released at that moment or later, some sagas at a time; of one saga in order, all together.

    Raises StoreUnreachable. An unknown `saga_id` has no facts."""
    async for records in _records(store, since, saga, saga_id):
        histories = await asyncio.gather(*(store.history(record.saga_id) for record in records))
        pairs = zip(records, histories, strict=True)
        facts = [
            fact for record, rows in pairs for row in rows if row.at >= since for fact in facts_in(record.saga_id, row)
        ]
        if facts:
            yield facts


async def published(database: Database, service: str, since: float) -> AsyncIterator[Sequence[Envelope]]:
    """The facts that a service has published at that moment or later and not forgotten, some at a time; of one stream
    in order. Those that have not left yet are none of them: they leave by themselves. Raises StoreUnreachable."""
    after = ""
    while rows := await database.remembered("outbox", since, after, PAGE):
        since, after = rows[-1].ages_from, rows[-1].key
        its = [row for row in rows if row.state == "left" and is_of(service, row)]
        if facts := [message for _, message in readable(its) if message.kind == "fact"]:
            yield facts


async def _records(store: Store, since: float, saga: str, saga_id: str) -> AsyncIterator[Sequence[Record]]:
    if saga_id:
        yield [one.record for one in (await store.load([saga_id])).values() if not one.record.gone]
        return
    # A later change may be noted under an earlier time.
    async for records in changed(store, max(0.0, since - CLOCK_SKEW)):
        yield [record for record in records if saga in ("", record.saga)]


async def changed(store: Store, since: float, page: int = PAGE) -> AsyncIterator[Sequence[Record]]:
    """The records that have changed at that moment or later, each once: first those that have not ended, all of which
    it reads, then the others, by an index. One that ends meanwhile is no less found, since it is ahead."""
    seen: set[str] = set()
    for status in LIVE:
        async for records in pages(partial(store.find, status=status, limit=page)):
            fresh = [one for one in records if one.updated_at >= since and one.saga_id not in seen]
            seen.update(one.saga_id for one in fresh)
            yield fresh
    async for records in pages(partial(store.ended, since, limit=page)):
        yield [record for record in records if record.saga_id not in seen]


def facts_in(saga_id: str, row: HistoryRow) -> Iterator[Envelope]:
    """The facts that a transition has released. One that cannot be read is named, and passed over."""
    for one in read_history(row.events):
        try:
            if one.kind == UNREADABLE:
                raise ValueError("the row is no list of events")
            if one.kind == "fact":
                yield one.fact()
        except ValueError as error:
            log.warning("choros.fact.unreadable", saga_id=saga_id, version=row.version, reason=str(error))


async def put_out(transport: Transport, facts: Sequence[Envelope]) -> Counter[Published]:
    """Publish facts until each is confirmed or no queue takes it; how many met which end.

    Those of one stream leave in the order given. Raises BrokerUnreachable where the broker takes none for too long."""
    outcome: Counter[Published] = Counter()
    left, rounds = list(facts), 0
    delays = full_jitter()
    while left:
        answers = await transport.publish(left)
        outcome.update(answer for answer in answers if answer in _OUT)
        still = [fact for fact, answer in zip(left, answers, strict=True) if answer not in _OUT]
        if not still:
            break
        rounds = 0 if len(still) < len(left) else rounds + 1
        if rounds >= _ROUNDS:
            raise BrokerUnreachable(
                f"The broker did not take {len(still)} facts.",
                "the same command again: what is out already does no harm.",
            )
        left = still
        await asyncio.sleep(next(delays))
    return outcome
