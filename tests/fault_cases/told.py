"""An orchestrator that has nothing to do but what it is told: `python -m tests.fault_cases.told`.

The environment says the rest: CHOROS_BROKER, CHOROS_STORE, CHOROS_NAMESPACE, CHOROS_FAILPOINT, and CHOROS_TOLD, what
it is told: facts that `begin` or `answer`, or a `signal`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from choros import Addresses, App
from choros.roles.addresses import connected, opened_facts, opened_store
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.telemetry.lines import configure_logging
from tests.fault_cases.failpoints import Failpoint, doomed_store, doomed_transport
from tests.fault_cases.telling import telling_app
from tests.runtime.checkout import shop_app
from tests.runtime.test_kept_facts import FIRST, delivery_app


def checkout_app(namespace: str) -> App:
    """An order for each fact."""
    return shop_app(namespace=namespace)


def invoice_app(namespace: str) -> App:
    """An order that waits for one."""
    return delivery_app(FIRST).within(namespace)


APPS = {"begin": checkout_app, "answer": invoice_app, "signal": telling_app}


async def run() -> None:
    """Until it is killed."""
    failpoint = Failpoint(os.environ["CHOROS_FAILPOINT"])
    app = APPS[os.environ["CHOROS_TOLD"]](os.environ["CHOROS_NAMESPACE"])
    addresses = Addresses(os.environ["CHOROS_BROKER"], os.environ["CHOROS_STORE"], "memory://")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(connected(addresses, app, "orchestrator"))
        store = await stack.enter_async_context(opened_store(addresses, app))
        kept = await stack.enter_async_context(opened_facts(addresses, app))
        orchestrator = Orchestrator(
            app, transport=doomed_transport(transport, failpoint), store=doomed_store(store, failpoint),
            kept=doomed_store(kept, failpoint),
        )  # fmt: skip
        await orchestrator.declare()
        await orchestrator.run()


if __name__ == "__main__":
    configure_logging("told")
    asyncio.run(run())
