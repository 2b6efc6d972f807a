"""One turn of the machine: the instance as it becomes, and what is to be sent, gathered while the inputs are folded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import Any, NamedTuple, Self

from choros.errors import EXITS, MessageRejected, MessageUnwritable
from choros.messages import Failure, Message
from choros.saga.items import read_item
from choros.saga.machine.inputs import Answered, Decision, Event, EventKind, Lacking, Release, Send
from choros.saga.machine.instance import UNTOUCHED, Instance, NodeState, States
from choros.saga.parameters import Builder, Need, PureFunction, bare_name
from choros.saga.paths import declared, index_of, item_around, number_entry, same_item, stands_in
from choros.values import replace
from choros.wire.envelope import why_unreadable

AT_ONCE = 16
"""Of nodes that are over, and stored apart, so many are asked for together on the way back."""


class Made(NamedTuple):
    """A message that a function of the declaration built, as it is sent."""

    kind: type[Message]
    body: str


class BuildFailed(Exception):
    """A function of the declaration raised instead of building its message: a bug, so its node parks."""

    def __init__(self, sentence: str, path: str) -> None:
        super().__init__(sentence)
        self.path = path


class TurnedBack(Exception):
    """A node comes to an end on which the saga is undone, without anybody having refused anything."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class Turn(ABC):
    """Mutable while a decision is made, and never seen outside it."""

    def __init__(self, instance: Instance, now: float) -> None:
        self.now: float = now
        self.turning: bool = False
        """Whether the saga turns back in this decision."""
        self._instance = instance
        self._nodes = States(instance.nodes)
        self._sends: list[Send] = []
        self._facts: list[Release] = []
        self._events: list[Event] = []
        self._strays: list[str] = []
        self._part: str = ""
        self.freely: bool = False

    @property
    def instance(self) -> Instance:
        """The instance but for its nodes, which are asked for by `state`."""
        return self._instance

    def decision(self) -> Decision:
        """What the turn came to."""
        known = self._instance.nodes
        nodes = ((path, state) for path, state in self._nodes.items() if state is not UNTOUCHED or path in known)
        instance = replace(self._instance, nodes=States(nodes))
        return Decision(instance, tuple(self._sends), tuple(self._facts), tuple(self._events), tuple(self._strays))

    def as_it_is(self) -> tuple[Instance, States]:
        """The instance but for its nodes, and these, to be compared with what they become."""
        return self._instance, States(self._nodes)

    def change(self, **changes: Any) -> None:
        """Change the instance."""
        self._instance = replace(self._instance, **changes)

    def state(self, path: str) -> NodeState:
        """The state of a node; raises Lacking where that is stored apart."""
        if path not in self._nodes:
            self.want([path])
        return self._nodes.of(path)

    def want(self, paths: Iterable[str]) -> None:
        """Raises Lacking where states of these nodes are stored apart, and have not been loaded."""
        if self._instance.nodes_apart and (lacking := [one for one in paths if one and one not in self._nodes]):
            raise Lacking(*lacking)

    def reach(self, path: str) -> None:
        """The saga comes to this node for the first time: nothing is stored of it."""
        self._nodes.setdefault(path, UNTOUCHED)

    def last_of(self, places: dict[str, int]) -> int:
        """The last of these places whose node the saga has come to; where that lies apart, a later one stands here."""
        return self._nodes.last_of(places)

    def states(self) -> list[tuple[str, NodeState]]:
        """The states of all nodes that the saga has come to, in that order."""
        return list(self._nodes.items())

    def lies_apart(self, path: str) -> bool:
        """Whether this node, which the saga has come to, is stored apart, and so is over."""
        return self._instance.nodes_apart and path not in self._nodes

    def list_item(self, path: str, body: str) -> None:
        """Keep an item that is not begun yet."""
        self._nodes[path] = NodeState(progress="listed", item=body)

    def count(self) -> None:
        """From now on several nodes may be under way at a time, so what is accepted is numbered."""
        if not self._instance.accepted:
            self.change(accepted=1)

    def newest_first(self, inside: str) -> Iterator[str]:
        """The paths of all that was accepted behind the node of this path, and is not undone. Whoever asks for the next
        one says that the one before it is: nobody comes to that again."""
        state = self.state(inside)
        above, left = state.number, (self.freely and state.left) or self._instance.accepted
        for number in range(left - 1, above, -1):
            path = self._accepted_as(number, above)
            if path and self.state(path).number == number:  # else it was accepted anew since
                yield path
            if self._instance.backward:  # else the saga goes on beside that, and accepts more
                self._leave(number, inside)

    def _leave(self, number: int, inside: str) -> None:
        """Where something beside this node is undone as well, that counts for this node alone."""
        self.change_node(inside, left=number) if self.freely else self.change(accepted=number)

    def _accepted_as(self, number: int, above: int) -> str:
        here = next((path for path, state in self._nodes.items() if state.number == number), "")
        if here or not self._instance.nodes_apart:
            return here
        names = [number_entry(one) for one in range(number, max(above, number - AT_ONCE), -1)]
        self.want(names)
        self.want(self._nodes.of(name).choice for name in names)
        return self._nodes.of(names[0]).choice

    def undo_part(self, path: str, way: Callable[[Turn], bool]) -> bool:
        """Walk back through the node of this path, while the saga goes on without it."""
        self._part = path
        return way(self)

    @abstractmethod
    def is_needed(self, path: str) -> bool:
        """Whether something that was made with what this node replied with is not undone yet."""

    def open_items(self, path: str) -> list[int]:
        """Those items of the node of this path that are begun and not over, in their order."""
        indexes = (index_of(path, one) for one, state in self._nodes.items() if state.progress == "entered")
        return sorted(index for index in indexes if index is not None)

    @property
    def busy(self) -> bool:
        """Whether a command is under way, a signal awaited, or a loser not undone yet."""
        return any(state.leg or state.turns or state.takes_signal for state in self._nodes.values())

    def turn(self, nodes: Mapping[str, Node], inside: str) -> None:
        """Of these nodes of the declaration, those in the one of this path only go back from now on."""
        for path, _ in self.states():
            node = nodes.get(declared(path))
            if node and stands_in(path, inside):
                node.within(item_around(path)).turned(self)

    def lose(self, path: str, nodes: Mapping[str, Node]) -> None:
        """This node and all in it, among these of the declaration, is undone from now on, and the saga goes on."""
        self.turn(nodes, path)
        self.change_node(path, lost=True)
        self.note("lost", path)

    def accept(self, path: str) -> None:
        """From now on this node may stand: it is newer than all that do."""
        if self._instance.accepted:
            self.change_node(path, number=self._instance.accepted)
            self.change(accepted=self._instance.accepted + 1)

    def change_node(self, path: str, **changes: Any) -> None:
        """Change the state of a node; one that is as if the saga had never come to it leaves no trace."""
        after = replace(self.state(path), **changes)
        self._nodes[path] = UNTOUCHED if after == UNTOUCHED else after

    def note(self, kind: EventKind, step: str = "", **more: Any) -> None:
        """Write an event into the history."""
        self._events.append(Event(kind, step, cause=self._instance.cause, **more))

    def note_answer(self, kind: EventKind, answer: Answered) -> None:
        """Write what came of a command into the history."""
        key, code, detail = answer.key, answer.code, answer.detail
        about = {"operation": key.operation, "attempt": answer.attempt, "undone": answer.undone}
        self.note(kind, key.path, code=code, detail=detail, **about)

    def stray(self, reply_id: str) -> None:
        """Note a reply that nothing here asked for."""
        self._strays.append(reply_id)

    def send(self, command: Send) -> None:
        """Send a command with this turn's commit."""
        self._sends.append(command)
        self.note("sent", command.key.path, operation=command.key.operation, attempt=command.attempt)

    def take_back(self, path: str) -> None:
        """Do not send what this turn was about to send for a node: what came after that has turned it back."""
        self._sends = [send for send in self._sends if send.key.path != path]
        self._events = [event for event in self._events if (event.kind, event.step) != ("sent", path)]

    def wake(self, path: str) -> bool:
        """Let a node's sleep be over, if its moment has come; says so. What is next is the walk's."""
        until = self.state(path).until
        if until is None or until > self.now:
            return False
        self.change_node(path, progress="ok", until=None)
        self.note("woken", path)
        return True

    def pass_over(self, path: str) -> None:
        """Its function said that there is nothing to do: that is decided, and never asked again."""
        self.change_node(path, progress="passed_over")
        self.note("passed_over", path)

    def release(self, fact: type[Message], body: str, step: str = "") -> None:
        """Publish a fact with this turn's commit; its number is given now."""
        self.change(seq=self._instance.seq + 1)
        self._facts.append(Release(fact.type_name, body, self._instance.seq, step))
        self.note("fact_published", step, code=fact.type_name)

    def park(self, reason: str, path: str) -> None:
        """Let a node wait for a person. Its command in flight stays awaited: an answer may still come."""
        leg = self.state(path).leg
        self.change_node(path, parked=reason, leg=leg and replace(leg, due=None, waiting=False))
        self.change(status="parked")
        self.note("parked", path, code=reason)

    def attempt(self, way: Callable[[Turn], bool]) -> bool:
        """Whether this way through a node is over. One whose function fails is parked, and holds nobody but itself."""
        try:
            return way(self)
        except BuildFailed as failed:
            self.park(str(failed), failed.path)
            return False

    def unpark(self, path: str) -> None:
        """Go on with a node after a park."""
        if self.state(path).parked:
            self.change_node(path, parked="")
            if not any(state.parked for state in self._nodes.values()):
                self.change(status="compensating" if self._instance.backward else "running")
            self.note("unparked", path)

    # --- messages -----------------------------------------------------------------------------------------------------

    def certainly(self, builder: Builder, path: str) -> Made:
        """What a function of the declaration makes that must make something; raises BuildFailed."""
        made = self.made(builder, path)
        assert made is not None  # it was checked when it was declared
        return made

    def made(self, builder: Builder, path: str) -> Made | None:
        """What a function of the declaration makes for this node; raises BuildFailed. None where it says that there is
        nothing to do."""
        message = self.build(builder, path)
        if message is None:
            return None
        try:
            body = message.to_json()
        except MessageUnwritable as error:
            name = builder.function.__name__
            raise BuildFailed(f"{name} built what cannot be sent: {error.sentence}", path) from error
        if why := why_unreadable(body):
            raise BuildFailed(f"{builder.function.__name__} built a message that {why}", path)
        return Made(type(message), body)

    def build(self, builder: Builder, path: str) -> Message | None:
        """The message that a function of the declaration builds for this node; raises BuildFailed."""
        message: Message | None = self.ask(builder, path)
        if type(message) not in builder.kinds and not (message is None and builder.optional):
            name, wanted = builder.function.__name__, " or ".join(kind.__name__ for kind in builder.kinds)
            raise BuildFailed(f"{name} returned {type(message).__name__}, not {wanted}", path)
        return message

    def ask(self, asked: PureFunction, path: str) -> Any:
        """Call a function of the declaration with the messages that it names, for this node; raises BuildFailed."""
        name = asked.function.__name__
        try:
            given = {need.parameter: self._given(need, path) for need in asked.needs}
            return copy_context().run(asked.function, **given)
        except MessageRejected as error:
            sentence = f"a stored message no longer fits what {name} takes: {error.sentence}"
            raise BuildFailed(sentence, path) from None
        except (Lacking, *EXITS):
            raise
        except BaseException as error:
            raise BuildFailed(f"{name} raised {type(error).__name__}", path) from error

    def _given(self, need: Need, path: str) -> Any:
        """What fills a parameter of a function that is asked for the node of this path: in an item, the same item's."""
        step = self._latest(same_item(need.step, path))
        if need.source == "item":
            return read_item(need.message, self.state(step).item)
        if need.collected:
            self.want(self._each(step))
            return self._collected(need, step, need.collected)
        return self._message(need, step)

    def _each(self, step: str) -> list[str]:
        """The paths of this step in all items; where there are lists within, these come with one look."""
        loop, bracket, rest = self._latest(step).partition("[]")
        if "[]" in rest and "[-1]" not in rest:
            self.want(item + rest.partition("[]")[0] for item in self._items(loop))
        return [one for item in self._items(loop) for one in self._each(item + rest)] if bracket else [loop]

    def _latest(self, step: str) -> str:
        """The path with the index of the last time where that is meant, as far as it is known in which item."""
        loop, last, rest = step.partition("[-1]")
        if not last or "[]" in loop:
            return step
        return self._latest(f"{loop}[{max(0, self.state(loop).begun - 1)}]{rest}")

    def _items(self, loop: str) -> list[str]:
        return [f"{loop}[{index}]" for index in range(self.state(loop).items)]

    def _collected(self, need: Need, step: str, around: Sequence[Callable[..., Any]]) -> Any:
        """The replies of all items, in the order of these, whatever order they came in."""
        step = self._latest(step)
        loop, bracket, rest = step.partition("[]")
        if not bracket:
            return self._message(need, step)
        return around[0](self._collected(need, item + rest, around[1:]) for item in self._items(loop))

    def _message(self, need: Need, step: str) -> Message | None:
        if not step:
            instance, name = self._instance, bare_name(need.message)
            bodies = {"start": instance.start, "failure": instance.failure}
            return _read(need.message, bodies.get(need.source) or dict(instance.updated).get(name, ""))
        if need.source == "refusal":
            return _read(need.message, self._refusal(need))
        state = self.state(step)
        kind = dict(need.by_choice).get(state.choice) if need.by_choice else need.message
        return _read(kind, state.command if need.source == "command" else state.reply)

    def _refusal(self, need: Need) -> str:
        """What was given with the refusal that the saga is undone for, if it is one of these."""
        if not self._instance.refusal:
            return ""
        failure = Failure.from_json(self._instance.failure)
        return self._instance.refusal if declared(failure.step) == need.step and failure.code in need.codes else ""


def _read(kind: type[Message] | None, body: str) -> Message | None:
    return kind.from_json(body) if body and kind else None


class Node(ABC):
    """A node of the tree, as the walk knows it. Either way says whether it is over; else it waits.

    A function of the declaration may be called on either way: BuildFailed comes through. So does TurnedBack."""

    __slots__ = ()
    path: str
    """Its name, behind those of the nodes around it; part of every command key."""

    def enter(self, turn: Turn) -> None:
        """The saga comes to it for the first time."""
        turn.reach(self.path)

    def ring(self, turn: Turn) -> bool:
        """The moment that it has set itself has come: whether what follows may be next."""
        return turn.wake(self.path)

    def turned(self, turn: Turn) -> None:
        """It only goes back from now on: what it waits for, nobody awaits any more."""
        if turn.state(self.path).parked:
            turn.change_node(self.path, parked="")

    def catches(self, turn: Turn, path: str) -> bool:
        """Whether what has failed at this path, within it, is undone within it, and the saga goes on."""
        return False

    def let_end(self, turn: Turn) -> None:  # noqa: B027  # only a nested saga waits for that
        """Nobody will undo it any more."""

    @abstractmethod
    def within(self, item: str) -> Self:
        """The same node in this item: `lines[3]`."""

    @abstractmethod
    def forward(self, turn: Turn) -> bool:
        """Do what is next in it."""

    @abstractmethod
    def backward(self, turn: Turn) -> bool:
        """Undo the newest of it that may have happened."""

    @abstractmethod
    def at_work(self, states: States, backward: bool) -> str | None:
        """The path of the leaf in it that is next in this direction; None where there is none."""
