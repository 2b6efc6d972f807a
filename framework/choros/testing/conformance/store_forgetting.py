"""What every store must do about what has ended: hand it out in that order, and delete it after its time; a part of
`choros.testing.conformance.store`."""

import asyncio
from dataclasses import replace

from choros.sources import rerun_id_for
from choros.store.sagas import Store, Transition, Unsent
from choros.testing.conformance.records import CONFLICT, LATER, OK, AnotherStore, after, command, creation, fact, stored

OLD = 1_600_000_000.0


def over(saga_id: str, at: float, *outbox: Unsent, **changes: object) -> Transition:
    """The only transition of a saga that ended at that moment."""
    return creation(saga_id, *outbox, **{"status": "completed", "updated_at": at, **changes})


class ForgetConformance:
    """Records that have ended: by their end, and deleted after their time."""

    async def test_what_has_ended_comes_the_oldest_change_first(self, store: Store) -> None:
        await stored(
            store, *(over(f"s{n}", OLD + n % 3) for n in range(7)), over("undone", OLD - 1, status="compensated")
        )
        await stored(store, creation("live", updated_at=OLD), creation("parked", status="parked", updated_at=OLD))
        seen, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            page = await store.ended(OLD, limit=3, cursor=cursor)
            seen += [record.saga_id for record in page.records]
            cursor, pages = page.cursor, pages + 1
        assert (seen, pages) == (["s0", "s3", "s6", "s1", "s4", "s2", "s5"], 3)
        assert [record.saga_id for record in (await store.ended(0.0, limit=1)).records] == ["undone"]
        assert not (await store.ended(OLD + 2.5)).records

    async def test_what_was_terminated_has_ended_as_well(self, store: Store) -> None:
        ends = ("terminated", "completed", "terminated", "compensated", "terminated")
        await stored(store, *(over(f"s{n}", OLD + n, status=status) for n, status in enumerate(ends)))
        seen, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            page = await store.ended(OLD, limit=2, cursor=cursor)
            seen += [record.saga_id for record in page.records]
            cursor, pages = page.cursor, pages + 1
        assert (seen, pages) == (["s0", "s1", "s2", "s3", "s4"], 3)
        assert not await store.live()
        assert (await store.counts())["order", "terminated"] == 3
        done = await store.forget(OLD + 4, skip=1, limit=2)
        assert (done.looked, done.records) == (2, 2)
        assert [record.saga_id for record in (await store.ended(0.0)).records] == ["s0", "s3", "s4"]
        assert (await store.forget(OLD + 9)).records == 3

    async def test_one_that_changes_after_its_end_is_ahead_again(self, store: Store) -> None:
        first = over("s1", OLD)
        await stored(store, first, over("s2", OLD + 1), over("s3", OLD + 2))
        page = await store.ended(0.0, limit=2)
        await stored(store, after(first, updated_at=OLD + 9))
        rest = await store.ended(0.0, limit=9, cursor=page.cursor)
        assert [record.saga_id for record in (*page.records, *rest.records)] == ["s1", "s2", "s3", "s1"]

    async def test_what_ended_before_that_moment_is_deleted_with_its_history(self, store: Store) -> None:
        await stored(store, over("old", OLD), over("young", OLD + 100), over("undone", OLD + 1, status="compensated"))
        done = await store.forget(OLD + 50)
        assert (done.looked, done.records, done.left) == (2, 2, 0)
        assert not await store.history("old")
        assert [record.saga_id for record in (await store.find()).records] == ["young"]
        assert [record.saga_id for record in (await store.ended(0.0)).records] == ["young"]
        assert await store.counts() == {("order", "completed"): 1}
        assert (await store.forget(OLD + 50)).looked == 0
        assert [row.events for row in await store.history("young")] == ['["started"]']

    async def test_what_has_not_ended_is_never_deleted(self, store: Store) -> None:
        live = [creation(status, status=status, updated_at=OLD) for status in ("running", "compensating", "parked")]
        await stored(store, *live)
        assert (await store.forget(store.now() + LATER)).looked == 0
        assert len(await store.load(["running", "compensating", "parked"])) == 3
        await stored(store, after(live[2], status="compensating", updated_at=OLD))

    async def test_what_still_has_a_message_to_send_is_left(self, store: Store) -> None:
        await stored(store, over("s1", OLD, fact("f1")), over("s2", OLD + 1, command("c1")), over("s3", OLD + 2))
        done = await store.forget(OLD + 50)
        assert (done.looked, done.records, done.left) == (3, 1, 2)
        await store.mark_sent([("s1", "f1")])
        await stored(store, creation("any"))  # so that the mark is written, too
        done = await store.forget(OLD + 50)
        assert (done.records, done.left) == (1, 1)
        assert [record.saga_id for record in (await store.ended(0.0)).records] == ["s2"]

    async def test_what_was_run_again_is_kept_as_long_as_its_successor(self, store: Store) -> None:
        successor = creation(rerun_id_for("s1"), updated_at=OLD)
        await stored(store, over("s1", OLD), successor)
        assert ((await store.forget(OLD + 50)).left, len(await store.history("s1"))) == (1, 1)
        await stored(store, after(successor, status="completed", updated_at=OLD + 1))
        assert (await store.forget(OLD + 50)).records == 1
        assert (await store.forget(OLD + 50)).records == 1
        assert not (await store.ended(0.0)).records

    async def test_no_more_than_asked_for_and_past_what_was_left(self, store: Store) -> None:
        await stored(store, over("s0", OLD, fact("f")), *(over(f"s{n}", OLD + n) for n in range(1, 6)))
        first = await store.forget(OLD + 50, limit=2)
        assert (first.looked, first.records, first.left) == (2, 1, 1)
        second = await store.forget(OLD + 50, skip=1, limit=2)
        assert (second.looked, second.records, second.left) == (2, 2, 0)
        assert [record.saga_id for record in (await store.ended(0.0)).records] == ["s0", "s4", "s5"]

    async def test_its_start_key_stays(self, store: Store) -> None:
        made = over("s1", OLD, digest="d7", saga="return", status="compensated")
        await stored(store, made)
        await store.forget(OLD + 50)
        loaded = (await store.load(["s1", "nobody"]))["s1"]
        record = loaded.record
        assert record.gone
        assert (record.saga, record.digest, record.status, record.updated_at) == ("return", "d7", "compensated", OLD)
        assert not loaded.unsent | loaded.unsent_facts

    async def test_what_was_deleted_does_not_begin_or_go_on(self, store: Store) -> None:
        made = over("s1", OLD)
        await stored(store, made)
        await store.forget(OLD + 50)
        again = [creation("s1", command("c1")), after(made)]
        assert [answer for one in again for answer in await store.commit([one])] == [CONFLICT, CONFLICT]
        assert (await store.load(["s1"]))["s1"].record.gone
        assert not await store.counts()

    async def test_without_its_start_key_it_is_as_if_it_had_never_been(self, store: Store) -> None:
        await stored(store, over("s1", OLD))
        await store.forget(OLD + 50, keys_before=OLD + 25)
        await store.forget(OLD + 50, keys_before=OLD + 25)
        assert not await store.load(["s1"])
        assert list(await store.commit([creation("s1")])) == [OK]

    async def test_it_tells_until_when_something_was_deleted(self, store: Store) -> None:
        assert await store.forgotten() == 0.0
        await stored(store, over("a", OLD + 1.5), over("b", OLD), over("c", OLD + 100))
        await store.forget(OLD + 50)
        assert await store.forgotten() == OLD + 1.5
        await store.forget(OLD + 50)
        assert await store.forgotten() == OLD + 1.5

    async def test_several_forget_at_once_and_each_is_deleted_once(self, store: Store, another: AnotherStore) -> None:
        rivals = [store, await another()]
        await stored(store, *(over(f"s{n:02}", OLD + n) for n in range(40)))
        done = await asyncio.gather(*(one.forget(OLD + 99, limit=40) for one in rivals * 2))
        assert sum(one.records for one in done) == 40
        assert not await store.counts()
        assert len(await store.load([f"s{n:02}" for n in range(40)])) == 40

    async def test_what_is_deleted_meanwhile_conflicts(self, store: Store, another: AnotherStore) -> None:
        made = over("s1", OLD)
        await stored(store, made)
        await (await another()).forget(OLD + 50)
        late = after(replace(made, outbox=()), updated_at=OLD + 60)
        assert list(await store.commit([late])) == [CONFLICT]
