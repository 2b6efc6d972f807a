"""A saga and those nested in it, explored together: two real machines, and between them a network that loses nothing
for good, since both ask again, and else does what it likes.

What was once sent between them may arrive at any time, in any order, and any number of times: so the network is the set
of all that was ever sent. Services are taken for right: what a barrier makes of commands is explored for each saga by
itself. Each of their commands is carried out, refused, or in doubt, with and without its effect.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from choros.messages import Closed, Done, Failure, LeftStanding, NestedCommand, Refusal, Reply
from choros.names import ORCHESTRATOR
from choros.saga.machine import machine
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Input,
    NestedReply,
    OrderReceived,
    Send,
    TerminateRequested,
    TimerFired,
)
from choros.saga.machine.instance import Instance, NodeState, Order, Parent, States
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from choros_verify.exploration.family_services import Served, Services, answer_to
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.times import EARLY, NOW, Moment, timed, timeless
from choros_verify.exploration.violation import Violation, hold
from choros_verify.simulation.invention import invent

ROOT_NAME = ""
"""What the saga around the others goes by."""


@dataclass(frozen=True)
class FamilyRules:
    """What decides. A control has one of these taken out."""

    begin: Callable[..., Decision] = machine.begin
    decide: Callable[..., Decision] = machine.decide
    never_begun: Callable[..., Decision] = machine.never_begun
    tombstones: bool = True
    """What is undone before it has begun is remembered."""
    begins_once: bool = True
    """A start that comes again begins nothing."""
    barrier: Protocol = field(default_factory=Protocol)
    """What services go by, where they are explored too."""


class BetweenSagas(NamedTuple):
    """A command to a nested saga, or its answer, without what nothing depends on."""

    effect: str
    operation: str
    body: str
    outcome: str = ""
    """Of an answer."""
    standing: bool = False
    """Whether it says that something is left standing."""


class FamilyWorld(NamedTuple):
    """One state of everything."""

    members: tuple[tuple[str, int], ...] = ()
    """Each by its name, the nested ones by the effect in their keys, with the number of what is stored of it."""
    sent: frozenset[BetweenSagas] = frozenset()
    stands: frozenset[tuple[str, str]] = frozenset()
    """The effects that are there: whose, and which step's."""
    served: Served = Served()
    """Where services are explored too: their books, and what is on its way."""


class FamilyStory(NamedTuple):
    """What an exploration found."""

    states: int
    ends: frozenset[str]
    """How the saga around the others ended."""
    violation: Violation | None = None
    story: tuple[str, ...] = ()


Next = tuple[str, FamilyWorld]


class FamilyExploration:
    """All that may happen to a saga and to those nested in it. `acts` are what people may want of which member. With
    `services` their commands come late and twice too, and answers get lost; else what they do is answered at once."""

    def __init__(
        self,
        saga: Saga[Any],
        nested: tuple[Saga[Any], ...],
        rules: FamilyRules,
        acts: frozenset[str] = frozenset(),
        start: str = "",
        *,
        services: bool = False,
    ) -> None:
        self._saga, self._rules, self._acts = saga, rules, acts
        self._start = start or invent(saga.start).to_json()
        self._nested = {one.name: one for one in nested}
        self._stored: list[Instance] = []
        self._numbers: dict[Instance, int] = {}
        self._whose: dict[str, Saga[Any]] = {ROOT_NAME: saga}
        self._explored = Services(rules.barrier) if services else None

    def run(self, most: int = 300_000) -> FamilyStory:
        """Visit every state, breadth first: the first story that breaks something is the shortest."""
        first = FamilyWorld()
        came: dict[FamilyWorld, tuple[FamilyWorld | None, str]] = {first: (None, "")}
        level, ends = [first], set[str]()
        self._trying = ""
        while level:
            following: list[FamilyWorld] = []
            for world in level:
                try:
                    moved = [one for one in self._after(world) if one[1] != world]
                    self._at_rest(world, moved, ends)
                except Violation as violation:
                    story = self._story(came, world)
                    return FamilyStory(len(came), frozenset(ends), violation, (*story, self._trying))
                for said, after in moved:
                    if after not in came:
                        came[after] = world, said
                        following.append(after)
            hold(len(came) < most, f"more than {most} states", 0)
            level = following
        return FamilyStory(len(came), frozenset(ends))

    @staticmethod
    def _story(came: dict[FamilyWorld, tuple[FamilyWorld | None, str]], world: FamilyWorld) -> list[str]:
        story: list[str] = []
        at: FamilyWorld | None = world
        while at is not None:
            at, said = came[at]
            story.insert(0, said)
        return story[1:]

    # --- what may happen ---

    def _after(self, world: FamilyWorld) -> Iterator[Next]:
        if not world.members:
            self._trying = "It starts"
            decision = self._rules.begin(self._saga.tree, "p", self._start, NOW, cause="start")
            yield self._trying, self._taken(world, ROOT_NAME, None, decision)
            return
        for told in sorted(world.sent):
            yield from self._answered(world, told) if told.outcome else self._delivered(world, told)
        if self._explored:
            yield from self._served(world, self._explored)
        for name, number in world.members:
            yield from self._services(world, name, self._stored[number])
            yield from self._people(world, name, self._stored[number])

    def _delivered(self, world: FamilyWorld, told: BetweenSagas) -> Iterator[Next]:
        said = NestedCommand.from_json(told.body)
        saga, there = self._nested[said.saga], dict(world.members)
        name = told.effect
        if name in there and told.operation == "do" and not self._rules.begins_once:
            name = f"{name}'"
        self._whose[name] = saga
        self._trying = f"The {told.operation} of {name} arrives"
        operation: Any = told.operation
        given = OrderReceived("order", Order(operation, told.effect, said.of, said.terminates))
        if name in there:
            yield self._trying, self._decided(world, name, given)
        elif operation == "do":
            parent = Parent(said.detached, given.order)
            decision = self._rules.begin(saga.tree, _id_of(name), said.start, NOW, cause="do", parent=parent)
            yield self._trying, self._taken(world, name, None, decision)
        else:
            decision = self._rules.never_begun(saga.tree, _id_of(name), [given], NOW, detached=said.detached)
            after = self._taken(world, name, None, decision)
            yield self._trying, after if self._rules.tombstones else after._replace(members=world.members)

    def _answered(self, world: FamilyWorld, told: BetweenSagas) -> Iterator[Next]:
        key = CommandKey.parse(f"{told.effect}:{told.operation}")
        name = ROOT_NAME if key.saga_id == "p" else next(n for n in self._whose if _id_of(n) == key.saga_id)
        leg = self._stored[dict(world.members)[name]].state(key.path).leg
        body, code = told.body, ""
        if told.outcome != "ok":  # as it is read off the wire
            said = Refusal.from_json(told.body)
            body, code = Failure(code=said.code, detail=said.detail, kind=said.kind).to_json(), said.code
        outcome: Any = told.outcome
        self._trying = f"The answer of {told.effect} to its {told.operation} arrives: {told.outcome}"
        answer = Answered("reply", key, leg.attempt if leg else 1, outcome, body, code, standing=told.standing)
        yield self._trying, self._decided(world, name, answer)

    def _served(self, world: FamilyWorld, services: Services) -> Iterator[Next]:
        self._trying = "A service gets a command"
        for said, served in services.arrivals(world.served, self._whose):
            self._trying = said
            yield said, world._replace(served=served, stands=served.stands)
        for name, answer in sorted(world.served.answers, key=str):
            said = f"{name}: the {answer.outcome} of {answer.key.path} to its {answer.key.operation} arrives"
            yield self._says(world, name, said, answer_to(_id_of(name), answer))

    def _services(self, world: FamilyWorld, name: str, instance: Instance) -> Iterator[Next]:
        for path, state in instance.nodes.items():
            leaf = self._whose[name].outline.commanded(path)
            if leaf and state.leg and not leaf.nests:
                yield from self._service(world, name, instance, leaf)

    def _service(self, world: FamilyWorld, name: str, instance: Instance, leaf: Commanded) -> Iterator[Next]:
        path, state = leaf.path, instance.state(leaf.path)
        assert state.leg is not None
        key = CommandKey(instance.saga_id, path, state.round, state.leg.operation)
        there = world._replace(stands=world.stands | {(name, path)})
        gone = world._replace(stands=world.stands - {(name, path)})
        if key.operation == "close" and not self._explored:
            over = ((name, path) in world.stands) is (state.closes == "do")
            answer = _ok(key.of(state.closes), leaf) if over else _ok(key, leaf, Closed())
            yield self._says(world, name, f"{path} is closed", answer)
            return
        doubt = Moment(frozenset({path}), frozenset({path}))
        if self._explored:
            if key.operation == "do" or leaf.may_skip(key.operation):
                self._trying = f"{name}: {path} is in doubt ({key.operation})"
                yield self._trying, self._decided(world, name, TimerFired(), doubt)
            return
        done = gone if key.operation == "undo" else there
        yield self._says(done, name, f"{path} is carried out ({key.operation})", _ok(key, leaf))
        if key.operation == "do" and world != there:
            for code in leaf.refusals[:1]:
                failure = Failure(code=code).to_json()
                answer = Answered("reply", key, state.leg.attempt, "refused", failure, code)
                yield self._says(world, name, f"{path} is refused", answer)
        if (key.operation == "do" and world != there) or leaf.may_skip(key.operation):
            for after, how in ((done, "and was carried out"), (world, "and was not")):
                self._trying = f"{name}: {path} is in doubt ({key.operation}), {how}"
                yield self._trying, self._decided(after, name, TimerFired(), doubt)

    def _says(self, world: FamilyWorld, name: str, said: str, answer: Answered) -> Next:
        self._trying = f"{name}: {said}"
        return self._trying, self._decided(world, name, answer)

    def _people(self, world: FamilyWorld, name: str, instance: Instance) -> Iterator[Next]:
        acts: dict[str, Input] = {"cancel": CancelRequested("c"), "terminate": TerminateRequested("t")}
        for act, given in acts.items():
            if f"{act} {'it' if name == ROOT_NAME else 'below'}" in self._acts and not instance.terminal:
                self._trying = f"Somebody wants to {act} {name or 'it'}"
                yield self._trying, self._decided(world, name, given)

    # --- decisions ---

    def _decided(self, world: FamilyWorld, name: str, given: Input, moment: Moment = EARLY) -> FamilyWorld:
        before = self._stored[dict(world.members)[name]]
        decision = self._rules.decide(self._whose[name].tree, timed(before, moment), [given], NOW)
        return self._taken(world, name, before, decision)

    def _taken(self, world: FamilyWorld, name: str, before: Instance | None, decision: Decision) -> FamilyWorld:
        after = _bare(decision.instance)
        self._judge(world, name, before, after, decision)
        number = self._numbers.setdefault(after, len(self._stored))
        if number == len(self._stored):
            self._stored.append(after)
        orders = {
            BetweenSagas(send.key.effect, send.key.operation, send.data)
            for send in decision.sends
            if send.to == ORCHESTRATOR
        }
        replies = {_told(reply) for reply in decision.replies}
        members = tuple(sorted({**dict(world.members), name: number}.items()))
        served = world.served
        for send in decision.sends if self._explored else ():
            if send.to != ORCHESTRATOR:
                served = served.sent(name, self._whose[name], send)
        return FamilyWorld(members, world.sent | orders | replies, world.stands, served)

    def _judge(
        self, world: FamilyWorld, name: str, before: Instance | None, after: Instance, decision: Decision
    ) -> None:
        for send in decision.sends:
            self._judge_send(world, name, before or after, after, send)
        parent = after.parent
        if parent and not parent.detached:
            turned = after.backward and not (before and before.backward)
            hold(not (parent.released and turned), f"{name} is undone although it was released", 3)
            ended = after.terminal and after.status != "terminated"
            hold(parent.released or not ended, f"{name} has ended although it may still be undone", 5)
            final = parent.released or after.backward or self._passed(name, after)
            hold(final or not decision.facts, f"{name} tells what may still be undone", 8)
        if name == ROOT_NAME and after.terminal and after.status != "terminated":
            self._judge_end(world, after)
        closing = {kind.type_name for one in self._whose[name].outline.compensated for kind in one.kinds}
        claims = [fact.type for fact in decision.facts if fact.type in closing and after.standing]
        hold(not claims, f"{name or 'the saga'} says that it is undone, and {', '.join(after.standing)} stands", 47)

    def _judge_send(self, world: FamilyWorld, name: str, before: Instance, after: Instance, send: Send) -> None:
        key = send.key
        told = [one.operation for one in world.sent if one.effect == key.effect and not one.outcome]
        if key.operation == "release":
            waits = before.state(key.path).unreleased
            hold(waits or "release" not in told, f"{key.path} is released twice", 5)
        if key.operation == "undo":
            hold("release" not in told, f"{key.path} is undone although it was released", 3)
            mine = send.to != ORCHESTRATOR and name == ROOT_NAME
            below = [one for one in world.stands if mine and _is_newer(one[0], key.path, after)]
            hold(not below, f"{key.path} is undone while {below} still stands", 4)

    def _judge_end(self, world: FamilyWorld, after: Instance) -> None:
        for name, number in world.members:
            below = self._stored[number]
            if below.parent and not below.parent.detached:
                hold(below.terminal, f"the saga is {after.status}, and {name} was never released", 5)
        if after.status == "compensated":
            instances = {name: self._stored[number] for name, number in world.members} | {ROOT_NAME: after}
            unsaid = [one for one in sorted(world.stands) if not is_said(instances, *one)]
            stands = ", ".join(f"{whose}: {step}" for whose, step in unsaid)
            hold(not stands, f"the saga is compensated, and {stands} still stands", 3)

    def _at_rest(self, world: FamilyWorld, moved: list[Next], ends: set[str]) -> None:
        """Where nothing can happen any more, all have ended, and what stands is what shall."""
        if moved or not world.members:
            return
        instances = {name: self._stored[number] for name, number in world.members}
        self._trying = "Nothing more can happen"
        for name, one in instances.items():
            hold(one.terminal or one.status == "parked", f"{name or 'the saga'} waits for ever", 5)
            if one.status == "compensated":
                left = [step for whose, step in world.stands if whose == name and step not in one.standing]
                hold(not left, f"{name} is compensated, and {', '.join(left)} still stands", 3)
        ends.add(instances[ROOT_NAME].status)

    def _passed(self, name: str, instance: Instance) -> bool:
        return any(instance.state(path).progress == "ok" for path in self._whose[name].outline.pivots)


def _is_newer(whose: str, step: str, around: Instance) -> bool:
    """Whether the saga of this name is nested in the other one, not released yet, and newer than this step of it."""
    if whose == ROOT_NAME:
        return False
    node = around.state(whose.split(":")[1])
    return node.progress != "standing" and node.unreleased and node.number > around.state(step).number


def is_said(instances: Mapping[str, Instance], whose: str, step: str) -> bool:
    """Whether the saga of this name says that it has left the step standing, and each that it is nested in the same of
    it."""
    while step in instances[whose].standing:
        if whose == ROOT_NAME:
            return True
        around, step, _ = whose.split(":")
        whose = next(name for name in instances if _id_of(name) == around)
    return False


def _ok(key: CommandKey, leaf: Commanded, reply: Reply | None = None) -> Answered:
    if reply is None:
        reply = invent(leaf.command_of().reply_type) if key.operation == "do" else Done()
    return Answered("reply", key, 1, "ok", reply.to_json())


def _told(reply: NestedReply) -> BetweenSagas:
    refusal = Refusal.from_json(reply.data) if reply.outcome == "refused" else None
    standing = reply.type == LeftStanding.type_name or bool(refusal and refusal.data)
    return BetweenSagas(reply.order.envelope, reply.operation, reply.data, reply.outcome, standing)


def _id_of(name: str) -> str:
    return name.replace(":", ".").replace("'", "-again") or "p"


def _bare(instance: Instance) -> Instance:
    """Without what no decision depends on; the order in which it came to its nodes makes no difference, either."""
    bare = timeless(instance)
    nodes = {path: _once(state) for path, state in bare.nodes.items()}
    return replace(bare, nodes=States(sorted(nodes.items())), seq=0)


def _once(state: NodeState) -> NodeState:
    return replace(state, leg=replace(state.leg, attempt=1)) if state.leg else state
