"""What only the PostgreSQL store can do wrong: a server that forgets, a lost answer, a login that may not, a pooler."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.roles.addresses import scopes_at, store_at, tables_of
from choros.store.postgres import looks as looks
from choros.store.postgres.address import address_of
from choros.store.postgres.sagas import PostgresStore
from choros.store.sagas import Committed, Kind, PutOff
from choros.testing.conformance.records import KNOWN, after, command, creation, fact, stored, waiting
from tests.captured import capture_logs
from tests.private_postgresql import PrivatePostgreSQL
from tests.store.conftest import Opening, eventually
from tests.store.proxy import LossyProxy

pytestmark = [pytest.mark.servers, pytest.mark.long]


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgreSQL]:
    """A PostgreSQL that a test may ruin."""
    server = PrivatePostgreSQL(tmp_path_factory.mktemp("postgresql"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def owner(private: PrivatePostgreSQL) -> AsyncIterator[Any]:
    """A connection that may do all; settings and what was made are put right again afterwards."""
    link = await asyncpg.connect(private.url)
    yield link
    await link.close()
    link = await asyncpg.connect(private.url)
    await link.execute("ALTER SYSTEM RESET ALL")
    await link.execute("ALTER ROLE choros RESET ALL")
    await link.execute("SELECT pg_reload_conf()")
    await link.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await link.execute("DROP SCHEMA IF EXISTS apart CASCADE")
    await link.close()


@asynccontextmanager
async def with_setting(owner: Any, name: str, value: str) -> AsyncIterator[None]:
    """The server has another setting, and the old one again at the end."""
    for statement in (f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"):
        await owner.execute(statement)

    async def is_so() -> bool:
        return bool(await owner.fetchval(f"SHOW {name}") == value)

    await eventually(is_so)
    yield


async def refused(url: str, match: str) -> None:
    store = PostgresStore(url)
    with pytest.raises(StoreMisconfigured, match=match):
        await store.open()
    await store.close()


# --- what the server is configured for --------------------------------------------------------------------------------


async def test_a_server_without_fsync_is_refused(private: PrivatePostgreSQL, owner: Any) -> None:
    async with with_setting(owner, "fsync", "off"):
        await refused(private.url, r"power cut \(fsync is off\).*Try: fsync = on")


async def test_a_commit_that_is_not_waited_for_is_warned_about(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    with capture_logs() as logs:
        await opened(PostgresStore(private.url))
    assert not logs
    await owner.execute("ALTER ROLE choros SET synchronous_commit = off")
    with capture_logs() as logs:
        await opened(PostgresStore(private.url))
    assert [(log["event"], log["synchronous_commit"]) for log in logs] == [("choros.store.not_durable", "off")]


async def test_a_database_that_cannot_hold_every_text_is_refused(private: PrivatePostgreSQL, owner: Any) -> None:
    await owner.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    await refused(private.url.replace("/postgres", "/latin"), "its encoding is LATIN1")


# --- who is who -------------------------------------------------------------------------------------------------------


async def test_a_login_that_may_not_create_tables_needs_none_where_they_are(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    """They are created from what is printed; then a role with rights to the rows alone does all that a store does."""
    await owner.execute("DROP ROLE IF EXISTS humble")
    await owner.execute("CREATE ROLE humble LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE SCHEMA apart")
    url = f"postgresql://humble@127.0.0.1:{private.port}/postgres?schema=apart"
    await owner.execute("GRANT USAGE ON SCHEMA apart TO humble")
    await refused(url, r"may not create its tables.*Try: choros schema print postgresql --for store")
    await owner.execute(tables_of("postgresql", "store", "apart"))
    await refused(url, "does not allow this user what a store needs.*GRANT")
    await owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA apart TO humble")
    store = await opened(PostgresStore(url))
    made = replace(creation("s1", command("c1"), fact("f1"), wake_at=1.0), entries={"label:a": "1"})
    await stored(store, made)
    assert await store.due(5.0, KNOWN, 5, claim_until=9.0) == ["s1"]
    await stored(store, replace(after(made, status="completed", sent=("c1", "f1")), entries={"label:a": ""}))
    assert (await store.forget(store.now())).records == 1
    assert await owner.fetchval("SELECT count(*) FROM apart.choros_record") == 1
    await owner.execute("DROP SCHEMA apart CASCADE; DROP ROLE humble")


async def test_tables_of_another_version_are_refused_with_what_to_do(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    store = await opened(PostgresStore(private.url))
    assert (await store.schema_version(), (await store.upgrade()).found) == (3, 3)
    await owner.execute("UPDATE choros_store SET version = 4")
    await refused(private.url, "has schema version 4; this choros knows version 3")
    await owner.execute("UPDATE choros_store SET version = 2")
    await refused(private.url, "has schema version 2.*choros schema upgrade APP --store postgresql://")


async def test_many_that_start_first_at_once_share_one_store(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    empty = PostgresStore(private.url)
    assert await empty.schema_version() == 0
    await empty.close()
    stores = await asyncio.gather(*(opened(PostgresStore(private.url, f"shop.{number}")) for number in range(8)))
    assert len({store.identity for store in stores}) == 1
    await stored(stores[3], creation("s1"))
    assert await scopes_at(private.url) == ["shop.3"]


async def test_a_database_or_a_login_that_is_not_there_is_a_misconfiguration(private: PrivatePostgreSQL) -> None:
    await refused(private.url.replace("/postgres", "/nowhere"), "no such database")
    await refused(private.url.replace("choros@", "nobody:opensesame@"), "user and password")
    await refused(f"{private.url}?schema=nowhere", "no such schema")


async def test_what_is_closed_connects_to_nothing_any_more(private: PrivatePostgreSQL, owner: Any) -> None:
    store = PostgresStore(private.url)
    await store.open()
    await store.close()
    for asked in (store.due(0.0, KNOWN, 1), store.commit([creation("s1")]), store.load(["s1"]), store.counts()):
        with pytest.raises(StoreUnreachable):
            await asked
    assert not await pids(owner)


async def test_nobody_at_this_port_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = store_at(f"postgresql://127.0.0.1:{probe.getsockname()[1]}/shop")
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await store.open()
        await store.close()


@pytest.mark.parametrize(
    "url", ["postgresql://host/db?schema=Drop Table", "postgresql://host/db?statement_cache_size=many"]
)
def test_a_nonsense_address_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="Try: "):
        PostgresStore(url)


def test_what_is_the_drivers_is_left_to_it() -> None:
    address = address_of(
        "postgresql://u:p@one,two:5433/db?sslmode=require&schema=apart&target_session_attrs=read-write"
    )
    assert address.dsn == "postgresql://u:p@one,two:5433/db?sslmode=require&target_session_attrs=read-write"
    assert (address.schema, address.prepared, "p@" in address.name) == ("apart", True, False)


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


async def test_what_one_transition_holds_that_no_text_may_harms_no_other(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    store = await opened(PostgresStore(private.url))
    await stored(store, creation("s0", command("c0")))
    await store.mark_sent([("s0", "c0")])
    batch = [creation("s1", key="a\x00b"), creation("s2"), creation("s3", state="\ud800")]
    answers = await store.commit(batch)
    assert list(answers) == [Committed.REFUSED, Committed.OK, Committed.REFUSED]
    assert set(await store.load(["s1", "s2", "s3"])) == {"s2"}
    assert await owner.fetchval("SELECT count(*) FROM choros_outbox") == 0


async def test_a_commit_whose_answer_is_lost_is_recognised(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    proxy = LossyProxy(private.port)
    await proxy.start()
    store = await opened(PostgresStore(private.url.replace(str(private.port), str(proxy.port)), timeout=2.0))
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
    await store.close()
    await proxy.stop()


async def test_a_restart_of_the_server_is_survived(private: PrivatePostgreSQL, owner: Any, opened: Opening) -> None:
    store = await opened(PostgresStore(private.url))
    made = creation("s1", command("c1"))
    await stored(store, made)
    await asyncio.to_thread(private.kill)
    with pytest.raises(StoreUnreachable):
        await store.load(["s1"])
    private.start()  # in this thread: it would end with any other
    assert (await store.load(["s1"]))["s1"].record == made.record
    await stored(store, after(made))


async def test_connections_that_are_cut_are_made_anew(private: PrivatePostgreSQL, owner: Any, opened: Opening) -> None:
    store = await opened(PostgresStore(private.url))
    last = creation("s1")
    await stored(store, last)
    for _ in range(5):
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'choros'"
        await owner.execute(cut)
        try:
            (answer,) = await store.commit([after(last)])
        except StoreUnreachable:
            (answer,) = await store.commit([after(last)])
        assert answer in (Committed.OK, Committed.CONFLICT)  # of the first time, whose answer was lost
        last = after(last)
        assert (await store.load(["s1"]))["s1"].record == last.record


async def test_a_standby_is_let_go_of_once_it_refuses(private: PrivatePostgreSQL, owner: Any, opened: Opening) -> None:
    """After a failover behind one address: every connection made so far leads to the old primary."""
    store = await opened(PostgresStore(private.url))
    await asyncio.gather(*(store.load([f"s{number}"]) for number in range(20)))
    async with with_setting(owner, "default_transaction_read_only", "on"):
        with pytest.raises(StoreUnreachable, match="is a standby and takes no writes"):
            await stored(store, creation("s1"))
        before = set(await pids(owner))
    await owner.execute("SET default_transaction_read_only = off")
    async with with_setting(owner, "default_transaction_read_only", "off"):
        await stored(store, creation("s2"))
    assert not before & set(await pids(owner))


async def pids(owner: Any) -> list[int]:
    rows = await owner.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'choros'")
    return [row["pid"] for row in rows]


async def test_a_statement_that_takes_too_long_is_unreachable(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    store = await opened(PostgresStore(private.url))
    await stored(store, creation("s1"))
    await owner.execute("ALTER ROLE choros SET statement_timeout = '300ms'")
    other = await opened(PostgresStore(private.url))
    async with owner.transaction():
        await owner.execute("SELECT * FROM choros_record FOR UPDATE")
        with pytest.raises(StoreUnreachable, match="statement_timeout"):
            await other.commit([after(creation("s1"))])
    await stored(other, after(creation("s1")))


async def test_deadlocks_are_tried_again(private: PrivatePostgreSQL, owner: Any, opened: Opening) -> None:
    """Somebody who takes the rows of a batch in another order, and waits for the one that the batch has."""
    store = await opened(PostgresStore(private.url))
    made = [creation("s1"), creation("s2")]
    await stored(store, *made)
    async with owner.transaction():
        await owner.execute("SELECT * FROM choros_record WHERE saga_id = 's2' FOR UPDATE")
        committing = asyncio.create_task(store.commit([after(one) for one in made]))

        async def waits() -> bool:
            return bool(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        await owner.execute("SET LOCAL deadlock_timeout = '60s'")  # it is the other one that is given up
        await owner.execute("SELECT * FROM choros_record WHERE saga_id = 's1' FOR UPDATE")
    assert list(await committing) == [Committed.OK] * 2


# --- poolers, and plans -----------------------------------------------------------------------------------------------


async def test_behind_a_pooler_nothing_is_left_on_a_connection(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    """Neither a prepared statement nor a setting: what follows on it may be somebody else's transaction."""
    store = await opened(PostgresStore(f"{private.url}?statement_cache_size=0", connections=1))
    made = creation("s1", command("c1"), wake_at=1.0)
    await stored(store, made)
    assert await store.due(5.0, KNOWN, 5, claim_until=9.0) == ["s1"]
    assert await waiting(store) == ["c1"]
    left = "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('enable_seqscan')"
    assert [tuple(row) for row in await store._server.ask(left)] == [(0, "on")]


async def test_no_statement_reads_all_records_though_it_was_planned_when_there_were_none(
    private: PrivatePostgreSQL, owner: Any, opened: Opening
) -> None:
    store = await opened(PostgresStore(private.url, connections=1))
    first = creation("s0", command("c0"), wake_at=1.0)
    await stored(store, first)
    await stored(store, replace(after(first), entries={"a": "1", "b": ""}))
    names = {"s0": ["a"]}
    await store.load(["s0"])
    await store.load(["s0"], names)
    await owner.execute(
        "INSERT INTO choros_record SELECT 'choros', 'x' || n, saga, 1, 'k', 'd', 'a', 1, 't', 'running', 's', n, n, n,"
        " '[]', '[]', '', 0, NULL, false FROM choros_record, generate_series(1, 20000) AS n WHERE saga_id = 's0'"
    )

    async def read() -> int:
        await store._server.ask("SELECT pg_stat_force_next_flush()")
        return int(await owner.fetchval("SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes"))

    before = await read()
    second = after(first)
    await stored(store, after(second, command("c2"), sent=("c0",)))
    await store.load(["s0", "x7"])
    await store.load(["s0"], names)
    for claim in (None, 9.0):
        await store.due(5.0, [Kind("order", 1)], 5, claim_until=claim)
    await store.put_off([PutOff("s0", 9.0, 7.0)])
    await store.next_due([Kind("order", 1)])
    for asked in ({}, {"saga": "order"}, {"status": "running"}):
        await store.find(limit=3, **asked)
    await store.unsent("commands", store.now(), 5)
    await store.ended(0.0)
    await store.oldest()
    await store.labelled("x")
    await store.history("s0")
    await stored(store, creation("over", status="completed", updated_at=1.0))
    assert (await store.forget(5.0, keys_before=5.0)).records == 1
    assert await read() - before < 200


async def test_counts_are_put_together_now_and_then(
    private: PrivatePostgreSQL, owner: Any, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_MANY", 10)
    store = await opened(PostgresStore(private.url))
    for number in range(20):
        await stored(store, creation(f"s{number}"))
    assert await store.counts() == {("order", "running"): 20}
    assert await owner.fetchval("SELECT count(*) FROM choros_tally") == 1
    assert await store.counts() == {("order", "running"): 20}
