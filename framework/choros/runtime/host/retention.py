"""Forgetting by age: what a participant and a subscriber keep of old commands and facts, in the background, bit by bit.

A row that goes takes the horizon of its kind along, in the same commit. So whatever comes later about the same thing is
known to be too old, and is neither done again nor taken for something that never was.
"""

import asyncio
from collections.abc import Callable, Mapping

from choros.errors import ChorosError
from choros.store.barrier import Database, Memory, Transaction, value_of
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

SWEEP_SECONDS = 60.0
"""From the end of a sweep to the next, of rows and of sagas. Those of several replicas take turns: each finds what is
still there."""
BREATH = 0.02
"""Seconds between two batches, for others to write in."""
Ages = Mapping[Memory, float]
"""Seconds for which each kind of row is kept; what has left an outbox for as long as commands, where nobody says."""
KEEP_BEGUN = 365 * 86_400.0
"""Seconds for which a service knows, at least, which flows it has begun: until then they are not begun anew.
As long as the start keys of sagas."""


async def keep_forgetting(database: Database, clock: Callable[[], float], ages: Ages, every: float) -> None:
    """Forget what is old enough, again and again."""
    while True:
        try:
            gone = await sweep(database, clock(), ages)
            if gone:
                log.info("choros.rows.forgotten", count=gone)
        except ChorosError as error:  # it is away, or does not let us: that stops no service, and it comes round again
            log.warning("choros.rows.put_off", error=error.sentence)
        await asyncio.sleep(every)


async def sweep(database: Database, now: float, ages: Ages) -> int:
    """Forget all that is old enough by now; says how many rows."""
    gone = await database.prune(now)
    for memory, age in _with_what_left(ages).items():
        while count := await database.forget(memory, now - age):
            gone += count
            await asyncio.sleep(BREATH)
    return gone


def _with_what_left(ages: Ages) -> Ages:
    commands = ages.get("commands")
    left: Ages = {} if commands is None else {"outbox": commands, "begun": max(commands, KEEP_BEGUN)}
    return {**left, **ages}


async def forgotten_until(database: Database, memory: Memory) -> float:
    """How far this database has forgotten; before all time where it never has."""

    async def look(transaction: Transaction) -> float:
        await transaction.read_row("")  # the horizon is what it was after a row was read
        return await transaction.horizon(memory)

    (result,) = await database.run([look])
    return value_of(result)
