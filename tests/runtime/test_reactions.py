"""Rule 23: a reaction that an undo can reach has a barrier of its own, so what takes a fact back may overtake it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from choros.app.checks import check_reactions
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.messages import Fact
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from tests.runtime.participant_stage import NOW, Stage, effect, eventually, fact, stage_for


class ParcelAnnounced(Fact):
    order: str


class ParcelWithdrawn(Fact):
    order: str


@dataclass
class Seen:
    """What the handlers were called with, and how often they are still to fail."""

    calls: list[str] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)

    def note(self, name: str) -> None:
        self.calls.append(name)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise ConnectionError


def make_service(seen: Seen, **more: bool) -> Service:
    service = Service("notifications", **more)  # type: ignore[arg-type]

    @service.on(ParcelAnnounced)
    async def announce(announced: ParcelAnnounced, db: Transaction) -> None:
        await effect(db, announced.order, 1)
        seen.note("announce")

    @service.on(ParcelWithdrawn, undoes=ParcelAnnounced)
    async def withdraw(withdrawn: ParcelWithdrawn, db: Transaction) -> None:
        await effect(db, withdrawn.order, -1)
        seen.note("withdraw")

    return service


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, seen: Seen) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "n.db")
    async with stage_for(make_service(seen), database, kind=Subscriber) as stage:
        yield stage


async def fates(stage: Stage, **counts: int) -> None:
    """Until so many facts met each fate."""
    await eventually(lambda: stage.counts == counts)


ANNOUNCED = fact(ParcelAnnounced(order="o1"), 1, step="announce")
WITHDRAWN = fact(ParcelWithdrawn(order="o1"), 2, step="announce")


async def net(stage: Stage) -> dict[str, int]:
    return {name: amount for name, amount in (await stage.effects()).items() if amount}


async def test_rule_23_a_fact_that_was_taken_back_before_it_came_is_not_handled(stage: Stage, seen: Seen) -> None:
    await stage.publish(WITHDRAWN)
    await fates(stage, withdrawn=1)
    await stage.publish(ANNOUNCED)
    await fates(stage, withdrawn=2)
    assert (seen.calls, await net(stage)) == ([], {})


@pytest.mark.slow
async def test_rule_23_a_fact_that_waits_in_the_ladder_is_overtaken_by_what_takes_it_back(
    stage: Stage, seen: Seen
) -> None:
    seen.failing["announce"] = 1
    await stage.publish(ANNOUNCED)
    await fates(stage, retried=1)
    await stage.publish(WITHDRAWN)
    await fates(stage, retried=1, withdrawn=1)
    await fates(stage, retried=1, withdrawn=2)  # it has come down the ladder again
    assert (seen.calls, await net(stage)) == (["announce"], {})


async def test_what_is_taken_back_in_order_is_done_once_and_undone_once(stage: Stage, seen: Seen) -> None:
    for _ in range(3):
        await stage.publish(ANNOUNCED)
    await fates(stage, handled=1, repeated=2)
    assert await net(stage) == {"o1": 1}
    for _ in range(3):
        await stage.publish(WITHDRAWN)
    await fates(stage, handled=2, repeated=4)
    await stage.publish(fact(ParcelAnnounced(order="o1"), 7, step="announce"))  # under an identity that is new
    await stage.publish(fact(ParcelWithdrawn(order="o1"), 8, step="announce"))
    await fates(stage, handled=2, repeated=4, withdrawn=2)
    assert (seen.calls, await net(stage)) == (["announce", "withdraw"], {})


@pytest.mark.slow
async def test_an_undo_that_fails_is_tried_again_and_counts_once(stage: Stage, seen: Seen) -> None:
    seen.failing["withdraw"] = 1
    await stage.publish(ANNOUNCED)
    await fates(stage, handled=1)
    await stage.publish(WITHDRAWN)
    await fates(stage, handled=2, retried=1)
    assert (seen.calls, await net(stage)) == (["announce", "withdraw", "withdraw"], {})


async def test_sagas_and_steps_are_apart(stage: Stage, seen: Seen) -> None:
    """One saga takes back one of its two announcements; another saga keeps its own."""
    await stage.publish(fact(ParcelWithdrawn(order="o1"), 1, step="second"))
    await fates(stage, withdrawn=1)
    await stage.publish(fact(ParcelAnnounced(order="first"), 2, step="first"))
    await stage.publish(fact(ParcelAnnounced(order="second"), 3, step="second"))
    await stage.publish(fact(ParcelAnnounced(order="other"), 1, step="second", stream="s2", correlation_id="s2"))
    await fates(stage, withdrawn=2, handled=2)
    assert await net(stage) == {"first": 1, "other": 1}


async def test_a_closing_fact_takes_back_what_any_step_announced(stage: Stage, seen: Seen) -> None:
    await stage.publish(ANNOUNCED)
    await fates(stage, handled=1)
    await stage.publish(fact(ParcelWithdrawn(order="o1"), 5))
    await fates(stage, handled=2)
    await stage.publish(fact(ParcelWithdrawn(order="o9"), 1, stream="s9", correlation_id="s9"))
    await fates(stage, handled=2, withdrawn=1)
    await stage.publish(fact(ParcelAnnounced(order="o9"), 2, step="late", stream="s9", correlation_id="s9"))
    await fates(stage, handled=2, withdrawn=2)
    assert await net(stage) == {}


async def test_rule_3_what_a_reaction_has_forgotten_is_parked_and_neither_done_nor_called_nothing(
    stage: Stage, seen: Seen
) -> None:
    """All facts of a saga carry when it began."""
    announced, withdrawn = replace(ANNOUNCED, began=NOW), replace(WITHDRAWN, began=NOW)
    await stage.publish(announced)
    await fates(stage, handled=1)
    assert await stage.database.forget("commands", NOW + 1) == 2  # for its step, and for the whole saga
    await stage.publish(withdrawn)
    await stage.publish(replace(announced, seq=9))
    await fates(stage, **{"handled": 1, "too old": 2})
    assert (seen.calls, await net(stage)) == (["announce"], {"o1": 1})
    await stage.publish(announced, replace(announced, seq=1, stream="s2", correlation_id="s2", began=NOW + 1))
    await fates(stage, **{"handled": 2, "too old": 2, "repeated": 1})


@pytest.mark.parametrize("first", ["announced", "withdrawn"])
async def test_both_at_once_leave_nothing_standing(stage: Stage, first: str) -> None:
    facts = [(fact(ParcelAnnounced(order=f"o{n}"), 2 * n, step="a", correlation_id=f"c{n}", stream=f"c{n}"),
              fact(ParcelWithdrawn(order=f"o{n}"), 2 * n + 1, step="a", correlation_id=f"c{n}", stream=f"c{n}"))
             for n in range(1, 21)]  # fmt: skip
    both = [one for pair in facts for one in (pair if first == "announced" else pair[::-1])]
    await stage.publish(*both)
    await eventually(lambda: sum(stage.counts.values()) == len(both))
    assert await net(stage) == {}


async def test_in_an_ordered_service_what_was_given_up_is_not_undone(seen: Seen) -> None:
    seen.failing["announce"] = 99
    database = MemoryDatabase()
    service = make_service(seen, ordered=True)
    async with stage_for(service, database, kind=Subscriber, attempts=2, delays=(0.01,)) as stage:
        await stage.publish(ANNOUNCED, WITHDRAWN)
        await eventually(lambda: stage.counts.get("parked") == 1 and stage.counts.get("withdrawn") == 1)
        assert ("withdraw" in seen.calls, await net(stage)) == (False, {})


# --- what cannot work -------------------------------------------------------------------------------------------------


def lonely(service: Service) -> None:
    @service.on(ParcelWithdrawn, undoes=ParcelAnnounced)
    async def withdraw(withdrawn: ParcelWithdrawn, db: Transaction) -> None: ...


def undo_outside(service: Service) -> None:
    @service.on(ParcelAnnounced)
    async def announce(announced: ParcelAnnounced, db: Transaction) -> None: ...

    @service.on(ParcelWithdrawn, undoes=ParcelAnnounced)
    async def withdraw(withdrawn: ParcelWithdrawn) -> None: ...


def done_outside(service: Service) -> None:
    @service.on(ParcelAnnounced)
    async def announce(announced: ParcelAnnounced) -> None: ...

    @service.on(ParcelWithdrawn, undoes=ParcelAnnounced)
    async def withdraw(withdrawn: ParcelWithdrawn, db: Transaction) -> None: ...


class OrderGone(Fact):
    order: str


def undone_twice(service: Service) -> None:
    @service.on(ParcelAnnounced)
    async def announce(announced: ParcelAnnounced, db: Transaction) -> None: ...

    @service.on(ParcelWithdrawn, OrderGone, undoes=ParcelAnnounced)
    async def withdraw(gone: Fact, db: Transaction) -> None: ...


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lonely, "withdraw undoes what was done about ParcelAnnounced, which nothing handles"),
        (undo_outside, "withdraw takes no Transaction"),
        (done_outside, "announce takes no Transaction"),
        (undone_twice, "undone twice, about ParcelWithdrawn and OrderGone"),
    ],
)
def test_what_cannot_work_is_said(declare: object, words: str) -> None:
    service = Service("notifications")
    assert callable(declare)
    declare(service)
    with pytest.raises(DeclarationError, match=words):
        check_reactions(service)


def test_only_a_fact_can_be_undone() -> None:
    service = Service("notifications")
    with pytest.raises(DeclarationError, match="is no Fact"):
        service.on(ParcelWithdrawn, undoes=str)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["announced", "withdrawn"])
async def test_rule_23_on_redis_the_rows_are_watched(
    redis_url: str, redis_client: Redis, namespace: str, first: str
) -> None:
    order, database = f"{namespace}-o1", RedisDatabase(redis_url, namespace)
    pair = [fact(ParcelAnnounced(order=order), 1, step="a"), fact(ParcelWithdrawn(order=order), 2, step="a")]
    async with stage_for(make_service(Seen()), database, kind=Subscriber) as stage:
        await stage.publish(*(pair if first == "announced" else pair[::-1]))
        await eventually(lambda: stage.counts in ({"handled": 2}, {"withdrawn": 2}))
    assert int(await redis_client.hget(order, "amount") or 0) == 0
