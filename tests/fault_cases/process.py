"""One role of the trip application as a process: `python -m tests.fault_cases.process orchestrator|SERVICE`.

The environment says the rest: CHOROS_TRIP (see `Trip`), CHOROS_FAILPOINT, and CHOROS_CLOCK, a file with the seconds by
which this process's clock is wrong.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from choros.roles.addresses import connected, opened_database, opened_store
from choros.roles.roles import RunningRole, run_together, stop_all
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.telemetry.lines import configure_logging
from choros.transport.topology import topology
from tests.fault_cases.failpoints import Failpoint, doomed_database, doomed_store, doomed_transport
from tests.fault_cases.trip import Trip, make_app


async def open_part(trip: Trip, role: str, stack: AsyncExitStack, failpoint: Failpoint) -> RunningRole:
    """A role, connected; `stack` closes it. Quicker than by default with everything that it does now and then."""
    app = make_app(trip)
    connection = await stack.enter_async_context(connected(trip.addresses, app, role))
    transport = doomed_transport(connection, failpoint)
    if role == "orchestrator":
        store = doomed_store(await stack.enter_async_context(opened_store(trip.addresses, app)), failpoint)
        orchestrator = Orchestrator(app, transport=transport, store=store, timers_every=0.1, resend_after=1.0)
        await orchestrator.declare()
        return orchestrator
    service = app.service(role)
    opened = await stack.enter_async_context(opened_database(trip.addresses, app, service))
    database = doomed_database(opened, failpoint)
    if service.facts:
        await transport.declare(topology(app.namespace, subscribers=[role]))
        return Subscriber(service, namespace=app.namespace, transport=transport, database=database)
    await transport.declare(topology(app.namespace, services=[role]))
    return Participant(
        service, namespace=app.namespace, transport=transport, database=database, sagas=app.sagas, publisher=transport
    )


async def run(trip: Trip, role: str, failpoint: Failpoint) -> None:
    """Until SIGTERM."""
    async with AsyncExitStack() as stack:
        parts = [await open_part(trip, role, stack, failpoint)]
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(stop_all(parts)))
        await run_together(parts)


def bend_clock(wrong: Path) -> None:
    """The wall clock of this process is wrong by what the file says, and jumps when the file changes."""
    right = time.time

    def bent() -> float:
        with suppress(OSError, ValueError):
            return right() + float(wrong.read_text())
        return right()

    time.time = bent


if __name__ == "__main__":
    if "CHOROS_CLOCK" in os.environ:
        bend_clock(Path(os.environ["CHOROS_CLOCK"]))
    configure_logging(sys.argv[1])
    asyncio.run(
        run(Trip.loads(os.environ["CHOROS_TRIP"]), sys.argv[1], Failpoint(os.environ.get("CHOROS_FAILPOINT", "")))
    )
