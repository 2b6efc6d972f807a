"""What is on its way out of a service's database; a part of `choros.testing.conformance.barrier`."""

import asyncio

import pytest

from choros.errors import Refused
from choros.store.barrier import LEAVING, Database, Listed, Row, RowState, Transaction
from choros.testing.conformance.barrier_aged import horizon_of
from choros.testing.conformance.barrier_apart import AnotherDatabase, Tested, row_of, writing

both = pytest.mark.parametrize("state", LEAVING)


def leaving(key: str, since: float, state: RowState = "publishing") -> Row:
    """The row of a message that no broker has confirmed yet, or of one that it has."""
    return Row(key=key, state=state, content=f"message of {key}", began=since, since=since)


async def keys_in(database: Database, state: Listed = "publishing", limit: int = 10) -> list[str]:
    """Of those that are on their way."""
    return [row.key for row in await database.listed(state, limit)]


class LeavingWithTheEffect(Tested):
    """What is published leaves with the effect or not at all: it is listed until it is marked, and kept for a while."""

    @both
    async def test_they_are_listed_by_when_they_were_written(self, database: Database, state: Listed) -> None:
        rows = [leaving("b", 2.0, state), leaving("c", 3.0, state), leaving("a", 1.0, state)]
        await database.run([writing(rows[0])])
        await database.run([writing(*rows[1:], Row(key="d", state="ok", content="reply", since=0.5))])
        assert list(await database.listed(state, 2)) == [rows[2], rows[0]]
        assert await keys_in(database, state) == ["a", "b", "c"]
        assert [row.key for row in await database.unsent(10)] == ["d"]  # nobody takes one for a reply
        assert [await keys_in(database, other) for other in LEAVING if other != state] == [[]]

    @both
    async def test_who_marks_one_need_not_have_read_it(self, database: Database, state: Listed) -> None:
        await database.run([writing(leaving("a", 1.0, state), leaving("b", 2.0, state))])
        await database.run([writing(leaving("a", 1.0, "left"), leaving("never there", 1.0, "left"))])
        assert await keys_in(database, state) == ["b"]
        assert await row_of(database, "a") == leaving("a", 1.0, "left")

    async def test_a_fact_is_there_with_its_effect_or_not_at_all(self, database: Database) -> None:
        async def refused(tx: Transaction) -> None:
            await self.add(tx, 10)
            await tx.write_row(leaving("gone", 1.0))
            raise Refused("no")

        async def done(tx: Transaction) -> None:
            await self.add(tx, 1)
            await tx.write_row(leaving("stays", 2.0))

        await database.run([refused, done])
        assert (await self.total(database), await keys_in(database)) == (1, ["stays"])

    async def test_a_savepoint_takes_back_what_was_published_in_it(self, database: Database) -> None:
        async def job(tx: Transaction) -> None:
            await tx.write_row(leaving("before", 1.0))
            try:
                async with tx.savepoint():
                    await tx.write_row(leaving("within", 2.0))
                    raise Refused("no")
            except Refused:
                await tx.write_row(leaving("instead", 3.0))

        await database.run([job])
        assert await keys_in(database) == ["before", "instead"]

    async def test_two_that_count_one_stream_give_no_number_twice(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        rivals = [database, await another()]

        async def publish(tx: Transaction) -> None:
            count = await tx.read_row("count")
            seq = int(count.content) + 1 if count else 1
            await tx.write_row(leaving(f"fact {seq:02}", float(seq)))
            await tx.write_row(Row(key="count", state="count", content=str(seq), began=float(seq), since=float(seq)))

        await asyncio.gather(*(one.run([publish]) for one in rivals for _ in range(6)))
        assert await keys_in(database, limit=50) == [f"fact {seq:02}" for seq in range(1, 13)]

    async def test_what_is_on_its_way_stays_and_what_has_left_goes_with_the_outbox(self, database: Database) -> None:
        count = Row(key="count", state="count", content="1", began=1.0, since=1.0)
        await database.run([writing(leaving("a", 1.0), leaving("b", 1.0, "left"), count)])
        assert [await database.forget(memory, 1e9) for memory in ("commands", "facts", "outbox")] == [0, 0, 2]
        assert [await row_of(database, key) for key in ("a", "b", "count")] == [leaving("a", 1.0), None, None]
        assert await horizon_of(database, "facts") == await horizon_of(database) == float("-inf")

    async def test_which_flows_were_begun_is_kept_for_a_time_of_its_own(self, database: Database) -> None:
        begun = Row(key="begun", state="begun", content="1", began=1.0, since=1.0)
        await database.run([writing(leaving("a", 1.0, "left"), begun)])
        assert [await database.forget(memory, 1e9) for memory in ("commands", "facts", "outbox")] == [0, 0, 1]
        assert await row_of(database, "begun") == begun
        assert await database.forget("begun", 1e9) == 1

    async def test_what_is_remembered_is_read_from_a_moment_on_a_page_at_a_time(self, database: Database) -> None:
        old = [
            leaving(key, since, "left") for key, since in (("c", 1.0), ("b", 2.0), ("d", 2.0), ("a", 3.5), ("e", 2.0))
        ]
        others = (leaving("f", 2.0), Row(key="g", state="handled", began=2.0, since=2.0))
        await database.run([writing(*old, *others)])
        c, b, d, a, e = old
        assert list(await database.remembered("outbox", 0.0, "", 9)) == [c, b, d, e, a]
        assert list(await database.remembered("outbox", 1.5, "", 2)) == [b, d]
        assert list(await database.remembered("outbox", 2.0, "b", 9)) == [d, e, a]
        assert list(await database.remembered("outbox", 2.0, "d", 1)) == [e]
        assert list(await database.remembered("outbox", 2.0, "e", 9)) == [a]
        assert list(await database.remembered("outbox", 3.5, "a", 9)) == []
        assert [row.key for row in await database.remembered("facts", 0.0, "", 9)] == ["g"]

    async def test_what_is_remembered_may_be_forgotten_between_two_pages(self, database: Database) -> None:
        old = [leaving(key, 2.0, "left") for key in "abc"]
        await database.run([writing(*old, leaving("d", 3.0, "left"))])
        assert list(await database.remembered("outbox", 2.0, "", 2)) == old[:2]
        assert await database.forget("outbox", 3.0) == 3
        assert [row.key for row in await database.remembered("outbox", 2.0, "b", 9)] == ["d"]

    async def test_no_namespace_remembers_what_another_has_published(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        await blue.run([writing(leaving("a", 1.0, "left"))])
        assert [[row.key for row in await one.remembered("outbox", 0.0, "", 9)] for one in (blue, green)] == [["a"], []]

    async def test_no_namespace_lists_what_another_publishes(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        await blue.run([writing(leaving("a", 1.0))])
        await green.run([writing(leaving("a", 1.0, "left"))])
        assert (await keys_in(blue), await keys_in(green)) == (["a"], [])

    async def test_it_is_on_its_way_after_reopening(self, database: Database, another: AnotherDatabase) -> None:
        await database.run([writing(leaving("a", 1.0), leaving("b", 2.0, "left"))])
        await database.close()
        assert await keys_in(await another()) == ["a"]
