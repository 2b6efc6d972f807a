"""Drives a saga and those nested in it by hand: what one sends, and the other answers, waits until it is delivered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from choros.messages import Done, Failure, LeftStanding, NestedCommand, Refusal, Reply
from choros.names import ORCHESTRATOR
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Event,
    Input,
    NestedReply,
    OrderReceived,
    Send,
    TimerFired,
)
from choros.saga.machine.instance import Instance, Order, Parent
from choros.saga.machine.machine import begin, decide, never_begun
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from tests.saga.credit import PlaceOrder

START = 1_000.0


@dataclass
class Member:
    """One of the sagas, and what it has done so far."""

    saga: Saga[Any]
    instance: Instance
    sends: list[Send] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def status(self) -> str:
        return self.instance.status

    @property
    def waiting(self) -> list[str]:
        """What it has sent to services, or to a nested saga, and not been answered: `path:operation`."""
        return [f"{path}:{state.leg.operation}" for path, state in self.instance.nodes.items() if state.leg]

    def kinds(self, *wanted: str) -> list[str]:
        return [event.kind for event in self.events if event.kind in wanted]


class Family:
    """A saga, its nested ones by the effect in their key, and what is on its way between them."""

    def __init__(self, saga: Saga[Any], *nested: Saga[Any], start: Any = None) -> None:
        self.now = START
        self.sagas: Mapping[str, Saga[Any]] = {one.name: one for one in nested}
        self.members: dict[str, Member] = {}
        self.orders: list[Send] = []
        self.replies: list[tuple[str, NestedReply]] = []
        self._count = 0
        body = (start or PlaceOrder()).to_json()
        self._take("", saga, begin(saga.tree, "p", body, self.now, cause="start"))

    @property
    def parent(self) -> Member:
        return self.members[""]

    @property
    def child(self) -> Member:
        """The only nested one."""
        [child] = [one for name, one in self.members.items() if name]
        return child

    def _take(self, name: str, saga: Saga[Any], decision: Decision) -> Decision:
        assert Instance.loads(decision.instance.dumps()) == decision.instance
        member = self.members.setdefault(name, Member(saga, decision.instance))
        member.instance = decision.instance
        member.sends += [one for one in decision.sends if one.to != ORCHESTRATOR]
        member.facts += [fact.type for fact in decision.facts]
        member.events += decision.events
        self.orders += [one for one in decision.sends if one.to == ORCHESTRATOR]
        self.replies += [(name, reply) for reply in decision.replies]
        return decision

    def give(self, name: str, *inputs: Input) -> Decision:
        member = self.members[name]
        return self._take(name, member.saga, decide(member.saga.tree, member.instance, inputs, self.now))

    # --- between them ---

    def deliver(self, send: Send | None = None) -> Decision:
        """The oldest command to a nested saga, or this one once more, arrives there."""
        send = self.orders.pop(0) if send is None else send
        said, name = NestedCommand.from_json(send.data), send.key.effect
        saga = self.sagas[said.saga]
        envelope = f"{send.key}#{send.attempt}"
        given = OrderReceived(self._id(), Order(send.key.operation, envelope, said.of, said.terminates))
        if name in self.members:
            return self.give(name, given)
        if send.key.operation != "do":
            return self._take(
                name, saga, never_begun(saga.tree, _id_of(name), [given], self.now, detached=said.detached)
            )
        parent = Parent(said.detached, given.order)
        return self._take(
            name, saga, begin(saga.tree, _id_of(name), said.start, self.now, cause=given.id, parent=parent)
        )

    def bring_back(self) -> Decision:
        """The oldest answer of a nested saga arrives at the other."""
        _, reply = self.replies.pop(0)
        assert reply.outcome in ("ok", "refused", "failed")
        assert reply.outcome == "ok" or reply.type == Failure.type_name
        written, _, attempt = reply.order.envelope.partition("#")
        key = CommandKey.parse(written).of(reply.operation)
        parent = (
            "" if key.saga_id == "p" else next(n for n, one in self.members.items() if n and _id_of(n) == key.saga_id)
        )
        code = Refusal.from_json(reply.data).code if reply.outcome != "ok" else ""
        leaf = self.members[parent].saga.outline.commanded(key.path)
        assert leaf is not None
        kind: Any = leaf.reply_of() if key.operation == "do" and reply.outcome == "ok" else None
        if kind:
            assert reply.type == kind.type_name
            kind.from_json(reply.data)
        data, left = reply.data, reply.type == LeftStanding.type_name
        if code:
            said = Refusal.from_json(data)
            data, left = Failure(code=code, detail=said.detail, kind=said.kind).to_json(), said.data is not None
        answer = Answered(self._id(), key, int(attempt), reply.outcome, data, code, kind=kind, standing=left)
        return self.give(parent, answer)

    def settle(self) -> None:
        """Deliver all that is on its way between them, until nothing is."""
        while self.orders or self.replies:
            self.deliver() if self.orders else self.bring_back()

    # --- services ---

    def ok(self, name: str = "", reply: Reply | None = None, at: str = "") -> Decision:
        """The service that has a member's last command, or that of this step, has carried it out."""
        return self._answer(name, at, "ok", reply or Done())

    def refuse(self, name: str, code: str, at: str = "") -> Decision:
        return self._answer(name, at, "refused", Failure(code=code))

    def _answer(self, name: str, at: str, outcome: Any, data: Reply) -> Decision:
        send = next(one for one in reversed(self.members[name].sends) if at in ("", one.key.path))
        code = data.code if isinstance(data, Failure) else ""
        return self.give(name, Answered(self._id(), send.key, send.attempt, outcome, data.to_json(), code))

    def cancel(self, name: str = "") -> Decision:
        return self.give(name, CancelRequested(self._id()))

    def fire(self, name: str = "") -> Decision:
        """Its next timer fires."""
        wake_at = self.members[name].instance.wake_at
        assert wake_at is not None
        self.now = max(self.now, wake_at)
        return self.give(name, TimerFired())

    def _id(self) -> str:
        self._count += 1
        return f"m{self._count}"


def _id_of(name: str) -> str:
    return name.replace(":", ".")
