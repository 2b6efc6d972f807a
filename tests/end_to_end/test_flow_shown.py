"""`choros flow show` in the shop that nobody orchestrates: its processes, a broker, the fact log, their databases."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from choros import Addresses
from reference_services.choreographed.app import app
from reference_services.choreographed.facts import OrderPlaced
from reference_services.demo.by_events import ROLES, ProcessesByEvents
from reference_services.demo.processes import processes
from reference_services.demo.tidy import tidy
from reference_services.sample_orders import sample_orders
from tests.end_to_end.shop import Ended, choros, until

pytestmark = [pytest.mark.servers, pytest.mark.long]
FINE, _, DAMAGED = sample_orders(3, seed=11)
"""The parcel of the last one is refused: see `order_files.STORIES`."""


@asynccontextmanager
async def shop_at(broker: str, folder: Path) -> AsyncIterator[ProcessesByEvents]:
    namespace = f"shop-{uuid.uuid4().hex[:8]}"
    addresses = Addresses(broker, f"sqlite:///{folder}/sagas.db", f"sqlite:///{folder}/{{service}}.db")
    try:
        async with processes(folder, addresses, namespace, kind=ProcessesByEvents, parts=ROLES) as shop:
            assert isinstance(shop, ProcessesByEvents)
            yield shop
    finally:
        await tidy(addresses, namespace)


def shown(shop: ProcessesByEvents, order: str) -> Ended:
    asked = "flow", "show", "reference_services.choreographed", order, "--broker", shop.addresses.broker
    databases = f"sqlite:///{shop.folder}/{{service}}.db"
    return choros(*asked, "--database", databases, cwd=shop.folder, CHOROS_NAMESPACE=shop.namespace)


def causes(lines: list[str]) -> set[tuple[str, str]]:
    """Each fact of the tree with the one that it comes of, and who says it."""
    found: set[tuple[str, str]] = set()
    above: list[tuple[int, str]] = []
    for line in lines:
        if fact := re.match(r"( *)◇ shop\.(\S+)\.v1  (.*?)  ", line):
            depth, kind, by = len(fact[1]), fact[2], fact[3]
            above = [one for one in above if one[0] < depth]
            found.add((above[-1][1] if above else by, kind))
            above.append((depth, kind))
    return found


def last_of(tree: Ended) -> str:
    """What was given back last: with it the closer had heard all."""
    return max(
        ("payment.returned", "inventory.returned"), key=lambda kind: causes(tree.lines) >= {(kind, "order.rejected")}
    )


async def test_the_whole_tree_of_an_order_that_failed_in_shipping_and_who_is_missing_where_one_is_away(
    tmp_path: Path, amqp_url: str
) -> None:
    async with shop_at(amqp_url, tmp_path) as shop:
        assert (await shop.place(DAMAGED)).outcome == "compensated (damaged_in_transit)"
        tree = await until("every listener has heard how it ended", lambda: _whole(shop))
        assert causes(tree.lines) == {
            ("program front", "order.placed"), ("order.placed", "payment.taken"), ("payment.taken", "inventory.held"),
            ("inventory.held", "shipping.refused"), ("shipping.refused", "order.failing"),
            ("order.failing", "payment.returned"), ("order.failing", "inventory.returned"),
            (last_of(tree), "order.rejected"),
        }  # fmt: skip

        await shop.kill("inventory")
        assert shop.publisher is not None
        await shop.publisher.begin(app.choreography("order"), OrderPlaced(order=FINE))
        lacking = await until("it is said that inventory is missing", lambda: _missing(shop))
        (line,) = [one for one in lacking.lines if "inventory: shop.payment.taken.v1 missing since" in one]
        assert re.search(
            r"missing since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*nobody consumes shop-\w+\.facts\.inventory", line
        )
        assert "would publish shop.inventory.held.v1 or shop.inventory.short.v1" in line
        assert lacking.code == 1

        await shop.start("inventory")
        assert (await shop.place(FINE)).outcome == "completed"


async def _whole(shop: ProcessesByEvents) -> Ended | None:
    tree = shown(shop, DAMAGED.order_id)
    return tree if tree.code == 0 else None


async def _missing(shop: ProcessesByEvents) -> Ended | None:
    tree = shown(shop, FINE.order_id)
    return tree if "! inventory: shop.payment.taken.v1 missing" in tree.out else None
