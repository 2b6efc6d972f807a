"""The barrier on Redis: jobs run side by side, reads do not see writes, and a conflict runs the handler again."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from choros.messages import Failure
from choros.store.redis.barrier import RedisDatabase
from tests.runtime.participant_stage import Charge, Refund, Stage, close, command, make_service, stage_for


@pytest.fixture
async def stage(redis_url: str, namespace: str) -> AsyncIterator[Stage]:
    async with stage_for(make_service(), RedisDatabase(redis_url, namespace), prefetch=100) as stage:
        yield stage


async def amounts(client: Redis, namespace: str) -> dict[str, int]:
    keys = [key.decode() async for key in client.scan_iter(match=f"{namespace}-*")]
    return {key.removeprefix(f"{namespace}-"): int(await client.hget(key, "amount") or 0) for key in keys}


async def test_duplicates_in_one_batch_have_one_effect(stage: Stage, namespace: str, redis_client: Redis) -> None:
    do = command(Charge(order=f"{namespace}-o1"))
    await stage.send(do, do, do)
    await stage.replies(1)
    await stage.idle()
    assert await amounts(redis_client, namespace) == {"o1": 1}


async def test_do_undo_and_what_comes_too_late(stage: Stage, namespace: str, redis_client: Redis) -> None:
    do, undo = command(Charge(order=f"{namespace}-o1")), command(Refund(order=f"{namespace}-o1"), "undo")
    done, undone, again = await stage.ask(do, undo, undo)
    assert (done.type, undone.type, undone == again) == ("charged.v1", "refunded.v1", True)
    nothing, refused = await stage.ask(
        command(Refund(order=f"{namespace}-o2"), "undo", saga="s2"), command(Charge(order=f"{namespace}-o2"), saga="s2")
    )
    assert (nothing.type, Failure.from_json(refused.data).code) == ("choros.nothing-to-undo.v1", "cancelled")
    closed, late = await stage.ask(close("do", saga="s3"), command(Charge(order=f"{namespace}-o3"), saga="s3"))
    assert (closed.type, late.outcome) == ("choros.closed.v1", "refused")
    assert await amounts(redis_client, namespace) == {"o1": 0}


async def test_many_of_all_kinds_on_one_counter(stage: Stage, namespace: str, redis_client: Redis) -> None:
    """They all write the same key, so almost every one meets a conflict."""
    kinds = ["ok", "declined", "broken"]
    await stage.send(
        *(command(Charge(order=f"{namespace}-o", how=kinds[n % 3]), saga=f"s{n}", not_after=None) for n in range(30))
    )
    assert Counter(r.outcome for r in await stage.replies(30)) == {"ok": 10, "refused": 10, "failed": 10}
    assert await amounts(redis_client, namespace) == {"o": 10}
    assert not await stage.database.unsent(100)
