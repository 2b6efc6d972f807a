"""What becomes of rows that are finished from outside; a part of `choros.testing.conformance.barrier`."""

from choros.store.barrier import Database, Row, Transaction
from choros.testing.conformance.barrier_apart import AnotherDatabase, Tested, writing


def taken(key: str, since: float) -> Row:
    """The row of a command that was taken, and is not finished."""
    return Row(key=key, state="unfinished", content=f"command of {key}", began=since, since=since)


async def keys_of(database: Database, limit: int = 10) -> list[str]:
    """Of those that are not finished."""
    return [row.key for row in await database.listed("unfinished", limit)]


class FinishedFromOutside(Tested):
    """They are listed until they are finished, whatever else is there; nobody sends what they hold, or forgets it."""

    async def test_they_are_listed_from_the_oldest_on(self, database: Database) -> None:
        rows = [taken("b", 2.0), taken("c", 3.0), taken("a", 1.0)]
        await database.run([writing(*rows, Row(key="d", state="ok", content="reply", since=0.5))])
        assert list(await database.listed("unfinished", 2)) == [rows[2], rows[0]]
        assert (await keys_of(database), [row.key for row in await database.unsent(10)]) == (["a", "b", "c"], ["d"])

    async def test_one_that_is_finished_owes_its_answer_and_is_listed_no_more(self, database: Database) -> None:
        async def finish(tx: Transaction) -> None:
            row = await tx.read_row("a")
            assert row is not None
            await tx.write_row(Row(key="a", state="ok", content="reply", began=1.0, since=4.0))

        await database.run([writing(taken("a", 1.0), taken("b", 2.0))])
        await database.run([finish])
        assert (await keys_of(database), [row.key for row in await database.unsent(10)]) == (["b"], ["a"])

    async def test_none_is_forgotten_for_its_age(self, database: Database) -> None:
        await database.run([writing(taken("a", 1.0))])
        assert (await database.forget("commands", 1e9), await database.prune(1e9)) == (0, 0)
        assert await keys_of(database) == ["a"]

    async def test_a_token_goes_with_the_commands_of_its_age(self, database: Database) -> None:
        await database.run([writing(Row(key="t", state="token", content="a", began=1.0, since=1.0))])
        assert (await database.unsent(10), await database.forget("commands", 2.0)) == ([], 1)

    async def test_no_namespace_lists_those_of_another(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        await blue.run([writing(taken("a", 1.0))])
        assert (await keys_of(blue), await keys_of(green)) == (["a"], [])
