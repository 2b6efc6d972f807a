"""One turn of the machine: the instance as it becomes, and what is to be sent, gathered while the inputs are folded."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import replace
from typing import Any, cast

from choros.errors import EXITS, MessageRejected, MessageUnwritable
from choros.messages import Close, Failure, Message
from choros.saga.machine.inputs import Answered, Decision, Event, EventKind, Release, Send
from choros.saga.machine.instance import Instance, Leg, StepState
from choros.saga.nodes.steps import Commanded, Step
from choros.saga.parameters import Need
from choros.saga.plan import Builder, Plan, Planned
from choros.saga.policy import RetryPolicy
from choros.wire.attributes import LAST_MOMENT
from choros.wire.command_key import CommandKey
from choros.wire.envelope import why_unreadable


class BuildFailed(Exception):
    """A function of the declaration raised instead of building its message: a bug, so the saga parks."""


class Turn:
    """Mutable while a decision is made, and never seen outside it."""

    def __init__(self, plan: Plan, instance: Instance, now: float) -> None:
        self.plan = plan
        self.instance = instance
        self.now = now
        self._sends: list[Send] = []
        self._facts: list[Release] = []
        self._events: list[Event] = []
        self._strays: list[str] = []

    def decision(self) -> Decision:
        """What the turn came to."""
        return Decision(self.instance, tuple(self._sends), tuple(self._facts), tuple(self._events), tuple(self._strays))

    def change(self, **changes: Any) -> None:
        """Change the instance."""
        self.instance = replace(self.instance, **changes)

    def state(self, index: int) -> StepState:
        """The state of a step."""
        return self.instance.steps[index]

    def change_step(self, index: int, **changes: Any) -> None:
        """Change the state of a step."""
        steps = list(self.instance.steps)
        steps[index] = replace(steps[index], **changes)
        self.change(steps=tuple(steps))

    def note(self, kind: EventKind, step: str = "", **more: Any) -> None:
        """Write an event into the history."""
        self._events.append(Event(kind, step, cause=self.instance.cause, **more))

    def note_answer(self, kind: EventKind, step: str, answer: Answered) -> None:
        """Write what came of a command into the history."""
        key, code, detail = answer.key, answer.code, answer.detail
        self.note(kind, step, operation=key.operation, attempt=answer.attempt, code=code, detail=detail)

    def stray(self, reply_id: str) -> None:
        """Note a reply that nothing here asked for."""
        self._strays.append(reply_id)

    def build_body(self, builder: Builder) -> str:
        """The body of the message that a function of the declaration builds; raises BuildFailed."""
        try:
            body = self.build(builder).to_json()
        except MessageUnwritable as error:
            raise BuildFailed(f"{builder.function.__name__} built what cannot be sent: {error.sentence}") from error
        if why := why_unreadable(body):
            raise BuildFailed(f"{builder.function.__name__} built a message that {why}")
        return body

    def build(self, builder: Builder) -> Message:
        """Call a function of the declaration with the messages that it names; raises BuildFailed."""
        name = builder.function.__name__
        try:
            given = {need.parameter: self._message(need) for need in builder.needs}
            message = copy_context().run(builder.function, **given)
        except MessageRejected as error:
            raise BuildFailed(f"a stored message no longer fits what {name} takes: {error.sentence}") from None
        except EXITS:
            raise
        except BaseException as error:
            raise BuildFailed(f"{name} raised {type(error).__name__}") from error
        if type(message) is not builder.builds:
            raise BuildFailed(f"{name} returned {type(message).__name__}, not {builder.builds.__name__}")
        return message

    def _message(self, need: Need) -> Message | None:
        if need.source == "start":
            return need.message.from_json(self.instance.start)
        if need.source == "failure":
            return Failure.from_json(self.instance.failure)
        reply = self.state(need.step).reply
        return need.message.from_json(reply) if reply else None

    def send(self, planned: Planned, leg: Leg) -> None:
        """Send a step's command and await its answer; `leg` says in which direction and which attempt."""
        node = commanded(planned)
        state = self.state(planned.index)
        leg = replace(leg, due=self.now + node.timeout.total_seconds(), waiting=False)
        not_after = state.not_after
        if leg.operation == "do" and isinstance(node, Step):
            budget = leg.first_at + node.retry.total.total_seconds()
            not_after = max(not_after or 0.0, leg.due or 0.0, budget)
        if not_after is not None:  # also one that an older choros has stored
            not_after = min(not_after, LAST_MOMENT)
        began = self.now if state.progress == "pending" else state.began
        self.change_step(planned.index, leg=leg, not_after=not_after, began=began)
        key = CommandKey(state.owner or self.instance.saga_id, planned.name, state.round, leg.operation)
        type_name = _command_type(planned, leg)
        self._sends.append(Send(node.to, key, type_name, leg.command, leg.attempt, not_after, began))
        self.note("sent", planned.name, operation=leg.operation, attempt=leg.attempt)

    def release(self, type_name: str, data: str, step: str = "") -> None:
        """Publish a fact with this turn's commit; its number is given now."""
        self.change(seq=self.instance.seq + 1)
        self._facts.append(Release(type_name, data, self.instance.seq, step))
        self.note("fact_published", step, code=type_name)

    def release_held(self) -> None:
        """Publish what was held, in the order of the declaration."""
        for planned in self.plan.steps:
            state = self.state(planned.index)
            if state.progress == "held":
                self.release(planned.action.builds.type_name, state.fact, planned.name)
                self.change_step(planned.index, progress="published")

    def drop_held(self) -> None:
        """Forget what was held: it did not come true."""
        for planned in self.plan.steps:
            if self.state(planned.index).progress == "held":
                self.change_step(planned.index, progress="pending", fact="")
                self.note("fact_dropped", planned.name, code=planned.action.builds.type_name)

    def park(self, reason: str, step: str = "") -> None:
        """Stop and wait for a person. The command in flight stays awaited: its answer may still come."""
        for index, state in enumerate(self.instance.steps):
            if state.leg:
                self.change_step(index, leg=replace(state.leg, due=None, waiting=False))
        self.change(status="parked", parked=reason)
        self.note("parked", step, code=reason)

    def forgotten(self, planned: Planned, leg: Leg) -> None:
        """Its participant cannot tell any more what became of the command, and never will: a person has to look."""
        self.change_step(planned.index, leg=replace(leg, forgotten=True))
        what = f"{planned.name} ({leg.operation}): {commanded(planned).to} has forgotten what became of it"
        self.park(f"{what}; look there, then skip it", planned.name)

    @property
    def at_work(self) -> str:
        """The name of the step at work; empty when only the closing facts are left."""
        cursor = self.instance.cursor
        return self.plan.steps[cursor].name if cursor < len(self.plan.steps) else ""

    def unpark(self) -> None:
        """Go on after a park."""
        if self.instance.status == "parked":
            self.change(status="compensating" if self.instance.backward else "running", parked="")
            self.note("unparked", self.at_work)


def commanded(planned: Planned) -> Commanded:
    """The node of a planned step that has a command; a `Publish` never awaits an answer."""
    return cast(Commanded, planned.node)


def retry_policy(planned: Planned, leg: Leg) -> RetryPolicy:
    """How the command in flight is tried again."""
    node = commanded(planned)
    return node.undo_retry if isinstance(node, Step) and leg.operation == "undo" else node.retry


def _command_type(planned: Planned, leg: Leg) -> str:
    if leg.operation == "close":
        return Close.type_name
    builder = planned.undo if leg.operation == "undo" and planned.undo else planned.action
    return builder.builds.type_name
