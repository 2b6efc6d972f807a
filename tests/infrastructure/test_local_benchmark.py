"""`make bench-local` in small: both kinds end, and what is told of them has a line each. Nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.local_step import app, measure, told
from choros import Addresses
from choros.roles.addresses import connected
from tests.end_to_end.shop import remove

pytestmark = pytest.mark.slow


@pytest.mark.long
async def test_both_kinds_end_and_are_told(amqp_url: str, tmp_path: Path) -> None:
    addresses = Addresses(amqp_url, f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db")
    try:
        taken = await measure(addresses, 1, 10)
    finally:
        async with connected(addresses, app, "test"):
            await remove(amqp_url, app.topology)
    assert [len(one.rate) for one in taken.values()] == [1, 1]
    assert [line.split()[:2] for line in told("sqlite", taken)] == [
        ["sqlite", "local"], ["sqlite", "commanded"], ["sqlite", "ratio"]
    ]  # fmt: skip
