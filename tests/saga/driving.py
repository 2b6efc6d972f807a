"""Drives the machine by hand: one input at a time, on a clock that only the test moves."""

from dataclasses import dataclass, field
from typing import Any

from choros.messages import Done, Failure, Message, Reply
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Event,
    Input,
    PauseRequested,
    Release,
    ResumeRequested,
    RetryRequested,
    Send,
    SignalRequested,
    SkipRequested,
    TimerFired,
)
from choros.saga.machine.instance import Instance, Leg, NodeState
from choros.saga.machine.machine import begin, decide
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from tests.saga.shop import CHARGED, ORDER, RESERVED, order_saga

START = 1_000.0


@dataclass
class Run:
    """One saga instance, and everything that it sent, published and noted."""

    saga: Saga[Any] = order_saga
    now: float = START
    start: Message = ORDER
    sends: list[Send] = field(default_factory=list)
    facts: list[Release] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    last: Decision = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self._take(begin(self.saga.tree, "s1", self.start.to_json(), self.now, cause="start"))

    def _take(self, decision: Decision) -> Decision:
        assert Instance.loads(decision.instance.dumps()) == decision.instance
        self.last = decision
        self.sends += decision.sends
        self.facts += decision.facts
        self.events += decision.events
        return decision

    @property
    def instance(self) -> Instance:
        return self.last.instance

    @property
    def states(self) -> list[NodeState]:
        """The states of all steps, in the order of the declaration."""
        return [self.instance.state(path) for path in self.saga.outline.leaves]

    @property
    def status(self) -> str:
        return self.instance.status

    @property
    def sent(self) -> Send:
        """The last command."""
        return self.sends[-1]

    @property
    def leg(self) -> Leg:
        """The command in flight."""
        [leg] = [state.leg for state in self.states if state.leg]
        return leg

    @property
    def kinds(self) -> list[str]:
        """What the last decision noted."""
        return [event.kind for event in self.last.events]

    def give(self, *inputs: Input, at: float | None = None) -> Decision:
        self.now = self.now if at is None else at
        return self._take(decide(self.saga.tree, self.instance, inputs, self.now))

    def answer(self, outcome: Any, data: Reply, code: str = "", to: Send | None = None, **more: Any) -> Answered:
        self.count += 1
        send = to or self.sent
        key, attempt = more.get("key", send.key), more.get("attempt", send.attempt)
        return Answered(f"reply-{self.count}", key, attempt, outcome, data.to_json(), code)

    def ok(self, reply: Reply | None = None, to: Send | None = None, **more: Any) -> Decision:
        return self.give(self.answer("ok", reply or Done(), "", to, **more))

    def refuse(self, code: str, to: Send | None = None, **more: Any) -> Decision:
        return self.give(self.answer("refused", Failure(code=code, detail="why"), code, to, **more))

    def fail(self, code: str = "ConnectionError", to: Send | None = None, **more: Any) -> Decision:
        return self.give(self.answer("failed", Failure(code=code, kind="failed"), code, to, **more))

    def fire(self, *, unsent: bool = False) -> Decision:
        """Let the next timer fire."""
        assert self.instance.wake_at is not None
        return self.give(
            TimerFired(self.instance.under_way if unsent else frozenset()), at=max(self.now, self.instance.wake_at)
        )

    def time_out(self, times: int = 1) -> Decision:
        for _ in range(times):
            self.fire()
        return self.last

    def signal(self, step: str, signal: Message, id: str = "signal") -> Decision:
        return self.give(SignalRequested(id, step, signal.to_json()))

    def cancel(self) -> Decision:
        return self.give(CancelRequested("cancel"))

    def pause(self) -> Decision:
        return self.give(PauseRequested("pause"))

    def resume(self) -> Decision:
        return self.give(ResumeRequested("resume"))

    def retry(self, step: str, round_: int = 1) -> Decision:
        return self.give(RetryRequested("retry", step, round_))

    def skip(self, step: str, reply: Reply | None = None, round_: int = 1) -> Decision:
        return self.give(SkipRequested("skip", step, round_, (reply or Done()).to_json()))

    def progress(self) -> list[str]:
        return [state.progress for state in self.states]


def key(path: str, operation: Any, round_: int = 1, saga_id: str = "s1") -> CommandKey:
    return CommandKey(saga_id, path, round_, operation)


def at_pivot(saga: Saga[Any] = order_saga) -> Run:
    """An order whose pivot has just been sent."""
    run = Run(saga)
    run.ok(CHARGED)
    run.ok(RESERVED)
    return run


def commands(run: Run) -> list[str]:
    """Every command sent, as `path:round:operation#attempt`."""
    return [f"{send.key.path}:{send.key.round}:{send.key.operation}#{send.attempt}" for send in run.sends]
