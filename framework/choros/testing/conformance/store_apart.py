"""What every store must do where several applications share a database; a part of `store`."""

from choros.store.sagas import PutOff, Store
from choros.testing.conformance.records import (
    KNOWN,
    LATER,
    AnotherStore,
    after,
    command,
    creation,
    fact,
    stored,
    waiting,
)


class ApartConformance:
    """Two applications on one database: neither sees or changes anything of the other."""

    async def test_nothing_of_another_application_is_seen(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        await stored(other, creation("s1", command("c1"), fact("f1"), wake_at=1.0))
        assert await everything(store) == await everything(await another("red"))
        assert list(await other.due(5.0, KNOWN, 10)) == ["s1"]

    async def test_the_same_ids_are_two_records(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        mine = creation("s1", command("c1"), fact("f1"), status="parked", wake_at=3.0, application="green")
        theirs = creation("s1", command("c1"), command("c2"), wake_at=1.0, application="blue")
        await stored(store, mine)
        before = await everything(store)
        await stored(other, theirs)
        await stored(other, after(theirs, sent=("c1",), status="completed"))
        await other.mark_sent([("s1", "f1"), ("s1", "c2")])
        await stored(other, creation("s2"))
        assert await everything(store) == before
        assert (await store.load(["s1"]))["s1"].record == mine.record
        await stored(store, after(mine, sent=("c1",)))
        assert await waiting(other) == []
        assert [row.version for row in await other.history("s1")] == [1, 2]

    async def test_a_claim_is_of_one_application(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        await stored(store, creation("s1", wake_at=1.0))
        await stored(other, creation("s1", wake_at=1.0))
        assert list(await other.due(5.0, KNOWN, 10, claim_until=9.0)) == ["s1"]
        await other.put_off([PutOff("s1", 9.0, 99.0)])
        assert (await other.next_due(KNOWN), await store.next_due(KNOWN)) == (99.0, 1.0)
        assert list(await store.due(5.0, KNOWN, 10, claim_until=9.0)) == ["s1"]

    async def test_their_dead_letters_do_not_use_up_a_limit(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        await stored(other, *(creation(f"s{n}", command(f"c{n}"), wake_at=1.0) for n in range(5)))
        await stored(store, creation("mine", command("mine"), wake_at=2.0))
        assert (await waiting(store, limit=1), list(await store.due(5.0, KNOWN, 1))) == (["mine"], ["mine"])
        assert [record.saga_id for record in (await store.find(limit=1)).records] == ["mine"]
        assert not (await store.find(limit=1)).cursor

    async def test_forgetting_leaves_another_application_alone(self, store: Store, another: AnotherStore) -> None:
        other = await another("blue")
        await stored(other, creation("s1", status="completed"))
        await stored(store, creation("s1", status="completed"))
        before = await everything(other)
        assert (await store.forget(store.now())).records == 1
        assert await everything(other) == before
        assert (await store.load(["s1"]))["s1"].record.gone
        await stored(other, creation("s2", status="completed"))


async def everything(store: Store) -> list[object]:
    """What every question that there is brings to light."""
    ids, until = ["s1", "s2"], store.now() + LATER
    found = [await store.find(), await store.find(saga="order"), await store.find(status="running")]
    history = [list(await store.history(saga_id)) for saga_id in ids]
    outboxes = [await waiting(store), await waiting(store, "facts")]
    return [
        await store.load(ids),
        list(await store.due(until, KNOWN, 10)),
        await store.counts(),
        await store.live(),
        await store.ended(0.0),
        await store.forgotten(),
        found,
        history,
        outboxes,
    ]
