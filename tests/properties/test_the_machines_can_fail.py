"""A machine that finds nothing proves little until it has found something: each rule taken out, each must be caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis.errors import Flaky

from choros.messages import Message
from choros.runtime.host.outgoing import Outgoing
from choros.runtime.host.relay import Relay
from choros.runtime.participant import verdicts
from choros.runtime.participant.verdicts import CarryOut, Matter
from choros.saga.machine import machine
from choros.saga.machine.inputs import Input
from choros.saga.machine.turn import Turn
from choros.saga.machine.walk import SagaWalk
from choros.store.barrier import NEVER, Row
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, Committed, EntryNames, KnownKinds, Loaded, Transition, Unsent
from choros.transport.arrivals import Arrivals, Pace
from choros.transport.log_place import LogPlace
from choros.transport.port import Published
from choros.transport.sending import Destination, Sending, Sheaf, Ticket
from choros.wire.command_key import Operation
from choros_verify.exploration.mutated import late_ok_accepted, undo_does_not_wait, undo_only_what_completed
from tests.properties.arrivals_machine import ArrivalsMachine, PaceMachine, ReadingMachine
from tests.properties.barrier_machine import BarrierMachine
from tests.properties.machines import explore
from tests.properties.relay_machine import RelayMachine
from tests.properties.saga_machine import SagaMachine
from tests.properties.sending_machine import SendingMachine
from tests.properties.store_machine import Opening, StoreMachine
from tests.properties.test_databases import in_memory, look
from tests.saga.shop import order_saga

pytestmark = pytest.mark.usefixtures("quiet")


def caught(make: Callable[[], Any], examples: int = 300, steps: int = 40) -> None:
    with pytest.raises((AssertionError, Flaky, ExceptionGroup)):
        explore(make, examples, steps, shrink=False)


# --- stores -----------------------------------------------------------------------------------------------------------


class HalfATransition(MemoryStore):
    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        return await super().commit([replace(one, outbox=one.outbox[:1]) for one in batch])


class NoCompareAndSet(MemoryStore):
    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        now = self._rows.records
        return await super().commit([replace(t, previous=_last(now.get(t.record.saga_id))) for t in batch])


def _last(record: Any) -> str:
    return record.transition if record else ""


class OneTimerTooMany(MemoryStore):
    async def due(self, now: float, known: KnownKinds, limit: int, **more: Any) -> Sequence[str]:
        return await super().due(now + 20, known, limit, **more)


class ClaimsNothing(MemoryStore):
    async def due(self, now: float, known: KnownKinds, limit: int, **more: Any) -> Sequence[str]:
        return await super().due(now, known, limit, **{**more, "claim_until": None})


class NewestFirst(MemoryStore):
    async def unsent(self, channel: Any, before: float, limit: int) -> Sequence[Unsent]:
        return (await super().unsent(channel, before, 1000))[::-1][:limit]


class FactsAreForgotten(MemoryStore):
    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> dict[str, Loaded]:
        found = await super().load(saga_ids, wanted)
        return {one: replace(loaded, unsent_facts=frozenset()) for one, loaded in found.items()}


@pytest.mark.parametrize(
    "broken", [HalfATransition, NoCompareAndSet, OneTimerTooMany, ClaimsNothing, NewestFirst, FactsAreForgotten]
)
def test_a_broken_store_is_caught(broken: type[MemoryStore]) -> None:
    def opening() -> Opening:
        first = broken()

        async def opens() -> MemoryStore:
            store = broken(sharing=first)
            await store.open()
            return store

        return opens

    caught(lambda: StoreMachine(opening()))


# --- the barrier ------------------------------------------------------------------------------------------------------

JUDGE = verdicts.judge


def of_a(operation: Operation, spoilt: Callable[[Matter], Any]) -> Callable[[Matter], Any]:
    """A verdict on every command, but another one on those of this operation."""
    return lambda matter: spoilt(matter) if matter.key.operation == operation else JUDGE(matter)


def without(state: str) -> Callable[[Matter], Any]:
    """What such a row says is not known."""
    return lambda matter: JUDGE(matter._replace(done=None) if matter.done and matter.done.state == state else matter)


no_dedupe, refusal_not_stored = of_a("do", without("ok")), of_a("do", without("refused"))
deadline_ignored = of_a("do", lambda matter: JUDGE(matter._replace(came=0.0)))
no_horizon = of_a("do", lambda matter: JUDGE(matter._replace(horizon=NEVER)))
undo_whatever_is_there = of_a(
    "undo", lambda matter: CarryOut(matter.row("running")) if matter.undone is None else JUDGE(matter)
)
undo_again = of_a("undo", lambda matter: JUDGE(matter._replace(undone=None)))
undo_without_horizon = of_a("undo", lambda matter: JUDGE(matter._replace(horizon=NEVER)))


def no_tombstone(matter: Matter) -> tuple[Row, ...]:
    return ()


def forgotten_at_once(not_after: float | None, skew: float, standing: Row | None = None) -> float | None:
    return None if not_after is None else 0.0


def a_refusal_without_a_margin(not_after: float | None, skew: float) -> float | None:
    return None if not_after is None else not_after + skew


DECLINED_THEN_TAKEN = ["send_do", "mood declined", "deliver", "mood ok", "deliver"]
BARRIER_MUTANTS: list[tuple[str, Any, list[str]]] = [
    ("execution.judge", no_dedupe, ["send_do", "deliver", "deliver"]),
    ("execution.judge", refusal_not_stored, DECLINED_THEN_TAKEN),
    ("execution.judge", deadline_ignored, ["send_do", "send_undo", "deliver", "later 221", "deliver 1"]),
    ("execution.judge", no_horizon, ["send_do 200000", "deliver", "grow_old", "deliver"]),
    ("execution.judge", undo_without_horizon, ["send_do 200000", "send_undo", "deliver 1", "grow_old", "deliver"]),
    ("execution.judge", undo_whatever_is_there, ["send_undo", "deliver"]),
    ("execution.judge", undo_again, ["send_do", "deliver", "send_undo", "deliver", "deliver"]),
    ("verdicts.buried", no_tombstone, ["send_do", "send_undo", "deliver", "deliver 1"]),
    ("verdicts.tombstone_until", forgotten_at_once, ["send_do", "send_undo", "deliver", "later 0.5", "deliver 1"]),
    (
        "verdicts.refusal_until",
        a_refusal_without_a_margin,
        ["mood declined", "send_do", "deliver", "send_do 900", "later 161", "mood ok", "deliver"],
    ),
]


def live(story: list[str]) -> None:
    """A life of the barrier's machine, told step by step; some are too rare to wait for."""
    machine = BarrierMachine(in_memory(), look)
    steps: dict[str, Callable[[str], None]] = {
        "send_do": lambda valid_for: machine.send_do(saga="s0", valid_for=float(valid_for or 100)),
        "send_undo": lambda _: machine.send_undo(saga="s0"),
        "mood": lambda mood: machine.change_the_mood(mood=mood),
        "later": lambda seconds: machine.prune_later(seconds=float(seconds), handle=0),
        "grow_old": lambda _: machine.grow_old(seconds=90_000.0, handle=0),
        "deliver": lambda pick: machine.deliver(handle=0, picks=[(int(pick or 0), False)]),
    }
    machine.open_both()
    try:
        for word, _, argument in (step.partition(" ") for step in story):
            steps[word](argument)
            machine.every_effect_is_single_and_none_stands_that_must_not()
    finally:
        machine.teardown()


@pytest.mark.parametrize(("name", "mutant", "story"), BARRIER_MUTANTS, ids=[one[1].__name__ for one in BARRIER_MUTANTS])
def test_a_broken_barrier_is_caught(name: str, mutant: Any, story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    live(story)
    monkeypatch.setattr(f"choros.runtime.participant.{name}", mutant)
    with pytest.raises(AssertionError):
        live(story)


@pytest.mark.parametrize(
    ("name", "mutant"), [("execution.judge", no_dedupe), ("execution.judge", undo_whatever_is_there)]
)
def test_a_random_life_finds_it_too(name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"choros.runtime.participant.{name}", mutant)
    caught(lambda: BarrierMachine(in_memory(), look))


# --- the relay --------------------------------------------------------------------------------------------------------


class MarksWhatItSent(Relay):
    def _settle(self, one: Outgoing, result: Published) -> None:
        super()._settle(one, Published.CONFIRMED)


class NeverScans(Relay):
    async def _scan(self) -> None:
        return None


class LetsFactsOvertake(Relay):
    late: tuple[Outgoing, ...] = ()

    def _settle(self, one: Outgoing, result: Published) -> None:
        super()._settle(one, result)
        self.late += tuple(self._lines.again(set))

    def _again(self) -> None:
        late, self.late = self.late, ()
        self._publish_soon(late)


@pytest.mark.parametrize("broken", [MarksWhatItSent, NeverScans])
def test_a_broken_relay_is_caught(broken: type[Relay]) -> None:
    caught(lambda: RelayMachine(broken))


def overtake(relay: type[Relay]) -> None:
    """The first fact does not leave; the second is decided before it is tried again."""
    machine = RelayMachine(relay)
    machine.start()
    try:
        machine.change_the_weather(fates=["unknown"], stalls=0)
        for _ in range(2):
            machine.commit(process=0, saga_id="s0", kinds=["facts"], crash=False)
            machine.wait(turns=8)
            machine.nothing_left_the_outbox_that_was_not_taken()
    finally:
        machine.teardown()


def test_a_fact_that_overtakes_another_is_caught() -> None:
    overtake(Relay)
    with pytest.raises(AssertionError):
        overtake(LetsFactsOvertake)


# --- sending ----------------------------------------------------------------------------------------------------------


class FliesAtOnce(Sending[Ticket]):
    def _line_up(self, ticket: Ticket) -> bool:
        return super()._line_up(ticket) or True


class GoesOnBehindAFailure(Sending[Ticket]):
    def _let_follow(self, ticket: Ticket, order: tuple[str, str], published: Published) -> None:
        super()._let_follow(ticket, order, Published.CONFIRMED)


class AsksByMany(Sending[Ticket]):
    """A destination that does not answer is asked by all at once."""

    def next(self, there: Destination[Ticket], now: float) -> Ticket | None:
        held, there.doubt.held = there.doubt.held, False
        try:
            return super().next(there, now)
        finally:
            there.doubt.held = held


class LosesWithoutAWord(Sending[Ticket]):
    def lost(self, there: Destination[Ticket]) -> None:
        there.flying.clear()


class LeavesThoseInLine(Sending[Ticket]):
    """Who waits behind one that is doubted is told nothing."""

    def _late(self, there: Destination[Ticket]) -> None:
        there.doubt.late()


class DoubtsUnderAnAlarm(Sending[Ticket]):
    """When nothing is sent anywhere, that is no destination's fault."""

    def expire(self, batch: Sheaf[Ticket], now: float, *, may_doubt: bool = True) -> None:
        super().expire(batch, now)


class NobodyElseHears(Sending[Ticket]):
    """Of what a destination has left unanswered."""

    def _send_past(self, ticket: Ticket) -> None:
        pass


class ForgetsNothing(Sending[Ticket]):
    def rest(self, there: Destination[Ticket]) -> None:
        pass


BROKEN_SENDING: list[type[Sending[Ticket]]] = [
    FliesAtOnce,
    GoesOnBehindAFailure,
    AsksByMany,
    LosesWithoutAWord,
    LeavesThoseInLine,
    DoubtsUnderAnAlarm,
    NobodyElseHears,
    ForgetsNothing,
]


@pytest.mark.parametrize("broken", BROKEN_SENDING)
def test_broken_sending_is_caught(broken: type[Sending[Ticket]]) -> None:
    caught(lambda: SendingMachine(broken))


# --- arrivals ---------------------------------------------------------------------------------------------------------


class TakesTheLatestFirst(Arrivals[int]):
    def came(self, one: int) -> None:
        self.waiting.appendleft(one)
        self.wake()


class TakesAll(Arrivals[int]):
    def take(self, limit: int) -> list[int]:
        return super().take(len(self.waiting))


class TakesWhatComesAfterTheEnd(Arrivals[int]):
    def close(self) -> None:
        self.wake()


class FailsAtOnce(Arrivals[int]):
    """What came before is lost."""

    def fail(self, fault: Exception) -> None:
        self.waiting.clear()
        super().fail(fault)


class LetsSleep(Arrivals[int]):
    def came(self, one: int) -> None:
        self.waiting.append(one)


class WaitsForMoreThanIsWanted(Arrivals[int]):
    def pauses(self, limit: int) -> Iterator[float]:
        return super().pauses(10 * limit)


@pytest.mark.parametrize(
    "broken",
    [
        TakesTheLatestFirst,
        TakesAll,
        TakesWhatComesAfterTheEnd,
        FailsAtOnce,
        LetsSleep,
        WaitsForMoreThanIsWanted,
    ],
)
def test_broken_arrivals_are_caught(broken: type[Arrivals[int]]) -> None:
    caught(lambda: ArrivalsMachine(broken))


class NeverBusy(Pace):
    def is_busy(self, now: float) -> bool:
        return False


class NeverAtRest(Pace):
    """It counts all there ever was."""

    def _roll(self, now: float) -> None:
        count = self._count
        super()._roll(now)
        self._count = count


@pytest.mark.parametrize("broken", [NeverBusy, NeverAtRest])
def test_a_pace_that_is_counted_wrongly_is_caught(broken: type[Pace]) -> None:
    caught(lambda: PaceMachine(broken))


class GoesOnBehindWhatIsOut(LogPlace):
    def resume(self) -> int | None:
        self._out.clear()
        return super().resume()


class RemembersOldChannels(LogPlace):
    def resume(self) -> int | None:
        out = dict(self._out)
        try:
            return super().resume()
        finally:
            self._out = out


@pytest.mark.parametrize("broken", [GoesOnBehindWhatIsOut, RemembersOldChannels])
def test_a_log_that_is_read_on_from_elsewhere_is_caught(broken: type[LogPlace]) -> None:
    caught(lambda: ReadingMachine(broken))


# --- the machine ------------------------------------------------------------------------------------------------------


def cancel_the_pivot_in_flight(walk: SagaWalk, why: str) -> None:
    (pivot,) = walk.outline.pivots
    if walk.state(pivot).progress == "sent":
        walk.change_node(pivot, progress="in_doubt", leg=None)
    WITHDRAW(walk, why)


def count_no_fact(turn: Turn, fact: type[Message], body: str, step: str = "") -> None:
    RELEASE(turn, fact, body, step)
    turn.change(seq=turn.instance.seq - 1)


WITHDRAW, RELEASE = SagaWalk.withdraw, Turn.release
SAGA_MUTANTS = [
    ("machine.answers._is_awaited", late_ok_accepted.instead),
    ("nodes.sequence.SequenceNode.backward", undo_only_what_completed.instead),
    ("nodes.sequence.SequenceNode.backward", undo_does_not_wait.instead),
    ("machine.walk.SagaWalk.withdraw", cancel_the_pivot_in_flight),
    ("machine.turn.Turn.release", count_no_fact),
]


@pytest.mark.parametrize(("name", "mutant"), SAGA_MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_machine_is_caught(name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"choros.saga.{name}", mutant)
    caught(lambda: SagaMachine(order_saga), 500, 60)


def test_inputs_that_are_folded_wrongly_are_caught() -> None:
    def only_the_first(saga: Any, instance: Any, inputs: Sequence[Input], now: float) -> Any:
        return machine.decide(saga, instance, inputs[:1], now)

    caught(lambda: SagaMachine(order_saga, only_the_first), 500, 60)
