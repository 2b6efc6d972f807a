"""What every store must do, as tests that an adapter inherits.

    class TestMyStore(StoreConformance):
        @pytest.fixture
        async def another(self): ...   # a function `await another()`: one more open Store on the same database,
                                       # and `await another("blue")`: one with that for its namespace

        @pytest.fixture
        async def store(self, another):
            return await another()     # on an empty database

The database is empty when a test starts. For readable failures see `choros.testing.conformance`.
"""

import asyncio
from dataclasses import replace

from choros.store.sagas import Kind, Store, Unsent
from choros.testing.conformance.records import (
    CONFLICT,
    KNOWN,
    LATER,
    OK,
    AnotherStore,
    after,
    command,
    creation,
    fact,
    local,
    stored,
    waiting,
)
from choros.testing.conformance.store_apart import ApartConformance
from choros.testing.conformance.store_entries import EntriesConformance
from choros.testing.conformance.store_forgetting import ForgetConformance
from choros.testing.conformance.store_timers import TimersConformance


class CommitConformance:
    """Transitions: whole or not at all, and only on the version they were decided on."""

    async def test_a_record_comes_back_as_it_was_stored(self, store: Store) -> None:
        made = creation("s1", received=("m1", "m2"), undecided=("u1",), wake_at=1_700_000_007.125, late=3)
        await stored(store, made)
        assert (await store.load(["s1"]))["s1"].record == made.record

    async def test_load_returns_only_what_exists(self, store: Store) -> None:
        await stored(store, creation("s1"), creation("s2"))
        assert set(await store.load(["s2", "nobody", "s1"])) == {"s1", "s2"}
        assert not await store.load([])

    async def test_a_second_creation_is_a_conflict_and_changes_nothing(self, store: Store) -> None:
        await stored(store, creation("s1", command("c1")))
        rival = creation("s1", command("c2"), transition="rival", digest="d2")
        assert list(await store.commit([rival])) == [CONFLICT]
        loaded = (await store.load(["s1"]))["s1"]
        assert (loaded.record.digest, loaded.unsent) == ("d1", frozenset({"c1"}))

    async def test_an_update_follows_its_predecessor(self, store: Store) -> None:
        first = creation()
        second = after(first, status="completed", state="{}", received=("m1",), wake_at=5.5, updated_at=1_700_000_009.0)
        await stored(store, first)
        await stored(store, second)
        assert (await store.load(["s1"]))["s1"].record == second.record

    async def test_an_old_version_is_a_conflict(self, store: Store) -> None:
        first = creation()
        await stored(store, first)
        await stored(store, after(first))
        assert list(await store.commit([after(first, transition="late")])) == [CONFLICT]

    async def test_the_same_version_of_another_transition_is_a_conflict(self, store: Store) -> None:
        await stored(store, creation(transition="mine"))
        assert list(await store.commit([after(creation(transition="theirs"))])) == [CONFLICT]

    async def test_a_version_ahead_of_the_record_is_a_conflict(self, store: Store) -> None:
        first = creation()
        await stored(store, first)
        assert list(await store.commit([after(after(first))])) == [CONFLICT]

    async def test_a_creation_that_names_a_predecessor_is_a_conflict(self, store: Store) -> None:
        assert list(await store.commit([replace(creation(), previous="t0")])) == [CONFLICT]
        assert not await store.load(["s1"])

    async def test_an_update_of_nothing_is_a_conflict(self, store: Store) -> None:
        assert list(await store.commit([after(creation())])) == [CONFLICT]
        assert not await store.load(["s1"])

    async def test_a_transition_committed_twice_can_be_recognised_as_ones_own(self, store: Store) -> None:
        first = creation(received=("m1",))
        await stored(store, first)
        assert list(await store.commit([first])) == [CONFLICT]
        record = (await store.load(["s1"]))["s1"].record
        assert (record.transition, record.received) == (first.record.transition, ("m1",))

    async def test_a_batch_answers_for_each_in_order(self, store: Store) -> None:
        first = creation("s1")
        await stored(store, first)
        batch = [creation("s2"), after(first, transition="x"), creation("s3"), after(creation("s4"))]
        assert list(await store.commit(batch)) == [OK, OK, OK, CONFLICT]
        batch = [after(first), creation("s5")]
        assert list(await store.commit(batch)) == [CONFLICT, OK]
        assert set(await store.load(["s1", "s2", "s3", "s4", "s5"])) == {"s1", "s2", "s3", "s5"}

    async def test_an_empty_batch_has_no_answers(self, store: Store) -> None:
        assert list(await store.commit([])) == []

    async def test_a_conflict_leaves_no_part_of_its_transition(self, store: Store) -> None:
        first = creation("s1", command("c1"))
        await stored(store, first)
        late = after(first, command("c2"), fact("f1"), sent=("c1",), status="parked", wake_at=1.0)
        await stored(store, after(first))
        assert list(await store.commit([late])) == [CONFLICT]
        assert (await waiting(store), await waiting(store, "facts")) == (["c1"], [])
        assert not await store.due(2.0, KNOWN, 10)
        assert await store.counts() == {("order", "running"): 1}
        assert [row.version for row in await store.history("s1")] == [1, 2]

    async def test_two_stores_race_and_each_version_has_one_winner(self, store: Store, another: AnotherStore) -> None:
        rivals = [store, await another()]
        last = creation()
        await stored(store, last)
        for number in range(50):
            tries = [after(last, command(f"{number}-{who}"), transition=f"{number}-{who}") for who in range(2)]
            answers = await asyncio.gather(*(one.commit([t]) for one, t in zip(rivals, tries, strict=True)))
            assert sorted(answer.value for (answer,) in answers) == ["conflict", "ok"]
            last = tries[0] if answers[0][0] is OK else tries[1]
            assert (await rivals[number % 2].load(["s1"]))["s1"].record == last.record
        assert len(await waiting(store)) == len(await store.history("s1")) - 1 == 50

    async def test_many_tasks_commit_at_once(self, store: Store) -> None:
        answers = await asyncio.gather(*(store.commit([creation(f"s{number % 40}")]) for number in range(80)))
        assert sorted(answer.value for (answer,) in answers) == ["conflict"] * 40 + ["ok"] * 40
        assert len(await store.load([f"s{number}" for number in range(40)])) == 40

    async def test_a_large_state_and_many_ids_are_kept(self, store: Store) -> None:
        made = creation(state="x" * 300_000, received=tuple(f"m{number}" for number in range(1000)))
        await stored(store, made)
        assert (await store.load(["s1"]))["s1"].record == made.record

    async def test_everything_is_there_after_reopening(self, store: Store, another: AnotherStore) -> None:
        made = creation("s1", command("c1"), command("c2"), fact("f1"), wake_at=7.0)
        await stored(store, made)
        await store.mark_sent([("s1", "c1")])
        await store.close()
        again = await another()
        loaded = (await again.load(["s1"]))["s1"]
        assert (loaded.record, loaded.unsent, loaded.unsent_facts) == (
            made.record,
            frozenset({"c2"}),
            frozenset({"f1"}),
        )
        assert list(await again.due(8.0, KNOWN, 10)) == ["s1"]
        assert [row.events for row in await again.history("s1")] == ['["started"]']

    async def test_close_may_be_called_twice(self, store: Store) -> None:
        await store.close()
        await store.close()


class OutboxConformance:
    """Messages to send: kept until they are marked, in the order of their commits."""

    async def test_entries_come_back_whole(self, store: Store) -> None:
        entry = Unsent("c1", "commands", '{"data":"{\\"name\\": \\"Zoë\\"}"}')
        await stored(store, creation("s1", entry))
        assert list(await store.unsent("commands", store.now() + LATER, 10)) == [replace(entry, saga_id="s1")]

    async def test_load_tells_what_is_unsent(self, store: Store) -> None:
        await stored(store, creation("s1", command("c1"), fact("f1")), creation("s2"))
        loaded = await store.load(["s1", "s2"])
        assert (loaded["s1"].unsent, loaded["s1"].unsent_facts) == (frozenset({"c1"}), frozenset({"f1"}))
        assert (loaded["s2"].unsent, loaded["s2"].unsent_facts) == (frozenset(), frozenset())

    async def test_commands_and_facts_are_apart(self, store: Store) -> None:
        await stored(store, creation("s1", fact("f1"), command("c1"), fact("f2")))
        assert (await waiting(store, "commands"), await waiting(store, "facts")) == (["c1"], ["f1", "f2"])

    async def test_local_commands_are_apart_and_count_as_commands(self, store: Store) -> None:
        made = creation("s1", fact("f1"), local("l1"), command("c1"), local("l2"), local("l3"))
        await stored(store, made)
        assert (await waiting(store, "local"), await waiting(store)) == (["l1", "l2", "l3"], ["c1"])
        loaded = (await store.load(["s1"]))["s1"]
        assert (loaded.unsent, loaded.unsent_facts) == (frozenset({"c1", "l1", "l2", "l3"}), frozenset({"f1"}))
        await store.mark_sent([("s1", "l1")])
        await stored(store, after(made, sent=("l3",)))
        assert (await waiting(store, "local"), (await store.load(["s1"]))["s1"].unsent) == (
            ["l2"],
            frozenset({"c1", "l2"}),
        )

    async def test_entries_of_one_saga_keep_the_order_of_their_commits(self, store: Store) -> None:
        last = creation("s1", *(fact(one) for one in ("z", "b", "y", "a")))
        await stored(store, last)
        for entry_id in ("x", "c", "w"):
            last = after(last, fact(entry_id), fact(f"{entry_id}0"))
            await stored(store, last)
        assert await waiting(store, "facts") == ["z", "b", "y", "a", "x", "x0", "c", "c0", "w", "w0"]

    async def test_the_oldest_come_first_and_no_more_than_asked_for(self, store: Store) -> None:
        for saga_id in ("s3", "s1", "s2"):
            await stored(store, creation(saga_id, command(f"c-{saga_id}")))
        assert await waiting(store, limit=2) == ["c-s3", "c-s1"]

    async def test_only_what_was_committed_before_that_moment(self, store: Store) -> None:
        await stored(store, creation("s1", command("c1")))
        assert not await store.unsent("commands", store.now() - LATER, 10)
        assert await waiting(store) == ["c1"]

    async def test_what_is_committed_leaves_whoever_knows_its_saga(self, store: Store) -> None:
        await stored(store, creation("s1", command("c1")), creation("s2", command("c2"), saga_version=2))
        await stored(store, creation("s3", fact("closing"), saga="removed", fingerprint="f", status="completed"))
        assert (await waiting(store), await waiting(store, "facts")) == (["c1", "c2"], ["closing"])
        await store.mark_sent([("s2", "c2"), ("s3", "closing")])
        assert (await waiting(store), await waiting(store, "facts")) == (["c1"], [])

    async def test_marked_entries_leave_and_the_version_stays(self, store: Store) -> None:
        made = creation("s1", command("c1"), command("c2"), fact("f1"))
        await stored(store, made)
        await store.mark_sent([("s1", "c1"), ("s1", "f1"), ("s1", "never there"), ("nobody", "c2")])
        loaded = (await store.load(["s1"]))["s1"]
        assert (loaded.record, loaded.unsent) == (made.record, frozenset({"c2"}))
        assert (await waiting(store), await waiting(store, "facts")) == (["c2"], [])
        await stored(store, after(made))

    async def test_a_transition_takes_sent_entries_along(self, store: Store) -> None:
        made = creation("s1", command("c1"), command("c2"), fact("f1"))
        await stored(store, made)
        await stored(store, after(made, command("c3"), sent=("c1", "f1", "never there")))
        assert (await waiting(store), await waiting(store, "facts")) == (["c2", "c3"], [])
        assert (await store.load(["s1"]))["s1"].unsent == frozenset({"c2", "c3"})

    async def test_the_same_entry_id_in_two_sagas_is_two_entries(self, store: Store) -> None:
        await stored(store, creation("s1", command("c")), creation("s2", command("c")))
        await store.mark_sent([("s1", "c")])
        entries = await store.unsent("commands", store.now() + LATER, 10)
        assert [(entry.saga_id, entry.id) for entry in entries] == [("s2", "c")]


class LookConformance:
    """Timers, lists, numbers and the past."""

    async def test_the_most_overdue_come_first_and_no_more_than_asked_for(self, store: Store) -> None:
        batch = [creation(saga_id, wake_at=at) for saga_id, at in (("a", 30.5), ("b", 10.5), ("c", 20.5), ("d", 40.5))]
        await stored(store, *batch, creation("never"))
        assert list(await store.due(30.5, KNOWN, 10)) == ["b", "c", "a"]
        assert list(await store.due(99.0, KNOWN, 2)) == ["b", "c"]
        assert not await store.due(10.4, KNOWN, 10)

    async def test_only_known_sagas_are_due(self, store: Store) -> None:
        await stored(store, creation("old", wake_at=1.0, saga_version=7), creation("s1", wake_at=2.0))
        assert list(await store.due(5.0, KNOWN, 1)) == ["s1"]
        assert list(await store.due(5.0, [Kind("order", 7)], 10)) == ["old"]
        assert not await store.due(5.0, [], 10)

    async def test_only_records_of_the_same_declaration_are_due(self, store: Store) -> None:
        made = [creation(one, wake_at=1.0, fingerprint=one) for one in ("b", "a", "c")]
        await stored(store, *made, creation("other version", wake_at=1.0, fingerprint="a", saga_version=2))
        assert list(await store.due(5.0, [Kind("order", 1, "a")], 10)) == ["a"]
        assert list(await store.due(5.0, [Kind("order", 1, "b"), Kind("order", 1, "c")], 10)) == ["b", "c"]
        assert not await store.due(5.0, [Kind("order", 1, "d"), Kind("order", 1)], 10)

    async def test_a_record_without_fingerprint_is_handed_to_whoever_knows_its_version(self, store: Store) -> None:
        old = creation("old", wake_at=2.0)
        await stored(
            store, old, creation("mine", wake_at=1.0, fingerprint="a"), creation("two", wake_at=1.0, saga_version=2)
        )
        mine, other = [Kind("order", 1, "a")], [Kind("order", 1, "b"), Kind("order", 1, "c")]
        assert (list(await store.due(5.0, mine, 10)), list(await store.due(5.0, other, 10))) == (
            ["mine", "old"],
            ["old"],
        )
        assert list(await store.due(5.0, mine, 1)) == ["mine"]

    async def test_a_record_gets_its_fingerprint_with_a_commit(self, store: Store) -> None:
        old = creation("old", command("c1"), wake_at=2.0)
        await stored(store, old)
        made = after(old, fingerprint="a", wake_at=3.0)
        await stored(store, made)
        assert not await store.due(5.0, [Kind("order", 1, "b")], 10)
        assert list(await store.due(5.0, [Kind("order", 1, "a")], 10)) == ["old"]
        loaded = (await store.load(["old"]))["old"]
        assert (loaded.record, loaded.unsent) == (made.record, frozenset({"c1"}))
        await stored(store, after(made, fingerprint="b", wake_at=None))
        assert not await store.due(5.0, [Kind("order", 1, "a"), Kind("order", 1, "b")], 10)

    async def test_a_timer_is_moved_and_taken_away(self, store: Store) -> None:
        first = creation(wake_at=10.0)
        second = after(first, wake_at=20.0)
        await stored(store, first)
        await stored(store, second)
        assert not await store.due(15.0, KNOWN, 10)
        assert list(await store.due(20.0, KNOWN, 10)) == ["s1"]
        await stored(store, after(second, wake_at=None))
        assert not await store.due(99.0, KNOWN, 10)

    async def test_find_pages_through_all_last_started_first(self, store: Store) -> None:
        # Three of them at the same moment, across the border of a page.
        times = {"a": 5.0, "b": 7.0, "c": 7.0, "d": 7.0, "e": 6.125, "f": 8.0}
        await stored(store, *(creation(saga_id, started_at=at) for saga_id, at in times.items()))
        seen, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            page = await store.find(limit=2, cursor=cursor)
            seen += [record.saga_id for record in page.records]
            cursor, pages = page.cursor, pages + 1
        assert (seen, pages) == (["f", "d", "c", "b", "e", "a"], 3)

    async def test_paging_is_steady_while_sagas_start_and_change(self, store: Store) -> None:
        batch = [creation(f"s{n}", started_at=float(n)) for n in range(1, 5)]
        await stored(store, *batch)
        page = await store.find(limit=2)
        await stored(store, creation("new", started_at=9.0), after(batch[2], status="completed"))
        rest = await store.find(limit=5, cursor=page.cursor)
        assert [record.saga_id for record in rest.records] == ["s2", "s1"]
        assert not rest.cursor

    async def test_find_filters_by_saga_and_status(self, store: Store) -> None:
        await stored(store, creation("a"), creation("b", status="parked"), creation("c", saga="return"))
        await stored(store, creation("d", saga="return", status="parked"))

        assert {record.saga_id for record in (await store.find(status="parked")).records} == {"b", "d"}
        assert {record.saga_id for record in (await store.find(saga="return")).records} == {"c", "d"}
        found = await store.find(saga="order", status="parked")
        assert list(found.records) == [creation("b", status="parked").record]
        assert not (await store.find(saga="nothing")).records

    async def test_find_follows_a_change_of_status(self, store: Store) -> None:
        first = creation()
        await stored(store, first)
        await stored(store, after(first, status="completed"))
        assert not (await store.find(status="running")).records
        assert [record.version for record in (await store.find(status="completed")).records] == [2]

    async def test_counts_follow_every_change_of_status(self, store: Store) -> None:
        first, second = creation("a"), creation("b")
        await stored(store, first, second, creation("c", saga="return"))
        await stored(store, after(first, status="completed"))
        assert await store.counts() == {("order", "running"): 1, ("order", "completed"): 1, ("return", "running"): 1}
        await stored(store, after(second, status="completed"))
        assert await store.counts() == {("order", "completed"): 2, ("return", "running"): 1}

    async def test_the_live_are_counted_by_kind(self, store: Store) -> None:
        first, second = creation("a", fingerprint="f1"), creation("b", status="parked")
        await stored(store, first, second, creation("c", status="completed"), creation("d", saga="return"))
        kinds = {Kind("order", 1, "f1"): 1, Kind("order", 1): 1, Kind("return", 1): 1}
        assert await store.live() == kinds
        await stored(store, after(second, status="compensating", fingerprint="f1"))
        assert await store.live() == {Kind("order", 1, "f1"): 2, Kind("return", 1): 1}
        await stored(store, after(first, status="compensated"))
        assert await store.live() == {Kind("order", 1, "f1"): 1, Kind("return", 1): 1}

    async def test_the_oldest_that_has_not_ended_is_known(self, store: Store) -> None:
        assert await store.oldest() is None
        first, second = creation("a", started_at=3.25), creation("b", started_at=5.5, status="parked")
        await stored(store, first, second, creation("c", started_at=1.0, status="completed"))
        assert await store.oldest() == 3.25
        await stored(store, after(first, status="compensated"))
        assert await store.oldest() == 5.5

    async def test_history_is_kept_oldest_first(self, store: Store) -> None:
        last = creation(updated_at=1.5)
        await stored(store, last)
        for number in range(11):
            last = after(last, updated_at=2.5 + number)
            await stored(store, last)
        rows = await store.history("s1")
        assert [row.version for row in rows] == list(range(1, 13))
        assert (rows[0].at, rows[0].events, rows[1].events) == (1.5, '["started"]', '["event 2"]')
        assert not await store.history("nobody")

    async def test_the_clock_moves_on(self, store: Store) -> None:
        before = store.now()
        await asyncio.sleep(0.01)
        await store.due(0.0, KNOWN, 1)
        assert before < store.now() < before + LATER


class StoreConformance(
    CommitConformance,
    EntriesConformance,
    OutboxConformance,
    LookConformance,
    ForgetConformance,
    TimersConformance,
    ApartConformance,
):
    """All that `choros.store.sagas.Store` promises."""
