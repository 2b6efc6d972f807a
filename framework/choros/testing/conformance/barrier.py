"""What every participant's database must do, as tests that an adapter inherits.

    class TestMyDatabase(BarrierConformance):
        @pytest.fixture
        async def another(self): ...   # `await another(namespace="choros")`: one more open Database on the same tables

        @pytest.fixture
        async def database(self, another):
            return await another()     # with no rows yet

        async def add(self, tx, amount): ...      # an effect, through the transaction: add to a counter of your own
        async def total(self, database): ...      # what the counter says, 0 at first
        async def lose(self, tx): ...             # a call that fails because the database goes away under it

For readable failures see `choros.testing.conformance`.
"""

import asyncio

from choros.errors import Refused
from choros.store.barrier import Database, Ok, Raised, Row, Transaction, value_of
from choros.testing.conformance.barrier_aged import ForgettingByAge, aged
from choros.testing.conformance.barrier_apart import (
    AnotherDatabase,
    NamespacesApart,
    a_row,
    row_of,
    unsent_keys,
    writing,
)
from choros.testing.conformance.barrier_joins import JoinedFacts
from choros.testing.conformance.barrier_lost import NothingAfterALostCall
from choros.testing.conformance.barrier_outbox import LeavingWithTheEffect
from choros.testing.conformance.barrier_race import DoAgainstUndo
from choros.testing.conformance.barrier_undo import WorkTakenBack
from choros.testing.conformance.barrier_unfinished import FinishedFromOutside

__all__ = ["AnotherDatabase", "BarrierConformance", "a_row", "row_of", "unsent_keys", "writing"]


class BarrierConformance(
    NamespacesApart,
    NothingAfterALostCall,
    ForgettingByAge,
    WorkTakenBack,
    FinishedFromOutside,
    LeavingWithTheEffect,
    DoAgainstUndo,
    JoinedFacts,
):
    """All that `choros.store.barrier.Database` promises."""

    async def test_a_row_comes_back_as_it_was_written(self, database: Database) -> None:
        rows = [a_row("a", "tombstone", prune_at=7.25), a_row("b", "ok", '{"name": "Zoë"}'), a_row("c", "intent")]
        rows += [aged("f", 1700000000.123457), aged("g", 0.1, "mark", "7")]
        await database.run([writing(*rows)])
        assert [await row_of(database, key) for key in ("a", "b", "c", "f", "g", "d")] == [*rows, None]

    async def test_a_row_written_in_this_transaction_is_read_by_it(self, database: Database) -> None:
        async def job(tx: Transaction) -> Row | None:
            assert await tx.read_row("k1") is None
            await tx.write_row(a_row(state="running"))
            await tx.write_row(a_row(state="ok"))
            return await tx.read_row("k1")

        assert list(await database.run([job])) == [Ok(a_row(state="ok"))]

    async def test_several_rows_are_read_in_the_order_in_which_they_are_asked_for(self, database: Database) -> None:
        await database.run([writing(a_row("a"), a_row("b", "intent"))])

        async def job(tx: Transaction) -> list[Row | None]:
            await tx.write_row(a_row("c", "tombstone"))
            return [*await tx.read_rows(["c", "b", "d", "a"]), *await tx.read_rows(["c"]), *await tx.read_rows([])]

        c = a_row("c", "tombstone")
        assert list(await database.run([job])) == [Ok([c, a_row("b", "intent"), None, a_row("a"), c])]

    async def test_jobs_answer_in_order_with_result_or_exception(self, database: Database) -> None:
        async def fails(tx: Transaction) -> None:
            raise Refused("card_declined")

        first, second, third = await database.run([self.once("a"), fails, self.once("b")])
        assert (first, third, await self.total(database)) == (Ok("done"), Ok("done"), 2)
        assert isinstance(second, Raised)
        assert isinstance(second.error, Refused)

    async def test_no_jobs_have_no_answers(self, database: Database) -> None:
        assert list(await database.run([])) == []

    async def test_handlers_get_the_transaction_that_is_announced(self, database: Database) -> None:
        async def job(tx: Transaction) -> Transaction:
            return tx

        transaction = value_of(*await database.run([job]))
        assert isinstance(transaction, database.transaction_type)

    async def test_an_exception_takes_back_effect_and_row(self, database: Database) -> None:
        async def job(tx: Transaction) -> None:
            await self.add(tx, 100)
            await tx.write_row(a_row("gone", reply="r"))
            raise ValueError

        answers = await database.run([self.once("a"), job, self.once("b")])
        assert [type(answer) for answer in answers] == [Ok, Raised, Ok]
        assert (await self.total(database), await row_of(database, "gone")) == (2, None)
        assert sorted(await unsent_keys(database)) == ["a", "b"]

    async def test_a_duplicate_has_no_effect(self, database: Database) -> None:
        assert list(await database.run([self.once("a")])) == [Ok("done")]
        assert list(await database.run([self.once("a")])) == [Ok("duplicate")]
        assert await self.total(database) == 1

    async def test_a_duplicate_in_the_same_run_has_no_effect(self, database: Database) -> None:
        answers = await database.run([self.once("a"), self.once("a"), self.once("a")])
        assert sorted(map(value_of, answers)) == ["done", "duplicate", "duplicate"]
        assert await self.total(database) == 1

    async def test_a_savepoint_takes_back_only_its_own_writes(self, database: Database) -> None:
        async def job(tx: Transaction) -> None:
            await tx.write_row(a_row("k1", "running"))
            await self.add(tx, 1)
            try:
                async with tx.savepoint():
                    await self.add(tx, 10)
                    await tx.write_row(a_row("k2"))
                    raise Refused("no")
            except Refused:
                await tx.write_row(a_row("k1", "refused", "the reply"))

        assert list(await database.run([job])) == [Ok(None)]
        assert (await self.total(database), await row_of(database, "k2")) == (1, None)
        assert await row_of(database, "k1") == a_row("k1", "refused", "the reply")

    async def test_a_savepoint_that_ends_well_stays(self, database: Database) -> None:
        async def job(tx: Transaction) -> None:
            async with tx.savepoint():
                await self.add(tx, 2)
                await tx.write_row(a_row("k1"))

        await database.run([job])
        assert (await self.total(database), await row_of(database, "k1")) == (2, a_row("k1"))

    async def test_savepoints_nest(self, database: Database) -> None:
        async def job(tx: Transaction) -> None:
            async with tx.savepoint():
                await self.add(tx, 4)
                try:
                    async with tx.savepoint():
                        await self.add(tx, 100)
                        raise ValueError
                except ValueError:
                    await tx.write_row(a_row("k1"))

        await database.run([job])
        assert (await self.total(database), await row_of(database, "k1")) == (4, a_row("k1"))

    async def test_replies_are_unsent_oldest_first_until_they_are_marked(self, database: Database) -> None:
        for key in ("c", "a", "b"):
            await database.run([writing(a_row(key, reply=f"to {key}"))])
        await database.run([writing(a_row("nothing owed"))])
        assert [row.content for row in await database.unsent(10)] == ["to c", "to a", "to b"]
        assert await unsent_keys(database, limit=2) == ["c", "a"]
        await database.mark_sent(["a", "never there"])
        assert await unsent_keys(database, limit=2) == ["c", "b"]
        assert await row_of(database, "a") == a_row("a", reply="to a")

    async def test_what_is_no_reply_is_kept_and_nobody_is_owed_it(self, database: Database) -> None:
        await database.run([writing(a_row("place", "mark", "17"), a_row("open", "intent", "the command"))])
        await database.run([writing(a_row("place", "mark", "18"))])
        assert await row_of(database, "place") == a_row("place", "mark", "18")
        assert await unsent_keys(database) == []

    async def test_a_reply_written_anew_is_unsent_again(self, database: Database) -> None:
        await database.run([writing(a_row("a", reply="one"))])
        await database.mark_sent(["a"])
        await database.run([writing(a_row("a", "tombstone", "two"))])
        assert [row.content for row in await database.unsent(10)] == ["two"]
        await database.run([writing(a_row("a", "tombstone"))])
        assert not await database.unsent(10)

    async def test_only_what_is_old_and_owed_to_nobody_is_forgotten(self, database: Database) -> None:
        kept = [a_row("ok", "ok", "r", 1.0), a_row("intent", "intent", "", 1.0), a_row("young", "refused", "r", 9.5)]
        kept += [a_row("ever", "tombstone"), a_row("ever refused", "refused", "r")]
        kept += [a_row("fact", "handled"), a_row("place", "mark", "7"), aged("old", 1.0)]
        old = [a_row("refused", "refused", "r", 9.0), a_row("tombstone", "tombstone", "", 8.0)]
        await database.run([writing(*kept, *old)])
        assert (await database.prune(9.0), await database.prune(9.0)) == (2, 0)
        assert [await row_of(database, row.key) for row in [*kept, *old]] == [*kept, *[None] * 2]
        assert "refused" not in await unsent_keys(database)

    async def test_a_row_that_has_become_ok_is_not_forgotten(self, database: Database) -> None:
        await database.run([writing(a_row("a", "refused", "r", 1.0))])
        await database.run([writing(a_row("a", "ok", "r", 1.0))])
        assert await database.prune(9.0) == 0

    async def test_two_databases_race_and_each_key_has_one_effect(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        rivals = [database, await another()]
        for number in range(20):
            answers = await asyncio.gather(*(one.run([self.once(f"k{number}")]) for one in rivals))
            assert sorted(value_of(*answer) for answer in answers) == ["done", "duplicate"]
        assert await self.total(database) == 20

    async def test_many_tasks_add_to_one_counter(self, database: Database) -> None:
        answers = await asyncio.gather(*(database.run([self.once(f"k{n % 12}", n % 12)]) for n in range(24)))
        assert sorted(value_of(*answer) for answer in answers) == ["done"] * 12 + ["duplicate"] * 12
        assert await self.total(database) == sum(range(12))

    async def test_a_cancelled_run_leaves_nothing_and_blocks_nobody(self, database: Database) -> None:
        reached = asyncio.Event()

        async def hangs(tx: Transaction) -> None:
            await tx.read_row("slow")
            await self.add(tx, 100)
            await tx.write_row(a_row("slow"))
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(database.run([hangs]))
        await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert list(await database.run([self.once("slow")])) == [Ok("done")]
        assert await self.total(database) == 1

    async def test_everything_is_there_after_reopening(self, database: Database, another: AnotherDatabase) -> None:
        await database.run([self.once("a"), self.once("b")])
        await database.mark_sent(["a"])
        await database.close()
        again = await another()
        assert (await self.total(again), await unsent_keys(again)) == (2, ["b"])
        assert await row_of(again, "a") == a_row("a", reply="reply to a")

    async def test_close_may_be_called_twice(self, database: Database) -> None:
        await database.close()
        await database.close()
