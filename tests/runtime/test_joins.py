"""Rule 39: a reaction that waits for several facts of one flow; rules 23, 29 and 30 of what it does, by name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from choros import Call, DeclarationError, Fact, Rate, Refused, Service, Transaction, all_of
from choros.app.checks import check_reactions
from choros.app.joining import AllOf
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from tests.runtime.participant_stage import NOW, Stage, effect, eventually, fact, stage_for


class Placed(Fact):
    order: str


class Charged(Fact):
    order: str


class Reserved(Fact):
    order: str
    shelf: int = 7


class Shipped(Fact):
    order: str
    shelf: int


class NotShipped(Fact):
    order: str


class Failed(Fact):
    order: str


class Dropped(Fact):
    order: str


class Returned(Fact):
    order: str
    something: bool


KINDS = (Placed, Charged, Reserved, Failed, Dropped)
WAITED_FOR = all_of(Placed, Charged, Reserved)


@dataclass
class Seen:
    """What the handlers were called with, and how often they are still to fail."""

    calls: list[str] = field(default_factory=list)
    failing: int = 0
    refusing: bool = False


def shipping(seen: Seen, undoes: Any = WAITED_FOR, effect_: str = "") -> Service:
    service = Service("shipping")

    @service.on(WAITED_FOR, effect=effect_, publishes=(Shipped, NotShipped))
    async def ship(charged: Charged, reserved: Reserved, db: Transaction, placed: Placed) -> Shipped:
        seen.calls.append(f"ship {placed.order} {charged.order}")
        await effect(db, reserved.order, 1)
        if seen.failing:
            seen.failing -= 1
            raise ConnectionError
        if seen.refusing:
            raise Refused("full", fact=NotShipped(order=placed.order))
        return Shipped(order=reserved.order, shelf=reserved.shelf)

    @service.on(Failed, undoes=undoes, publishes=Returned)
    async def take_back(failed: Failed, db: Transaction, call: Call) -> Returned:
        seen.calls.append(f"take back {call.stands}")
        if call.stands:
            await effect(db, failed.order, -1)
        return Returned(order=failed.order, something=call.stands)

    return service


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, seen: Seen) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "n.db")
    async with stage_for(shipping(seen), database, kind=Subscriber, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=["shipping"], subscribers=["witness"]))
        stage.start()
        yield stage


async def fates(stage: Stage, **counts: int) -> None:
    """Until so many facts met each fate."""
    await eventually(lambda: counted(stage) == {name.replace("_", " "): count for name, count in counts.items()})


def counted(stage: Stage) -> dict[str, int]:
    """What became of them; what it has published itself, it passes over."""
    return {name: count for name, count in stage.counts.items() if name != "passed"}


def of(kind: type[Any], flow: str = "s1", seq: int = 1, **more: Any) -> Envelope:
    """A fact of a flow; each type has numbers of its own."""
    about = {"stream": flow, "correlation_id": flow} | more
    return fact(kind(order=flow), seq + 10 * KINDS.index(kind), **about)


def published(stage: Stage) -> list[Envelope]:
    """What the service has let leave."""
    found = [wire.read() for wire in stage.broker.waiting("shop.facts.witness")]
    return [one for one in found if one.source == "/shop/service/shipping"]


def heard(stage: Stage) -> list[Any]:
    """What it says."""
    return [json.loads(one.data) for one in published(stage)]


@pytest.mark.parametrize("order", [list(one) for one in permutations((Placed, Charged, Reserved))])
async def test_rule_39_it_is_called_once_when_all_have_come_whatever_their_order(
    stage: Stage, seen: Seen, order: list[type[Fact]]
) -> None:
    for number, kind in enumerate(order, 1):
        for _ in range(2):
            await stage.publish(of(kind))
        await eventually(lambda number=number: sum(counted(stage).values()) == 2 * number)  # type: ignore[misc] # bound now
        assert seen.calls == (["ship s1 s1"] if number == len(order) else [])
    await fates(stage, joined=2, handled=1, repeated=3)
    await eventually(lambda: len(heard(stage)) == 1)
    assert (heard(stage)[0], await stage.effects()) == ({"order": "s1", "shelf": 7}, {"s1": 1})


async def test_flows_are_apart(stage: Stage, seen: Seen) -> None:
    await stage.publish(of(Placed, "a"), of(Charged, "b"), of(Reserved, "a"), of(Reserved, "b"))
    await fates(stage, joined=4)
    await stage.publish(of(Placed, "b"))
    await fates(stage, joined=4, handled=1)
    assert (seen.calls, await stage.effects()) == (["ship b b"], {"b": 1})


async def test_its_cause_is_the_fact_that_completes_it_and_its_row_lists_all(stage: Stage) -> None:
    facts = [of(Placed), of(Charged, seq=4), of(Reserved)]
    for number, one in enumerate(facts):
        await stage.publish(one)
        await eventually(lambda number=number: sum(counted(stage).values()) == number + 1)  # type: ignore[misc] # bound now
    row = await stage.row(row_of_join())
    assert row is not None
    assert json.loads(row.content) == {one.type: [one.source, "s1", one.seq, one.id] for one in facts}
    await eventually(lambda: len(heard(stage)) == 1)
    left = published(stage)[0]
    assert (left.causation_id, left.correlation_id) == (facts[-1].id, "s1")


def row_of_join() -> str:
    return f"reaction\x1fshipping\x1fs1:{WAITED_FOR.name}:1:do"


async def test_one_that_fails_stays_half_full_and_is_completed_by_its_retry(stage: Stage, seen: Seen) -> None:
    seen.failing = 1
    await stage.publish(of(Placed), of(Charged))
    await fates(stage, joined=2)
    await stage.publish(of(Reserved))
    await fates(stage, joined=2, retried=1)
    row = await stage.row(row_of_join())
    assert row is not None
    assert (row.state, len(json.loads(row.content)), await stage.effects()) == ("waiting", 2, {})
    await fates(stage, joined=2, retried=1, handled=1)
    assert await stage.effects() == {"s1": 1}


@pytest.mark.parametrize("came", [[], [Placed], [Placed, Reserved]])
async def test_rules_39_and_30_its_tombstone_lies_on_its_key_half_full_too_and_is_told(
    stage: Stage, seen: Seen, came: list[type[Fact]]
) -> None:
    await stage.publish(*map(of, came))
    await eventually(lambda: stage.counts.get("joined", 0) == len(came))
    for seq in (1, 2):  # under another identity, too: the undo's row makes it one
        await stage.publish(of(Failed, seq=seq))
    await eventually(lambda: stage.counts.get("withdrawn") == 1)
    await stage.publish(of(Placed), of(Charged), of(Reserved))
    await eventually(lambda: sum(counted(stage).values()) == len(came) + 5)
    await eventually(lambda: len(heard(stage)) == 1)
    assert heard(stage) == [{"order": "s1", "something": False}]
    assert (seen.calls, await stage.effects()) == (["take back False"], {})


async def test_what_it_did_is_undone_once(stage: Stage, seen: Seen) -> None:
    await stage.publish(of(Placed), of(Charged), of(Reserved), of(Failed))
    await eventually(lambda: sum(counted(stage).values()) == 4)
    await stage.publish(of(Failed, seq=2))
    await eventually(lambda: sum(counted(stage).values()) == 5)
    assert await stage.effects() == {}
    assert seen.calls.count("take back True") + seen.calls.count("take back False") == 1


async def test_rule_29_what_refuses_has_done_nothing_so_nothing_is_undone(stage: Stage, seen: Seen) -> None:
    seen.refusing = True
    await stage.publish(of(Placed), of(Charged), of(Reserved))
    await fates(stage, joined=2, handled=1)
    row = await stage.row(row_of_join())
    assert row is not None
    assert (row.state, await stage.effects()) == ("refused", {})
    await stage.publish(of(Failed))
    await fates(stage, joined=2, handled=2)
    assert (seen.calls[-1], await stage.effects()) == ("take back False", {})


@pytest.mark.parametrize("at", [1, 3])
async def test_rule_23_a_second_cause_is_parked(stage: Stage, seen: Seen, at: int) -> None:
    first = [of(Placed), of(Charged), of(Reserved)][:at]
    await stage.publish(*first)
    await eventually(lambda: sum(counted(stage).values()) == at)
    await stage.publish(of(Placed, seq=2))
    await eventually(lambda: stage.counts.get("second cause") == 1)
    await eventually(lambda: len(stage.parked("shop.facts.shipping")) == 1)
    assert stage.parked("shop.facts.shipping")[0].startswith("second cause")
    assert len(seen.calls) == (1 if at == 3 else 0)


async def test_what_belongs_to_no_flow_is_parked(stage: Stage) -> None:
    await stage.publish(of(Placed, correlation_id=""))
    await eventually(lambda: len(stage.parked("shop.facts.shipping")) == 1)
    assert "no correlation id" in stage.parked("shop.facts.shipping")[0]


async def test_rule_3_one_that_was_forgotten_half_full_parks_what_comes_later(stage: Stage, seen: Seen) -> None:
    await stage.publish(of(Placed, began=NOW))
    await fates(stage, joined=1)
    assert await stage.database.forget("commands", NOW + 1) == 1
    await stage.publish(of(Charged, began=NOW))
    await eventually(lambda: counted(stage) == {"joined": 1, "too old": 1})
    await stage.publish(of(Charged, "s2", began=NOW + 1))
    await eventually(lambda: counted(stage) == {"joined": 2, "too old": 1})
    assert not seen.calls


async def test_many_at_once_are_each_completed_once(stage: Stage, seen: Seen) -> None:
    flows = [f"f{number}" for number in range(15)]
    facts = [of(kind, flow) for kind in (Placed, Charged, Reserved) for flow in flows]
    await stage.publish(*facts, *reversed(facts))
    await eventually(lambda: stage.counts.get("handled") == len(flows))
    await eventually(lambda: sum(counted(stage).values()) >= len(facts))
    assert (len(seen.calls), await stage.effects()) == (len(flows), dict.fromkeys(flows, 1))


async def test_killed_between_two_arrivals_it_is_completed_by_the_next_process(stage: Stage, seen: Seen) -> None:
    for number, kind in enumerate((Placed, Charged), 1):
        stage.database.losing = 1  # nothing of this commit is there
        await stage.publish(of(kind))
        await eventually(lambda number=number: sum(counted(stage).values()) == 1)  # type: ignore[misc] # bound now
        await stage.restart()
    await stage.publish(of(Reserved))
    await eventually(lambda: stage.counts.get("handled") == 1)
    assert await stage.effects() == {"s1": 1}


# --- effects by name --------------------------------------------------------------------------------------------------


def payment(seen: Seen) -> Service:
    service = Service("shipping")

    @service.on(Placed, Reserved, effect="charge")
    async def charge(fact: Placed | Reserved, db: Transaction) -> None:
        seen.calls.append("charge")
        await effect(db, fact.order, 1)

    @service.on(Failed, Dropped, undoes="charge")
    async def refund(fact: Failed | Dropped, db: Transaction) -> None:
        seen.calls.append("refund")
        await effect(db, fact.order, -1)

    return service


async def test_rule_23_any_of_several_bad_facts_undoes_one_effect_once(seen: Seen) -> None:
    async with stage_for(payment(seen), kind=Subscriber) as stage:
        await stage.publish(of(Placed), of(Placed, "s2"))
        await fates(stage, handled=2)
        await stage.publish(of(Failed), of(Dropped), of(Failed, "s3"))
        await fates(stage, handled=3, withdrawn=2)
        await stage.publish(of(Placed, "s3"))
        await fates(stage, handled=3, withdrawn=3)
        assert (seen.calls, await stage.effects()) == (["charge", "charge", "refund"], {"s2": 1})


async def test_rule_39_what_is_taken_back_half_full_is_not_filled_any_more(seen: Seen) -> None:
    service = Service("shipping")

    @service.on(WAITED_FOR)
    async def ship(placed: Placed, db: Transaction) -> None:
        await effect(db, placed.order, 1)

    @service.on(Failed, undoes=WAITED_FOR)
    async def take_back(failed: Failed, db: Transaction) -> None:
        seen.calls.append("take back")

    async with stage_for(service, kind=Subscriber) as stage:
        await stage.publish(of(Placed), of(Charged))
        await fates(stage, joined=2)
        await stage.publish(of(Failed))
        await fates(stage, joined=2, withdrawn=1)
        await stage.publish(of(Reserved))
        await fates(stage, joined=2, withdrawn=2)
        assert (seen.calls, await stage.effects()) == ([], {})


async def test_rule_23_another_fact_is_a_second_cause_of_one_effect(seen: Seen) -> None:
    async with stage_for(payment(seen), kind=Subscriber) as stage:
        await stage.publish(of(Placed))
        await fates(stage, handled=1)
        await stage.publish(of(Reserved), of(Placed, seq=2), of(Placed))
        await fates(stage, handled=1, repeated=1, second_cause=2)
        assert await stage.effects() == {"s1": 1}


async def test_rule_39_on_redis_two_arrivals_meet_at_the_watched_row(redis_url: str, namespace: str) -> None:
    seen = Seen()
    async with stage_for(shipping(seen), RedisDatabase(redis_url, namespace), kind=Subscriber, start=False) as stage:
        await stage.outside.declare(topology("shop", publishers=["shipping"]))
        stage.start()
        flows = [f"{namespace}-{number}" for number in range(8)]
        await stage.publish(*(of(kind, flow) for flow in flows for kind in (Placed, Charged, Reserved)))
        await eventually(lambda: counted(stage) == {"joined": 16, "handled": 8})
    assert sorted({*seen.calls}) == [f"ship {flow} {flow}" for flow in sorted(flows)]


# --- what cannot work -------------------------------------------------------------------------------------------------


async def outside(charged: Charged, placed: Placed) -> None: ...


async def listed(charged: list[Charged], db: Transaction) -> None: ...


async def either(one: Charged | Placed, db: Transaction) -> None: ...


async def another(failed: Failed, db: Transaction) -> None: ...


async def fine(charged: Charged, db: Transaction) -> None: ...


JOIN = all_of(Placed, Charged)


@pytest.mark.parametrize(
    ("heard", "more", "function", "words"),
    [
        ([JOIN], {}, outside, "waits for .* but takes no Transaction"),
        ([JOIN], {}, listed, "takes 'charged', which is not one of"),
        ([JOIN], {}, either, "takes 'one', which is not one of"),
        ([JOIN], {}, another, "neither Placed, Charged"),
        ([JOIN, Failed], {}, fine, "has other facts beside it"),
        ([JOIN], {"undoes": Failed}, fine, "has undoes= beside it"),
        ([JOIN], {"effect": "Charge it"}, fine, "is no name for an effect"),
        ([JOIN], {"at_most": 3}, fine, "is no Rate"),
    ],
)
def test_what_cannot_wait_for_several_is_said(heard: list[Any], more: Any, function: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        Service("shipping").on(*heard, **more)(function)


@pytest.mark.parametrize("facts", [[], [Placed], [Placed, Placed]])
def test_several_are_two_or_more(facts: list[type[Fact]]) -> None:
    with pytest.raises(DeclarationError, match="all_of is given"):
        all_of(*facts)


def test_only_facts_are_waited_for() -> None:
    with pytest.raises(DeclarationError, match=r"all_of is given .*, which is no Fact"):
        all_of(Placed, str)  # type: ignore[type-var] # what it refuses


@pytest.mark.parametrize("undone", ["reship", all_of(Placed, Charged), Shipped])
def test_what_nobody_does_cannot_be_undone(undone: Any) -> None:
    with pytest.raises(DeclarationError, match="which nothing handles"):
        check_reactions(shipping(Seen(), undone))


@pytest.mark.parametrize(("undone", "effect_"), [(WAITED_FOR, ""), (Charged, ""), ("ship", "ship"), (Placed, "ship")])
def test_it_is_undone_by_its_facts_one_of_them_or_its_name(undone: Any, effect_: str) -> None:
    check_reactions(shipping(Seen(), undone, effect_))


def test_a_service_hears_all_that_it_waits_for() -> None:
    service = Service("shipping")
    service.on(JOIN, at_most=Rate(5))(fine)
    assert (service.facts, str(AllOf((Placed, Charged)))) == ((Placed, Charged), "all_of(Placed, Charged)")
