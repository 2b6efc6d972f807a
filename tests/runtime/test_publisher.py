"""Facts of plain programs: under an identity that whoever publishes gives, so that the same again is the same fact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from choros.app.program import Program
from choros.errors import BrokerUnreachable, UsageError, WrongFact
from choros.messages import Fact
from choros.runtime.client.beginning import ROUNDS
from choros.runtime.client.publisher import FactPublisher
from choros.runtime.subscriber.subscriber import Subscriber
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import NAMES, Paid, Stage, Unpaid, eventually, stage_for
from tests.runtime.test_subscriber import Seen, make_service

TILL = Program("till", publishes=Paid)


class Line:
    """A broker that answers as it is told."""

    def __init__(self, *fates: Published) -> None:
        self.fates, self.published = list(fates), list[Envelope]()

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        self.published += facts
        return [self.fates.pop(0) if self.fates else Published.CONFIRMED] * len(facts)


def publisher_on(line: Any) -> FactPublisher:
    return FactPublisher(TILL, namespace="shop", transport=cast(Any, line), clock=lambda: 5.0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_for(make_service(Seen()), kind=Subscriber) as stage:
        await stage.transport.declare(topology("shop", publishers=["till"]))
        yield stage


async def test_the_same_again_is_the_same_fact() -> None:
    line = Line()
    for _ in range(2):
        assert await publisher_on(line).publish(Paid(order="o1"), key="o1")
    first, second = line.published
    assert first == second
    assert (first.source, first.stream, first.seq, first.subject) == ("/shop/program/till", "o1", 1, "o1")
    assert first.correlation_id


async def test_its_facts_may_have_headers() -> None:
    line = Line()
    await publisher_on(line).with_headers({"tenant": "acme"}).publish(Paid(order="o1"), key="o1")
    assert [one.own_headers for one in line.published] == ['{"tenant":"acme"}']
    with pytest.raises(UsageError, match="cannot be sent"):
        publisher_on(line).with_headers({"tenant": ""})


async def test_what_says_something_else_is_another_fact_of_the_same_flow() -> None:
    line = Line()
    publisher = publisher_on(line)
    await publisher.publish(Paid(order="o1"), key="o1")
    await publisher.publish(Paid(order="o1"), key="o1", seq=2)
    await publisher.publish(Paid(order="o2"), key="o1")
    await publisher.publish(Paid(order="o1"), key="o2", correlation_id="saga 1")
    assert len({one.id for one in line.published}) == 4
    assert [one.seq for one in line.published] == [1, 2, 1, 1]
    own = line.published[0].correlation_id
    assert [one.correlation_id for one in line.published] == [own, own, own, "saga 1"]


async def test_it_is_published_until_the_broker_has_it() -> None:
    line = Line(Published.UNKNOWN, Published.NACKED)
    assert await publisher_on(line).publish(Paid(order="o1"), key="o1")
    assert len({one.id for one in line.published}) == 1
    assert len(line.published) == 3
    assert not await publisher_on(Line(Published.RETURNED)).publish(Paid(order="o1"), key="o1")
    with pytest.raises(BrokerUnreachable):
        await publisher_on(Line(*[Published.UNKNOWN] * ROUNDS)).publish(Paid(order="o1"), key="o1")


@pytest.mark.parametrize("key", ["", "a\x00b", "x" * 600])
async def test_a_key_that_cannot_travel_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="not known by the key"):
        await publisher_on(Line()).publish(Paid(order="o1"), key=key)


async def test_a_fact_that_is_not_declared_is_refused() -> None:
    with pytest.raises(WrongFact, match="not declared to publish Unpaid"):
        await publisher_on(Line()).publish(cast(Fact, Unpaid(order="o1")), key="o1")


async def test_it_is_handled_once_and_another_one_under_its_identity_is_parked(stage: Stage) -> None:
    publisher = publisher_on(stage.transport)
    for order in ("o1", "o1", "o2"):
        await publisher.publish(Paid(order=order), key="o1")
    await eventually(lambda: stage.counts.get("given twice") == 1)
    await asyncio.sleep(0.05)
    assert (stage.counts["handled"], stage.counts["repeated"]) == (1, 1)
    assert await stage.effects() == {"o1": 1}
    assert "identity was given twice" in stage.parked(NAMES.subscriber_queue("notifications"))[0]
