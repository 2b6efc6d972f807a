"""What must come of a do and its undo that meet; a part of `choros.testing.conformance.barrier`."""

import asyncio
from collections.abc import Sequence

from choros.store.barrier import Database, Job, Transaction, value_of
from choros.testing.conformance.barrier_apart import AnotherDatabase, Tested, a_row


class DoAgainstUndo(Tested):
    """Whichever comes first, where neither has a row yet: at whatever isolation the database has."""

    def do(self, effect: str) -> Job[str]:
        """What a participant makes of a command."""

        async def job(tx: Transaction) -> str:
            if await tx.read_row(f"{effect}:do") is not None:
                return "withdrawn"
            await tx.write_row(a_row(f"{effect}:do", "running"))
            async with tx.savepoint():
                await self.add(tx, 1)
            await tx.write_row(a_row(f"{effect}:do", "ok", "done"))
            return "done"

        return job

    def undo(self, effect: str) -> Job[str]:
        """What it makes of its undo."""

        async def job(tx: Transaction) -> str:
            done, undone = await tx.read_row(f"{effect}:do"), await tx.read_row(f"{effect}:undo")
            if undone is not None:
                return "repeated"
            if done is None:
                await tx.write_row(a_row(f"{effect}:do", "tombstone"))
            else:
                await self.add(tx, -1)
            await tx.write_row(a_row(f"{effect}:undo", "ok", "undone"))
            return "nothing" if done is None else "undone"

        return job

    async def test_do_and_undo_race_on_an_absent_row(self, database: Database, another: AnotherDatabase) -> None:
        other = await another()
        for number in range(8):
            effect, pair = f"e{number}", [database, other]
            if number % 2:
                pair.reverse()
            both = await asyncio.gather(
                pair[0].run([self.do(effect)]), pair[1].run([self.undo(effect), self.undo(effect)])
            )
            assert sorted(_values(*both)) in (["done", "repeated", "undone"], ["nothing", "repeated", "withdrawn"])
        assert await self.total(database) == 0


def _values(*results: Sequence[object]) -> list[str]:
    return [str(value_of(one)) for some in results for one in some]  # type: ignore[arg-type] # each is a result
