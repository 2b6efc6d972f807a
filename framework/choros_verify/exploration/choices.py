"""What the orchestrator may take in next: a reply that has arrived, a timer, an act of a person, or two of them.

All of it depends on the saga, on the replies on the network, and on whether something waits in the outbox; so it is
worked out once for each of these.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Literal, NamedTuple

from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    SettleRequested,
    SignalRequested,
    SkipRequested,
    TerminateRequested,
    TimerFired,
)
from choros.saga.machine.instance import ROOT, Instance
from choros_verify.exploration import holds
from choros_verify.exploration.decisions import Decided, Given, givens
from choros_verify.exploration.locked import told_of_lock
from choros_verify.exploration.orchestrator import OrchestratorModel
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.settled import undoes
from choros_verify.exploration.times import Moment, last_moment
from choros_verify.exploration.updates import asked_for
from choros_verify.exploration.wire import Bags

ActKind = Literal["cancel", "retry", "skip", "settle", "pause", "terminate", "signal", "update"]
NO_MESSAGE = -1


class Choice(NamedTuple):
    """Something to take in, with what comes of it."""

    given: tuple[Given, ...]
    messages: tuple[int, ...]
    """The replies among it, by number."""
    decided: Decided
    other: Decided | None = None
    """A second decision on the same version: only a mutant makes one."""
    wrong: holds.Violation | None = None


class Choices:
    """Knows them all."""

    def __init__(
        self, orchestrator: OrchestratorModel, protocol: Protocol, wire: Bags, acts: frozenset[ActKind]
    ) -> None:
        self._orchestrator = orchestrator
        self._protocol = protocol
        self._wire = wire
        self._acts = acts
        self._known: dict[tuple[int, int, frozenset[str]], list[Choice]] = {}

    def of(self, stored: int, network: int, unsent: frozenset[str]) -> list[Choice]:
        """What may be taken in; `unsent` are the nodes whose commands wait in the outbox."""
        key = (stored, network & self._wire.replies, unsent)
        if key not in self._known:
            self._known[key] = list(self._choices(*key))
        return self._known[key]

    def _choices(self, stored: int, replies: int, unsent: frozenset[str]) -> Iterator[Choice]:
        inputs = [(given, number) for number in self._wire.numbers(replies) for given in self._given(number)]
        instance = self._orchestrator.stored[stored].instance
        if not instance.terminal:
            inputs += [(given, NO_MESSAGE) for given in self._asked(instance, unsent)]
        for given, number in inputs:
            yield from self._alone(stored, given, number)
        for (first, number), (second, other) in combinations(inputs, 2):
            timers = all(isinstance(given.inputs[0], TimerFired) for given in (first, second))
            if (number != other or number == NO_MESSAGE) and not timers:
                yield from self._together(stored, (first, second), (number, other))

    def _given(self, number: int) -> list[Given]:
        message = self._wire.messages[number]
        return list(givens(message)) if isinstance(message, Answered) else []

    def _alone(self, stored: int, given: Given, number: int) -> Iterator[Choice]:
        decided = self._orchestrator.decide(stored, given)
        if decided is not None:
            yield Choice((given,), _messages(number), decided, wrong=self._late(stored, given) or decided.broken)

    def _late(self, stored: int, given: Given) -> holds.Violation | None:
        answer, instance = given.inputs[0], self._orchestrator.stored[stored].instance
        if not isinstance(answer, Answered) or holds.awaited(instance, answer):
            return None
        return holds.Violation("a reply that came too late changed the saga", 8)

    def _together(self, stored: int, given: tuple[Given, Given], numbers: tuple[int, int]) -> Iterator[Choice]:
        if not self._protocol.folds:
            yield from self._twice(stored, given, numbers)
            return
        decided = self._orchestrator.together(stored, *given)
        if decided is not None:
            yield Choice(given, _messages(*numbers), decided, wrong=decided.broken)

    def _twice(self, stored: int, given: tuple[Given, Given], numbers: tuple[int, int]) -> Iterator[Choice]:
        """A mutant decides each input of a batch on the version that was loaded for the batch."""
        one, other = (self._orchestrator.decide(stored, each) for each in given)
        if one and other:
            words = "two transitions were made from one version, and the second overwrote the first"
            yield Choice(given, _messages(*numbers), one, other, holds.Violation(words, 9))

    # --- what people and clocks do ------------------------------------------------------------------------------------

    def _asked(self, instance: Instance, unsent: frozenset[str]) -> Iterator[Given]:
        if "cancel" in self._acts:
            yield Given((CancelRequested("cancel"),))
        if "terminate" in self._acts:
            yield Given((TerminateRequested("terminate"),))
        if "pause" in self._acts:
            yield Given((ResumeRequested("resume") if instance.paused else PauseRequested("pause"),))
        yield from self._told() if "signal" in self._acts else ()
        yield from self._changes(instance) if "update" in self._acts else ()
        yield from (Given((one,)) for one in told_of_lock(instance))
        yield from _timers(instance, unsent)
        if instance.status == "parked":
            yield from self._desk(instance)

    def _told(self) -> Iterator[Given]:
        """What somebody may tell it at any time: before it waits, while it does, and afterwards, again and again."""
        for leaf in self._orchestrator.saga.outline.leaves.values():
            for kind in leaf.signals:
                yield Given((SignalRequested("signal", leaf.path, self._orchestrator.replies[kind.type_name]),))

    def _changes(self, instance: Instance) -> Iterator[Given]:
        asked = asked_for(self._orchestrator.saga.outline, instance, self._orchestrator.replies)
        yield from (Given((one,)) for one in asked)

    def _desk(self, instance: Instance) -> Iterator[Given]:
        """What a person does about a parked saga."""
        for path, state in instance.parked_at.items():
            leaf = self._orchestrator.saga.outline.commanded(path)
            if "retry" in self._acts and (path != ROOT or instance.queued):
                yield Given((RetryRequested("retry", path, state.round),))
            looked = state.leg is not None and state.leg.forgotten  # what a person finds is no part of the walk
            if "skip" in self._acts and not looked and leaf:
                reply = leaf.command_of(state.choice).reply_type
                example = self._orchestrator.replies[reply.type_name]
                yield Given((SkipRequested("skip", path, state.round, example),))
            if "settle" in self._acts and not looked and leaf and state.leg and undoes(state, leaf):
                yield Given((SettleRequested("settle", path, state.round),))


def _timers(instance: Instance, unsent: frozenset[str]) -> Iterator[Given]:
    """One timer fires, or two, or all. What one of them does depends on its own node alone, unless it turns the saga,
    and then on nothing else; so any others together do what these do one after the other."""
    fired = (TimerFired(unsent),)
    every = last_moment(instance).due
    few = {frozenset(some) for number in (1, 2) for some in combinations(every, number)}
    for due in sorted({*few, *([every] if every else [])}, key=sorted):
        yield from (Given(fired, Moment(due, spent)) for spent in (frozenset[str](), due))
        if len(due) == 2:
            yield from (Given(fired, Moment(due, frozenset({spent}))) for spent in sorted(due))
    if instance.deadline is not None:
        yield Given(fired, Moment(deadline=True))
        yield Given(fired, Moment(every, deadline=True))


def _messages(*numbers: int) -> tuple[int, ...]:
    return tuple(number for number in numbers if number != NO_MESSAGE)
