"""A record keeps the ids of its newest inputs; those of older ones are entries, and are looked for where it is full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from choros.desk.export import exported
from choros.errors import ChorosError
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.decider import Decider, Fold
from choros.runtime.orchestrator.inputs import is_awaited
from choros.runtime.orchestrator.received import MOST_KEPT, every_id
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Due, Folded, Unjudged, Work
from choros.saga.machine.inputs import Lacking, PauseRequested, ResumeRequested
from choros.saga.machine.instance import Instance, Leg, NodeState, States
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, EntryNames, Loaded, Record, Transition
from choros.testing.conformance.records import creation, stored
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.wire.envelope import Envelope, MessageKind
from tests.runtime.stage import Stage, make_app, staged

from ..saga import shop


class Asked(MemoryStore):
    """Notes which entries are wanted."""

    def __init__(self, sharing: MemoryStore) -> None:
        super().__init__(sharing)
        self.wanted: list[EntryNames] = []

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        self.wanted += [wanted] if wanted else []
        return await super().load(saga_ids, wanted)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


Begun = tuple[str, Decider]


@pytest.fixture
async def begun(stage: Stage) -> Begun:
    """A saga that waits for its first answer, and who decides it."""
    decider = (await stage.orchestrator()).decider
    client = Client(stage.app, store=stage.store, transport=stage.transport, decider=decider)
    return await client.start(shop.order_saga, shop.ORDER), decider


def act(saga_id: str, number: int, act_id: str = "") -> Work:
    """A pause, or its end: each changes the instance."""
    act_id = act_id or f"act-{number}"
    return Work(saga_id, ResumeRequested(act_id) if number % 2 else PauseRequested(act_id))


async def all_of(store: MemoryStore, saga_id: str) -> tuple[Record, set[str]]:
    """The record, and the ids that lie beside it."""
    loaded = (await store.load([saga_id], {saga_id: None}))[saga_id]
    return loaded.record, {name.removeprefix("received:") for name in loaded.entries}


async def test_the_newest_ids_stay_and_the_others_are_beside_them(stage: Stage, begun: Begun) -> None:
    saga_id, decider = begun
    acts = [f"act-{number}" for number in range(MOST_KEPT + 7)]
    for number in range(len(acts)):
        await decider.ask(act(saga_id, number))
    record, apart = await all_of(stage.store, saga_id)
    assert record.received == tuple(acts[-MOST_KEPT:])
    assert len(apart) == 8  # the start, too
    assert apart > set(acts[:7])
    assert Instance.loads(record.state).apart == 8


async def test_an_input_whose_id_is_apart_is_not_taken_in_again(stage: Stage, begun: Begun) -> None:
    saga_id, decider = begun
    for number in range(MOST_KEPT + 7):
        await decider.ask(act(saga_id, number))
    before = await all_of(stage.store, saga_id)
    again = await asyncio.gather(*(decider.ask(act(saga_id, number)) for number in (0, 1, 5, MOST_KEPT)))
    assert all(done.repeated for done in again)
    assert await all_of(stage.store, saga_id) == before
    fresh = await decider.ask(act(saga_id, 1, "another"))
    assert not fresh.repeated


async def test_more_inputs_than_stay_are_known_again_after_one_commit(stage: Stage, begun: Begun) -> None:
    saga_id, decider = begun
    many = range(2 * MOST_KEPT)
    await asyncio.gather(*(decider.ask(act(saga_id, number)) for number in many))
    version = (await all_of(stage.store, saga_id))[0].version
    again = await asyncio.gather(*(decider.ask(act(saga_id, number)) for number in many))
    assert all(done.repeated for done in again)
    assert (await all_of(stage.store, saga_id))[0].version == version


async def test_a_small_saga_never_asks_for_entries(stage: Stage) -> None:
    store = Asked(stage.store)
    await store.open()
    orchestrator = await stage.orchestrator(store=store)
    client = Client(stage.app, store=store, transport=stage.transport, decider=orchestrator.decider)
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    assert (store.wanted, (await all_of(stage.store, saga_id))[1]) == ([], set())
    assert "apart" not in (await client.show(saga_id)).record.state


async def test_an_old_record_that_has_them_all_lets_go_of_the_older_ones(stage: Stage, begun: Begun) -> None:
    saga_id, decider = begun
    record = (await stage.store.load([saga_id]))[saga_id].record
    old = replace(record, version=2, transition="old", received=tuple(f"old-{number}" for number in range(500)))
    await stored(stage.store, Transition(old, record.transition))
    assert (await decider.ask(act(saga_id, 0, "old-3"))).repeated
    await decider.ask(act(saga_id, 0))
    now, apart = await all_of(stage.store, saga_id)
    assert (len(now.received), len(apart), Instance.loads(now.state).apart) == (MOST_KEPT, 469, 469)
    assert (await decider.ask(act(saga_id, 0, "old-3"))).repeated


async def test_an_export_has_them_all_the_oldest_first(stage: Stage, begun: Begun) -> None:
    saga_id, decider = begun
    for number in range(MOST_KEPT + 20):
        await decider.ask(act(saga_id, number))
    (line,) = [one async for one in exported(stage.store)]
    assert line["received"][1:] == tuple(f"act-{number}" for number in range(MOST_KEPT + 20))


def test_the_order_of_inputs_is_that_in_which_they_left_the_record() -> None:
    entries = {"received:b": "10", "lines[3].reserve": "{}", "received:a": "9"}
    assert every_id(Loaded(creation(received=("c", "d")).record, entries=entries)) == ("a", "b", "c", "d")


def test_what_is_written_for_an_input_does_not_grow_with_how_many_there_were() -> None:
    sizes = [written_for_the_next(before) for before in (10, 1_000, 10_000)]
    assert sizes[0] < sizes[2] == sizes[1] + 1 < 2_000  # one digit more, of how many are apart


def written_for_the_next(before: int) -> int:
    """The bytes of state, ids and entries; of the second input: the first lets go of what an older choros kept."""
    record = creation("s1", state=BEGUN, received=tuple(f"old-{n:09}" for n in range(before))).record
    folded = [fold_next(record, 0)]
    folded.append(fold_next(folded[0].record, 1))
    return len("".join((folded[1].record.state, *folded[1].record.received, *folded[1].entries)))


def fold_next(record: Record, number: int) -> Transition:
    loaded = Loaded(record, entries={f"received:act-{number}": ""})
    folded = Transitions(make_app()).make([act("s1", number)], loaded, record.updated_at)
    assert folded.transition
    return folded.transition


BEGUN = json.dumps({"saga_id": "s1", "start": shop.ORDER.to_json(), "steps": [{}, {}, {}]})


# --- decisions that lack entries --------------------------------------------------------------------------------------


@asynccontextmanager
async def deciding(store: MemoryStore, fold: Fold) -> AsyncIterator[Decider]:
    decider = Decider(fold, store, MemoryTransport(MemoryBroker()))
    running = asyncio.create_task(decider.run())
    yield decider
    decider.stop()
    await running


async def test_what_a_decision_lacks_is_loaded_and_it_is_decided_again() -> None:
    store, seen = Asked(MemoryStore()), list[Mapping[str, str]]()
    await store.open()
    await stored(store, replace(creation("s1"), entries={"a": "1", "b": "2", "d": "4"}), creation("s2"))

    def fold(works: Sequence[Work], loaded: Loaded | None, _: float) -> Folded:
        assert loaded
        seen.append(loaded.entries)
        if len(seen) < 3:
            raise Lacking(*("a" if len(seen) == 1 else "bc"))
        return Folded(done=works, instance=Instance.loads(BEGUN))

    async with deciding(store, fold) as decider:
        await decider.ask(Work("s1", Due()))
    assert seen == [{}, {"a": "1"}, {"a": "1", "b": "2", "c": ""}]
    assert [{*(one["s1"] or ())} for one in store.wanted] == [{"a"}, {"a", "b", "c"}]


async def test_who_lacks_what_is_there_fails_and_nobody_waits() -> None:
    store = MemoryStore()
    await store.open()
    await stored(store, creation("s1"))

    def never_content(*_: object) -> Folded:
        raise Lacking("a")

    async with deciding(store, never_content) as decider:
        with pytest.raises(ChorosError, match="Deciding failed with Lacking"):
            await decider.ask(Work("s1", Due()))


async def test_a_record_that_is_gone_by_then_is_decided_as_gone() -> None:
    class GoneByThen(MemoryStore):
        async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
            return {} if wanted else await super().load(saga_ids)

    store = GoneByThen()
    await store.open()
    await stored(store, creation("s1"))

    def fold(works: Sequence[Work], loaded: Loaded | None, _: float) -> Folded:
        if loaded:
            raise Lacking("a")
        return Folded(rejected=[(work, ChorosError("It is gone.")) for work in works])

    async with deciding(store, fold) as decider:
        with pytest.raises(ChorosError, match="It is gone"):
            await decider.ask(Work("s1", Due()))


async def test_a_long_saga_does_not_ask_whether_it_has_taken_in_what_it_waits_for(stage: Stage) -> None:
    store = Asked(stage.store)
    await store.open()
    decider = (await stage.orchestrator(store=store)).decider
    client = Client(stage.app, store=store, transport=stage.transport, decider=decider)
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for number in range(MOST_KEPT + 7):
        await decider.ask(act(saga_id, number))
    await decider.ask(act(saga_id, 1, "resumed"))
    store.wanted.clear()
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    await client.wait(saga_id)
    assert store.wanted == []


UNDER_WAY = Leg("do", "{}", attempt=2, first_at=0.0, due=9.0)


def said(kind: MessageKind, key: str = "", attempt: int = 0) -> Work:
    envelope = Envelope(
        id="r1", kind=kind, type="choros.done.v1", source="/a/b", time=0.0, data="{}", key=key, attempt=attempt
    )
    return Work("s1", Unjudged(envelope))


def reply(path: str = "charge_payment", attempt: int = 2, operation: str = "do", round_: int = 1) -> Work:
    return said("reply", f"s1:{path}:{round_}:{operation}", attempt)


@pytest.mark.parametrize(
    ("given", "leg", "awaited"),
    [
        (reply(), UNDER_WAY, True),
        (reply(path="charged_before"), UNDER_WAY, True),
        (reply(path="reserve_inventory"), UNDER_WAY, False),
        (reply(attempt=1), UNDER_WAY, False),
        (reply(operation="undo"), UNDER_WAY, False),
        (reply(round_=2), UNDER_WAY, False),
        (reply(), replace(UNDER_WAY, waiting=True), False),
        (reply(), replace(UNDER_WAY, due=None), False),
        (reply(), replace(UNDER_WAY, finish_by=9.0), False),
        (act("s1", 1), UNDER_WAY, False),
    ],
)  # fmt: skip
def test_what_was_taken_in_is_not_awaited(given: Work, leg: Leg, awaited: bool) -> None:
    nodes = States({"charge_payment": NodeState("sent", leg=leg)})
    instance = Instance("s1", "{}", nodes, renamed=(("charged_before", "charge_payment"),))
    assert is_awaited(given, instance) is awaited


def test_a_signal_is_no_answer() -> None:
    assert not is_awaited(said("signal"), Instance("s1", "{}"))
