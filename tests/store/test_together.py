"""Questions that wait at the same moment go together, and none is ever left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from choros.store.together import Together
from tests.patience import PATIENCE


class Far:
    """Somebody who answers after a while, and remembers who came together."""

    def __init__(self, wait: float = 0.0) -> None:
        self.trips: list[list[int]] = []
        self.wait = wait

    async def answer(self, asked: Sequence[int]) -> list[int]:
        """Ten times the question; zero is an insult."""
        self.trips.append(list(asked))
        await asyncio.sleep(self.wait)
        return [1000 // one for one in asked]


def together(far: Far, **settings: int) -> Together[int, int]:
    return Together(far.answer, weigh=lambda one: one, **settings)


async def test_what_waits_goes_on_one_trip() -> None:
    far = Far()
    asking = together(far)
    assert await asyncio.gather(*(asking.ask(one) for one in (1, 2, 4))) == [1000, 500, 250]
    assert far.trips == [[1, 2, 4]]


async def test_several_trips_may_be_under_way() -> None:
    far = Far(0.05)
    asking = together(far, under_way=2, at_most=1)
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(asking.ask(1) for _ in range(4)))
    assert 0.09 < asyncio.get_running_loop().time() - begun < 0.19


async def test_a_trip_carries_no_more_than_it_may_unless_one_is_heavier_alone() -> None:
    far = Far()
    asking = together(far, at_most=5)
    await asyncio.gather(*(asking.ask(one) for one in (2, 3, 1, 9, 4)))
    assert far.trips == [[2, 3], [1], [9], [4]]


async def test_nobody_is_left_waiting_between_two_trips() -> None:
    asking = together(Far())
    async with asyncio.timeout(PATIENCE):
        for _ in range(200):
            await asyncio.gather(*(asking.ask(1) for _ in range(3)))


async def test_the_error_of_a_trip_reaches_all_who_were_on_it_and_no_other() -> None:
    asking = together(Far(), at_most=2)
    answers = await asyncio.gather(*(asking.ask(one) for one in (0, 2, 1)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, ZeroDivisionError, int]


async def test_who_has_gone_before_the_trip_is_not_asked_for() -> None:
    far = Far(2.0)
    asking = together(far)
    first = asyncio.ensure_future(asking.ask(1))
    await asyncio.sleep(0.5)
    gone, stays = asyncio.ensure_future(asking.ask(2)), asyncio.ensure_future(asking.ask(4))
    await asyncio.sleep(0.5)
    gone.cancel()
    assert [await first, await stays] == [1000, 250]
    assert far.trips == [[1], [4]]


async def test_what_is_under_way_goes_on_without_its_caller() -> None:
    far = Far(0.02)
    asking = together(far)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await asking.ask(1)
    await asking.close()
    assert far.trips == [[1]]
