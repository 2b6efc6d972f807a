"""What every store must do with due timers that several workers share; a part of `choros.testing.conformance.store`."""

import asyncio

from choros.store.sagas import Kind, PutOff, Store
from choros.testing.conformance.records import KNOWN, AnotherStore, after, command, creation, stored

NOW, UNTIL = 50.0, 55.0


async def claimed(store: Store, limit: int = 10, now: float = NOW, until: float = UNTIL) -> list[str]:
    """What one worker is handed, for itself."""
    return list(await store.due(now, KNOWN, limit, claim_until=until))


async def overdue(store: Store, count: int) -> None:
    """So many records whose timers are due, `s0` since longest."""
    await stored(store, *(creation(f"s{number}", wake_at=float(number)) for number in range(count)))


class TimersConformance:
    """A claim takes a timer out of the sight of others for a while, and changes nothing else."""

    async def test_what_is_claimed_is_handed_to_nobody_until_the_claim_is_over(
        self, store: Store, another: AnotherStore
    ) -> None:
        await overdue(store, 2)
        assert await claimed(store) == ["s0", "s1"]
        for one in (store, await another()):
            assert await claimed(one) == []
            assert not await one.due(UNTIL - 0.1, KNOWN, 10)
        assert await claimed(await another(), now=UNTIL, until=60.0) == ["s0", "s1"]

    async def test_each_worker_gets_others_most_overdue_first(self, store: Store, another: AnotherStore) -> None:
        await overdue(store, 5)
        assert await claimed(store, 2) == ["s0", "s1"]
        assert await claimed(await another(), 2) == ["s2", "s3"]
        assert await claimed(store, 2) == ["s4"]

    async def test_workers_at_the_same_moment_get_others_too(self, store: Store, another: AnotherStore) -> None:
        await overdue(store, 40)
        workers = [store, await another(), await another()]
        found = await asyncio.gather(*(claimed(workers[turn % 3], 7) for turn in range(9)))
        handed = [saga_id for one in found for saga_id in one]
        assert sorted(handed) == sorted(f"s{number}" for number in range(40))

    async def test_a_timer_of_months_is_not_early_and_not_lost(self, store: Store, another: AnotherStore) -> None:
        months = 1_790_000_000.123456  # what a saga sleeps until, as a float has it
        await stored(store, creation("s1", wake_at=months))
        one = await another()
        assert not await one.due(months - 1e-5, KNOWN, 10)
        assert await one.next_due(KNOWN) == months
        assert await one.due(months, KNOWN, 10) == ["s1"]

    async def test_a_claim_changes_no_record(self, store: Store) -> None:
        made = creation("s1", command("c1"), wake_at=1.5)
        await stored(store, made)
        assert await claimed(store) == ["s1"]
        loaded = (await store.load(["s1"]))["s1"]
        assert (loaded.record, loaded.unsent) == (made.record, frozenset({"c1"}))
        await stored(store, after(made, wake_at=2.5))

    async def test_a_commit_sets_the_timer_anew_claimed_or_not(self, store: Store) -> None:
        again, never = creation("again", wake_at=1.0), creation("never", wake_at=2.0)
        await stored(store, again, never)
        assert await claimed(store) == ["again", "never"]
        await stored(store, after(again, wake_at=3.0), after(never, wake_at=None))
        assert await claimed(store) == ["again"]
        assert await claimed(store, now=99.0, until=100.0) == ["again"]

    async def test_a_commit_that_was_refused_leaves_the_claim(self, store: Store) -> None:
        made = creation("s1", wake_at=1.0)
        await stored(store, made)
        await stored(store, after(made))
        await claimed(store)
        assert [one.value for one in await store.commit([after(made, transition="late", wake_at=0.5)])] == ["conflict"]
        assert not await store.due(NOW, KNOWN, 10)

    async def test_a_mere_look_claims_nothing(self, store: Store) -> None:
        await overdue(store, 2)
        for _ in range(2):
            assert list(await store.due(NOW, KNOWN, 10)) == ["s0", "s1"]

    async def test_a_claim_is_there_after_reopening(self, store: Store, another: AnotherStore) -> None:
        await overdue(store, 1)
        assert await claimed(store) == ["s0"]
        await store.close()
        again = await another()
        assert (await claimed(again), await claimed(again, now=UNTIL, until=60.0)) == ([], ["s0"])

    async def test_workers_of_other_declarations_claim_nothing_of_ours(self, store: Store) -> None:
        ours, theirs = Kind("order", 1, "a"), Kind("order", 1, "b")
        await stored(store, *(creation(one, wake_at=1.0, fingerprint=one) for one in ("a", "b")))
        assert list(await store.due(NOW, [theirs], 10, claim_until=UNTIL)) == ["b"]
        assert list(await store.due(NOW, [ours], 10, claim_until=UNTIL)) == ["a"]

    async def test_a_record_without_declaration_is_given_back_to_whom_it_belongs(self, store: Store) -> None:
        ours, theirs = Kind("order", 1, "a"), Kind("order", 1, "b")
        await stored(store, creation("old", wake_at=1.0), creation("mine", wake_at=2.0, fingerprint="b"))
        assert list(await store.due(NOW, [theirs], 1, claim_until=UNTIL)) == ["old"]
        await store.put_off([PutOff("old", UNTIL, NOW)])
        assert list(await store.due(NOW, [theirs], 1, claim_until=UNTIL, passing_over=["old"])) == ["mine"]
        assert list(await store.due(NOW, [ours], 10, claim_until=UNTIL)) == ["old"]

    async def test_what_is_passed_over_takes_no_place(self, store: Store) -> None:
        await overdue(store, 6)
        over = ["s0", "s1", "s4", "nobody"]
        assert list(await store.due(NOW, KNOWN, 2, passing_over=over)) == ["s2", "s3"]
        assert list(await store.due(NOW, KNOWN, 9, claim_until=UNTIL, passing_over=over)) == ["s2", "s3", "s5"]
        assert await claimed(store) == ["s0", "s1", "s4"]

    async def test_a_timer_is_put_off(self, store: Store) -> None:
        await overdue(store, 2)
        await claimed(store)
        await store.put_off([PutOff("s0", UNTIL, 80.0), PutOff("s1", UNTIL, 51.0)])
        assert list(await store.due(51.0, KNOWN, 10)) == ["s1"]
        assert list(await store.due(80.0, KNOWN, 10)) == ["s1", "s0"]
        await store.put_off([])

    async def test_only_who_still_has_the_claim_puts_off(self, store: Store, another: AnotherStore) -> None:
        lapsed, committed, free = (creation(one, wake_at=1.0) for one in ("lapsed", "committed", "free"))
        await stored(store, lapsed, committed)
        await claimed(store)
        await stored(store, after(committed, wake_at=2.0), free)
        assert list(await (await another()).due(60.0, KNOWN, 1, claim_until=65.0)) == ["free"]
        assert sorted(await claimed(await another(), now=60.0, until=66.0)) == ["committed", "lapsed"]
        await store.put_off([PutOff(one, UNTIL, 99.0) for one in ("lapsed", "committed", "free", "nobody")])
        assert sorted(await store.due(66.0, KNOWN, 10)) == ["committed", "free", "lapsed"]

    async def test_the_next_timer_is_known(self, store: Store) -> None:
        assert await store.next_due(KNOWN) is None
        await stored(store, creation("never"), creation("b", wake_at=7.25), creation("a", wake_at=9.5, saga_version=2))
        await stored(store, creation("strange", wake_at=1.0, fingerprint="x"))
        assert (await store.next_due(KNOWN), await store.next_due([Kind("order", 2)])) == (7.25, 9.5)
        await claimed(store, 1)
        assert await store.next_due(KNOWN) == 9.5
        assert (await store.next_due([]), await store.next_due([Kind("order", 1)])) == (None, UNTIL)
