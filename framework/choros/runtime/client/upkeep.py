"""Keeping a client's own tasks up: nobody supervises it, as a process is supervised."""

import asyncio
from collections.abc import Awaitable, Callable

from choros.errors import ChorosError
from choros.sources import full_jitter
from choros.telemetry.logs import get_logger

log = get_logger(__name__)


async def kept_up(job: Callable[[], Awaitable[None]]) -> None:
    """Run a job until it returns, again whatever ends it.

    Who waits is told the error by the decider itself; one that passes, as a password is changed, passes."""
    delays = full_jitter(most=1.0)
    while True:
        try:
            return await job()
        except ChorosError as error:
            log.error("choros.client.begins_again", reason=error.sentence)
            await asyncio.sleep(next(delays))
        except Exception as error:
            log.error("choros.client.begins_again", error=error)
            await asyncio.sleep(next(delays))
