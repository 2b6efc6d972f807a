"""Rule 39 with processes: kill -9 of a service that has one of the two facts that it waits for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reference_services.choreographed.app import app
from reference_services.choreographed.facts import OrderPlaced
from reference_services.choreographed.orders import end_of
from tests.end_to_end.shop import until
from tests.end_to_end.test_flow_shown import FINE, shop_at

pytestmark = [pytest.mark.servers, pytest.mark.long]


async def test_it_is_filled_once_after_a_kill(tmp_path: Path, amqp_url: str) -> None:
    async with shop_at(amqp_url, tmp_path) as shop:
        assert shop.publisher is not None
        await shop.kill("payment")
        await shop.publisher.begin(app.choreography("order"), OrderPlaced(order=FINE))
        await until("inventory has the first of the two", looking(tmp_path / "inventory.db", "waiting", 1))
        await shop.kill("inventory")
        await shop.publisher.begin(app.choreography("order"), OrderPlaced(order=FINE))  # told again meanwhile
        await shop.start("payment")
        await until("payment has said the second", looking(tmp_path / "payment.db", "left", 1))
        await shop.start("inventory")

        async def ended() -> object:
            return end_of(tmp_path / "orders.db", FINE.order_id)

        assert await until("the order has ended", ended) == ("completed", "")
        assert rows(tmp_path / "inventory.db", "waiting") == 0
        assert rows(tmp_path / "inventory.db", "left") == 1


def looking(database: Path, state: str, count: int) -> Callable[[], Coroutine[Any, Any, bool]]:
    async def look() -> bool:
        return rows(database, state) == count

    return look


def rows(database: Path, state: str) -> int:
    """Of the barrier, as another process sees them."""
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as file:
            found = file.execute("SELECT count(*) FROM choros_barrier WHERE state = ?", (state,)).fetchone()
    except sqlite3.OperationalError:  # the service has not begun yet
        return 0
    return int(found[0])
