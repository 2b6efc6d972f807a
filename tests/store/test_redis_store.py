"""What only the Redis store can do wrong: a server that forgets, a lost answer, no memory, no permission."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.runtime.orchestrator.retention import BATCH, Retention, Sweep
from choros.store.redis.barrier import RedisDatabase
from choros.store.redis.sagas import RedisStore
from choros.store.redis.server import RedisCommand
from choros.store.sagas import Committed, Kind, PutOff
from choros.testing.conformance.records import after, command, creation, stored, waiting
from tests.captured import capture_logs
from tests.patience import LATE
from tests.private_servers import PrivateRedis
from tests.store.conftest import Opening
from tests.store.proxy import LossyProxy

pytestmark = pytest.mark.servers


async def test_an_eviction_policy_is_refused(private_redis: PrivateRedis, ruinable: Redis) -> None:
    await ruinable.config_set("maxmemory-policy", "allkeys-lru")
    store = RedisStore(private_redis.url)
    with pytest.raises(StoreMisconfigured, match=r"allkeys-lru.*Try: CONFIG SET maxmemory-policy noeviction"):
        await store.open()
    await store.close()


async def test_it_is_refused_without_permission_for_config_too(private_redis: PrivateRedis, ruinable: Redis) -> None:
    await ruinable.acl_setuser(
        "app", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"], keys=["*"]
    )
    url = f"redis://app:pw@127.0.0.1:{private_redis.port}/0"
    allowed, refused = RedisStore(url), RedisStore(url)
    await allowed.open()
    await stored(allowed, creation())
    await allowed.close()
    await ruinable.config_set("maxmemory-policy", "volatile-ttl")
    with pytest.raises(StoreMisconfigured, match="volatile-ttl"):
        await refused.open()
    await refused.close()


async def test_weak_persistence_is_warned_about(private_redis: PrivateRedis, ruinable: Redis, opened: Opening) -> None:
    with capture_logs() as logs:
        await opened(RedisStore(private_redis.url))
    assert not logs
    await ruinable.config_set("appendfsync", "everysec")
    with capture_logs() as logs:
        await opened(RedisStore(private_redis.url))
    await ruinable.config_set("appendfsync", "always")
    assert [(log["event"], log["log_level"]) for log in logs] == [("choros.store.not_durable", "warning")]


@pytest.mark.parametrize("closed", [["-config"], ["-config", "-info"]], ids=["CONFIG", "CONFIG and INFO"])
@pytest.mark.parametrize("made", [RedisStore, RedisDatabase])
async def test_what_a_server_does_not_tell_is_warned_about(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, closed: list[str], made: Any
) -> None:
    """INFO has no appendfsync: this server syncs every second, and looks like one that always does."""
    await ruinable.config_set("appendfsync", "everysec")
    await ruinable.acl_setuser(
        "blind", enabled=True, reset_passwords=True, passwords=["+pw"], categories=["+@all"], commands=closed,
        keys=["*"],
    )  # fmt: skip
    with capture_logs() as logs:
        await opened(made(f"redis://blind:pw@127.0.0.1:{private_redis.port}/0"))
    await ruinable.acl_deluser("blind")
    await ruinable.config_set("appendfsync", "always")
    ((event, level, fsync, policy),) = [
        (log["event"], log["log_level"], log["appendfsync"], log["maxmemory_policy"]) for log in logs
    ]
    assert (event, level, fsync) == ("choros.store.unchecked", "warning", "unknown")
    assert policy == ("unknown" if "-info" in closed else "noeviction")


async def test_what_info_tells_of_weak_persistence_is_warned_about(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    await ruinable.config_set("appendonly", "no")
    await ruinable.acl_setuser(
        "blind", enabled=True, reset_passwords=True, passwords=["+pw"], categories=["+@all"], commands=["-config"],
        keys=["*"],
    )  # fmt: skip
    with capture_logs() as logs:
        await opened(RedisStore(f"redis://blind:pw@127.0.0.1:{private_redis.port}/0"))
    await ruinable.acl_deluser("blind")
    await ruinable.config_set("appendonly", "yes")
    assert [(log["event"], log["appendonly"]) for log in logs] == [("choros.store.not_durable", "no")]


async def test_a_wrong_password_is_a_misconfiguration_and_never_shown(
    private_redis: PrivateRedis, ruinable: Redis
) -> None:
    await ruinable.config_set("requirepass", "right")
    for login in (":wr0ng@", "someone:wr0ng@", ""):
        store = RedisStore(f"redis://{login}127.0.0.1:{private_redis.port}/0")
        with pytest.raises(StoreMisconfigured, match="user and password") as caught:
            await store.open()
        assert "wr0ng" not in str(caught.value)
        await store.close()


async def test_nobody_at_this_port_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = RedisStore(f"redis://127.0.0.1:{probe.getsockname()[1]}/0")
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await store.open()
        await store.close()


async def test_a_server_that_never_answers_is_given_up(opened: Opening) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.3)
        begun = time.monotonic()
        with pytest.raises(StoreUnreachable):
            await store.open()
        assert time.monotonic() - begun < 2 + LATE
        await store.close()


@pytest.mark.parametrize("address", ["redis://localhost/0?socket_timeout=soon", "redis://localhost/0?such=none"])
def test_a_nonsense_address_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError):
        RedisStore(address)


async def test_no_memory_refuses_a_transition_whole(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url))
    made = creation("s1", command("c1"))
    await stored(store, made)
    await ruinable.config_set("maxmemory", 1)
    with pytest.raises(StoreUnreachable, match="refused the write whole"):
        await store.commit([after(made, command("c2")), creation("s2")])
    await store.mark_sent([("s1", "c1")])  # what only removes still works
    await ruinable.config_set("maxmemory", 0)
    assert (set(await store.load(["s1", "s2"])), await waiting(store)) == ({"s1"}, [])
    await stored(store, after(made))


async def test_forgotten_scripts_are_sent_again(private_redis: PrivateRedis, ruinable: Redis, opened: Opening) -> None:
    store = await opened(RedisStore(private_redis.url))
    made = creation("s1", command("c1"))
    await stored(store, made)
    await ruinable.script_flush()
    assert list(await store.commit([after(made), creation("s2"), creation("s1")])) == [
        Committed.OK,
        Committed.OK,
        Committed.CONFLICT,
    ]
    await ruinable.script_flush()
    assert set(await store.load(["s1", "s2"])) == {"s1", "s2"}


async def test_whoever_is_the_first_meanwhile_has_no_older_schema(
    redis_url: str, namespace: str, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas that start at once: one looks, the other one notes the schema and stores its first saga."""
    first, late = RedisStore(redis_url, namespace), RedisStore(redis_url, namespace)
    talk = late._server.talk

    async def overtaken(commands: Sequence[RedisCommand]) -> list[Any]:
        looked, rest = await talk(commands[:1]), commands[1:]
        if rest and not first.identity:
            await stored(await opened(first), creation("s1"))
        return looked + (await talk(rest) if rest else [])

    await first._server.check()
    monkeypatch.setattr(late._server, "talk", overtaken)
    monkeypatch.setattr(late._server, "check", first._server.check)
    assert set(await (await opened(late)).load(["s1"])) == {"s1"}


async def test_a_commit_whose_answer_is_lost_is_recognised(opened: Opening, ruinable: Redis, proxy: LossyProxy) -> None:
    store = await opened(RedisStore(f"redis://127.0.0.1:{proxy.port}/0"))
    await stored(store, creation("warm"))
    mine = creation("s1", command("c1"), received=("m1",))
    proxy.lose("s1-t1")
    with pytest.raises(StoreUnreachable):
        await store.commit([mine])
    assert proxy.lost == 1
    assert list(await store.commit([mine])) == [Committed.CONFLICT]
    loaded = (await store.load(["s1"]))["s1"]
    assert (loaded.record, loaded.unsent) == (mine.record, frozenset({"c1"}))
    assert [row.version for row in await store.history("s1")] == [1]


async def test_a_restart_of_the_server_is_survived(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url))
    made = creation("s1", command("c1"))
    await stored(store, made)
    await asyncio.to_thread(private_redis.kill)
    with pytest.raises(StoreUnreachable):
        await store.load(["s1"])
    private_redis.start()  # in this thread: it would end with any other
    assert (await store.load(["s1"]))["s1"].record == made.record
    await stored(store, after(made))


async def test_where_somebody_has_made_something_else_of_its_entries_a_record_cannot_be_read_with_them(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url, "shop"))
    made = [replace(creation(saga_id), entries={"a": "1"}) for saga_id in ("sick", "well")]
    await stored(store, *made)
    await ruinable.set("{shop}:entries:sick", "nothing")
    for names in (None, ["a"]):
        found = await store.load(["sick", "well"], {"sick": names, "well": names})
        assert (found["sick"].record.unreadable, found["sick"].entries) == ("head", {})
        assert (found["well"].record, found["well"].entries) == (made[1].record, {"a": "1"})
    again = [replace(after(one), entries={"a": "2"}) for one in made]
    assert list(await store.commit(again)) == [Committed.REFUSED, Committed.OK]


async def test_all_keys_share_one_hash_tag_and_none_expires(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url, "shop"))
    await stored(store, replace(creation("s1", command("c1"), wake_at=5.0), entries={"a": "1"}))
    keys: list[Any] = await ruinable.keys()
    assert len(keys) == 11
    assert all(key.startswith(b"{shop}:") for key in keys)
    assert [await ruinable.ttl(key) for key in keys] == [-1] * len(keys)


async def test_the_clock_is_the_servers(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(RedisStore(private_redis.url))
    right, real = store.now(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    await store.due(0.0, [Kind("order", 1)], 1)
    assert abs(store.now() - right) < 600


async def test_a_clock_that_runs_back_keeps_the_order_of_one_saga(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url, "shop"))
    made = creation("s1", command("z"))
    await stored(store, made)
    ahead = int((store.now() + 30) * 1_000_000)
    await ruinable.hset("{shop}:saga:s1", "clock", str(ahead))
    second = after(made, command("y"))
    await stored(store, second)
    await stored(store, after(second, command("a")))
    assert await waiting(store) == ["z", "y", "a"]


async def test_what_somebody_has_deleted_by_hand_does_not_stop_retention(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening
) -> None:
    store = await opened(RedisStore(private_redis.url))
    ids = [f"s{number:03}" for number in range(3 * BATCH)]
    await store.commit([creation(one, status="completed", updated_at=float(n)) for n, one in enumerate(ids)])
    await ruinable.delete(*(f"{{choros}}:saga:{one}" for one in ids[:BATCH]))
    assert await Sweep(store, Retention(timedelta(days=1))).once() == len(ids)
    assert await ruinable.zcard("{choros}:ended") == 0


@pytest.mark.parametrize("name", ["saga", "outbox"])
async def test_a_record_of_another_type_holds_no_other(
    private_redis: PrivateRedis, ruinable: Redis, opened: Opening, name: str
) -> None:
    """Not the reading, not the timers of the others."""
    store = await opened(RedisStore(private_redis.url))
    sagas = [creation(one, wake_at=1.0) for one in ("s1", "s2", "s3")]
    await store.commit(sagas)
    await ruinable.delete(f"{{choros}}:{name}:s2")
    await ruinable.set(f"{{choros}}:{name}:s2", "no hash")
    loaded = await store.load(["s1", "s2", "s3"])
    assert [bool(loaded[one].record.unreadable) for one in ("s1", "s2", "s3")] == [False, True, False]
    kinds = [sagas[0].record.kind]
    claimed = await store.due(2.0, kinds, 10, claim_until=9.0)
    assert sorted(claimed) == ["s1", "s2", "s3"]
    await store.put_off([PutOff(one, 9.0, 3.0) for one in claimed])
    assert {"s1", "s3"} <= set(await store.due(4.0, kinds, 10))
