"""What every store must do with the entries beside a record; a part of `choros.testing.conformance.store`."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from choros.store.sagas import Store, Transition
from choros.testing.conformance.records import CONFLICT, OK, AnotherStore, after, creation, fact, stored

LINES = {f"lines[{number}].reserve": f'{{"reply": {number}, "note": "Grüße, \\"x\\""}}' for number in range(5)}
REPLY = "x" * 100


def beside(made: Transition, **entries: str) -> Transition:
    """The same transition, which writes entries too."""
    return replace(made, entries=entries)


async def entries_of(store: Store, saga_id: str = "s1") -> Mapping[str, str]:
    """All that there are."""
    return (await store.load([saga_id], {saga_id: None}))[saga_id].entries


class EntriesConformance:
    """Entries: written and deleted with their record, and read by name."""

    async def test_only_those_come_that_are_wanted(self, store: Store) -> None:
        await stored(store, replace(creation("s1"), entries=LINES), beside(creation("s2"), other="2"), creation("s3"))
        assert [one.entries for one in (await store.load(["s1", "s2", "s3"])).values()] == [{}, {}, {}]
        names = ["lines[3].reserve", "other", "lines[0].reserve"]
        found = await store.load(["s3", "s1", "s2", "nobody"], {"s1": names, "s3": ["other"], "nobody": None})
        assert found["s1"].entries == {**{name: LINES[name] for name in names if name in LINES}, "other": ""}
        assert (found["s2"].entries, found["s3"].entries) == ({}, {"other": ""})
        assert (await entries_of(store), await entries_of(store, "s3")) == (LINES, {})

    async def test_a_later_commit_writes_some_anew_and_takes_some_away(self, store: Store) -> None:
        first = beside(creation(), a="1", b="1", c="1")
        second = beside(after(first), b="2", c="", d="2", never="")
        await stored(store, first)
        await stored(store, second)
        await stored(store, after(second))
        assert await entries_of(store) == {"a": "1", "b": "2", "d": "2"}

    async def test_a_conflict_writes_no_entry(self, store: Store) -> None:
        first = beside(creation(), a="1", b="1")
        await stored(store, first)
        late = [beside(after(first, version=3), a="x", b="", c="x"), beside(creation(transition="rival"), c="x")]
        assert [answer for one in late for answer in await store.commit([one])] == [CONFLICT, CONFLICT]
        assert await entries_of(store) == {"a": "1", "b": "1"}

    async def test_record_and_entries_are_of_one_moment(self, store: Store, another: AnotherStore) -> None:
        writer, last = await another(), beside(creation(), of="1")
        await stored(store, last)
        for number in range(2, 30):
            last = beside(after(last), of=str(number))
            (answer,), found = await asyncio.gather(writer.commit([last]), store.load(["s1"], {"s1": ["of"]}))
            assert answer is OK
            assert found["s1"].entries == {"of": str(found["s1"].record.version)}

    async def test_many_and_large_ones_are_kept(self, store: Store) -> None:
        many = {f"received:{number}": "1" for number in range(9_000)} | {"large": "é" * 200_000}
        await stored(store, replace(creation(), entries=many))
        assert (await store.load(["s1"], {"s1": many}))["s1"].entries == many == await entries_of(store)

    async def test_records_are_looked_for_by_their_labels(self, store: Store, another: AnotherStore) -> None:
        made = {one: beside(creation(one), **{"label:red": "1", "red": "1"}) for one in ("s3", "s1", "s2")}
        await stored(store, *made.values(), beside(creation("s4"), **{"label:redder": "1"}), creation("s5"))
        assert await store.labelled("red") == ["s1", "s2", "s3"]
        assert await store.labelled("red", limit=2) == ["s1", "s2"]
        assert await store.labelled("red", after="s1") == ["s2", "s3"]
        assert [await store.labelled(name) for name in ("redder", "re", "", "blue")] == [["s4"], [], [], []]
        await stored(store, beside(after(made["s1"]), **{"label:red": "", "label:blue": "2"}))
        assert (await store.labelled("red"), await store.labelled("blue")) == (["s2", "s3"], ["s1"])
        assert await (await another("other")).labelled("red") == []

    async def test_a_conflict_labels_nothing(self, store: Store) -> None:
        await stored(store, first := beside(creation(), **{"label:red": "1"}))
        (answer,) = await store.commit([beside(after(first, version=3), **{"label:red": "", "label:blue": "1"})])
        assert (answer, await store.labelled("red"), await store.labelled("blue")) == (CONFLICT, ["s1"], [])

    async def test_a_label_goes_with_its_record(self, store: Store) -> None:
        await stored(store, beside(creation(status="completed", updated_at=1.0), **{"label:red": "1"}))
        await store.forget(2.0)
        assert await store.labelled("red") == []

    async def test_they_go_with_their_record(self, store: Store) -> None:
        over = {"status": "completed", "updated_at": 1.0}
        made = [beside(creation(saga_id, **over), a=saga_id) for saga_id in ("s1", "s2")]
        await stored(store, *made, beside(creation("s3", fact("f1"), **over), a="s3"))
        assert (await store.forget(2.0, keys_before=2.0)).records == 2
        await store.forget(2.0, keys_before=2.0)
        await stored(store, creation("s1"))
        assert (await entries_of(store), await entries_of(store, "s3")) == ({}, {"a": "s3"})

    async def test_what_is_left_of_a_record_has_none(self, store: Store) -> None:
        await stored(store, beside(creation(status="completed", updated_at=1.0), a="1"))
        await store.forget(2.0)
        loaded = (await store.load(["s1"], {"s1": ["a"]}))["s1"]
        assert loaded.record.gone
        assert not any(loaded.entries.values())

    async def test_those_of_another_application_are_apart(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        await stored(store, beside(creation(), a="mine", b="mine"))
        await stored(other, theirs := beside(creation(status="completed", updated_at=1.0), a="theirs"))
        await stored(other, beside(after(theirs), b=""))
        assert (await entries_of(store), await entries_of(other)) == ({"a": "mine", "b": "mine"}, {"a": "theirs"})
        await other.forget(2.0)
        assert await entries_of(store) == {"a": "mine", "b": "mine"}

    async def test_they_are_there_after_reopening(self, store: Store, another: AnotherStore) -> None:
        await stored(store, replace(creation(), entries=LINES))
        await store.close()
        assert await entries_of(await another()) == LINES


class BytesConformance(ABC):
    """What a commit writes, for a store whose database can say how much that is."""

    @abstractmethod
    async def written(self) -> int:
        """The bytes that the database has written so far."""

    async def test_what_an_answer_writes_does_not_grow_with_what_is_over(self, store: Store) -> None:
        costs = [await self._cost_of_answers(store, over) for over in (10, 1_000, 10_000)]
        assert max(costs) < 2 * min(costs), costs

    async def _cost_of_answers(self, store: Store, over: int) -> int:
        """Of forty, so that what a database does now and then counts too. To name another place may cost a page."""
        last = replace(creation(f"s{over}"), entries={_name(number): REPLY for number in range(over)})
        await stored(store, last)
        before = await self.written()
        for number in range(over, over + 40):
            last = replace(after(last), entries={_name(number): REPLY, f"received:{number}": "1"})
            await stored(store, last)
        return await self.written() - before


def _name(number: int) -> str:
    return f"lines[{number}].reserve"
