"""Watches what the demo has started: processes that end, and a broker that does not answer."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from choros import BrokerUnreachable
from choros.roles.addresses import connected
from choros.transport.port import Health
from reference_services.demo.processes import Processes
from reference_services.demo.report import Report
from reference_services.order.app import app

LOOK_EVERY = 0.2
AWAY_SECONDS = 120.0
"""For so long the shop may wait for its broker."""
MOST_STARTS = 5
"""A process that is killed is started again: so often."""


class Broker(Protocol):
    """A connection to it."""

    @property
    def health(self) -> Health:
        """How it is."""
        ...


@asynccontextmanager
async def watched(shop: Processes, report: Report) -> AsyncIterator[None]:
    """Within it somebody looks; raises ChorosError as soon as the shop cannot go on."""
    async with connected(shop.addresses, app.within(shop.namespace), "demo") as broker:
        watching = asyncio.create_task(Watch(shop, broker, report).run())
        trading = asyncio.current_task()
        assert trading is not None
        watching.add_done_callback(lambda ended: None if ended.cancelled() else trading.cancel())
        try:
            yield
        except asyncio.CancelledError:
            if watching.done() and (error := watching.exception()) is not None:
                trading.uncancel()
                raise error from None
            raise
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await watching


class Watch:
    """One look after another."""

    def __init__(self, shop: Processes, broker: Broker, report: Report) -> None:
        self._shop = shop
        self._broker = broker
        self._report = report
        self._starts: Counter[str] = Counter()
        self._away_since: float | None = None

    async def run(self) -> None:
        """Look until cancelled; raises ChorosError."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Say what has changed, and start again what was killed."""
        self._look_at_broker()
        for role, process in list(self._shop.running.items()):
            if process.returncode is not None:
                await self._start_again(role, process.returncode)

    async def _start_again(self, role: str, code: int) -> None:
        """Who was killed can go on, which is what all this is for. Who ended by himself would do so again."""
        self._starts[role] += 1
        if code >= 0 or self._starts[role] > MOST_STARTS:
            raise self._shop.ended(role)
        self._report.died(role, signal.Signals(-code).name)
        await self._shop.start(role)

    def _look_at_broker(self) -> None:
        health, now = self._broker.health, asyncio.get_running_loop().time()
        if health.state == "connected":
            if self._away_since is not None:
                self._report.broker("the broker is back")
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
            self._report.broker(f"the broker is {health.state} ({health.detail}); the shop waits for it")
        elif now - self._away_since > AWAY_SECONDS:
            what = f"The broker is {health.state} for {AWAY_SECONDS:g} s"
            raise BrokerUnreachable(f"{what}: {health.detail}.", "is it running?")
