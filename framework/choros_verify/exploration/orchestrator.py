"""The orchestrator of an exploration: the real machine, each decision made once and remembered.

What a store keeps of a saga is one number here (`Stored` behind it). Compare-and-set makes deciding and committing one
indivisible step: a process that loses the race has changed nothing, loads again and decides again. So "received, not
yet committed" needs no state of its own, and a crash in it is the same as a message that has not arrived yet.
The ids of what was received are not kept: a message that comes twice is decided twice, which is more than can happen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from choros.saga.machine.inputs import Answered, Decision, Input, Send, TimerFired
from choros.saga.machine.instance import Instance, States
from choros.saga.machine.locks import locked
from choros.saga.saga import Saga
from choros_verify.exploration import holds
from choros_verify.exploration.decisions import Decided, Given, Stored, TakenOver, moments
from choros_verify.exploration.locked import asks
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.times import NOW, last_moment, timed, timeless
from choros_verify.exploration.ways import order
from choros_verify.exploration.wire import Bags, Deadline, Ordered


class OrchestratorModel:
    """Decides. A decision that breaks a rule by itself says so."""

    def __init__(
        self, saga: Saga[Any], protocol: Protocol, wire: Bags, start: str, replies: Mapping[str, str],
        taken_over: TakenOver,
    ) -> None:  # fmt: skip
        self.saga = saga
        self._taken_over = taken_over
        self._protocol = protocol
        self._wire = wire
        self.stored: list[Stored] = []
        self._numbers: dict[Stored, int] = {}
        self._decided: dict[tuple[int, Given], Decided | None] = {}
        self._pairs: dict[tuple[int, Given, Given], Decided | None] = {}
        self._wakes: set[int] = set()
        self._looked_at: set[int] = set()
        self.bugs: set[str] = set()
        """Why sagas were parked by a function of their declaration."""
        self._start = start
        self.replies = replies
        self._indexes = {path: index for index, path in enumerate(saga.outline.leaves)}

    # --- deciding -----------------------------------------------------------------------------------------------------

    def begin(self) -> Decided:
        """The saga starts."""
        declared = self.saga.lock
        lock = locked(declared, self.saga.start.from_json(self._start), NOW) if declared else None
        over = self._taken_over
        decision = self._protocol.begin(
            self.saga.tree, "saga", self._start, NOW, cause="start", lock=lock, kept=over.kept, updated=over.updated
        )
        before = replace(decision.instance, nodes=States(over.kept), status="running", seq=0, lock=lock)
        return self._kept(Stored(before, over.facts, over.order), before, decision, ())

    def decide(self, number: int, given: Given) -> Decided | None:
        """What comes of it; None where nothing does."""
        key = (number, given)
        if key not in self._decided:
            self._decided[key] = self._decide(number, given)
        return self._decided[key]

    def _decide(self, number: int, given: Given) -> Decided | None:
        before = self.stored[number]
        at_now = timed(before.instance, given.moment)
        decision = self._protocol.decide(self.saga.tree, at_now, given.inputs, NOW)
        decided = self._kept(before, at_now, decision, given.inputs)
        return None if decided.number == number and not decided.sends else decided

    def together(self, number: int, first: Given, second: Given) -> Decided | None:
        """Both in one transition; None where that is the same as one after the other, which the walk takes anyway."""
        key = (number, first, second)
        if key not in self._pairs:
            self._pairs[key] = self._together(number, first, second)
        return self._pairs[key]

    def _together(self, number: int, first: Given, second: Given) -> Decided | None:
        moment = first.moment.beside(second.moment)
        if moment is None:
            return None
        both = Given((*first.inputs, *second.inputs), moment)
        decided = self.decide(number, both)
        if decided is None or decided.broken:
            return decided
        same = self._same(number, first, second, decided) or self._same(number, second, first, decided)
        return None if same else decided

    def _same(self, number: int, first: Given, second: Given, both: Decided) -> bool:
        one = self.decide(number, first)
        middle = one.number if one else number
        two = self.decide(middle, second)
        end = two.number if two else middle
        sends = (*(one.sends if one else ()), *(two.sends if two else ()))
        return end == both.number and sorted(sends) == sorted(both.sends)

    # --- keeping ------------------------------------------------------------------------------------------------------

    def number(self, stored: Stored) -> int:
        """The number of what is stored."""
        number = self._numbers.get(stored)
        if number is None:
            number = self._numbers[stored] = len(self.stored)
            self.stored.append(stored)
        return number

    def _kept(self, before: Stored, at_now: Instance, decision: Decision, inputs: Sequence[Input]) -> Decided:
        facts = before.facts + tuple(fact.type for fact in decision.facts)
        standing = order(self.saga.outline, before.order, at_now, decision.instance, inputs)
        number = self.number(Stored(timeless(decision.instance), facts, standing))
        strange = next((send.key.path for send in decision.sends if send.key.path not in self._indexes), "")
        if strange:
            wrong = holds.Violation(f"{strange} is sent, to which the saga does not come", 4)
            return Decided(number, (), decision.facts, decision.events, 0, decision.withdraws, (), wrong)
        orders = tuple(self._ordered(send, decision.instance) for send in decision.sends)
        sends = tuple(self._wire.number(order) for order in orders)
        retries = _retries(before.instance, decision) + (0 if decision.instance.terminating else _taken_over(orders))
        self.bugs |= {event.code for event in decision.events if event.kind == "parked" and _is_bug(event.code)}
        broken = holds.decision(self.saga, at_now, decision, inputs) or self.stuck(number)
        return Decided(number, sends, decision.facts, decision.events, retries, decision.withdraws, orders, broken)

    def _ordered(self, send: Send, instance: Instance) -> Ordered:
        index = self._indexes[send.key.path]
        greatest = instance.state(send.key.path).not_after
        deadline: Deadline = "" if send.not_after is None else "ahead"
        if send.key.operation != "do" and greatest is not None:
            deadline = "ahead" if send.not_after is None or send.not_after >= greatest else "short"
        of: Any = "" if send.key.operation != "close" else "undo" if '"undo"' in send.data else "do"
        choice = instance.state(send.key.path).choice if send.key.operation == "do" else ""
        leg, leaf = instance.state(send.key.path).leg, self.saga.outline.commanded(send.key.path)
        undoing = of == "undo" or bool(of and leaf and leaf.existing)
        by_hand = undoing and not instance.terminating and not (leg and leg.gives_up)
        return Ordered(index, send.key.round, send.key.operation, send.attempt, deadline, of, choice, by_hand)

    def stuck(self, number: int) -> holds.Violation | None:
        """If nothing ever arrives again, the saga's own timers must bring it to an end or to a person."""
        if number in self._looked_at:  # a timer that changes nothing: whoever is looking finds that out
            return None
        self._looked_at.add(number)
        try:
            return self._stuck(number)
        finally:
            self._looked_at.discard(number)

    def _stuck(self, number: int) -> holds.Violation | None:
        seen = {number}
        while number not in self._wakes and not _at_rest(self.stored[number].instance):
            after = self.decide(number, Given((TimerFired(),), last_moment(self.stored[number].instance)))
            if after is None or after.number in seen:
                return holds.Violation("nothing will ever wake the saga: it waits for ever", 5)
            number = after.number
            seen.add(number)
        self._wakes |= seen
        return None

    # --- replies ------------------------------------------------------------------------------------------------------

    def ignores(self, number: int, reply: Answered) -> bool:
        """Whether nothing comes of this reply, as the machine decides it."""
        before = self.stored[number].instance
        for moment in moments(reply):
            decision = self._protocol.decide(self.saga.tree, timed(before, moment), (reply,), NOW)
            if decision.sends or decision.facts or timeless(decision.instance) != before:
                return False
        return True


def _at_rest(instance: Instance) -> bool:
    return instance.terminal or instance.status == "parked" or instance.paused or asks(instance)


def _retries(before: Instance, decision: Decision) -> int:
    """Each attempt after the first takes one, when it is decided on: at the failure, or at the timer."""
    count = 0
    for path, state in decision.instance.nodes.items():
        was = before.state(path)
        if state.leg and was.leg and was.leg.operation == state.leg.operation:
            count += state.leg.attempt + state.leg.waiting - was.leg.attempt - was.leg.waiting
    return max(count, 0)


def _taken_over(orders: Sequence[Ordered]) -> int:
    """A person who skips a step takes one too."""
    return sum(order.operation == "close" and order.attempt == 1 for order in orders)


def _is_bug(reason: str) -> bool:
    """Whether a saga is parked because a function of its declaration raised, or built what it must not."""
    return not any(
        words in reason for words in (" is in doubt after ", " was refused (", " has forgotten ", ": nobody gave ")
    )
