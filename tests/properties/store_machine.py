"""The life of a store beside a model of it in plain dictionaries: two processes on one database, conflicts, lost
answers, crashes. After every step all that a store can be asked is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from choros.store.sagas import (
    ENDED,
    LIVE,
    Channel,
    Committed,
    Forgotten,
    HistoryRow,
    Kind,
    PutOff,
    Record,
    Store,
    Transition,
    Unsent,
    handed_out,
)
from choros.testing.conformance.records import LATER, a_record
from tests.properties.machines import AsyncMachine, cut_off

Opening = Callable[[], Awaitable[Store]]
OK, CONFLICT = Committed.OK, Committed.CONFLICT
IDS = [f"s{number}" for number in range(4)]
SAGAS = {"s0": ("order", 1), "s1": ("order", 2), "s2": ("return", 1), "s3": ("order", 1)}
PRINTS = ["", "a", "b"]
KNOWNS = [
    [Kind("order", 1, "a")],
    [Kind("order", 2, "b"), Kind("return", 1, "a")],
    [Kind(*saga, one) for saga in sorted(set(SAGAS.values())) for one in PRINTS],
    [],
]
CHANNELS: tuple[Channel, ...] = ("commands", "facts")

ids = st.sampled_from(IDS)
handles = st.integers(0, 1)
statuses = st.sampled_from(["running", "compensating", "completed", "parked"])
times = st.none() | st.sampled_from([0.0, 1.5, 7.25, 7.25, 50.125]) | st.floats(0, 100, width=32)
moments = st.sampled_from([0.0, 7.25, 30.0, 60.0, 100.0])
channels = st.lists(st.sampled_from(CHANNELS), max_size=3)
changes = st.fixed_dictionaries(
    {"status": statuses, "wake_at": times, "state": st.text(max_size=8), "fingerprint": st.sampled_from(PRINTS)}
)


@dataclass
class Told:
    """What the model knows of one saga."""

    record: Record
    last: Transition
    history: list[HistoryRow]
    outbox: list[Unsent] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)


class StoreMachine(AsyncMachine):
    """`opening` gives one more open store on the same database, which is empty at first."""

    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self._opening = opening
        self.count = 0
        self.told: dict[str, Told] = {}
        self.order: list[tuple[str, str]] = []
        """Every entry there ever was, in the order of the commits."""
        self.claims: dict[str, float] = {}
        """When timers count as due that were claimed or put off."""
        self.marked: dict[tuple[str, str], int] = {}
        """By which handle; the other one may see it late, and a crash may undo it."""

    @initialize()
    def open_both(self) -> None:
        self.stores = [self.run(self._opens()), self.run(self._opens())]

    async def _opens(self) -> Store:
        return await self._opening()

    async def ended(self) -> None:
        for store in getattr(self, "stores", ()):
            await store.close()

    # --- transitions ---

    def _transition(self, saga_id: str, kinds: list[Channel], given: dict[str, object]) -> Transition:
        self.count += 1
        told = self.told.get(saga_id)
        old = told.record if told else None
        saga, version = SAGAS[saga_id]
        made = a_record(saga_id, saga=saga, saga_version=version, version=0, started_at=float(IDS.index(saga_id) // 2))
        record = old or made
        fresh: dict[str, object] = {
            "version": record.version + 1,
            "transition": f"t{self.count}",
            "updated_at": float(self.count),
            "received": (*record.received, f"m{self.count}"),
        }
        entries = tuple(Unsent(f"e{self.count}-{n}", kind, f'{{"n":{n}}}') for n, kind in enumerate(kinds))
        return Transition(
            replace(record, **given, **fresh),  # type: ignore[arg-type] # replace itself checks the names
            old.transition if old else "",
            entries,
            tuple(entry.id for entry in told.outbox[: self.count % 3]) if told else (),
            f'["{self.count}"]',
            {f"n{self.count % 3}": str(self.count) if self.count % 4 else "", "last": str(self.count)},
        )

    def _happened(self, made: Transition) -> None:
        saga_id = made.record.saga_id
        row = HistoryRow(made.record.version, made.record.updated_at, made.history)
        before = self.told.get(saga_id)
        history = [*(before.history if before else ()), row]
        left = [entry for entry in (before.outbox if before else ()) if entry.id not in made.sent]
        entries = [replace(entry, saga_id=saga_id) for entry in made.outbox]
        beside = {**(before.entries if before else {}), **made.entries}
        beside = {name: text for name, text in beside.items() if text}
        self.told[saga_id] = Told(made.record, made, history, left + entries, beside)
        self.order += [(saga_id, entry.id) for entry in entries]
        self.claims.pop(saga_id, None)

    def _commit(self, handle: int, *batch: Transition) -> list[Committed]:
        return list(self.run(self._committing(handle, *batch)))

    async def _committing(self, handle: int, *batch: Transition) -> list[Committed]:
        return list(await self.stores[handle].commit(batch))

    @rule(handle=handles, saga_ids=st.lists(ids, unique=True, min_size=1), kinds=channels, given=changes)
    def commit(self, handle: int, saga_ids: list[str], kinds: list[Channel], given: dict[str, object]) -> None:
        batch = [self._transition(saga_id, kinds, given) for saga_id in saga_ids]
        assert self._commit(handle, *batch) == [OK] * len(batch)
        for made in batch:
            self._happened(made)

    @rule(handle=handles, saga_id=ids, ahead=st.sampled_from([-1, 1, 2]), kinds=channels, given=changes)
    def commit_on_another_version(
        self, handle: int, saga_id: str, ahead: int, kinds: list[Channel], given: dict[str, object]
    ) -> None:
        made = self._transition(saga_id, kinds, given)
        wrong = replace(made, record=replace(made.record, version=made.record.version + ahead))
        assert self._commit(handle, wrong) == [CONFLICT]

    @rule(handle=handles, saga_id=ids, kinds=channels, given=changes)
    def commit_on_another_transition(
        self, handle: int, saga_id: str, kinds: list[Channel], given: dict[str, object]
    ) -> None:
        assert self._commit(handle, replace(self._transition(saga_id, kinds, given), previous="other")) == [CONFLICT]

    @precondition(lambda self: self.told)
    @rule(handle=handles, pick=st.integers(0), kinds=channels, given=changes)
    def a_conflict_among_others(self, handle: int, pick: int, kinds: list[Channel], given: dict[str, object]) -> None:
        stale = self.told[sorted(self.told)[pick % len(self.told)]].last
        fits = [self._transition(saga_id, kinds, given) for saga_id in IDS if saga_id != stale.record.saga_id]
        assert self._commit(handle, fits[0], stale, *fits[1:]) == [OK, CONFLICT, *[OK] * (len(fits) - 1)]
        for made in fits:
            self._happened(made)

    @precondition(lambda self: self.told)
    @rule(handle=handles, pick=st.integers(0))
    def commit_again_what_was_never_answered(self, handle: int, pick: int) -> None:
        last = self.told[sorted(self.told)[pick % len(self.told)]].last
        assert self._commit(handle, last) == [CONFLICT]

    @rule(handle=handles, saga_id=ids, kinds=channels, given=changes, after=st.integers(0, 6))
    def crash_in_a_commit(
        self, handle: int, saga_id: str, kinds: list[Channel], given: dict[str, object], after: int
    ) -> None:
        """Nobody knows whether it happened; whoever does the same again then finds it done, once."""
        made = self._transition(saga_id, kinds, given)
        self.run(self._crashing(handle, made, after))
        if self._commit(1 - handle, made) == [CONFLICT]:
            loaded = self.run(self._load(handle, saga_id))
            assert loaded.transition == made.record.transition
        self._happened(made)

    async def _crashing(self, handle: int, made: Transition, after: int) -> None:
        await cut_off(self.stores[handle].commit([made]), after)
        await self._reopened(handle)

    async def _reopened(self, handle: int) -> None:
        await self.stores[handle].close()
        self.stores[handle] = await self._opening()
        self.marked = {pair: by for pair, by in self.marked.items() if by != handle} | {
            pair: -1 for pair, by in self.marked.items() if by == handle
        }

    async def _load(self, handle: int, saga_id: str) -> Record:
        return (await self.stores[handle].load([saga_id]))[saga_id].record

    # --- the rest of what can happen ---

    @rule(handle=handles, every=st.integers(1, 3))
    def mark_sent(self, handle: int, every: int) -> None:
        waiting = [(saga_id, entry.id) for saga_id, told in self.told.items() for entry in told.outbox]
        pairs = [*waiting[::every], ("s0", "never there"), ("nobody", "e1-0")]
        self.run(self._marking(handle, pairs))
        self.marked |= dict.fromkeys(pairs, handle)

    async def _marking(self, handle: int, pairs: list[tuple[str, str]]) -> None:
        await self.stores[handle].mark_sent(pairs)

    @rule(
        handle=handles, known=st.sampled_from(KNOWNS), now=moments, length=st.sampled_from([0.5, 20.0, 200.0]),
        limit=st.integers(1, 3), over=st.lists(ids, max_size=2),
    )  # fmt: skip
    def claim(self, handle: int, known: list[Kind], now: float, length: float, limit: int, over: list[str]) -> None:
        until = now + length
        wanted = [saga_id for saga_id in self._due(known, now) if saga_id not in over][:limit]
        assert self.run(self._claimed(handle, known, now, limit, until, over)) == wanted
        self.claims |= dict.fromkeys(wanted, until)

    async def _claimed(
        self, handle: int, known: list[Kind], now: float, limit: int, until: float, over: list[str]
    ) -> list[str]:
        return list(await self.stores[handle].due(now, known, limit, claim_until=until, passing_over=over))

    @rule(handle=handles, claimed=moments, until=moments, right=st.booleans())
    def put_off(self, handle: int, claimed: float, until: float, right: bool) -> None:
        """All of them at once; those that are not claimed so stay."""
        set_for = {saga_id: at for at, saga_id in self._timers(KNOWNS[2])}
        timers = [PutOff(one, set_for.get(one, claimed) if right else claimed, until) for one in IDS]
        self.run(self._putting_off(handle, timers))
        self.claims |= {one.saga_id: until for one in timers if set_for.get(one.saga_id) == one.claimed}

    async def _putting_off(self, handle: int, timers: list[PutOff]) -> None:
        await self.stores[handle].put_off(timers)

    @rule(handle=handles, age=st.integers(0, 12))
    def forget(self, handle: int, age: int) -> None:
        """What has ended and has nothing to send is deleted, and may begin anew; nothing else is touched."""
        before = self.count - age + 0.5
        done, left = self.run(self._forgetting(handle, before))
        gone = {saga_id: told for saga_id, told in self.told.items() if saga_id not in left}
        old = {i: t for i, t in self.told.items() if t.record.status in ENDED and t.record.updated_at < before}
        assert {saga_id for saga_id, told in old.items() if not told.outbox} <= gone.keys() <= old.keys()
        assert all((saga_id, one.id) in self.marked for saga_id, told in gone.items() for one in told.outbox)
        assert (done.looked, done.records, done.left) == (len(old), len(gone), len(old) - len(gone))
        for saga_id in gone:
            del self.told[saga_id]
            self.claims.pop(saga_id, None)

    async def _forgetting(self, handle: int, before: float) -> tuple[Forgotten, set[str]]:
        done = await self.stores[handle].forget(before, keys_before=1e12)
        return done, set(await self.stores[handle].load(IDS))

    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        self.run(self._reopened(handle))

    # --- what must hold ---

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if hasattr(self, "stores"):
            self.run(self._looks(self.stores[self.count % 2], self.count % 2))

    async def _looks(self, store: Store, handle: int) -> None:
        loaded = await store.load([*IDS, "nobody"], dict.fromkeys(IDS))
        assert {saga_id: one.entries for saga_id, one in loaded.items()} == {i: t.entries for i, t in self.told.items()}
        assert {saga_id: one.record for saga_id, one in loaded.items()} == {i: t.record for i, t in self.told.items()}
        for saga_id in IDS:
            assert list(await store.history(saga_id)) == (self.told[saga_id].history if saga_id in self.told else [])
        for saga_id, one in loaded.items():
            for channel, unsent in (("commands", one.unsent), ("facts", one.unsent_facts)):
                self._check_unsent(handle, [(saga_id, entry_id) for entry_id in unsent], channel, [saga_id])
        await self._check_outbox(store, handle)
        for number, known in enumerate(KNOWNS):
            await self._check_due(store, known, 25.0 * number, number + 1)
        await self._check_lists(store)

    async def _check_outbox(self, store: Store, handle: int) -> None:
        until = store.now() + LATER
        for channel in CHANNELS:
            found = await store.unsent(channel, until, 1000)
            seen = [(entry.saga_id, entry.id) for entry in found]
            self._check_unsent(handle, seen, channel, IDS)
            by_pair = {(i, entry.id): entry for i in IDS if i in self.told for entry in self.told[i].outbox}
            assert list(found) == [by_pair[pair] for pair in seen], "an entry is not as it was committed"
            assert seen == sorted(seen, key=self.order.index), "not in the order of the commits"
            assert list(await store.unsent(channel, until, 2)) == list(found)[:2]
            assert not await store.unsent(channel, store.now() - LATER, 1000)

    def _check_unsent(self, handle: int, seen: list[tuple[str, str]], channel: str, sagas: list[str]) -> None:
        """Nothing that is not marked may be missing; what this very handle marked must be."""
        waiting = {
            (saga_id, entry.id)
            for saga_id in sagas
            if saga_id in self.told
            for entry in self.told[saga_id].outbox
            if entry.channel == channel
        }
        must = {pair for pair in waiting if pair not in self.marked}
        may = {pair for pair in waiting if self.marked.get(pair) != handle}
        assert must <= set(seen) <= may and len(seen) == len(set(seen)), (must, seen, may)

    async def _check_due(self, store: Store, known: list[Kind], now: float, limit: int) -> None:
        assert list(await store.due(now, known, limit)) == self._due(known, now)[:limit]
        assert await store.next_due(known) == min((at for at, _ in self._timers(known)), default=None)

    def _due(self, known: list[Kind], now: float) -> list[str]:
        return [saga_id for at, saga_id in self._timers(known) if at <= now]

    def _timers(self, known: list[Kind]) -> list[tuple[float, str]]:
        records = [(told.record, saga_id) for saga_id, told in self.told.items()]
        return sorted(
            (self.claims.get(saga_id, record.wake_at), saga_id)
            for record, saga_id in records
            if record.wake_at is not None and record.kind in handed_out(known)
        )

    async def _check_lists(self, store: Store) -> None:
        records = sorted((t.record for t in self.told.values()), key=lambda r: (r.started_at, r.saga_id), reverse=True)
        for saga, status in (("", ""), ("order", ""), ("", "parked"), ("return", "completed")):
            wanted = [r for r in records if saga in ("", r.saga) and status in ("", r.status)]
            found: list[Record] = []
            cursor, pages = "", 0
            while pages == 0 or cursor:
                page = await store.find(saga=saga, status=status, limit=2, cursor=cursor)
                found += page.records
                cursor, pages = page.cursor, pages + 1
                assert pages <= len(IDS)
            assert found == wanted
        counted: dict[tuple[str, str], int] = {}
        for record in records:
            counted[record.saga, record.status] = counted.get((record.saga, record.status), 0) + 1
        assert dict(await store.counts()) == counted
        assert dict(await store.live()) == Counter(record.kind for record in records if record.status in LIVE)
