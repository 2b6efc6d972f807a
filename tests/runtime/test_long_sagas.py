"""A saga of many steps: what is over stands apart from its record, so an answer costs the same, however long it is.

One transition after the other on a store in memory, without a broker: what is measured is what a store is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from choros import (
    App,
    Check,
    Command,
    Done,
    Failure,
    Message,
    Parallel,
    Publish,
    Reply,
    Saga,
    Scope,
    Service,
    Sleep,
    Step,
)
from choros.messages import Fact
from choros.runtime.orchestrator.recognition import as_stored
from choros.runtime.orchestrator.states import MOST_IN_RECORD, states_and_entries, whole_state
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Folded, Start, Unjudged, Work
from choros.saga.machine.inputs import CancelRequested, Lacking, RetryRequested
from choros.saga.machine.instance import Instance, NodeState, States
from choros.saga.machine.walk import SagaWalk
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed, Loaded, Transition
from choros.wire.envelope import Envelope

pytestmark = pytest.mark.slow


class Pack(Message):
    order: str


class Packed(Reply):
    weight: int


class PackLine(Command[Packed], refusals=("sold_out",)):
    order: str
    line: int


class UnpackLine(Command[Done]):
    order: str


class Seal(Command[Done], refusals=("broken",)):
    weight: int


class LineNoted(Fact):
    order: str


class LineWithdrawn(Fact):
    order: str


def pack(line: int) -> Callable[[Pack], PackLine]:
    def packs(start: Pack) -> PackLine:
        return PackLine(order=start.order, line=line)

    return packs


def unpack(start: Pack) -> UnpackLine:
    return UnpackLine(order=start.order)


def seal(start: Pack, line_0: Packed) -> Seal:
    """Asks for what was answered first of all."""
    return Seal(weight=line_0.weight)


def noted(start: Pack) -> LineNoted:
    return LineNoted(order=start.order)


def withdrawn(start: Pack) -> LineWithdrawn:
    return LineWithdrawn(order=start.order)


def saga_of(count: int, *last: Step | Check | Publish) -> Saga[Pack]:
    lines = [Step(pack(line), to="packers", compensation=unpack, name=f"line_{line}") for line in range(count)]
    return Saga("packing", start=Pack, key=lambda start: start.order, steps=(*lines, *last))


@dataclass
class Desk:
    """One instance, its store, and whoever answers its commands."""

    saga: Saga[Pack]
    store: MemoryStore = field(default_factory=lambda: MemoryStore(namespace="shop.packing"))
    asked: int = 0
    """How often a decision needed states that were apart."""
    written: list[int] = field(default_factory=list)
    """Bytes that each transition hands to the store, but for the history and what it sends."""
    sent: list[Envelope] = field(default_factory=list)

    def __post_init__(self) -> None:
        packers = Service("packers", commands=(PackLine, UnpackLine, Seal))
        self.transitions = Transitions(App("shop", sagas=[self.saga], services=[packers], name="packing"))

    async def take(self, given: Start | Unjudged | RetryRequested | CancelRequested) -> Folded:
        wanted: set[str] = set()
        while True:
            loaded = (await self.store.load(["s1"], {"s1": wanted})).get("s1")
            try:
                folded = self.transitions.make([Work("s1", given)], loaded, 100.0)
            except Lacking as lacking:
                self.asked += any(":" not in name for name in lacking.names - wanted)
                wanted |= lacking.names
                continue
            if folded.transition:
                await self._commit(folded.transition)
            return folded

    async def _commit(self, transition: Transition) -> None:
        assert await self.store.commit([transition]) == [Committed.OK]
        record = transition.record
        entries = sum(len(name) + len(text) for name, text in transition.entries.items())
        self.written.append(len(record.state) + entries + sum(map(len, record.received)))
        self.sent += [Envelope.loads(one.envelope) for one in transition.outbox if one.channel == "commands"]

    async def start(self) -> None:
        await self.store.open()
        await self.take(Start("start", self.saga.name, 1, "o1", '{"order":"o1"}', "digest", ""))

    async def answer(self, reply: Reply, outcome: str = "ok") -> Folded:
        command = self.sent[-1]
        return await self.take(Unjudged(reply_to(command, reply, outcome)))

    async def whole(self) -> Loaded:
        return (await self.store.load(["s1"], {"s1": None}))["s1"]


def reply_to(command: Envelope, reply: Reply, outcome: str) -> Envelope:
    return Envelope(
        id=f"r{command.id}", kind="reply", type=reply.type_name, source="/shop/packers", time=1.0, data=reply.to_json(),
        correlation_id="s1", causation_id=command.id, key=command.key, saga="packing", saga_version=1,
        step=command.step, attempt=command.attempt, outcome=outcome,  # type: ignore[arg-type]  # one of three words
    )  # fmt: skip


async def packed(count: int, *last: Step | Check | Publish) -> Desk:
    desk = Desk(saga_of(count, *last))
    await desk.start()
    for line in range(count):
        await desk.answer(Packed(weight=line + 7))
    return desk


def growth(desk: Desk) -> float:
    """The most that is written for one of the last answers, by the most for one of the first full record."""
    early = desk.written[MOST_IN_RECORD + 2 : MOST_IN_RECORD + 40]
    return max(desk.written[-40:-2]) / max(early)


async def test_what_is_written_for_an_answer_does_not_grow_with_what_is_over() -> None:
    short, long = await packed(10), await packed(400)
    assert growth(long) < 1.1
    assert max(long.written) < 6 * max(short.written)
    assert long.asked == 0, "and nothing of it is loaded"


@pytest.mark.nightly
@pytest.mark.parametrize("count", [1_000, 10_000])
async def test_however_long_it_is(count: int) -> None:
    desk = await packed(count)
    assert growth(desk) < 1.2  # longer names, no more
    assert (await desk.whole()).record.status == "completed"


async def test_a_function_may_ask_for_what_is_apart() -> None:
    desk = await packed(100, Step(seal, to="packers", compensation=unpack))
    assert Seal.from_json(desk.sent[-1].data).weight == 7
    assert desk.asked == 1


async def test_what_is_apart_is_undone_the_newest_first() -> None:
    desk = await packed(
        100, Publish(noted, early=True, retraction=withdrawn), Step(seal, to="packers", compensation=unpack)
    )
    await desk.answer(Failure(code="broken"), "refused")
    undone: list[str] = []
    while desk.sent[-1].step != (undone[-1] if undone else ""):
        undone.append(desk.sent[-1].step)
        await desk.answer(Done())
    assert undone == [f"line_{line}" for line in range(99, -1, -1)]
    assert (await desk.whole()).record.status == "compensated"
    assert desk.asked <= 100 / MOST_IN_RECORD + 1, "many are asked for at once"


def lines(first: int, count: int) -> list[Step]:
    numbers = range(first, first + count)
    return [Step(pack(line), to="packers", compensation=unpack, name=f"line_{line}") for line in numbers]


async def undone(desk: Desk) -> list[str]:
    """Answer every undo; which steps they were of."""
    answered: list[str] = []
    while (await desk.whole()).record.status == "compensating":
        answered.append(desk.sent[-1].step.rpartition(".")[2])
        await desk.answer(Done())
    return answered


async def test_of_a_part_that_lies_apart_all_is_undone() -> None:
    """Nothing of it is in the record that would say how far the saga had come in it."""
    nodes = Scope(*lines(0, 3), name="scope"), *lines(3, 40)
    desk = Desk(Saga("packing", start=Pack, key=lambda start: start.order, steps=nodes))
    await desk.start()
    for line in range(42):
        await desk.answer(Packed(weight=line))
    await desk.answer(Failure(code="sold_out"), "refused")
    assert await undone(desk) == [f"line_{line}" for line in range(41, -1, -1)]


async def test_what_leaves_no_trace_hides_nothing_that_lies_apart() -> None:
    """A sleep that nobody awaits any more is as if the saga had never come to it; what stands before it still does."""
    two, scope = Parallel(*lines(0, 2)), Scope(*lines(32, 3), name="scope")
    nodes = two, *lines(2, 30), scope, Sleep(timedelta(days=1))
    desk = Desk(Saga("packing", start=Pack, key=lambda start: start.order, steps=nodes))
    await desk.start()
    for command in (desk.sent[0], desk.sent[1]):
        await desk.take(Unjudged(reply_to(command, Packed(weight=1), "ok")))
    for line in range(2, 35):
        await desk.answer(Packed(weight=line))
    await desk.take(CancelRequested("cancel"))
    assert await undone(desk) == [f"line_{line}" for line in range(34, -1, -1)]


def test_the_newest_stay_in_the_record_in_whatever_order_a_store_gave_them() -> None:
    """Else the way back would begin before what was left out, and never undo it."""
    names = [f"line_{line}" for line in range(MOST_IN_RECORD + 8)]
    states = States((name, NodeState("ok", reply="{}")) for name in reversed(names))
    kept, written = states_and_entries(Instance("s1", "{}", states), {}, saga_of(len(names)).outline.place)
    assert (list(kept.nodes), sorted(written)) == (names[8:], sorted(names[:8]))


async def test_a_late_reply_to_what_is_apart_is_late_and_a_forged_one_is_refused() -> None:
    desk = await packed(100, Step(seal, to="packers", compensation=unpack))
    first, state = desk.sent[0], (await desk.whole()).record.state
    late = await desk.take(Unjudged(reply_to(first, Packed(weight=1), "ok").__class__(**{
        **{name: getattr(reply_to(first, Packed(weight=1), "ok"), name) for name in Envelope.__slots__}, "id": "again",
    })))  # fmt: skip
    assert [event.kind for event in late.events] == ["late_reply"]
    assert Instance.loads((await desk.whole()).record.state).nodes == Instance.loads(state).nodes


async def test_a_person_reads_one_document() -> None:
    desk = await packed(100)
    whole = await desk.whole()
    instance = as_stored(whole.record, {("packing", 1): desk.saga}, whole.entries)
    assert [instance.state(f"line_{line}").reply for line in (0, 50, 99)] == [
        Packed(weight=weight).to_json() for weight in (7, 57, 106)
    ]
    assert Instance.loads(whole_state(whole.record.state, whole.entries)).nodes == instance.nodes


async def test_a_short_one_has_nothing_apart() -> None:
    desk = await packed(MOST_IN_RECORD - 1)
    whole = await desk.whole()
    assert not whole.entries
    assert "nodes_apart" not in whole.record.state


def test_what_was_only_asked_for_has_not_been_come_to() -> None:
    """A node of which nothing is stored may stand in a record as such, where somebody looked for it: nothing of it was
    done, and nothing before it may be left out."""
    saga = saga_of(3)
    looked_for = Instance.loads(Instance("s1", "{}", States({"line_2": NodeState()})).dumps())
    assert SagaWalk(saga.tree, looked_for, 0.0).last_of({"line_0": 0, "line_1": 1, "line_2": 2}) == 0


def test_nor_does_it_hide_in_the_record_what_the_saga_has_come_to() -> None:
    """Else the last node before it lies apart, and on the way back nobody looks for that."""
    names = [f"line_{line}" for line in range(MOST_IN_RECORD + 8)]
    states = States((name, NodeState("undone", number=number + 2)) for number, name in enumerate(names))
    states |= {"before": NodeState("ok", number=1), "last": NodeState("ok"), "looked_for": NodeState()}
    place = ["before", *names, "last", "looked_for"].index
    kept, _ = states_and_entries(Instance("s1", "{}", States(states), nodes_apart=True), {}, place)
    assert "last" in kept.nodes and "looked_for" not in kept.nodes
