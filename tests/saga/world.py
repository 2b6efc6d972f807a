"""A world for one saga, small enough to walk through completely.

The machine is the real one. Participants are simulated with a ledger of effects and a barrier, as `reliability.md`
§1.4 wants them. The network is a set, not a queue: what was sent may arrive at any time, any number of times, in any
order, or never. Time has no length: any timer may fire at any moment. So a state is (instance without times, ledger,
messages, facts published), and a breadth-first walk over all of them is complete within its bounds: what the policy
allows in attempts, and one retry by a person.

What can decide nothing any more is taken off the network, or the states would be millions: a reply that is no longer
awaited, once it was delivered late; a command that can have no effect and whose replies are all late. That such replies
change nothing is then checked for *every* instance with *every* reply that is late in it, reachable or not.

What must hold is read off the ledger and the network, never off what the machine says of itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

from choros.keys import CommandKey
from choros.messages import Closed, Done, Failure, NothingToUndo
from choros.saga import machine
from choros.saga.declaration import Saga
from choros.saga.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Input,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    Send,
    SkipRequested,
    TimerFired,
)
from choros.saga.instance import Instance
from choros.saga.steps import Publish
from tests.saga.shop import CHARGED, ORDER, RESERVED, SHIPPED

LEGAL = {
    "running": {"running", "compensating", "completed", "compensated", "parked"},
    "compensating": {"compensating", "compensated", "parked"},
    "parked": {"parked", "running", "compensating", "completed", "compensated"},
    "completed": {"completed"},
    "compensated": {"compensated"},
}
REPLIES = {"payment-charged.v1": CHARGED, "inventory-reserved.v1": RESERVED, "order-shipped.v1": SHIPPED}
LEG_DUE, DEADLINE, NOT_AFTER = 10.0, 20.0, 100.0
SETTLED = ("refused", "undone", "tombstone", "closed")
"""Ledger rows that no `do` can turn into an effect any more."""


class Violation(AssertionError):
    """An invariant is broken."""


class Command(NamedTuple):
    """A command on the network."""

    key: CommandKey
    attempt: int
    expires: bool
    of: str = ""


class World(NamedTuple):
    """One state of everything."""

    instance: int
    ledger: tuple[str, ...]
    network: int
    facts: tuple[str, ...]


@dataclass
class Walk:
    """Walks one saga; `decide` may be a mutant. Raises Violation at the first invariant that is broken."""

    saga: Saga[Any]
    decide: Callable[..., Decision] = machine.decide
    skips: bool = False
    pauses: bool = False
    most_attempts: int = 3
    instances: dict[Instance, int] = field(default_factory=dict)
    messages: dict[Command | Answered, int] = field(default_factory=dict)
    decisions: dict[tuple[int, Input, float], tuple[int, Decision]] = field(default_factory=dict)
    states: dict[World, World | None] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    transitions: int = 0
    late: int = 0

    def __post_init__(self) -> None:
        self.by_number: list[Instance] = []
        self.by_bit: list[Command | Answered] = []
        self.paths = {planned.name: planned.index for planned in self.saga.plan.steps}

    def run(self) -> "Walk":
        """Visit every state that can be reached."""
        first = machine.begin(self.saga, "s", ORDER.to_json(), 0.0, cause="start")
        world = World(0, ("",) * len(self.saga.plan.steps), 0, ())
        todo = [self._after(world, first, self._intern(first.instance))]
        self.states[todo[0]] = None
        while todo:
            coming: list[World] = []
            for world in todo:
                for state in self._settled(self._next(world)):
                    self.transitions += 1
                    if state not in self.states:
                        self.states[state] = world
                        coming.append(state)
            todo = coming
        self._check_late()
        return self

    # --- what is left out ---------------------------------------------------------------------------------------------

    def _settled(self, states: Iterable[World]) -> Iterator[World]:
        """Each state without what can decide nothing any more; a reply that is late is delivered once before."""
        for state in states:
            instance = self.by_number[state.instance]
            if instance.terminal:
                self._check_end(state, instance)
            dead = [message for message in self._in(state.network) if not self._is_live(state, instance, message)]
            replies = [message for message in dead if isinstance(message, Answered)]
            decided = [self._decided(state, reply, 1.0) for reply in replies]
            yield from self._settled(after for after in decided if after.instance != state.instance)
            yield state._replace(network=state.network & ~sum(self._bit(message) for message in dead))

    def _is_live(self, world: World, instance: Instance, message: Command | Answered) -> bool:
        index = self.paths[message.key.path]
        leg, operation = instance.steps[index].leg, message.key.operation
        closed = "undo" if instance.backward else "do"
        awaited = leg is not None and operation in (
            (leg.operation, closed) if leg.operation == "close" else (leg.operation,)
        )
        if isinstance(message, Answered):
            if message.outcome == "failed" and leg:
                return (operation, message.attempt, False) == (
                    leg.operation,
                    leg.attempt,
                    leg.waiting or leg.due is None,
                )
            return awaited and not (leg and leg.operation == "close" and message.code == "cancelled")
        row = world.ledger[index]
        return awaited or (not row if operation == "do" else row not in SETTLED)

    def _check_late(self) -> None:
        """Whatever is late in an instance changes nothing there."""
        nowhere = World(0, ("",) * len(self.saga.plan.steps), 0, ())
        for instance in self.by_number:
            for message in self.by_bit:
                if isinstance(message, Answered) and not self._is_live(nowhere, instance, message):
                    decision = self.decide(self.saga, instance, [message], 1.0)
                    _hold(decision.instance == instance, "a late reply changed something")
                    _hold(not (decision.sends or decision.facts), "a late reply led to a message")
                    self.late += 1

    # --- what can happen ----------------------------------------------------------------------------------------------

    def _next(self, world: World) -> Iterator[World]:
        instance = self.by_number[world.instance]
        if not self._count_end(instance):
            yield from self._acts(world, instance)
        for message in self._in(world.network):
            if isinstance(message, Answered):
                yield self._decided(world, message, 1.0)
            else:
                yield from self._carried_out(world, message)

    def _count_end(self, instance: Instance) -> bool:
        if instance.terminal or instance.status == "parked":
            self.ends[instance.status] = self.ends.get(instance.status, 0) + 1
        return instance.terminal

    def _acts(self, world: World, instance: Instance) -> Iterator[World]:
        """Timers, the saga's deadline, and what people ask for."""
        yield self._decided(world, CancelRequested("act"), 1.0)
        if self.pauses:
            yield self._decided(world, ResumeRequested("act") if instance.paused else PauseRequested("act"), 1.0)
        legs = [state.leg for state in instance.steps if state.leg]
        if any(leg.due is not None for leg in legs):
            yield self._decided(world, TimerFired(), LEG_DUE)
        if instance.deadline is not None:
            yield self._decided(world, TimerFired(unsent=True), DEADLINE)
        if instance.status == "parked" and all(leg.attempt < self.most_attempts for leg in legs):
            yield from self._desk(world, instance)

    def _desk(self, world: World, instance: Instance) -> Iterator[World]:
        planned, round_ = self.saga.plan.steps[instance.cursor], instance.steps[instance.cursor].round
        if round_ == 1:
            yield self._decided(world, RetryRequested("act", planned.name, round_), 1.0)
        if self.skips and not isinstance(planned.node, Publish):
            reply = REPLIES.get(planned.command.reply_type.type_name, Done()).to_json()
            yield self._decided(world, SkipRequested("act", planned.name, round_, reply), 1.0)

    def _decided(self, world: World, given: Input, now: float) -> World:
        key = (world.instance, given, now)
        if key not in self.decisions:
            decision = self.decide(self.saga, self.by_number[world.instance], [given], now)
            self._check_decision(self.by_number[world.instance], decision)
            self.decisions[key] = (self._intern(decision.instance), decision)
        number, decision = self.decisions[key]
        if number == world.instance and not decision.sends:
            return world
        return self._after(world, decision, number)

    def _after(self, world: World, decision: Decision, number: int) -> World:
        network = world.network
        for send in decision.sends:
            self._check_send(world, send)
            of = "undo" if '"undo"' in send.data else "do"
            network |= self._bit(Command(send.key, send.attempt, send.not_after is not None, of))
        self._check_facts(world, decision)
        state = World(number, world.ledger, network, world.facts + tuple(fact.type for fact in decision.facts))
        self._check_end(state, decision.instance)
        return state

    # --- participants -------------------------------------------------------------------------------------------------

    def _carried_out(self, world: World, command: Command) -> Iterator[World]:
        """Every way in which a participant may deal with a command, crashes before its commit included."""
        index = self.paths[command.key.path]
        assert command.key.round == 1, "there is one ledger row for each step"
        handle = {"do": self._done, "undo": self._undone, "close": self._closed}[command.key.operation]
        for row_after, outcome, code in handle(command, world.ledger[index]):
            reply = self._reply(command, outcome, code)
            yield world._replace(ledger=_with(world.ledger, index, row_after), network=world.network | self._bit(reply))

    # Each gives (row after, outcome, code). The effect stands while the row is `done`.

    def _undone(self, command: Command, row: str) -> Iterator[tuple[str, str, str]]:
        yield ("undone" if row == "done" else row or "tombstone", "ok", "")
        if row not in SETTLED:
            yield (row, "failed", "ConnectionError")

    def _closed(self, command: Command, row: str) -> Iterator[tuple[str, str, str]]:
        """A close answers with the stored outcome. A person who closes an undo has undone the effect by hand."""
        if command.of == "undo":
            yield ("undone" if row == "done" else row or "tombstone", "ok", "")
        elif row == "refused":
            yield (row, "refused", self._refusals(command)[0])
        else:
            yield (row or "closed", "stored" if row == "done" else "ok", "")
        if row not in SETTLED:
            yield (row, "failed", "ConnectionError")

    def _refusals(self, command: Command) -> tuple[str, ...]:
        return self.saga.plan.steps[self.paths[command.key.path]].command.refusals

    def _done(self, command: Command, row: str) -> Iterator[tuple[str, str, str]]:
        refusals = self._refusals(command)
        if row == "done":
            yield (row, "ok", "")
        elif row == "refused":
            yield (row, "refused", refusals[0])
        elif row:
            yield (row, "refused", "cancelled")
        else:
            yield ("done", "ok", "")
            yield (row, "failed", "ConnectionError")
            yield from (("refused", "refused", refusals[0]) for _ in refusals[:1])

    def _reply(self, command: Command, outcome: str, code: str) -> Answered:
        if outcome == "failed":
            body = Failure(code=code, kind="failed").to_json()
            return Answered("reply", command.key, command.attempt, "failed", body, code)
        if outcome == "refused":
            return Answered(
                "reply", command.key.of("do"), command.attempt, "refused", Failure(code=code).to_json(), code
            )
        key = command.key.of("do") if outcome == "stored" else command.key
        planned = self.saga.plan.steps[self.paths[key.path]]
        done = REPLIES.get(planned.command.reply_type.type_name, Done())
        reply = {"do": done, "undo": NothingToUndo(), "close": Closed()}[key.operation]
        return Answered("reply", key, command.attempt, "ok", reply.to_json())

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _check_decision(self, before: Instance, decision: Decision) -> None:
        after = decision.instance
        _hold(after.status in LEGAL[before.status], f"{before.status} became {after.status}")
        _hold(Instance.loads(after.dumps()) == after, "the instance does not survive being written")
        legs = [state.leg for state in after.steps if state.leg]
        _hold(len(legs) <= 1, "two commands are awaited at once")
        if after.terminal:
            _hold(after.wake_at is None and not legs, "a saga at its end still waits for something")
        elif after.paused:
            _hold(not decision.sends, "something was sent while the saga is paused")
        elif after.status != "parked":
            _hold(any(leg.due is not None for leg in legs), "nothing will ever wake the saga")
            _hold(after.wake_at is not None, "the saga has no time to wake at")
        numbers = [fact.seq for fact in decision.facts]
        _hold(numbers == list(range(before.seq + 1, after.seq + 1)), "the facts are not numbered without gaps")
        _hold(not decision.strays, "a true reply was taken for a stray")
        _hold(len(decision.sends) <= 1, "two commands were sent at once")

    def _check_send(self, world: World, send: Send) -> None:
        """A do needs the effects of all before it; an undo that none after it stands or can still come to stand."""
        index = self.paths[send.key.path]
        if send.key.operation == "undo":
            network = {self.paths[message.key.path] for message in self._in(world.network)}
            for later, row in enumerate(world.ledger[index + 1 :], index + 1):
                never = not row and later not in network
                _hold(row in SETTLED or never, f"{send.key.path} is undone while a later step may stand")
        elif send.key.operation == "do":
            for planned in self.saga.plan.steps[:index]:
                stands = isinstance(planned.node, Publish) or world.ledger[planned.index] in ("done", "closed")
                _hold(stands, f"{send.key.path} is sent before {planned.name} took effect")

    def _check_facts(self, world: World, decision: Decision) -> None:
        plan = self.saga.plan
        passed = world.ledger[plan.pivot or 0] in ("done", "closed")
        for fact in decision.facts:
            early = any(p.name == fact.step and getattr(p.node, "early", False) for p in plan.steps)
            true = passed or early or (decision.instance.status == "compensated" and not fact.step)
            _hold(true, f"{fact.type} was published before it was true")

    def _check_end(self, world: World, instance: Instance) -> None:
        stands = [row == "done" for row in world.ledger]
        if instance.status == "completed":
            for planned in self.saga.plan.steps:
                excused = isinstance(planned.node, Publish) or (self.skips and world.ledger[planned.index] == "closed")
                _hold(stands[planned.index] or excused, f"completed, but {planned.name} did not happen")
            _hold(sorted(world.facts) == sorted(self._facts_of(instance, world)), f"completed with {world.facts}")
        if instance.status == "compensated":
            _hold(not any(stands), "compensated, but an effect stands")
            _hold(sorted(world.facts) == sorted(self._facts_of(instance, world)), f"compensated with {world.facts}")

    def _facts_of(self, instance: Instance, world: World) -> list[str]:
        """What a saga that ended like this must have published, once each."""
        plan, facts = self.saga.plan, [p for p in self.saga.plan.steps if isinstance(p.node, Publish)]
        if instance.status == "completed":
            return [p.action.builds.type_name for p in facts] + [b.builds.type_name for b in plan.completed]
        early = [p for p in facts if p.undo and p.action.builds.type_name in world.facts]
        taken_back = [t for p in early for t in (p.action.builds.type_name, p.undo.builds.type_name if p.undo else "")]
        return taken_back + [b.builds.type_name for b in plan.compensated]

    # --- numbers for things -------------------------------------------------------------------------------------------

    def _intern(self, instance: Instance) -> int:
        bare = timeless(instance)
        if bare not in self.instances:
            self.instances[bare] = len(self.by_number)
            self.by_number.append(bare)
        return self.instances[bare]

    def _bit(self, message: Command | Answered) -> int:
        if message not in self.messages:
            self.messages[message] = 1 << len(self.by_bit)
            self.by_bit.append(message)
        return self.messages[message]

    def _in(self, network: int) -> Sequence[Command | Answered]:
        return [message for number, message in enumerate(self.by_bit) if network >> number & 1]


def _hold(kept: bool, violation: str) -> None:
    if not kept:
        raise Violation(violation)


def _with(ledger: tuple[str, ...], index: int, row: str) -> tuple[str, ...]:
    return (*ledger[:index], row, *ledger[index + 1 :])


def timeless(instance: Instance) -> Instance:
    """The instance with every time replaced by whether there is one, and without what only the history needs."""
    return replace(
        instance,
        steps=tuple(_timeless_step(state) for state in instance.steps),
        deadline=None if instance.deadline is None else DEADLINE,
        cause="",
    )


@cache
def _timeless_step(state: Any) -> Any:
    leg = state.leg
    if leg:
        leg = replace(leg, first_at=0.0, due=None if leg.due is None else LEG_DUE)
    return replace(state, leg=leg, not_after=None if state.not_after is None else NOT_AFTER)
