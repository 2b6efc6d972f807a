"""What only a participant's Redis can do wrong: conflicts, lost answers, writes that fail in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.barrier import NotDone, Ok, Raised, value_of
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.server import RedisCommand
from choros.store.redis.transaction import RedisTransaction
from choros.testing.conformance.barrier import a_row, row_of
from choros.testing.conformance.barrier_aged import aged, horizon_of
from choros.testing.conformance.barrier_apart import writing
from tests.private_servers import PrivateRedis
from tests.store.conftest import Opening
from tests.store.proxy import LossyProxy

pytestmark = pytest.mark.servers


async def charge(tx: RedisTransaction) -> str:
    """A handler with the barrier."""
    if await tx.read_row("k1"):
        return "duplicate"
    await tx.incrby("charged")
    await tx.write_row(a_row("k1", reply="r"))
    return "done"


async def test_a_lost_answer_to_the_exec_is_settled_by_the_row(
    opened: Opening, ruinable: Redis, proxy: LossyProxy
) -> None:
    database = await opened(RedisDatabase(f"redis://127.0.0.1:{proxy.port}/0"))
    proxy.lose("EXEC")
    assert list(await database.run([charge])) == [Ok("done")]
    assert (proxy.lost, await ruinable.get("charged")) == (1, b"1")
    assert list(await database.run([charge])) == [Ok("duplicate")]


async def test_without_a_row_a_lost_answer_stays_unknown(opened: Opening, ruinable: Redis, proxy: LossyProxy) -> None:
    async def job(tx: RedisTransaction) -> None:
        await tx.set("a", 1)

    database = await opened(RedisDatabase(f"redis://127.0.0.1:{proxy.port}/0"))
    proxy.lose("EXEC")
    (answer,) = await database.run([job])
    assert isinstance(answer, NotDone) and isinstance(answer.why, StoreUnreachable)


async def test_a_job_runs_again_when_what_it_read_has_changed(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    runs = []

    async def job(tx: RedisTransaction) -> str | None:
        stock = await tx.get("stock")
        runs.append(stock)
        if len(runs) == 1:
            await ruinable.set("stock", 5)
        await tx.set("seen", stock or "nothing")
        return stock

    database = await opened(RedisDatabase(private_redis.url))
    assert list(await database.run([job])) == [Ok("5")]
    assert (runs, await ruinable.get("seen")) == ([None, "5"], b"5")


async def test_a_job_that_always_meets_others_gives_up(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job(tx: RedisTransaction) -> None:
        await tx.get("stock")
        await ruinable.incr("stock")
        await tx.set("never", 1)

    monkeypatch.setattr("choros.store.redis.barrier._ATTEMPTS", 3)
    database = await opened(RedisDatabase(private_redis.url))
    (answer,) = await database.run([job])
    assert isinstance(answer, NotDone) and isinstance(answer.why, StoreUnreachable)
    assert (await ruinable.get("never"), await ruinable.get("stock")) == (None, b"3")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda tx: tx.hset("text", {"a": 1}),
        lambda tx: tx.incrby("text"),
        lambda tx: tx.hincrby("hash", "name", 1),
        lambda tx: tx.rpush("hash", 1),
        lambda tx: tx.sadd("text", 1),
        lambda tx: tx.incrby("huge", 1),
    ],
)
async def test_a_write_that_would_fail_leaves_nothing_of_the_transaction(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, wrong: Any
) -> None:
    await ruinable.set("text", "words")
    await ruinable.set("huge", 2**63 - 1)
    await ruinable.hset("hash", "name", "words")

    async def job(tx: RedisTransaction) -> None:
        await tx.set("effect", 1)
        await wrong(tx)
        await tx.write_row(a_row("k1"))

    database = await opened(RedisDatabase(private_redis.url))
    (answer,) = await database.run([job])
    assert isinstance(answer, Raised) and isinstance(answer.error, UsageError)
    assert (await ruinable.get("effect"), await row_of(database, "k1")) == (None, None)


async def test_all_reads_and_writes_do_what_they_are_named_for(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    async def write(tx: RedisTransaction) -> None:
        await tx.set("s", "Zoë")
        await tx.set("n", 1)
        await tx.incrby("n", 4)
        await tx.hset("h", {"a": "1", "b": "x"})
        await tx.hincrby("h", "a", -3)
        await tx.rpush("l", "x", "y")
        await tx.sadd("m", "x", "y")
        await tx.set("gone", 1)
        await tx.delete("gone")

    async def read(tx: RedisTransaction) -> list[Any]:
        values: list[Any] = [await tx.get("s"), await tx.get("n"), await tx.hget("h", "a"), await tx.hgetall("h")]
        values += [await tx.lrange("l"), await tx.smembers("m"), await tx.sismember("m", "x")]
        return [*values, await tx.exists("gone"), await tx.get("gone")]

    database = await opened(RedisDatabase(private_redis.url))
    assert list(await database.run([write])) == [Ok(None)]
    values = value_of(*await database.run([read]))
    assert values == ["Zoë", "5", "-2", {"a": "-2", "b": "x"}, ["x", "y"], {"x", "y"}, True, False, None]


async def test_no_memory_refuses_the_transaction_whole(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    database = await opened(RedisDatabase(private_redis.url))
    await ruinable.config_set("maxmemory", 1)
    (answer,) = await database.run([charge])
    assert isinstance(answer, NotDone) and isinstance(answer.why, StoreUnreachable)
    await ruinable.config_set("maxmemory", 0)
    assert (await ruinable.get("charged"), list(await database.run([charge]))) == (None, [Ok("done")])


@pytest.mark.parametrize("spoilt", [False, True], ids=["at the end", "before"])
async def test_a_transaction_that_is_refused_at_its_end_says_what_is_wrong(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, spoilt: bool
) -> None:
    """Memory that runs out between its commands and the EXEC is no reason to give the database up."""
    database = await opened(RedisDatabase(private_redis.url))
    async with database._server.link() as connection:
        await database._server.talk_on(connection, [("MULTI",), ("SET", "a", "b")])
        await ruinable.config_set("maxmemory", 1)
        commands: list[RedisCommand] = [("SET", "c", "d"), ("EXEC",)] if spoilt else [("EXEC",)]
        refusal = (await database._server.talk_on(connection, commands))[-1]
    assert isinstance(refusal, redis_errors.ExecAbortError)
    named = database._server.named(refusal)
    assert isinstance(named, StoreUnreachable) and "out of memory" in named.sentence


async def test_a_transaction_is_of_no_use_after_its_handler(private_redis: PrivateRedis, opened: Opening) -> None:
    async def job(tx: RedisTransaction) -> RedisTransaction:
        return tx

    database = await opened(RedisDatabase(private_redis.url))
    tx = value_of(*await database.run([job]))
    with pytest.raises(UsageError, match="ended"):
        await tx.get("a")
    with pytest.raises(UsageError, match="ended"):
        await tx.set("a", 1)


async def test_whoever_is_the_first_meanwhile_has_no_older_schema(
    redis_url: str, namespace: str, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas that start at once: one looks, the other one notes the schema and stores its first row."""
    first, late = RedisDatabase(redis_url, namespace), RedisDatabase(redis_url, namespace)
    pages = late._schema._pages

    async def overtaken() -> AsyncIterator[list[str]]:
        await (await opened(first)).run([writing(a_row("k1"))])
        async for names in pages():
            yield names

    monkeypatch.setattr(late._schema, "_pages", overtaken)
    assert await row_of(await opened(late), "k1") == a_row("k1")


async def test_a_server_that_evicts_is_refused(private_redis: PrivateRedis, ruinable: Redis) -> None:
    await ruinable.config_set("maxmemory-policy", "allkeys-random")
    database = RedisDatabase(private_redis.url)
    with pytest.raises(StoreMisconfigured):
        await database.open()
    await database.close()


# --- a connection that is lost under a handler ------------------------------------------------------------------------


async def killed(tx: RedisTransaction, admin: Redis) -> None:
    """The server closes the connection; the handler takes its cache for empty and goes on."""
    (number,) = await tx._server.talk_on(tx._connection, [("CLIENT", "ID")])
    await admin.client_kill_filter(_id=str(number))
    with suppress(StoreUnreachable):
        await tx.get("cache")


async def timed_out(tx: RedisTransaction, admin: Redis) -> None:
    """The server is slow, and the handler does not wait for its cache."""
    await admin.client_pause(300)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await tx.get("cache")


async def refused(tx: RedisTransaction, admin: Redis) -> None:
    """The server does not let it watch any more."""
    await admin.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], commands=["-watch"], keys=["*"])
    with suppress(StoreMisconfigured):
        await tx.get("cache")
    await admin.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], commands=["+watch"], keys=["*"])


@pytest.mark.parametrize("options", ["", "?health_check_interval=1&retry_on_timeout=true"], ids=["plain", "options"])
@pytest.mark.parametrize("how", [killed, timed_out, refused])
async def test_a_rival_has_the_effect_and_who_has_lost_its_watch_has_none(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening,
    how: Callable[[RedisTransaction, Redis], Awaitable[None]], options: str,
) -> None:  # fmt: skip
    lost, done = asyncio.Event(), asyncio.Event()

    async def goes_on(tx: RedisTransaction) -> str:
        if lost.is_set():
            return await charge(tx)
        await tx.read_row("k1")
        await how(tx, ruinable)
        lost.set()
        await done.wait()
        with suppress(Exception):
            await tx.get("cache")
        with suppress(Exception):
            await tx.incrby("charged")
            await tx.write_row(a_row("k1", reply="r"))
        return "done"

    first, second = [await opened(RedisDatabase(private_redis.url + options)) for _ in range(2)]
    running = asyncio.ensure_future(first.run([goes_on]))
    await lost.wait()
    assert list(await second.run([charge])) == [Ok("done")]
    done.set()
    (answer,) = await running
    assert isinstance(answer, NotDone if how is killed else Raised)
    assert list(await first.run([goes_on])) == [Ok("duplicate")]
    assert await ruinable.get("charged") == b"1"


async def test_a_watch_that_is_refused_at_the_commit_commits_nothing(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    """The rights of one key: MULTI and EXEC are allowed, and would go through."""
    await ruinable.acl_setuser(
        "app", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-watch"], keys=["*"]
    )
    database = await opened(RedisDatabase(f"redis://app:pw@127.0.0.1:{private_redis.port}/0"))

    async def blind(tx: RedisTransaction) -> None:
        await tx.incrby("charged")

    (answer,) = await database.run([blind])
    assert isinstance(answer, NotDone) and isinstance(answer.why, StoreMisconfigured)
    assert await ruinable.get("charged") is None


async def test_an_answer_that_says_no_is_an_answer(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    await ruinable.set("text", "words")

    async def job(tx: RedisTransaction) -> str:
        with suppress(StoreMisconfigured):
            await tx.smembers("text")
        return await charge(tx)

    database = await opened(RedisDatabase(private_redis.url))
    assert list(await database.run([job])) == [Ok("done")]


async def test_a_task_that_is_left_reading_does_not_read_the_answers_of_the_next(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    await ruinable.set("slow", "words")
    tasks: list[asyncio.Task[str | None]] = []

    async def leaves(tx: RedisTransaction) -> None:
        await tx.read_row("k1")
        await ruinable.client_pause(200)
        tasks.append(asyncio.create_task(tx.get("slow")))
        await asyncio.sleep(0.01)
        raise ValueError

    database = await opened(RedisDatabase(private_redis.url, connections=1))
    assert [type(one) for one in await database.run([leaves])] == [Raised]
    assert list(await database.run([charge] * 5)) == [Ok("done"), *[Ok("duplicate")] * 4]
    (left,) = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(left, (StoreUnreachable, UsageError))


async def test_where_redis_is_full_what_is_old_is_forgotten_all_the_same(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    database = await opened(RedisDatabase(private_redis.url))
    await database.run([writing(*(aged(f"k{n}", float(n)) for n in range(30)))])
    await ruinable.config_set("maxmemory", 1)
    try:
        assert await database.forget("commands", 50.0) == 30
    finally:
        await ruinable.config_set("maxmemory", 0)
    assert await horizon_of(database) == 29.0


@pytest.mark.parametrize("stored", ["no JSON", "7", "[]", '["ok","",null,"t","x",1]', None])
async def test_a_row_that_nobody_can_read_keeps_no_other(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, stored: str | None
) -> None:
    database, name = await opened(RedisDatabase(private_redis.url)), "{choros}:barrier:row:k1"
    await database.run([writing(*(aged(f"k{n}", float(n)) for n in range(3)))])
    await ruinable.delete(name)
    await (ruinable.set(name, stored) if stored is not None else ruinable.hset(name, "of", "another type"))
    assert (await database.forget("commands", 50.0), await database.forget("commands", 50.0)) == (2, 0)
    assert (await horizon_of(database), await ruinable.exists(name)) == (2.0, 1)
