"""An orchestrator that has nothing to do but what facts begin: `python -m tests.fault_cases.told`.

The environment says the rest: CHOROS_BROKER, CHOROS_STORE, CHOROS_NAMESPACE and CHOROS_FAILPOINT.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from choros import Addresses
from choros.roles.addresses import connected, opened_store
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store, doomed_transport
from tests.runtime.checkout import shop_app


async def run() -> None:
    """Until it is killed."""
    app, failpoint = shop_app(namespace=os.environ["CHOROS_NAMESPACE"]), Failpoint(os.environ["CHOROS_FAILPOINT"])
    addresses = Addresses(os.environ["CHOROS_BROKER"], os.environ["CHOROS_STORE"], "memory://")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "orchestrator"))
        store = await stack.enter_async_context(opened_store(addresses, app))
        orchestrator = Orchestrator(
            app, transport=doomed_transport(transport, failpoint), store=doomed_store(store, failpoint)
        )
        await orchestrator.declare()
        await orchestrator.run()


if __name__ == "__main__":
    configure_logging("told")
    asyncio.run(run())
