"""Commit, reply with confirm, then acknowledge (semantics 14); and what happens when one of them does not work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from choros.app.service import Service
from choros.errors import BrokerMisconfigured, StoreMisconfigured, StoreUnreachable
from choros.messages import Failure
from choros.runtime.participant import reply_outbox
from choros.runtime.participant.participant import Participant
from choros.store.barrier import NotDone, Row
from choros.transport.port import Published
from tests.patience import PATIENCE
from tests.runtime.participant_stage import (
    Charge,
    Refund,
    Refunded,
    Stage,
    command,
    eventually,
    make_service,
    stage_for,
    unsettled,
)

DO = command(Charge(order="o1"))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_for(make_service()) as stage:
        yield stage


async def test_nothing_is_acknowledged_before_its_reply_is_confirmed(stage: Stage) -> None:
    stage.transport.held = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: sum(stage.counts.values()) == 1)
    assert (await stage.effects(), unsettled(stage, "shop.payment")) == ({"o1": 1}, 1)
    assert [row.key for row in await stage.database.unsent(10)] == [DO.key]
    stage.transport.held.set()
    await stage.replies(1)
    await stage.idle()
    assert not await stage.database.unsent(10)


@pytest.mark.parametrize("fate", [Published.NACKED, Published.RETURNED, Published.UNKNOWN])
async def test_what_is_not_confirmed_is_sent_again(stage: Stage, fate: Published) -> None:
    stage.transport.fates = [fate, fate]
    (reply,) = await stage.ask(DO)
    await stage.idle()
    assert [sent.id for sent in stage.transport.sent] == [reply.id] * 3
    assert stage.counts["unconfirmed"] == 2


async def test_a_reply_that_is_not_confirmed_holds_up_no_other(stage: Stage) -> None:
    lost = command(Charge(order="o1"), reply_to="shop.replies.nobody")
    await stage.send(lost)
    await eventually(lambda: stage.counts.get("unconfirmed", 0) > 0)
    await stage.ask(command(Charge(order="o2"), saga="s2"))
    await eventually(lambda: unsettled(stage, "shop.payment") == 1)
    assert [row.key for row in await stage.database.unsent(10)] == [lost.key]


async def test_a_command_whose_reply_nobody_takes_is_parked_in_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_outbox, "UNROUTABLE_AFTER", 0.0)
    lost = command(Charge(order="o1"), reply_to="shop.replies.nobody")
    await stage.send(lost)
    await eventually(lambda: stage.parked() == ["No queue takes the reply."])
    assert [row.key for row in await stage.database.unsent(10)] == [lost.key]


async def test_a_commit_that_fails_is_tried_again_and_nothing_is_acknowledged_until_then(stage: Stage) -> None:
    stage.database.losing = 2
    await stage.send(DO, command(Charge(order="o2"), saga="s2"))
    await eventually(lambda: stage.database.losing < 2)
    assert (unsettled(stage, "shop.payment"), stage.transport.sent) == (2, [])
    assert {reply.outcome for reply in await stage.replies(2)} == {"ok"}
    assert await stage.effects() == {"o1": 1, "o2": 1}


async def test_one_that_takes_its_whole_group_down_holds_up_nobody_else() -> None:
    """A disk that one effect is too large for: SQLite rolls the whole group back."""
    async with stage_for(make_service(), start=False) as stage:
        inner, poison = stage.database.run, "s3"

        async def run(jobs: Sequence[Any]) -> Sequence[Any]:
            if any(poison == job.args[0].key.saga_id for job in jobs):
                return [NotDone(StoreUnreachable("The disk is full."))] * len(jobs)
            return await inner(jobs)

        stage.database.run = run  # type: ignore[method-assign]
        await stage.send(*(command(Charge(order=f"o{n}"), saga=f"s{n}") for n in range(5)))
        stage.start()
        assert {reply.correlation_id for reply in await stage.replies(4)} == {"s0", "s1", "s2", "s4"}
        await eventually(lambda: unsettled(stage, "shop.payment") == 1)


async def test_a_database_that_is_away_for_good_acknowledges_nothing(stage: Stage) -> None:
    stage.database.refusing = 1_000_000
    await stage.send(DO)
    await eventually(lambda: len(stage.database.runs) >= 2)
    await stage.kill()
    assert (stage.transport.sent, unsettled(stage, "shop.payment")) == ([], 1)
    stage.database.refusing = 0
    stage.restart_from_nothing()
    await stage.replies(1)
    assert await stage.effects() == {"o1": 1}


async def test_a_crash_after_the_commit_sends_the_stored_answer(stage: Stage) -> None:
    stage.transport.held = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: sum(stage.counts.values()) == 1)
    stored = await stage.row(DO.key)
    await stage.kill()
    stage.transport.held = None
    stage.restart_from_nothing()
    (reply, *_) = await stage.replies(1)
    assert stored is not None
    assert (replace(reply, to=DO.reply_to).dumps(), await stage.effects()) == (stored.content, {"o1": 1})


async def test_stored_replies_are_scanned_at_the_start() -> None:
    """Also without a redelivery: the command may be gone."""
    async with stage_for(make_service(), start=False) as stage:
        reply = command(Charge(order="o1"), kind="reply", outcome="ok", to=DO.reply_to)
        await stage.database.run([_keep(Row(key=reply.key, state="ok", content=reply.dumps()))])
        await stage.database.run([_keep(Row(key="s9:x:1:do", state="intent", content=DO.dumps()))])
        stage.database.inner._rows.unsent["s9:x:1:do"] = 2  # type: ignore[attr-defined]  # an older choros did
        stage.start()
        assert [found.id for found in await stage.replies(1)] == [reply.id]
        await asyncio.sleep(0.02)
        assert not await stage.database.unsent(10)
        assert len(stage.transport.sent) == 1  # an intent keeps a command: that is not sent


async def test_a_later_scan_leaves_alone_what_is_on_its_way() -> None:
    async with stage_for(make_service(), scan_every=0.02) as stage:
        stage.transport.held = asyncio.Event()
        await stage.send(DO)
        await asyncio.sleep(0.2)
        stage.transport.held.set()
        await stage.replies(1)
        await stage.idle()
        assert len(stage.transport.sent) == 1


async def test_a_later_scan_sends_what_lies_there() -> None:
    async with stage_for(make_service(), scan_every=0.05) as stage:
        await asyncio.sleep(0.01)
        reply = command(Charge(order="o1"), kind="reply", outcome="ok", to=DO.reply_to)
        await stage.database.run([_keep(Row(key=reply.key, state="ok", content=reply.dumps()))])
        assert [found.id for found in await stage.replies(1)] == [reply.id]


async def test_old_refusals_are_pruned() -> None:
    async with stage_for(make_service(), prune_every=0.02) as stage:
        await stage.ask(command(Refund(order="o1"), "undo"))
        stage.clock[0] += 1000
        await asyncio.sleep(0.2)
        assert await stage.row(DO.key) is None


async def test_stop_finishes_what_is_under_way(stage: Stage) -> None:
    stage.transport.held = asyncio.Event()
    await stage.send(DO)
    await eventually(lambda: sum(stage.counts.values()) == 1)
    stopping = asyncio.create_task(stage.runner.stop())
    await asyncio.sleep(0.02)
    await stage.send(command(Charge(order="o2"), saga="s2"))
    assert not stopping.done()
    stage.transport.held.set()
    await asyncio.wait_for(stopping, PATIENCE)
    assert stage.running is not None
    await asyncio.wait_for(stage.running, PATIENCE)
    await stage.cut()
    assert (await stage.effects(), unsettled(stage, "shop.payment")) == ({"o1": 1}, 1)


async def test_stop_waits_no_longer_than_its_deadline() -> None:
    async with stage_for(make_service(), drain=0.1) as stage:
        await stage.send(command(Charge(order="o1", how="slow")))
        await eventually(lambda: bool(stage.database.runs))
        async with asyncio.timeout(PATIENCE):
            await stage.runner.stop()
        await stage.cut()
        assert (await stage.effects(), unsettled(stage, "shop.payment")) == ({}, 1)


async def test_stop_before_run_returns_at_once() -> None:
    async with stage_for(make_service(), start=False) as stage:
        await asyncio.wait_for(stage.runner.stop(), PATIENCE)


async def test_a_database_that_must_not_be_used_ends_the_run(stage: Stage) -> None:
    async def run(jobs: object) -> list[NotDone]:
        return [NotDone(StoreMisconfigured("Another table."))]

    stage.database.run = run  # type: ignore[method-assign]
    await stage.send(DO)
    assert stage.running is not None
    with pytest.raises(StoreMisconfigured):
        await asyncio.wait_for(stage.running, PATIENCE)
    await stage.cut()
    assert unsettled(stage, "shop.payment") == 1


async def test_a_queue_that_is_not_there_ends_the_run() -> None:
    async with stage_for(make_service(), start=False) as stage:
        nowhere = Participant(stage.service, namespace="elsewhere", transport=stage.transport, database=stage.database)
        with pytest.raises(BrokerMisconfigured):
            await asyncio.wait_for(nowhere.run(), PATIENCE)


async def test_an_error_of_the_handler_that_looks_like_the_databases_is_the_handlers(stage: Stage) -> None:
    """A handler may talk to another database; that one being away must not hold up this queue."""
    service = Service("payment")

    @service.handles(Refund)
    async def refund(command: Refund) -> Refunded:
        raise StoreUnreachable("Another one.")

    async with stage_for(service) as other:
        (failed,) = await other.ask(command(Refund(order="o1")))
        assert Failure.from_json(failed.data).code == "StoreUnreachable"


def _keep(row: Row):  # type: ignore[no-untyped-def]
    async def keep(transaction):  # type: ignore[no-untyped-def]
        await transaction.write_row(row)

    return keep
