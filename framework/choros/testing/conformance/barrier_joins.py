"""What must come of facts that are waited for together; a part of `choros.testing.conformance.barrier`."""

import asyncio
from collections.abc import Sequence

from choros.store.barrier import Database, Job, JobResult, Row, Transaction, value_of
from choros.testing.conformance.barrier_apart import AnotherDatabase, Tested, a_row, row_of


class JoinedFacts(Tested):
    """They meet at one row, which nobody has written yet: at whatever isolation the database has."""

    def arrival(self, flow: str, fact: str, wanted: int = 2) -> Job[str]:
        """What a subscriber makes of one of them: an inbox row, and the row of all of them, in one transaction."""

        async def job(tx: Transaction) -> str:
            if await tx.read_row(f"{flow} {fact}") is not None:
                return "repeated"
            join = await tx.read_row(flow)
            if join is not None and join.state == "tombstone":
                return "withdrawn"
            came = sorted({fact, *(join.content.split() if join else ())})
            full = len(came) == wanted
            await tx.write_row(a_row(f"{flow} {fact}", "handled"))
            await tx.write_row(Row(key=flow, state="ok" if full else "waiting", content=" ".join(came)))
            if full:
                await self.add(tx, 1)
            return "complete" if full else "joined"

        return job

    def taking_back(self, flow: str) -> Job[str]:
        """What it makes of what takes that back."""

        async def job(tx: Transaction) -> str:
            join = await tx.read_row(flow)
            if join is not None and join.state == "ok":
                await self.add(tx, -1)
                return "undone"
            await tx.write_row(a_row(flow, "tombstone"))
            return "nothing"

        return job

    async def test_the_last_of_several_facts_completes_them_wherever_they_arrive(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        other = await another()
        for number in range(8):
            flow, pair = f"f{number}", [database, other]
            if number % 2:
                pair.reverse()
            both = await asyncio.gather(
                pair[0].run([self.arrival(flow, "a")]), pair[1].run([self.arrival(flow, "b"), self.arrival(flow, "a")])
            )
            assert sorted(_values(*both)) == ["complete", "joined", "repeated"]
            row = await row_of(database, flow)
            assert row is not None
            assert (row.state, row.content.split()) == ("ok", ["a", "b"])
        assert await self.total(database) == 8

    async def test_what_takes_them_back_leaves_nothing_half_full_too(
        self, database: Database, another: AnotherDatabase
    ) -> None:
        other = await another()
        for number in range(8):
            flow = f"f{number}"
            assert _values(await database.run([self.arrival(flow, "a")])) == ["joined"]
            both = await asyncio.gather(database.run([self.arrival(flow, "b")]), other.run([self.taking_back(flow)]))
            assert sorted(_values(*both)) in (["complete", "undone"], ["nothing", "withdrawn"])
        assert await self.total(database) == 0

    async def test_an_arrival_that_fails_is_none(self, database: Database) -> None:
        async def fails(tx: Transaction) -> None:
            await self.arrival("f", "b")(tx)
            raise ValueError

        await database.run([self.arrival("f", "a"), fails])
        row = await row_of(database, "f")
        assert row is not None
        assert (row.state, row.content, await row_of(database, "f b")) == ("waiting", "a", None)
        assert _values(await database.run([self.arrival("f", "b")])) == ["complete"]

    async def test_what_is_waited_for_in_vain_goes_with_the_commands(self, database: Database) -> None:
        async def waits(tx: Transaction) -> None:
            await tx.write_row(Row(key="f", state="waiting", content="a", began=1.0, since=1.0))

        await database.run([waits])
        assert [await database.forget(memory, 2.0) for memory in ("facts", "outbox", "commands")] == [0, 0, 1]


def _values(*results: Sequence[JobResult[str]]) -> list[str]:
    return [value_of(one) for some in results for one in some]
