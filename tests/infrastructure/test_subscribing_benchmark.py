"""`make bench-subscribing` in small: every fact is settled, and each kind has its lines. Nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.subscribing import app, measure, told
from choros import Addresses
from choros.roles.addresses import connected
from tests.end_to_end.shop import remove

pytestmark = pytest.mark.slow


async def test_each_kind_settles_every_fact(amqp_url: str, tmp_path: Path) -> None:
    addresses = Addresses(amqp_url, database=f"sqlite:///{tmp_path}/{{service}}.db")
    try:
        found = await measure(addresses, 1, 20)
    finally:
        async with connected(addresses, app, "test"):
            await remove(amqp_url, app.topology)
    lines = [line.split()[:2] for line in told(found, 20)]
    assert [first for first, _ in lines] == ["singly", "together", "filtered", *["ratio"] * 4]
