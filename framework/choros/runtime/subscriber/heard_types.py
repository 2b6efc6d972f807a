"""Which types of facts a service handles, as its replicas say in the database that they share.

Every subscriber gets all facts, so what it does not handle it passes over. In a rolling deploy the old replicas must
not pass over what the new ones handle: those announce it before they consume, and the old ones look before they
acknowledge.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial

from choros.runtime.host.jobs import Jobs
from choros.runtime.subscriber.inbox import Announced, types_key
from choros.store.barrier import Transaction
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

ANNOUNCE_EVERY = 3600.0
ANNOUNCED_FOR = 86_400.0
"""Seconds after which nobody is expected any more who does not announce a type again: the release was taken back."""
PASS_ON = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds until a fact that another replica handles goes back to the queue; if that one still does not get it, the fact
is put off through the ladder of delays, and then again."""
_PUT_OFF = ((10, 1.0), (20, 5.0), (140, 30.0))
"""How long a fact is put off, by how often it has been: for about an hour in all."""
MOST_TOLD = 1000


def put_off(waits: int) -> float | None:
    """Seconds until a fact that another replica handles comes again; None once that has been often enough."""
    return next((seconds for below, seconds in _PUT_OFF if waits < below), None)


class HeardTypes:
    """What this replica of a subscriber handles, and what the others do."""

    def __init__(self, subscriber: str, kinds: Collection[str], jobs: Jobs, clock: Callable[[], float]) -> None:
        self._subscriber, self._kinds = subscriber, frozenset(kinds)
        self._jobs, self._clock = jobs, clock
        self._told: set[str] = set()

    async def announce(self) -> Collection[str]:
        """Say what this replica handles. Answers with the types whose facts in the log nobody has read yet."""
        return self._kinds.intersection(await self._jobs.value(self._announce))

    async def keep_announcing(self) -> None:
        """Say it again, as long as it is so."""
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY)
            await self.announce()

    async def _announce(self, transaction: Transaction) -> list[str]:
        now, before = self._clock(), Announced.of(await transaction.read_row(types_key(self._subscriber)))
        recent = {kind: at for kind, at in before.heard.items() if at > now - ANNOUNCED_FOR}
        gained = self._kinds - recent.keys()
        unread = sorted({*before.unread, *gained})
        after = Announced(recent | dict.fromkeys(sorted(self._kinds), now), unread)
        await transaction.write_row(after.row(self._subscriber))
        return unread

    async def has_read(self, kinds: Collection[str]) -> None:
        """All that the log holds of these types is handled."""
        await self._jobs.value(partial(self._strike_out, kinds))

    async def _strike_out(self, kinds: Collection[str], transaction: Transaction) -> None:
        before = Announced.of(await transaction.read_row(types_key(self._subscriber)))
        after = Announced(before.heard, [kind for kind in before.unread if kind not in kinds])
        await transaction.write_row(after.row(self._subscriber))

    async def elsewhere(self, kinds: Iterable[str]) -> Collection[str]:
        """Those of these types that another replica handles."""
        strange = frozenset(kinds)
        return await self._jobs.value(partial(self._look, strange)) if strange else strange

    async def _look(self, kinds: frozenset[str], transaction: Transaction) -> Collection[str]:
        heard = Announced.of(await transaction.read_row(types_key(self._subscriber))).heard
        since = self._clock() - ANNOUNCED_FOR
        return frozenset(kind for kind in kinds if heard.get(kind, 0.0) > since)

    def tell(self, kind: str, handled_elsewhere: bool) -> None:
        """Log once what this replica does about a type that it does not handle."""
        word = "choros.fact.for_another" if handled_elsewhere else "choros.fact.passed_over"
        if f"{word} {kind}" in self._told or len(self._told) >= MOST_TOLD:
            return
        self._told.add(f"{word} {kind}")
        say = log.warning if handled_elsewhere else log.info
        say(word, type=kind)
