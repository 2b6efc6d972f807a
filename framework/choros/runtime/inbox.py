"""The rows that a subscriber keeps in its own database: which facts it has handled, and how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from choros.envelope import Envelope
from choros.errors import StoreUnreachable
from choros.runtime.telemetry import get_logger
from choros.store.barrier import Database, Transaction

log = get_logger(__name__)

_AT_ONCE = 500


def inbox_key(fact: Envelope) -> str:
    """The row of one fact."""
    # No attribute may hold a control character, so no two facts share a key.
    return "\x1f".join(("fact", fact.source, fact.stream, str(fact.seq)))


def stream_key(fact: Envelope) -> str:
    """The row that says how far an ordered subscriber has come in the stream of this fact."""
    return "\x1f".join(("stream", fact.source, fact.stream))


async def keep_pruning(database: Database, clock: Callable[[], float], every: float) -> None:
    """Forget what may be forgotten, again and again."""
    while True:
        try:
            await database.prune(clock())
        except StoreUnreachable as error:
            log.warning("choros.database.unreachable", error=type(error).__name__)
        await asyncio.sleep(every)


async def not_handled(database: Database, facts: Sequence[Envelope]) -> list[Envelope]:
    """Those of the facts that this inbox does not hold; raises StoreUnreachable."""
    lacking: list[Envelope] = []
    for start in range(0, len(facts), _AT_ONCE):
        (answer,) = await database.run([partial(_lacking, facts[start : start + _AT_ONCE])])
        if isinstance(answer, StoreUnreachable):
            raise answer
        lacking += answer
    return lacking


async def _lacking(facts: Sequence[Envelope], transaction: Transaction) -> list[Envelope]:
    return [fact for fact in facts if await transaction.read_row(inbox_key(fact)) is None]
