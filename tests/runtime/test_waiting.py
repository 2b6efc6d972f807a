"""A role that starts while its broker or store is away waits for it, says so once, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from choros.errors import BrokerMisconfigured, BrokerUnreachable, ChorosError, StoreUnreachable
from choros.runtime.host.patience import LONGEST_PAUSE, Waiting
from tests.captured import capture_logs


def failing(*failures: ChorosError) -> Callable[[], Awaitable[str]]:
    """What fails so, one after another, and then comes to something."""
    left = list(failures)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "there"

    return attempt


def away(count: int) -> Sequence[ChorosError]:
    return [BrokerUnreachable(f"no answer, {number}") for number in range(count)]


async def test_it_waits_and_says_so_once() -> None:
    waiting = Waiting(60.0)
    with capture_logs() as said:
        assert await waiting.until(failing(*away(5), *[StoreUnreachable("no store")] * 3)) == "there"
        assert await waiting.until(failing()) == "there"
    assert [(one["event"], one.get("why")) for one in said] == [
        ("choros.start.waiting", "no answer, 0"),
        ("choros.start.waiting", "no store"),
        ("choros.start.going_on", None),
    ]


async def test_it_does_not_wait_for_ever() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(BrokerUnreachable):
        await Waiting(60.0).until(failing(*away(10_000)))
    assert 60 <= asyncio.get_running_loop().time() - began <= 60 + LONGEST_PAUSE + 1


async def test_what_does_not_come_by_waiting_is_said_at_once() -> None:
    with capture_logs() as said, pytest.raises(BrokerMisconfigured):
        await Waiting(60.0).until(failing(BrokerMisconfigured("wrong password")))
    with pytest.raises(BrokerUnreachable):
        await Waiting().until(failing(*away(1)))
    assert said == []
