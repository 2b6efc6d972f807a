"""What must become of a job whose handler goes on after a call on its transaction was lost, cut short or misplaced.

A part of `choros.testing.conformance.barrier`: whatever the handler does then, all of the job happens or nothing does.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from choros.errors import Refused, StoreUnreachable, UsageError
from choros.store.barrier import Database, NotDone, Ok, Raised, Transaction, value_of
from choros.testing.conformance.barrier_apart import AnotherDatabase, Tested, a_row, row_of, writing


class NothingAfterALostCall(Tested):
    """The first call that fails ends the transaction; so does its handler's end."""

    @abstractmethod
    async def lose(self, tx: Any) -> None:
        """A call that fails because the database goes away under it."""

    def half(self, go_on: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """A handler that loses its database in the middle, catches that, and goes on like this."""

        async def job(tx: Transaction) -> Any:
            await tx.read_row("k1")
            await tx.write_row(a_row("k1", reply="r"))
            await self.add(tx, 100)
            with suppress(Exception):
                await self.lose(tx)
            return await go_on(tx)

        return job

    async def nothing_was_done(self, database: Database, another: AnotherDatabase) -> None:
        """The job has left nothing, and can be done from the start."""
        other = await another()
        assert (await self.total(other), await row_of(other, "k1"), list(await other.unsent(9))) == (0, None, [])
        assert list(await database.run([self.once("k1")])) == [Ok("done")]
        assert await self.total(database) == 1

    async def test_after_a_lost_call_nothing_more_is_done(self, database: Database, another: AnotherDatabase) -> None:
        async def stubborn(tx: Transaction) -> str:
            for call in (self.add(tx, 1), tx.read_row("k2"), tx.write_row(a_row("k2"))):
                with pytest.raises(StoreUnreachable):
                    await call
            return "done"

        (answer,) = await database.run([self.half(stubborn)])
        assert isinstance(answer, NotDone)
        assert isinstance(answer.why, StoreUnreachable)
        await self.nothing_was_done(database, another)

    async def test_a_lost_call_that_nobody_noticed_is_the_answer(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        async def unaware(tx: Transaction) -> str:
            return "done"

        (answer,) = await database.run([self.half(unaware)])
        assert isinstance(answer, NotDone)
        assert isinstance(answer.why, StoreUnreachable)
        await self.nothing_was_done(database, another)

    async def test_what_a_handler_makes_of_a_lost_call_is_not_the_answer(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        async def refuses(tx: Transaction) -> None:
            raise Refused("card_declined")

        (answer,) = await database.run([self.half(refuses)])
        assert isinstance(answer, NotDone)
        assert isinstance(answer.why, StoreUnreachable)
        await self.nothing_was_done(database, another)

    async def test_no_savepoint_heals_a_lost_call(self, database: Database, another: AnotherDatabase) -> None:
        async def job(tx: Transaction) -> str:
            await tx.write_row(a_row("k1", "running"))
            with suppress(Exception):
                async with tx.savepoint():
                    await self.add(tx, 100)
                    await self.lose(tx)
            with suppress(Exception):
                await tx.write_row(a_row("k1", reply="r"))
            return "done"

        (answer,) = await database.run([job])
        assert isinstance(answer, NotDone)
        assert isinstance(answer.why, StoreUnreachable)
        await self.nothing_was_done(database, another)

    async def test_a_call_that_was_cut_short_leaves_nothing(self, database: Database, another: AnotherDatabase) -> None:
        cut: list[bool] = []

        async def impatient(tx: Transaction) -> str:
            await tx.write_row(a_row("k1", reply="r"))
            try:
                async with asyncio.timeout(0):
                    await tx.read_row("k2")
                    await tx.read_row("k3")
            except TimeoutError:
                cut.append(True)
            with suppress(UsageError):
                await self.add(tx, 100)
            return "done"

        (answer,) = await database.run([impatient])
        if not cut:  # an adapter that never waits cannot be cut short
            assert (answer, await self.total(database)) == (Ok("done"), 100)
            return
        assert isinstance(answer, Raised)
        assert isinstance(answer.error, UsageError)
        await self.nothing_was_done(database, another)

    async def test_two_tasks_of_a_handler_get_their_own_answers(self, database: Database) -> None:
        await database.run([writing(*(a_row(f"k{n}", "ok", f"reply {n}") for n in range(9)))])

        async def job(tx: Transaction) -> list[str]:
            rows = await asyncio.gather(*(tx.read_row(f"k{n}") for n in range(9)))
            return [row.content for row in rows if row is not None]

        assert list(await database.run([job])) == [Ok([f"reply {n}" for n in range(9)])]

    async def test_savepoints_of_two_tasks_that_overlap_leave_nothing(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        async def job(tx: Transaction) -> str:
            opened, closed = asyncio.Event(), asyncio.Event()

            async def first() -> None:
                async with tx.savepoint():
                    opened.set()
                    await closed.wait()
                    raise ValueError

            async def second() -> None:
                await opened.wait()
                async with tx.savepoint():
                    await self.add(tx, 100)
                    closed.set()
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)

            await asyncio.gather(first(), second(), return_exceptions=True)
            return "done"

        (answer,) = await database.run([job])
        assert isinstance(answer, Raised)
        assert isinstance(answer.error, UsageError)
        await self.nothing_was_done(database, another)

    async def test_a_transaction_is_of_no_use_after_its_job(self, database: Database, another: AnotherDatabase) -> None:
        async def job(tx: Transaction) -> Transaction:
            return tx

        tx = value_of(*await database.run([job]))
        for call in (tx.read_row("k1"), tx.write_row(a_row("k1", reply="r")), self.add(tx, 100)):
            with pytest.raises(UsageError, match="ended"):
                await call
        await self.nothing_was_done(database, another)

    async def test_a_task_that_is_left_behind_touches_nothing_of_the_next(self, database: Database) -> None:
        """It is in a savepoint, and leaves that while another job is at work on the same connection."""
        left, inside, out = asyncio.Event(), asyncio.Event(), asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def lingers(tx: Transaction) -> None:
            try:
                async with tx.savepoint():
                    inside.set()
                    await left.wait()
                    await self.add(tx, 100)
            finally:
                out.set()

        async def leaves(tx: Transaction) -> None:
            tasks.append(asyncio.create_task(lingers(tx)))
            await inside.wait()

        async def works(tx: Transaction) -> str:
            await tx.write_row(a_row("k1", reply="r"))
            await self.add(tx, 1)
            left.set()
            await out.wait()
            return "done"

        await database.run([leaves])
        assert list(await database.run([works])) == [Ok("done")]
        with pytest.raises(UsageError, match="ended"):
            await tasks[0]
        assert (await self.total(database), await row_of(database, "k1")) == (1, a_row("k1", reply="r"))
