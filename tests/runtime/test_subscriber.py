"""Subscribers: every fact at least once, exactly once with their transaction; one that fails never holds up another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from choros.app.service import Service
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import fresh_id
from choros.store.barrier import Database, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.transport.copies import RETRIES
from choros.transport.topology import RETRY_LADDER, Binding, Exchange, Topology
from choros.wire.envelope import Wire, encode
from tests.runtime.participant_stage import (
    NAMES,
    NOW,
    Charge,
    Paid,
    Stage,
    Unpaid,
    command,
    effect,
    eventually,
    fact,
    misbehave,
    stage_for,
    unsettled,
)

QUEUE = "shop.facts.notifications"


@dataclass
class Seen:
    """What the handlers were called with."""

    inside: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    how: str = "ok"
    """For the handler without transaction: facts tell the other one themselves."""


def make_service(seen: Seen) -> Service:
    service = Service("notifications")

    @service.on(Paid)
    async def book(paid: Paid, db: Transaction) -> None:
        seen.inside.append(paid.order)
        await effect(db, paid.order, 1)
        await misbehave(paid.how, "4111111111111111")

    @service.on(Unpaid)
    async def remind(unpaid: Unpaid) -> None:
        seen.outside.append(unpaid.order)
        await misbehave(seen.how)

    return service


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, seen: Seen) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "n.db")
    async with stage_for(make_service(seen), database, kind=Subscriber) as stage:
        yield stage


async def handled(stage: Stage, **counts: int) -> None:
    """Until so many facts met each fate."""
    await eventually(lambda: stage.counts == counts)


async def test_a_fact_is_handled_once_with_its_effect(stage: Stage) -> None:
    paid = fact(Paid(order="o1"))
    await stage.publish(paid, paid, replace(paid, id="republished"))
    await stage.publish(paid)
    await handled(stage, handled=1, repeated=3)
    assert await stage.effects() == {"o1": 1}
    row = await stage.row("fact\x1fnotifications\x1f/shop/order\x1fs1\x1f1")
    assert row is not None
    assert (row.state, row.began, row.since) == ("handled", paid.time, NOW)
    await stage.idle(QUEUE)
    assert stage.runner.lag == 0.0  # type: ignore[union-attr]


async def test_identity_is_source_stream_and_number(stage: Stage) -> None:
    paid = fact(Paid(order="o1"))
    await stage.publish(paid, replace(paid, seq=2), replace(paid, stream="s2"), replace(paid, source="/other"))
    await handled(stage, handled=4)
    assert await stage.effects() == {"o1": 4}


async def test_a_handler_without_transaction_runs_at_least_once(stage: Stage, seen: Seen) -> None:
    unpaid = fact(Unpaid(order="o1"))
    await stage.publish(unpaid, unpaid)
    await handled(stage, handled=1, repeated=1)
    assert seen.outside == ["o1"]
    assert await stage.row("fact\x1fnotifications\x1f/shop/order\x1fs1\x1f1")


async def test_a_failing_handler_without_transaction_leaves_no_row(stage: Stage, seen: Seen) -> None:
    seen.how = "broken"
    await stage.publish(fact(Unpaid(order="o1")))
    await handled(stage, retried=1)
    assert await stage.row("fact\x1fnotifications\x1f/shop/order\x1fs1\x1f1") is None


@pytest.mark.parametrize("how", ["broken", "declined", "cancelled"])
async def test_a_failing_fact_leaves_nothing_goes_into_the_ladder_and_holds_up_nobody(stage: Stage, how: str) -> None:
    await stage.publish(fact(Paid(order="o1", how=how)), fact(Paid(order="o2"), 2))
    await handled(stage, handled=1, retried=1)
    assert await stage.effects() == {"o2": 1}
    await stage.idle(QUEUE)
    (waiting,) = stage.broker.waiting(NAMES.retry_queue(QUEUE, 1))
    assert waiting.headers[RETRIES] == 1


@pytest.mark.parametrize("retries", range(6))
async def test_every_failure_takes_the_next_step_of_the_ladder_and_the_last_parks(stage: Stage, retries: int) -> None:
    wire = encode(fact(Paid(order="o1", how="broken")))
    again = replace(wire, headers={**wire.headers, RETRIES: retries})
    await stage.put(again, NAMES.retry, QUEUE)
    await eventually(lambda: bool(stage.counts))
    await stage.idle(QUEUE)
    waiting = [len(stage.broker.waiting(NAMES.retry_queue(QUEUE, seconds))) for seconds in RETRY_LADDER]
    assert waiting == [int(step == retries) for step in range(5)]
    assert stage.parked(QUEUE) == (
        ["handler failed 6 times: ValueError: cannot charge [number]"] if retries == 5 else []
    )


async def test_the_number_of_attempts_can_be_set(seen: Seen) -> None:
    async with stage_for(make_service(seen), kind=Subscriber, attempts=1) as stage:
        await stage.publish(fact(Paid(order="o1", how="declined")))
        await eventually(lambda: stage.parked(QUEUE) == ["handler failed 1 times: Refused: card_declined"])


async def test_a_fact_that_is_not_for_us_is_passed_over(stage: Stage) -> None:
    other = replace(fact(Paid(order="o1")), type="parcel-lost.v1")
    await stage.publish(other)
    await stage.put(encode(other), NAMES.retry, QUEUE)
    await handled(stage, passed=2)
    await stage.idle(QUEUE)
    assert stage.parked(QUEUE) == []


async def test_what_is_no_fact_of_ours_is_parked(stage: Stage) -> None:
    paid = fact(Paid(order="o1"))
    stage.broker.declare(_back_door())
    await stage.put(encode(replace(paid, type="card-4111111111111111.v1")), "back", "door")
    await stage.put(encode(replace(paid, data='{"order":4111111111111111}')), NAMES.facts, "")
    await stage.put(encode(command(Charge(order="o1"))), NAMES.facts, "")
    await stage.put(Wire(b"{", {"4111111111111111": "4111111111111111"}), NAMES.facts, "")
    await eventually(lambda: len(stage.parked(QUEUE)) == 4)
    assert not any("4111" in reason for reason in stage.parked(QUEUE))
    assert await stage.effects() == {}


async def test_a_header_whose_name_is_no_string_stops_nobody(stage: Stage) -> None:
    wire = encode(fact(Paid(order="o1")))
    odd: dict[Any, Any] = {**wire.headers, 5: "five"}
    await stage.put(replace(wire, body=b"{", headers=odd), NAMES.facts, "")
    await eventually(lambda: len(stage.parked(QUEUE)) == 1)
    await stage.publish(fact(Paid(order="o2"), 2))
    await handled(stage, parked=1, handled=1)


def _back_door() -> Topology:
    return Topology("shop", (Exchange("back", "direct"),), (), (Binding("back", QUEUE, "door"),))


async def test_fifty_facts_in_one_batch(seen: Seen) -> None:
    async with stage_for(make_service(seen), kind=Subscriber, start=False) as stage:
        await stage.publish(
            *(fact(Paid(order=f"o{n}", how="broken" if n % 5 == 0 else "ok"), n + 1) for n in range(50))
        )
        stage.start()
        await handled(stage, handled=40, retried=10)
        assert len(await stage.effects()) == 40


@pytest.mark.parametrize("losing", [True, False])
async def test_a_database_that_is_away_acknowledges_nothing_and_counts_no_attempt(stage: Stage, losing: bool) -> None:
    if losing:
        stage.database.losing = 2
    else:
        stage.database.refusing = 2
    await stage.publish(fact(Paid(order="o1")), fact(Unpaid(order="o2"), 2))
    await eventually(lambda: bool(stage.database.runs))
    assert (unsettled(stage, QUEUE), stage.counts) == (2, {})
    await handled(stage, handled=2)
    assert await stage.effects() == {"o1": 1}


async def test_a_crash_before_the_row_runs_a_handler_without_transaction_again(stage: Stage, seen: Seen) -> None:
    await stage.publish(fact(Unpaid(order="o1")))
    await handled(stage, handled=1)
    stage.database.refusing = 1_000_000
    await stage.publish(fact(Unpaid(order="o2"), 2))
    await eventually(lambda: len(stage.database.runs) > 2)
    await stage.kill()
    stage.database.refusing = 0
    stage.restart_from_nothing()
    await handled(stage, handled=1)
    assert seen.outside == ["o1", "o2"]


async def test_stop_lets_what_is_under_way_finish(stage: Stage) -> None:
    await stage.publish(fact(Paid(order="o1")))
    await handled(stage, handled=1)
    await stage.runner.stop()
    await stage.publish(fact(Paid(order="o2"), 2))
    assert stage.running is not None
    await stage.running
    assert (await stage.effects(), unsettled(stage, QUEUE)) == ({"o1": 1}, 1)


async def test_an_identity_that_was_given_twice_is_parked_and_never_passed_over() -> None:
    """As by a publisher whose database was set back by a restore (semantics 18)."""
    async with stage_for(make_service(Seen()), kind=Subscriber) as stage:
        first = fact(Paid(order="o1"))
        again = replace(first, id=fresh_id())  # as a program repeats it
        other = replace(first, id=fresh_id(), data=Paid(order="o2").to_json())
        edited = replace(first, data=Paid(order="o3").to_json())  # put back by a person, under its id
        for one in (first, again, edited, other):
            await stage.publish(one)
        await eventually(lambda: stage.counts.get("given twice") == 1)
        assert (stage.counts["handled"], stage.counts["repeated"]) == (1, 2)
        queue = NAMES.subscriber_queue(stage.service.name)
        await eventually(lambda: bool(stage.parked(queue)))
        assert "identity was given twice" in stage.parked(queue)[0]
