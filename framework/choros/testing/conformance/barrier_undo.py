"""What must become of work that its handler takes back itself; a part of `choros.testing.conformance.barrier`."""

from contextlib import suppress

from choros.store.barrier import Database, Ok, Raised, Transaction
from choros.testing.conformance.barrier_apart import Tested, a_row, row_of


class WorkTakenBack(Tested):
    """The local undo log of a transaction commits with it, or not at all."""

    async def test_what_is_taken_back_commits_with_the_refusal(self, database: Database) -> None:
        async def job(tx: Transaction) -> tuple[str, ...]:
            async with tx.savepoint():
                for amount in (1, 10):
                    await self.add(tx, amount)
                    tx.local_undo.add(f"take {amount} back", self.add, tx, -amount)
                await self.add(tx, 100)
                await tx.local_undo.take_back()
            await tx.write_row(a_row("k1", "refused", "no"))
            return tx.local_undo.taken_back

        assert list(await database.run([job])) == [Ok(("take 10 back", "take 1 back"))]
        assert (await self.total(database), await row_of(database, "k1")) == (100, a_row("k1", "refused", "no"))

    async def test_what_cannot_be_taken_back_is_rolled_back(self, database: Database) -> None:
        async def fails() -> None:
            raise ValueError

        async def job(tx: Transaction) -> None:
            tx.local_undo.add("the impossible", fails)
            await self.add(tx, 1)
            tx.local_undo.add("take 1 back", self.add, tx, -1)
            async with tx.savepoint():
                await tx.write_row(a_row("k1", "refused", "no"))
            await tx.local_undo.take_back()

        (answer,) = await database.run([job])
        assert isinstance(answer, Raised)
        assert (await self.total(database), await row_of(database, "k1")) == (0, None)

    async def test_a_savepoint_that_is_rolled_back_takes_along_what_was_added_in_it(self, database: Database) -> None:
        async def job(tx: Transaction) -> tuple[str, ...]:
            await tx.write_row(a_row("k1", "running"))
            await self.add(tx, 1)
            tx.local_undo.add("take 1 back", self.add, tx, -1)
            with suppress(ValueError):
                async with tx.savepoint():
                    await self.add(tx, 10)
                    tx.local_undo.add("take 10 back", self.add, tx, -10)
                    raise ValueError
            async with tx.savepoint():
                await self.add(tx, 100)
                tx.local_undo.add("take 100 back", self.add, tx, -100)
            await tx.local_undo.take_back()
            return tx.local_undo.taken_back

        assert list(await database.run([job])) == [Ok(("take 100 back", "take 1 back"))]
        assert await self.total(database) == 0

    async def test_each_transaction_has_a_log_of_its_own(self, database: Database) -> None:
        async def adds(tx: Transaction) -> int:
            tx.local_undo.add("nothing", len, ())
            return len(tx.local_undo)

        assert list(await database.run([adds, adds])) == [Ok(1), Ok(1)]
