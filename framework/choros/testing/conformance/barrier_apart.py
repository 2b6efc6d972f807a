"""What two namespaces on one database must not have in common; a part of `choros.testing.conformance.barrier`."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, Protocol

from choros.store.barrier import SCHEMA_VERSION, Database, Job, Row, RowState, Transaction, value_of


class AnotherDatabase(Protocol):
    """Opens one more Database on the same tables; where a namespace is given, with that one."""

    def __call__(self, namespace: str = "choros") -> Awaitable[Database]:
        """The database, open."""


def a_row(key: str = "k1", state: RowState = "ok", reply: str = "", prune_at: float | None = None) -> Row:
    """A row of the barrier."""
    return Row(key=key, state=state, content=reply, prune_at=prune_at)


def writing(*rows: Row) -> Job[None]:
    """A job that writes rows and nothing else."""

    async def job(tx: Transaction) -> None:
        for row in rows:
            await tx.write_row(row)

    return job


async def row_of(database: Database, key: str) -> Row | None:
    """The row as a later transaction sees it."""

    async def job(tx: Transaction) -> Row | None:
        return await tx.read_row(key)

    row = value_of(*await database.run([job]))
    assert row is None or isinstance(row, Row)
    return row


async def unsent_keys(database: Database, limit: int = 100) -> list[str]:
    """Keys of the rows whose reply has not been confirmed."""
    return [row.key for row in await database.unsent(limit)]


class Tested(ABC):
    """What an adapter says of itself."""

    @abstractmethod
    async def add(self, tx: Any, amount: int) -> None:
        """The effect of a handler: add to the one counter of this test."""

    @abstractmethod
    async def total(self, database: Database) -> int:
        """What the counter says."""

    def once(self, key: str, amount: int = 1) -> Job[str]:
        """The handler that all of this is about: the effect happens if the row is not there yet."""

        async def job(tx: Transaction) -> str:
            if await tx.read_row(key) is not None:
                return "duplicate"
            await tx.write_row(a_row(key, reply=f"reply to {key}"))
            await self.add(tx, amount)
            return "done"

        return job


class NamespacesApart(Tested):
    """Two applications, or two services of one, may share a database: its tables, but no row of the barrier."""

    async def test_each_namespace_has_the_effect(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        for one in (blue, green, await another("blue"), await another("green")):
            await one.run([self.once("k1")])
        assert await self.total(blue) == await self.total(green) == 2

    async def test_no_namespace_sees_the_rows_of_another(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        await blue.run([writing(a_row("k1", "tombstone"))])
        assert await row_of(green, "k1") is None
        await green.run([writing(a_row("k1", "ok", "r"))])
        assert await row_of(blue, "k1") == a_row("k1", "tombstone")

    async def test_no_namespace_sends_the_replies_of_another(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        await blue.run([writing(a_row("k1", reply="of blue"), a_row("k2", reply="of blue"))])
        await green.run([writing(a_row("k1", reply="of green"))])
        assert [row.content for row in await green.unsent(10)] == ["of green"]
        await green.mark_sent(["k1", "k2"])
        assert (await unsent_keys(blue), await unsent_keys(green)) == (["k1", "k2"], [])

    async def test_no_namespace_forgets_for_another(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        for one in (blue, green):
            await one.run([writing(a_row("k1", "refused", "", 5.0))])
        assert (await green.prune(9.0), await green.prune(9.0)) == (1, 0)
        assert await row_of(blue, "k1") == a_row("k1", "refused", "", 5.0)

    async def test_what_is_there_has_the_schema_of_this_choros(self, another: AnotherDatabase) -> None:
        for namespace in ("blue", "green"):
            assert await (await another(namespace)).schema_version() == SCHEMA_VERSION

    async def test_to_upgrade_what_is_not_old_changes_nothing(self, another: AnotherDatabase) -> None:
        database = await another()
        await database.run([self.once("k1")])
        assert await database.upgrade(lambda row: [f"other {row.key}"]) == 0
        assert await row_of(await another(), "k1") == a_row("k1", reply="reply to k1")
