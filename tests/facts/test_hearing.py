"""Which facts of a type a reaction wants, and how often it is called."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest

from choros.app.hearing import Batch, Rate
from choros.app.service import Service
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import DeclarationError
from choros.messages import Fact
from choros.runtime.host.slots import Moments
from choros.runtime.subscriber.subscriber import prefetch_for
from choros.store.barrier import Transaction
from tests.facts.stage import Moved, eventually, moved, world

SECOND = timedelta(seconds=1)


class Region(Enum):
    EU, US = "eu", "us"


class Sold(Fact, name="hearing.sold"):
    region: Region
    pieces: int = 1


class Returned(Fact, name="hearing.returned"):
    region: Region


def hearing(**options: Any) -> Service:
    service = Service("ledger")

    async def note(fact: Sold) -> None: ...

    service.on(Sold, **options)(note)
    return service


def sold(seq: int, region: Region, pieces: int = 1, **more: Any) -> Any:
    data = Sold(region=region, pieces=pieces).to_json()
    return moved(seq, type=Sold.type_name, data=data, **more)


async def test_a_reaction_is_called_only_with_what_it_wants_and_the_rest_is_counted() -> None:
    service, seen = Service("ledger"), list[Sold]()

    @service.on(Sold, where={"region": "eu", "pieces": (1, 2)})
    async def note(fact: Sold) -> None:
        seen.append(fact)

    async with world() as stage:
        subscriber = await stage.start(service)
        await stage.publish(sold(1, Region.EU), sold(2, Region.US), sold(3, Region.EU, 3), sold(4, Region.EU, 2))
        await eventually("all are settled", lambda: subscriber.counts == {"handled": 2, "filtered": 2})
        assert seen == [Sold(region=Region.EU), Sold(region=Region.EU, pieces=2)]
        assert await stage.parked("shop.facts.ledger") == []


async def test_a_reaction_may_want_what_one_publisher_says() -> None:
    async with world() as stage:
        subscriber = await stage.start(hearing(where={"source": "/shop/order", "subject": ("o1", "o2")}))
        await stage.publish(
            sold(1, Region.EU, subject="o1"), sold(2, Region.EU, subject="o3"), sold(3, Region.EU),
            sold(4, Region.EU, subject="o2"),
        )  # fmt: skip
        await eventually("all are settled", lambda: subscriber.counts == {"handled": 2, "filtered": 2})


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"regoin": "eu"}, "asks for 'regoin', which Sold has not"),
        ({}, "asks for nothing"),
        ({"region": "mars"}, "asks for a region that no Sold can have"),
        ({"region": ("eu", "mars")}, "asks for a region that no Sold can have"),
    ],
)
def test_what_no_such_fact_can_be_is_a_mistake_of_the_declaration(where: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        hearing(where=where)


def test_what_names_no_field_is_a_mistake_too() -> None:
    anything: Any = "region"
    with pytest.raises(DeclarationError, match="where='region' names no field"):
        hearing(where=anything)


def test_what_is_asked_for_is_one_value_or_any_of_several() -> None:
    (handler,) = hearing(where={"region": {"eu", "us"}}).reactions.values()
    assert handler.where
    assert set(handler.where.fields["region"]) == {Region.EU, Region.US}


# --- how often ---


async def test_no_span_of_the_rate_sees_more_calls() -> None:
    loop, turns, called = asyncio.get_running_loop(), Moments(Rate(3, per=timedelta(seconds=10))), list[float]()

    async def call() -> None:
        await turns.next()
        called.append(loop.time())

    await asyncio.gather(*(call() for _ in range(4)))
    await asyncio.sleep(3)
    await asyncio.gather(*(call() for _ in range(6)))
    begun = called[0]
    assert [round(at - begun) for at in called] == [0, 0, 0, 10, 13, 13, 20, 23, 23, 30]


async def test_what_waits_for_its_turn_takes_no_place_of_another_handler() -> None:
    service, told = Service("ledger", settings=Settings(concurrency=1)), list[str]()

    @service.on(Sold, at_most=Rate(1, per=timedelta(minutes=1)))
    async def rare(fact: Sold) -> None:
        told.append("rare")

    @service.on(Moved)
    async def frequent(fact: Moved) -> None:
        told.append("frequent")

    async with world() as stage:
        await stage.start(service)
        await stage.publish(sold(1, Region.EU), sold(2, Region.EU), moved(3), moved(4))
        await eventually("all are called", lambda: len(told) == 4, within=600)
        assert told[-1] == "rare"


@pytest.mark.parametrize(("most", "per"), [(0, SECOND), (1, timedelta(0)), (1, timedelta(minutes=11))])
def test_a_rate_that_is_none_or_that_the_broker_would_not_wait_for(most: int, per: timedelta) -> None:
    with pytest.raises(DeclarationError, match="is none, or less than one call"):
        Rate(most, per)


def test_a_rate_is_no_number() -> None:
    with pytest.raises(DeclarationError, match="at_most=100 is no Rate"):
        hearing(at_most=100)


def test_nor_is_a_batch() -> None:
    with pytest.raises(DeclarationError, match="batch=5 is no Batch"):
        hearing(batch=5)


# --- how many are with it ---


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ({}, NOTHING_SET, 64),
        ({"at_most": Rate(1, per=timedelta(minutes=1))}, NOTHING_SET, 10),
        ({"at_most": Rate(1, per=timedelta(minutes=10))}, NOTHING_SET, 1),
        ({"at_most": Rate(1000)}, NOTHING_SET, 64),
        ({"at_most": Rate(1, per=timedelta(minutes=1))}, Settings(prefetch=3), 3),
    ],
)
def test_no_more_facts_are_with_it_than_it_may_handle_in_time(
    options: dict[str, Any], settings: Settings, expected: int
) -> None:
    assert prefetch_for(hearing(**options), settings) == expected


@pytest.mark.parametrize(("settings", "expected"), [(NOTHING_SET, 600), (Settings(prefetch=50), 50)])
def test_two_batches_are_with_it_unless_somebody_says_otherwise(settings: Settings, expected: int) -> None:
    service = Service("ledger")

    @service.on(Sold, batch=Batch(300))
    async def note(facts: list[Sold], db: Transaction) -> None: ...

    assert prefetch_for(service, settings) == expected
