"""What a database forgets for its age, and what it still knows then; a part of `choros.testing.conformance.barrier`."""

import asyncio
from dataclasses import replace

from choros.store.barrier import AT_ONCE, BETWEEN, NEVER, Database, Memory, Ok, Row, RowState, Transaction, value_of
from choros.testing.conformance.barrier_apart import AnotherDatabase, a_row, row_of, writing


def aged(key: str, began: float, state: RowState = "ok", reply: str = "", since: float | None = None) -> Row:
    """A row that grows old, from then on or from when it began."""
    return replace(a_row(key, state, reply), began=began, since=began if since is None else since)


async def horizon_of(database: Database, memory: Memory = "commands") -> float:
    """How far the database has forgotten, as a later transaction sees it."""

    async def job(tx: Transaction) -> float:
        await tx.read_row("anything")
        return await tx.horizon(memory)

    at = value_of(*await database.run([job]))
    return float(at)


class ForgettingByAge:
    """What is done for somebody may be forgotten, but never that it was."""

    async def test_old_rows_go_and_the_horizon_goes_with_them(self, database: Database) -> None:
        rows = [aged("a", 1.5), aged("b", 2.25, "refused"), aged("c", 3.0, "tombstone"), aged("d", 4.0)]
        await database.run([writing(*rows)])
        assert await horizon_of(database) == NEVER
        assert (await database.forget("commands", 4.0), await database.forget("commands", 4.0)) == (3, 0)
        assert [await row_of(database, row.key) for row in rows] == [None, None, None, rows[3]]
        assert await horizon_of(database) == 3.0

    async def test_age_counts_from_the_writing_and_the_horizon_from_what_it_was_about(self, database: Database) -> None:
        rows = [aged("a", 7.25, since=10.0), aged("b", 3.0, since=11.0), aged("c", 1.0, since=30.0)]
        await database.run([writing(*rows)])
        assert await database.forget("commands", 20.0) == 2
        assert (await horizon_of(database), await row_of(database, "c")) == (7.25, rows[2])

    async def test_the_horizon_never_passes_the_moment_before_which_is_forgotten(self, database: Database) -> None:
        """Whatever a clock that was ahead has said: else nothing that begins now would be carried out any more."""
        await database.run([writing(aged("ahead", 1e9, since=5.0), aged("a", 4.0))])
        assert (await database.forget("commands", 50.0), await horizon_of(database)) == (1, 4.0)
        assert await row_of(database, "ahead") is not None
        assert (await database.forget("commands", 1e9 + 1), await horizon_of(database)) == (1, 1e9)

    async def test_where_nothing_is_old_the_horizon_stays(self, database: Database) -> None:
        await database.run([writing(aged("a", 9.0))])
        assert await database.forget("commands", 9.0) == 0
        assert await horizon_of(database) == NEVER

    async def test_the_horizon_never_moves_back(self, database: Database) -> None:
        await database.run([writing(aged("late", 7.0))])
        await database.forget("commands", 8.0)
        await database.run([writing(aged("early", 2.0))])
        assert await database.forget("commands", 8.0) == 1
        assert await horizon_of(database) == 7.0

    async def test_commands_and_facts_have_a_horizon_each(self, database: Database) -> None:
        rows = [aged("do", 1.0), aged("fact", 2.0, "handled"), aged("place", 3.0, "mark", "7")]
        await database.run([writing(*rows)])
        assert await database.forget("facts", 9.0) == 2
        assert (await horizon_of(database, "facts"), await horizon_of(database)) == (3.0, NEVER)
        assert await row_of(database, "do") == rows[0]

    async def test_what_is_open_or_has_no_age_or_a_time_of_its_own_stays(self, database: Database) -> None:
        kept = [aged("open", 1.0, "intent", "the command"), a_row("ageless"), a_row("mark", "mark", "5.0")]
        kept += [replace(aged("buried", 1.0, "tombstone"), prune_at=99.0), aged("owed", 1.0, "ok", "the reply")]
        await database.run([writing(*kept)])
        assert (await database.forget("commands", 50.0), await database.forget("facts", 50.0)) == (0, 0)
        assert [await row_of(database, row.key) for row in kept] == kept
        await database.mark_sent(["open", "owed"])
        await database.run([writing()])  # with a commit at the latest, a mark is there for everybody
        assert await database.forget("commands", 50.0) == 1
        assert await row_of(database, "open") == kept[0]

    async def test_a_row_that_is_settled_grows_old_and_one_that_opens_does_not(self, database: Database) -> None:
        await database.run([writing(aged("a", 1.0, "intent"), aged("b", 1.0))])
        await database.run([writing(aged("a", 1.0), aged("b", 1.0, "intent"))])
        assert await database.forget("commands", 50.0) == 1
        assert (await row_of(database, "a"), await row_of(database, "b")) == (None, aged("b", 1.0, "intent"))

    async def test_what_was_done_about_a_fact_has_no_answer_to_send(self, database: Database) -> None:
        await database.run([writing(aged(BETWEEN.join(("reaction", "mails", "k")), 1.0, "ok", "what it was about"))])
        assert list(await database.unsent(9)) == []
        assert await database.forget("commands", 2.0) == 1

    async def test_it_goes_in_small_bites_the_oldest_first(self, database: Database) -> None:
        owed = [aged(f"owed {n}", 0.5, "ok", "the reply") for n in range(AT_ONCE + 1)]
        rows = [aged(f"k{n}", 1.0 + n) for n in range(AT_ONCE + 2)]
        await database.run([writing(*owed, *rows)])
        first = await database.forget("commands", 1e6)
        assert 0 < first <= AT_ONCE
        assert await horizon_of(database) == float(first)
        assert [await row_of(database, rows[n].key) for n in (0, first - 1, first)] == [None, None, rows[first]]
        assert await database.forget("commands", 1e6) + await database.forget("commands", 1e6) == len(rows) - first

    async def test_several_that_forget_do_not_fight(self, database: Database, another: AnotherDatabase) -> None:
        rivals = [database, await another(), await another()]
        await database.run([writing(*(aged(f"k{n}", float(n)) for n in range(3 * AT_ONCE)))])
        counts = await asyncio.gather(*(one.forget("commands", 1e6) for one in rivals))
        assert sum(counts) == 3 * AT_ONCE
        assert await horizon_of(database) == 3 * AT_ONCE - 1

    async def test_who_finds_no_row_finds_the_horizon(self, database: Database, another: AnotherDatabase) -> None:
        """However they meet: a row that is gone is behind the horizon that the same transaction sees."""
        other = await another()
        await database.run([writing(*(aged(f"k{n}", float(n)) for n in range(30)))])

        async def look(tx: Transaction) -> list[int]:
            gone = [n for n in range(30) if await tx.read_row(f"k{n}") is None]
            return gone if gone and max(gone) > await tx.horizon("commands") else []

        async def forget() -> None:
            for n in range(31):
                await other.forget("commands", float(n))

        forgetting = asyncio.ensure_future(forget())
        while not forgetting.done():
            assert list(await database.run([look])) == [Ok([])]
            await asyncio.sleep(0.02)  # where only one at a time may write, the other has its turn
        await forgetting
        assert await horizon_of(database) == 29.0

    async def test_no_namespace_moves_the_horizon_of_another(self, another: AnotherDatabase) -> None:
        blue, green = await another("blue"), await another("green")
        for one in (blue, green):
            await one.run([writing(aged("k1", 5.0))])
        assert await green.forget("commands", 9.0) == 1
        assert (await horizon_of(blue), await row_of(blue, "k1")) == (NEVER, aged("k1", 5.0))

    async def test_the_horizon_is_there_after_reopening(self, database: Database, another: AnotherDatabase) -> None:
        await database.run([writing(aged("k1", 5.0))])
        await database.forget("commands", 9.0)
        await database.close()
        assert await horizon_of(await another()) == 5.0
