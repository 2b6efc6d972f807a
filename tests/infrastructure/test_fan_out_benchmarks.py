"""`make bench-fan-out` in small, and how `make bench-bad-subscribers` tells what it found. Nothing is timed."""

from __future__ import annotations

import pytest

from benchmarks.bad_subscribers import interval, told
from benchmarks.fan_out import measure
from choros import Addresses


@pytest.mark.slow
async def test_every_subscriber_handles_every_fact(amqp_url: str) -> None:
    (line,) = await measure(Addresses(amqp_url), [2], facts=3, rounds=1)
    assert line.split()[:2] == ["2", "subscribers:"]


def test_the_interval_holds_the_median_and_is_no_wider_than_the_ratios() -> None:
    low, high = interval([0.9, 1.0, 1.1, 1.0, 0.95])
    assert 0.9 <= low <= 1.0 <= high <= 1.1


def test_each_three_and_their_ratio_have_a_line() -> None:
    lines = told({"healthy": [100.0, 200.0], "bad": [90.0, 190.0]})
    assert [line.split()[0] for line in lines] == ["healthy", "bad", "ratio"]
    assert lines[-1].split()[1] == "0.925,"
