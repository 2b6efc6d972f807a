"""A node that commands a service and awaits its answer: what all steps have in common."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, Self

from choros.errors import DeclarationError
from choros.messages import Command, Reply
from choros.names import RESERVED_NAMES, is_name
from choros.saga.builders import command_builder
from choros.saga.checks import check_function, shown
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Node, Turn
from choros.saga.machine.walk import send_first
from choros.saga.outline import Commanded, Declared, TurningPoints
from choros.saga.parameters import Builder, NodePlace
from choros.saga.paths import in_item
from choros.saga.policy import DEFAULT_TIMEOUT, RetryPolicy, check_duration

CommandBuilder = Callable[..., Command[Any] | None]


@dataclass(frozen=True, slots=True)
class CommandNode(Commanded, Node):
    """The node, and the ways through it."""

    def within(self, item: str) -> Self:
        """Its functions are asked for what is known in that item."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Send its command, and wait for the answer."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if state.progress == "pending":
            return False if self.kind == "pivot" and turn.busy else self._begun(turn)
        return True

    def _begun(self, turn: Turn) -> bool:
        """What its function chooses is decided here, once: it is kept, also that there is nothing to do."""
        made = turn.made(self.action, self.path)
        if made is None:
            turn.pass_over(self.path)
            return True
        asked = self.undo is not None and any(need.source == "command" for need in self.undo.needs)
        turn.change_node(self.path, choice=self.action.choice(made.kind), command=made.body if asked else "")
        send_first(turn, self, "do", made.body)
        turn.change_node(self.path, progress="sent")
        return False

    def backward(self, turn: Turn) -> bool:
        """Send the command that undoes it, if it may have happened, and wait for the answer."""
        state = turn.state(self.path)
        if state.leg or state.parked:
            return False
        if self.undo and state.progress in ("ok", "in_doubt"):
            return not turn.is_needed(self.path) and self._taken_back(turn, self.undo)
        return True

    def _taken_back(self, turn: Turn, undo: Builder) -> bool:
        made = turn.made(undo, self.path)
        if made is None:
            turn.change_node(self.path, progress="undone")
            turn.note("passed_over", self.path, operation="undo")
            return True
        send_first(turn, self, "undo", made.body, choice=undo.choice(made.kind))
        return False

    def turned(self, turn: Turn) -> None:
        """Of what is under way nobody knows any more, so it is undone too, as the newest, and not tried again. An undo
        goes on as it is."""
        state = turn.state(self.path)
        if state.leg and state.closes == "undo":
            return
        Node.turned(self, turn)
        if state.progress == "sent":
            turn.take_back(self.path)
            turn.change_node(self.path, progress="in_doubt", leg=None)
            turn.accept(self.path)

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        own = states.of(self.path)
        if backward:
            return self.path if own.leg or (self.undo and own.progress in ("ok", "in_doubt")) else None
        return None if own.progress in ("ok", "passed_over") else self.path


@dataclass(frozen=True, slots=True)
class Commands(Declared):
    """What a user writes of a node that commands somebody."""

    action: CommandBuilder
    to: str
    timeout: timedelta = field(default=DEFAULT_TIMEOUT, kw_only=True)
    """How long one attempt, of the step or of its undo, may go unanswered."""
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True)
    finished_within: timedelta | None = field(default=None, kw_only=True)
    """How long it may take where its service says that it is finished later, from outside; None: it may not say so."""
    name: str = field(default="", kw_only=True)
    """The name of the function, if not given. It is part of every command key, so it must not change."""

    @property
    def called(self) -> str:
        """As its function is."""
        return self.action.__name__

    def check(self, saga: str) -> None:
        """Whether it has a function."""
        check_function(saga, self.action, "a Command")

    def node(self, place: NodePlace, kind: str, turns_on: TurningPoints | None = None, **more: Any) -> CommandNode:
        """The node of this kind; raises DeclarationError. Before the pivot a saga turns on whatever its retries say."""
        _check_destination(place, self.to)
        check_duration(place.where, "timeout", self.timeout)
        if self.timeout <= timedelta(0):
            raise DeclarationError(f"{place.where} has no time to answer.", "give it a timeout above zero.")
        check_retry(place, "retry", self.retry)
        if self.finished_within is not None:
            check_duration(place.where, "finished_within", self.finished_within, least=timedelta(seconds=1))
        given = {"undo_retry": self.retry, "expires": False, **more}
        action = command_builder(self.action, place.known)
        _check_refusals(place, action.kinds)
        return CommandNode(
            path=place.path, kind=kind, to=self.to, action=action,
            timeout=self.timeout, retry=self.retry, finished_within=self.finished_within,
            turns_on=_before_pivot(self.retry) if turns_on is None else turns_on, **given,
        )  # fmt: skip


def check_taken(place: NodePlace, within: timedelta | None, node: CommandNode) -> None:
    """Raises DeclarationError for what is no bound on the time until a command is taken."""
    if within is None:
        return
    check_duration(place.where, "taken_within", within)
    if within <= timedelta(0):
        raise DeclarationError(
            f"{place.where} could never be taken.", "give it a taken_within above zero, or none, and it has no bound."
        )
    if within >= (longest := max(node.timeout, node.retry.total)):
        raise DeclarationError(
            f"{place.where}: taken_within={within} bounds nothing: after {longest} nobody wants it any more.",
            "make it shorter than timeout and the retries' total, or leave it out.",
        )


def _before_pivot(retry: RetryPolicy) -> TurningPoints:
    return frozenset({"refused", "in_doubt"} if retry.exhausted == "compensate" else {"refused"})


def _check_refusals(place: NodePlace, commands: Iterable[type[Any]]) -> None:
    """What is given with a refusal is read by its code alone, whichever command was chosen."""
    seen: dict[str, type[Reply]] = {}
    for command in commands:
        for code, data in command.refusal_data.items():
            if seen.setdefault(code, data) is not data:
                raise DeclarationError(
                    f"{place.where} may be refused as {code!r} with {seen[code].__name__} or {data.__name__}, as it"
                    " chooses.",
                    "give one of them another code.",
                )


UndoExhausted = Literal["park", "skip"]
"""What becomes of a saga whose undo was tried as often as it may be: it waits for a person; or it goes on without."""


def check_undo_exhausted(place: NodePlace, given: object) -> bool:
    """Whether the saga goes on without such an undo; raises DeclarationError for what means nothing."""
    if given not in ("park", "skip"):
        raise DeclarationError(
            f"{place.where}: undo_exhausted={shown(given)} means nothing.", "write 'park' or 'skip'."
        )
    return given == "skip"


def check_retry(place: NodePlace, name: str, retry: object) -> None:
    """Raises DeclarationError for what is no policy."""
    if not isinstance(retry, RetryPolicy):
        raise DeclarationError(
            f"{place.where}: {name}={shown(retry)} is no RetryPolicy.",
            f"write {name}=RetryPolicy(attempts=3), for example.",
        )


def _check_destination(place: NodePlace, to: object) -> None:
    if not isinstance(to, str):
        called = getattr(to, "name", "...")
        raise DeclarationError(
            f"{place.where} goes to {shown(to)}, which is not the name of a service.",
            f"write the name itself: to={called!r}.",
        )
    if not is_name(to):
        raise DeclarationError(
            f"{place.where} goes to {to!r}, which is no name for a service.",
            "use lower-case words joined by '-' or '_'.",
        )
    if to in RESERVED_NAMES:
        raise DeclarationError(
            f"{place.where} goes to {to!r}, a name that choros keeps for itself.", "give the service another name."
        )
