"""Which items and times of its loops a saga comes to: gone through on every course that may lead to more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from choros.messages import Failure
from choros.saga.machine.inputs import Answered, Decision, Input, Send, SignalRequested, TimerFired
from choros.saga.machine.instance import Instance, NodeState, States
from choros.saga.machine.machine import begin, decide
from choros.saga.outline import Composite, Outline
from choros.saga.paths import declared
from choros.saga.saga import Saga
from choros_verify.exploration.times import NOW, Moment, timed


@dataclass(frozen=True)
class Course:
    """How it goes with a saga, by leaves of its declaration, in all items."""

    failing: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    """They are answered when all others are."""

    def others(self, outline: Outline) -> Iterator[Course]:
        """With one more failing, or late, where the saga may go another way for that."""
        for part in outline.nodes.values():
            if isinstance(part, Composite) and (part.join or (part.alternatives and not part.questions)):
                for leaf in part.leaves:
                    yield replace(self, failing=self.failing | {leaf.path})
                    yield replace(self, late=self.late | {leaf.path})


def gone_through(saga: Saga[Any], start: str, replies: Mapping[str, str]) -> States:
    """Its states when all was done, as far as its functions allow; where one course came to more than those before it,
    others that begin like that may come further."""
    found: dict[str, NodeState] = {}
    todo = [Course()]
    seen = {*todo}
    for course in todo:
        reached = _Journey(saga, replies, course).end(start)
        further = {path: state for path, state in reached.items() if _is_further(found.get(path), state)}
        found |= further
        new = [one for one in dict.fromkeys(course.others(saga.outline)) if one not in seen] if further else []
        seen |= {*new}
        todo += new
    return States(found.items())


def _is_further(known: NodeState | None, state: NodeState) -> bool:
    return known is None or (state.begun, state.items) > (known.begun, known.items)


@dataclass(frozen=True)
class _Journey:
    saga: Saga[Any]
    replies: Mapping[str, str]
    """Bodies by type name."""
    course: Course

    def end(self, start: str) -> States:
        decision = begin(self.saga.tree, "saga", start, NOW, cause="start")
        waiting: list[Send] = []
        while decision.instance.status == "running":
            instance = decision.instance
            waiting = [send for send in (*waiting, *decision.sends) if _is_awaited(instance, send)]
            decision = self._next(instance, waiting)
        return decision.instance.nodes

    def _next(self, instance: Instance, waiting: Sequence[Send]) -> Decision:
        now = [send for send in waiting if declared(send.key.path) not in self.course.late] or waiting
        given = [*self._answers(now), *self._signals(instance)]
        if given:
            return decide(self.saga.tree, instance, given, NOW)
        if now:  # what fails without a word to say so
            silent = frozenset(send.key.path for send in now)
            return decide(self.saga.tree, timed(instance, Moment(silent, silent)), [TimerFired()], NOW)
        return decide(self.saga.tree, instance, [TimerFired()], instance.wake_at or NOW)

    def _answers(self, sends: Sequence[Send]) -> Iterator[Answered]:
        kinds = [kind for leaf in self.saga.outline.commands for sent in leaf.commands.values() for kind in sent]
        named = {kind.type_name: kind for kind in kinds}
        for send in sends:
            kind = named[send.type]
            if send.key.operation != "do" or declared(send.key.path) not in self.course.failing:
                yield Answered(f"of {send.key}", send.key, 1, "ok", self.replies[kind.reply_type.type_name])
            elif kind.refusals:
                refused = Failure(code=kind.refusals[0])
                yield Answered(f"of {send.key}", send.key, 1, "refused", refused.to_json(), refused.code)

    def _signals(self, instance: Instance) -> Iterator[Input]:
        for path, state in instance.nodes.items():
            leaf = self.saga.outline.leaf(path) if state.takes_signal else None
            if leaf:
                yield SignalRequested(f"to {path}", path, self.replies[leaf.signals[0].type_name])


def _is_awaited(instance: Instance, send: Send) -> bool:
    leg = instance.state(send.key.path).leg
    return leg is not None and (leg.operation, leg.attempt) == (send.key.operation, send.attempt)
