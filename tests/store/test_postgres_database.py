"""What only a participant's PostgreSQL can do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from choros.errors import StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.barrier import NEVER, NotDone, Ok, Raised
from choros.store.postgres.barrier import Isolation, PostgresDatabase
from choros.store.sql.schema import TABLES
from choros.store.sql.script import ends_transaction
from choros.testing.conformance.barrier import a_row, row_of, writing
from choros.values import replace
from tests.store.conftest import Opening, came_to

Handler = Callable[[Any], Awaitable[Any]]


@pytest.fixture
async def database(postgres_schema: str, opened: Opening) -> PostgresDatabase:
    database: PostgresDatabase = await opened(PostgresDatabase(postgres_schema, connections=4))

    async def job(tx: Any) -> None:
        await tx.connection.execute("CREATE TABLE stock (sku TEXT PRIMARY KEY, amount INTEGER CHECK (amount >= 0))")
        await tx.connection.execute("INSERT INTO stock VALUES ('lamp', 3), ('sofa', 1)")

    assert list(await database.run([job])) == [Ok(None)]
    return database


async def handled(database: PostgresDatabase, handler: Handler) -> Any:
    """What becomes of a command with this handler."""

    async def job(tx: Any) -> Any:
        await tx.read_row("k1")
        async with tx.savepoint():
            answer = await handler(tx.given(asyncpg.Connection))
        await tx.write_row(a_row("k1", "ok", "done"))
        return answer

    return came_to(*await database.run([job]))


async def amounts(database: PostgresDatabase) -> list[tuple[Any, ...]]:
    async def job(tx: Any) -> Any:
        return [tuple(row) for row in await tx.connection.fetch("SELECT sku, amount FROM stock ORDER BY sku")]

    return list(came_to(*await database.run([job])))


async def test_handlers_get_a_connection_of_asyncpg(database: PostgresDatabase) -> None:
    async def take(connection: asyncpg.Connection) -> object:
        assert isinstance(connection, asyncpg.Connection)
        with suppress(asyncpg.CheckViolationError):
            async with connection.transaction():
                await connection.execute("UPDATE stock SET amount = amount - 5 WHERE sku = $1", "lamp")
        await connection.executemany("UPDATE stock SET amount = amount - 1 WHERE sku = $1", [("lamp",), ("sofa",)])
        return await connection.fetchval("SELECT sum(amount) FROM stock")

    assert await handled(database, take) == 2
    assert await amounts(database) == [("lamp", 2), ("sofa", 0)]


ENDS = ["COMMIT", " -- now\nrollback", "begin", "END", "UPDATE stock SET amount = 0; COMMIT", "SELECT 1 ;/* */commit"]
DOES_NOT = ["SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "rollback to a", "SELECT 'x; COMMIT'", "SELECT 1 AS committed"]
DOES_NOT += ["DO $$ BEGIN PERFORM 1; END $$", "UPDATE a SET b = '' ; SELECT $q$; commit$q$", "SELECT 1; -- ; commit"]


@pytest.mark.parametrize(("sql", "ends"), [*((sql, True) for sql in ENDS), *((sql, False) for sql in DOES_NOT)])
def test_what_would_end_the_transaction_is_found(sql: str, ends: bool) -> None:
    assert ends_transaction(sql) is ends


async def test_a_handler_cannot_end_the_transaction(database: PostgresDatabase) -> None:
    async def ends(connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE stock SET amount = 0; COMMIT")

    assert isinstance(await handled(database, ends), UsageError)
    assert (await amounts(database), await row_of(database, "k1")) == ([("lamp", 3), ("sofa", 1)], None)


async def test_who_goes_on_after_a_failed_statement_is_told_so(database: PostgresDatabase) -> None:
    async def takes(connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE stock SET amount = 0 WHERE sku = 'lamp'")
        with suppress(asyncpg.CheckViolationError):
            await connection.execute("UPDATE stock SET amount = -1 WHERE sku = 'sofa'")

    answer = await handled(database, takes)
    assert isinstance(answer, UsageError)
    assert "outside of a savepoint" in str(answer)
    assert (await amounts(database), await row_of(database, "k1")) == ([("lamp", 3), ("sofa", 1)], None)


async def test_as_many_handlers_are_at_work_as_there_are_connections(database: PostgresDatabase) -> None:
    inside, all_in = 0, asyncio.Event()

    async def waits_for_the_others(tx: Any) -> str:
        nonlocal inside
        inside += 1
        if inside == 4:
            all_in.set()
        await all_in.wait()
        return "done"

    assert list(await database.run([waits_for_the_others] * 6)) == [Ok("done")] * 6


async def test_two_that_lock_each_other_out_are_both_done(database: PostgresDatabase) -> None:
    met = asyncio.Barrier(2)
    tries = 0

    def moving(first: str, second: str) -> Handler:
        begun = False

        async def job(tx: Any) -> str:
            nonlocal tries, begun
            tries += 1
            await tx.read_row(first)
            await tx.connection.execute("UPDATE stock SET amount = amount + 1 WHERE sku = $1", first)
            if not begun:
                begun = True
                await met.wait()
            await tx.connection.execute("UPDATE stock SET amount = amount + 1 WHERE sku = $1", second)
            return "done"

        return job

    assert list(await database.run([moving("lamp", "sofa"), moving("sofa", "lamp")])) == [Ok("done")] * 2
    assert (await amounts(database), tries) == ([("lamp", 5), ("sofa", 3)], 3)


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_who_reads_what_another_changes_is_done_again(
    postgres_schema: str, opened: Opening, database: PostgresDatabase, isolation: Isolation
) -> None:
    other: PostgresDatabase = await opened(PostgresDatabase(postgres_schema, "other", isolation=isolation))

    async def take(tx: Any) -> str:
        amount = await tx.connection.fetchval("SELECT amount FROM stock WHERE sku = 'lamp'")
        await asyncio.sleep(0)
        await tx.connection.execute("UPDATE stock SET amount = $1 WHERE sku = 'lamp'", amount + 1)
        return "done"

    assert list(await other.run([take] * 5)) == [Ok("done")] * 5
    assert await amounts(database) == [("lamp", 8), ("sofa", 1)]


async def test_a_conflict_that_a_handler_catches_is_done_again_all_the_same(
    postgres_schema: str, opened: Opening, database: PostgresDatabase
) -> None:
    other: PostgresDatabase = await opened(PostgresDatabase(postgres_schema, "other", isolation="repeatable_read"))
    tries = 0

    async def stubborn(tx: Any) -> str:
        nonlocal tries
        tries += 1
        await tx.connection.fetchval("SELECT amount FROM stock WHERE sku = 'lamp'")
        if tries == 1:
            await handled(database, lambda connection: connection.execute("UPDATE stock SET amount = amount + 1"))
        with suppress(asyncpg.SerializationError):
            await tx.connection.execute("UPDATE stock SET amount = amount + 1")
        return "done"

    assert list(await other.run([stubborn])) == [Ok("done")]
    assert (await amounts(database), tries) == ([("lamp", 5), ("sofa", 3)], 2)


async def test_a_login_that_may_create_nothing_needs_the_tables_to_be_there(
    postgres_url: str, postgres_schema: str, namespace: str
) -> None:
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"ALTER SCHEMA {namespace} OWNER TO choros; GRANT USAGE ON SCHEMA {namespace} TO {namespace}")
    database = PostgresDatabase(postgres_schema)
    with pytest.raises(StoreMisconfigured, match="may not create them") as refused:
        await database.open()
    assert "choros schema print postgresql --for barrier" in str(refused.value)
    await admin.execute(f"SET search_path = {namespace};" + ";".join(TABLES))
    await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {namespace} TO {namespace}")
    await database.open()
    assert list(await database.run([writing(a_row("k1"))])) == [Ok(None)]
    await database.close()
    await admin.close()


async def test_another_schema_version_is_refused(database: PostgresDatabase, postgres_schema: str) -> None:
    async def age(tx: Any) -> None:
        await tx.connection.execute("UPDATE choros_schema SET version = 2")

    await database.run([age])
    again = PostgresDatabase(postgres_schema)
    with pytest.raises(StoreMisconfigured, match="has schema version 2; this choros needs version 3") as refused:
        await again.open()
    await again.close()
    assert "choros schema upgrade" in str(refused.value)


async def test_several_that_are_the_first_do_not_fight(postgres_schema: str, opened: Opening) -> None:
    databases = [PostgresDatabase(postgres_schema, f"s{n}", connections=1) for n in range(4)]
    await asyncio.gather(*map(opened, databases))
    assert [list(await one.run([writing(a_row("k1"))])) for one in databases] == [[Ok(None)]] * 4


async def test_a_server_that_is_away_is_not_done(database: PostgresDatabase) -> None:
    away = PostgresDatabase("postgresql://choros@127.0.0.1:9/postgres")
    with pytest.raises(StoreUnreachable):
        await away.open()
    (answer,) = await away.run([writing(a_row("k1"))])
    assert isinstance(answer, NotDone)
    await away.close()


async def test_a_connection_is_of_no_use_after_its_handler(database: PostgresDatabase) -> None:
    async def leaks(connection: asyncpg.Connection) -> asyncpg.Connection:
        return connection

    left = await handled(database, leaks)
    with pytest.raises(asyncpg.InterfaceError, match="released"):
        await left.execute("UPDATE stock SET amount = 0")
    assert await amounts(database) == [("lamp", 3), ("sofa", 1)]


async def test_an_exception_of_a_handler_is_its_own(database: PostgresDatabase) -> None:
    async def takes(tx: Any) -> None:
        await tx.connection.execute("UPDATE stock SET amount = -1")

    (answer,) = await database.run([takes])
    assert isinstance(answer, Raised)
    assert isinstance(answer.error, asyncpg.CheckViolationError)


async def test_a_command_is_five_trips_and_those_of_its_handler(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin, row, savepoint, row, commit; the session is put back with the last of these."""
    said: list[str] = []

    def noting(name: str) -> None:
        whole = getattr(asyncpg.Connection, name)

        async def note(connection: Any, query: str, *args: Any, **options: Any) -> Any:
            if name != "execute" or not args:  # with values it goes on to the other
                said.append(query)
            return await whole(connection, query, *args, **options)

        monkeypatch.setattr(asyncpg.Connection, name, note)

    async def job(tx: Any) -> None:
        assert await tx.read_row("k1") is None
        assert await tx.horizon("commands") == NEVER
        async with tx.savepoint():
            await tx.given(asyncpg.Connection).execute("UPDATE stock SET amount = 1 WHERE sku = $1", "lamp")
        await tx.write_row(replace(a_row("k1", "ok", "done"), began=5.0))

    assert list(await database.run([job_of("k0")])) == [Ok(None)]  # it has asked how far rows are forgotten
    for name in ("execute", "_execute", "_executemany"):
        noting(name)
    assert list(await database.run([job])) == [Ok(None)]
    assert [query.split()[0] for query in said] == ["BEGIN;", "INSERT", "SAVEPOINT", "UPDATE", "INSERT", "COMMIT;"]
    assert "RESET ALL" in said[-1]


def job_of(key: str, began: float = 5.0, seen: list[float] | None = None) -> Callable[[Any], Awaitable[None]]:
    """It does what it is asked to, unless that is older than what is remembered."""

    async def job(tx: Any) -> None:
        row, horizon = await tx.read_row(key), await tx.horizon("commands")
        (seen if seen is not None else []).append(horizon)
        if row is None and horizon < began:
            await tx.write_row(replace(a_row(key), began=began))

    return job


@pytest.mark.parametrize(("began", "seen"), [(5.0, [NEVER, 5.0]), (6.0, [NEVER])], ids=["behind", "beyond"])
async def test_who_has_not_heard_that_the_horizon_moved_does_nothing_behind_it(
    database: PostgresDatabase, postgres_schema: str, opened: Opening, began: float, seen: list[float]
) -> None:
    """Another replica forgets a command, which then comes once more."""
    other: PostgresDatabase = await opened(PostgresDatabase(postgres_schema))
    assert list(await database.run([job_of("before")])) == [Ok(None)]
    assert await other.forget("commands", 1e12) == 1
    horizons: list[float] = []
    assert list(await database.run([job_of("again", began, horizons)])) == [Ok(None)]
    assert horizons == seen
    assert (await row_of(database, "again") is None) == (began == 5.0)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_handler_leaves_in_its_session_nobody_else_meets(
    postgres_schema: str, opened: Opening, fails: bool
) -> None:
    alone: PostgresDatabase = await opened(PostgresDatabase(postgres_schema, connections=1))
    before, after = [], []

    async def leaves(connection: asyncpg.Connection) -> None:
        before.append(await connection.fetchval("SHOW statement_timeout"))
        await connection.execute("SELECT pg_advisory_lock(1234567)")
        await connection.execute("SET statement_timeout = 4321")
        if fails:
            raise ZeroDivisionError

    async def looks(connection: asyncpg.Connection) -> None:
        after.append(await connection.fetchval("SHOW statement_timeout"))
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1234567"
        assert await connection.fetchval(held) == 0

    for _ in range(3):
        await handled(alone, leaves)
        await handled(alone, looks)
    assert set(after) == set(before) == {before[0]}


async def test_savepoints_one_after_the_other_and_in_each_other(database: PostgresDatabase) -> None:
    async def add(tx: Any, sku: str, *, fails: bool = False) -> None:
        async with tx.savepoint():
            await tx.connection.execute("INSERT INTO stock VALUES ($1, 1)", sku)
            if fails:
                raise ZeroDivisionError

    async def job(tx: Any) -> None:
        await add(tx, "kept")
        with suppress(ZeroDivisionError):
            await add(tx, "lost", fails=True)
        with suppress(ZeroDivisionError):
            async with tx.savepoint():
                await add(tx, "within")
                async with tx.connection.transaction():
                    await add(tx, "deeper")
                raise ZeroDivisionError
        async with tx.savepoint():
            await add(tx, "first")
            with suppress(ZeroDivisionError):
                await add(tx, "second", fails=True)
            async with tx.connection.transaction():
                await add(tx, "third")

    assert list(await database.run([job])) == [Ok(None)]
    assert [sku for sku, _ in await amounts(database)] == ["first", "kept", "lamp", "sofa", "third"]
