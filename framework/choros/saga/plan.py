"""The declaration read once: each function with what fills its parameters, and every impossibility as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message, Reply
from choros.names import RESERVED_NAMES, valid_name
from choros.saga.checks import check_function, is_a, is_bare, is_function, is_name, shown
from choros.saga.nodes.steps import CommandBuilder, Commanded, FactBuilder, Node, Pivot, Publish, Retriable, Step
from choros.saga.parameters import Known, Need, needs_of, shown_type, signature_of
from choros.saga.policy import RetryPolicy, check_duration


@dataclass(frozen=True, slots=True)
class Builder:
    """A function of the declaration, with what fills its parameters and what it builds."""

    function: Callable[..., Message]
    needs: tuple[Need, ...]
    builds: type[Message]


@dataclass(frozen=True, slots=True)
class Planned:
    """A node of the saga with everything that was read from its functions."""

    index: int
    name: str
    node: Node
    action: Builder
    """Builds the command, or the fact."""
    undo: Builder | None = None
    """Builds the compensation, or the retraction."""

    @property
    def command(self) -> type[Command[Any]]:
        """The type of the command; only for commanded steps."""
        return cast("type[Command[Any]]", self.action.builds)  # as text: pydantic would build it at every call

    @property
    def compensation(self) -> type[Command[Any]] | None:
        """The type of the command that undoes it, if any."""
        return cast("type[Command[Any]]", self.undo.builds) if self.undo else None


@dataclass(frozen=True, slots=True)
class Plan:
    """A saga that has passed every check."""

    start: type[Message]
    steps: tuple[Planned, ...]
    completed: tuple[Builder, ...]
    compensated: tuple[Builder, ...]
    pivot: int | None
    """Index of the pivot, if there is one."""

    def find(self, name: str) -> Planned | None:
        """The step of this name."""
        return next((planned for planned in self.steps if planned.name == name), None)


def make_plan(
    saga: str,
    start: type[Message],
    nodes: Sequence[Node],
    completed: Sequence[FactBuilder],
    compensated: Sequence[FactBuilder],
) -> Plan:
    """Read and check a declaration; raises DeclarationError."""
    _check_steps(saga, nodes)
    names = _names(saga, nodes)
    pivot = _check_order(saga, nodes, names)
    replies: list[tuple[int, str, type[Reply]]] = []
    steps: list[Planned] = []
    for index, node in enumerate(nodes):
        steps.append(_plan_node(saga, start, index, names[index], node, tuple(replies)))
        if not isinstance(node, Publish):
            replies.append((index, names[index], steps[-1].command.reply_type))
    done = Known(saga, start, tuple(replies), no_failure="a completed saga has no failure")
    undone = Known(saga, start, (), tuple(replies), failure=True)
    closing = tuple(_fact_builder(saga, function, undone) for function in compensated)
    _check_taken_back_once(saga, steps, closing)
    return Plan(
        start, tuple(steps), tuple(_fact_builder(saga, function, done) for function in completed), closing, pivot
    )


def _check_taken_back_once(saga: str, steps: Iterable[Planned], closing: Iterable[Builder]) -> None:
    """A reaction that is undone about the retraction must not be undone about the closing fact again."""
    last = {builder.builds for builder in closing}
    for planned in steps:
        if isinstance(planned.node, Publish) and planned.undo and planned.undo.builds in last:
            raise DeclarationError(
                f"saga {saga!r}: {planned.undo.builds.__name__} takes back what {planned.name} published, and is"
                " published again at the end.",
                "give the closing fact a type of its own.",
            )


def _check_steps(saga: str, nodes: Iterable[object]) -> None:
    """Whether all are steps, and one of them commands somebody."""
    commands = False
    for node in nodes:
        if not isinstance(node, (Step, Pivot, Retriable, Publish)):
            raise DeclarationError(f"saga {saga!r}: {shown(node)} is no step.", _wrapped(node))
        commands = commands or not isinstance(node, Publish)
    if not commands:
        raise DeclarationError(f"saga {saga!r} commands nobody.", "give it at least one Step, Pivot or Retriable.")


def _wrapped(node: object) -> str:
    if is_function(node):
        return f"wrap the function: Step({node.__name__}, to='...', compensation=...)."
    return "use Step, Pivot, Retriable or Publish."


def _names(saga: str, nodes: Sequence[Node]) -> list[str]:
    names = [_name(saga, node) for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise DeclarationError(f"saga {saga!r}: two steps are called {name}.", "give one of them name='...'.")
    return names


def _name(saga: str, node: Node) -> str:
    function: Callable[..., Message] = node.fact if isinstance(node, Publish) else node.action
    check_function(saga, function, "a Fact" if isinstance(node, Publish) else "a Command")
    name = node.name or function.__name__
    if not is_name(name):
        raise DeclarationError(f"saga {saga!r}: {name!r} is no name for a step.", "give it one: name='...'.")
    if isinstance(node, Publish):
        _check_published(saga, node)
    return name


def _check_published(saga: str, node: Publish) -> None:
    """Told before anything else of the node: a command in a `Publish` often stands beside its own Step."""
    _, returned = signature_of(node.fact, saga)
    if is_a(returned, Command):
        raise DeclarationError(
            f"saga {saga!r}: Publish takes a function that returns a Fact, but {shown(node.fact)} returns"
            f" {returned.__name__}, a Command.",
            "publish a Fact, or make it a Step with to='...'.",
        )


def _check_order(saga: str, nodes: Sequence[Node], names: Sequence[str]) -> int | None:
    """Steps before the pivot, retriable ones after it; returns the pivot's index."""
    pivots = [i for i, node in enumerate(nodes) if isinstance(node, Pivot)]
    if len(pivots) > 1:
        raise DeclarationError(
            f"saga {saga!r} has two pivots, {names[pivots[0]]} and {names[pivots[1]]}.",
            "keep one; what follows it is Retriable.",
        )
    pivot = pivots[0] if pivots else None
    for index, (node, name) in enumerate(zip(nodes, names, strict=True)):
        _check_place(saga, node, name, passed=pivot is not None and index > pivot, pivot=pivot)
    return pivot


def _check_place(saga: str, node: Node, name: str, *, passed: bool, pivot: int | None) -> None:
    if isinstance(node, Step) and passed:
        raise DeclarationError(
            f"saga {saga!r}: {name} can be undone, but stands after the pivot.", "make it Retriable or move it."
        )
    if isinstance(node, Step) and node.compensation is None:
        raise DeclarationError(
            f"saga {saga!r}: {name} has no compensation, so it would stay when the saga is undone.",
            "add compensation=..., or make it the Pivot or Retriable.",
        )
    if isinstance(node, Retriable) and not passed:
        reason = "there is none" if pivot is None else "it comes later"
        raise DeclarationError(
            f"saga {saga!r}: {name} is Retriable, so it must stand after the pivot, but {reason}.",
            "make it a Step with a compensation.",
        )
    if isinstance(node, Publish) and node.early and node.retraction is None:
        raise DeclarationError(
            f"saga {saga!r}: {name} is published early, but nothing takes it back when the saga is undone.",
            "add retraction=..., or leave out early=True.",
        )


def _plan_node(
    saga: str,
    start: type[Message],
    index: int,
    name: str,
    node: Node,
    replies: tuple[tuple[int, str, type[Reply]], ...],
) -> Planned:
    known = Known(saga, start, replies)
    if isinstance(node, Publish):
        retraction = _fact_builder(saga, node.retraction, known) if node.retraction else None
        return Planned(index, name, node, _fact_builder(saga, node.fact, known), retraction)
    _check_commanded(saga, name, node)
    action = _command_builder(saga, node.action, known)
    planned = Planned(index, name, node, action)
    if isinstance(node, Retriable) and planned.command.refusals:
        raise DeclarationError(
            f"saga {saga!r}: {name} stands after the pivot, but {action.builds.__name__} may be refused"
            f" ({', '.join(planned.command.refusals)}).",
            "take the refusals away, or move the step before the pivot.",
        )
    if not isinstance(node, Step):
        return planned
    own = (index, name, planned.command.reply_type)
    compensation = cast(CommandBuilder, node.compensation)  # _check_place has refused a Step without one
    undo = _command_builder(saga, compensation, Known(saga, start, replies, (own,)))
    planned = Planned(index, name, node, action, undo)
    _check_compensation(saga, planned)
    return planned


def _check_commanded(saga: str, name: str, node: Commanded) -> None:
    """Where a command goes, and how long it is waited for."""
    _check_destination(saga, name, node.to)
    where = f"saga {saga!r}: {name}"
    check_duration(where, "timeout", node.timeout)
    if node.timeout <= timedelta(0):
        raise DeclarationError(f"{where} has no time to answer.", "give it a timeout above zero.")
    _check_retry(where, "retry", node.retry)
    if isinstance(node, Step):
        _check_retry(where, "undo_retry", node.undo_retry)


def _check_destination(saga: str, name: str, to: object) -> None:
    if not isinstance(to, str):
        called = getattr(to, "name", "...")
        raise DeclarationError(
            f"saga {saga!r}: {name} goes to {shown(to)}, which is not the name of a service.",
            f"write the name itself: to={called!r}.",
        )
    if not valid_name(to):
        raise DeclarationError(
            f"saga {saga!r}: {name} goes to {to!r}, which is no name for a service.",
            "use lower-case words joined by '-' or '_'.",
        )
    if to in RESERVED_NAMES:
        raise DeclarationError(
            f"saga {saga!r}: {name} goes to {to!r}, a name that choros keeps for itself.",
            "give the service another name.",
        )


def _check_retry(where: str, name: str, retry: object) -> None:
    if not isinstance(retry, RetryPolicy):
        raise DeclarationError(
            f"{where}: {name}={shown(retry)} is no RetryPolicy.", f"write {name}=RetryPolicy(attempts=3), for example."
        )


def _check_compensation(saga: str, planned: Planned) -> None:
    undo = planned.compensation
    if undo and undo.refusals:
        raise DeclarationError(
            f"saga {saga!r}: {undo.__name__} undoes {planned.name}, but may be refused ({', '.join(undo.refusals)}).",
            "a compensation has to be possible: take its refusals away.",
        )


def _command_builder(saga: str, function: Callable[..., Message], known: Known) -> Builder:
    return _builder(saga, function, known, Command, "a Command")


def _fact_builder(saga: str, function: Callable[..., Message], known: Known) -> Builder:
    return _builder(saga, function, known, Fact, "a Fact")


def _builder(saga: str, function: Callable[..., Message], known: Known, wanted: type[Message], kind: str) -> Builder:
    check_function(saga, function, kind)
    _, returned = signature_of(function, saga)
    if not is_a(returned, wanted):
        says_nothing = isinstance(returned, type) and is_bare(returned)
        raise DeclarationError(
            f"saga {saga!r}: {function.__name__} returns {shown_type(returned)},"
            f" {'which has no name on the wire' if says_nothing else f'not {kind}'}.",
            f"let it return {kind} of your own." if says_nothing else f"let it return {kind}.",
        )
    return Builder(function, needs_of(function, known), returned)
