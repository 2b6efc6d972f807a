"""SIGTERM and Ctrl-C under load: a process finishes what it has in hand, exits with 0, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from choros.roles.addresses import Addresses
from reference_services.books import Books, read_books
from reference_services.contracts import PlaceOrder
from reference_services.demo.processes import Processes
from reference_services.demo.shop import Placed
from reference_services.sample_orders import sample_orders
from tests.end_to_end.shop import entries, open_shop, until
from tests.patience import LATE, PATIENCE

pytestmark = pytest.mark.slow
BOUND = 20.0 + LATE
AT_ONCE = 12


class Customers:
    """They place orders, so many at once, until told that it is enough."""

    def __init__(self, shop: Processes) -> None:
        self.shop = shop
        self.enough = asyncio.Event()
        self.placed: list[Placed] = []
        self.orders: list[PlaceOrder] = []
        self._next = self._orders()

    async def come(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._buy())

    async def _buy(self) -> None:
        while not self.enough.is_set():
            order = next(self._next)
            self.orders.append(order)
            self.placed.append(await self.shop.place(order))

    def _orders(self) -> Iterator[PlaceOrder]:
        for seed in count(100):
            yield from sample_orders(40, seed)

    async def served(self, more: int) -> None:
        """Until so many more orders have ended."""
        target = len(self.placed) + more

        async def enough() -> bool:
            return len(self.placed) >= target

        await until(f"{more} more orders end", enough, 240)


async def at_work(shop: Processes, role: str) -> None:
    """Until it says that it has started: before, Python itself may be told to end, or swallow it."""

    async def says_so() -> bool:
        alive(shop)
        return any(entry["event"].endswith(".started") for entry in entries(shop.folder / f"{role}.log"))

    await until(f"{role} is at work", says_so, PATIENCE)


def alive(shop: Processes) -> None:
    """Fails the test where a process has ended that nobody asked to: what it owes never comes."""
    ended = [role for role, process in shop.running.items() if process.returncode is not None]
    assert not ended, {role: (shop.folder / f"{role}.log").read_text()[-500:] for role in ended}


async def stop(shop: Processes, role: str, sign: signal.Signals) -> float:
    """Ask a process to end and wait for it; returns how long it took."""
    await at_work(shop, role)
    process, started = shop.running[role], time.monotonic()
    process.send_signal(sign)
    async with asyncio.timeout(BOUND):
        code = await process.wait()
    del shop.running[role]  # it was asked to
    log = entries(shop.folder / f"{role}.log")
    assert code == 0, (role, log[-3:])
    lines = (shop.folder / f"{role}.log").read_text().splitlines()
    assert not [line for line in lines if line.startswith("Traceback")], lines[-20:]
    return time.monotonic() - started


@pytest.mark.parametrize(
    "sign",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.long), pytest.param(signal.SIGINT, marks=pytest.mark.nightly)],
)
async def test_a_process_that_is_asked_to_end_loses_nothing(
    tmp_path: Path, amqp_url: str, redis_url: str, namespace: str, sign: signal.Signals
) -> None:
    roles = ["payment", "orchestrator-1", "shipping", "inventory", "notifications", "analytics"]
    async with open_shop(tmp_path, Addresses(broker=amqp_url, store=redis_url), namespace) as shop:
        customers = Customers(shop)
        coming = asyncio.create_task(customers.come())
        for role in roles:
            await customers.served(5)
            await stop(shop, role, sign)
            said = [entry["event"] for entry in entries(tmp_path / f"{role}.log")]
            assert any(event.endswith(".stopped") for event in said[-3:]), said[-3:]
            await shop.start(role)
        await customers.served(5)
        customers.enough.set()
        await coming
        statuses = {one.order_id: one.status for one in customers.placed}

        async def balanced() -> Books | None:
            alive(shop)
            books = await asyncio.to_thread(read_books, tmp_path, customers.orders, statuses)
            return books if books.balanced else None

        await until("the books balance", balanced, PATIENCE)
        assert set(statuses.values()) == {"completed", "compensated"}


@pytest.mark.long
async def test_a_process_that_waits_for_nothing_ends_at_once(
    tmp_path: Path, amqp_url: str, redis_url: str, namespace: str
) -> None:
    """Nothing under way, so nothing to drain."""
    async with open_shop(tmp_path, Addresses(broker=amqp_url, store=redis_url), namespace) as shop:
        for role in ("payment", "orchestrator-2", "analytics"):
            assert await stop(shop, role, signal.SIGINT) < BOUND / 2
