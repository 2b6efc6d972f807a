"""The declaration read once: each function with what fills its parameters, and every impossibility as a sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message, Reply
from choros.names import RESERVED_NAMES, valid_name
from choros.saga.parameters import Known, Need, needs_of, signature_of
from choros.saga.steps import CommandBuilder, FactBuilder, Node, Pivot, Publish, Retriable, Step


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
        return cast(type[Command[Any]], self.action.builds)

    @property
    def compensation(self) -> type[Command[Any]] | None:
        """The type of the command that undoes it, if any."""
        return cast(type[Command[Any]], self.undo.builds) if self.undo else None


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
    version: int,
    start: type[Message],
    nodes: Sequence[Node],
    completed: Sequence[FactBuilder],
    compensated: Sequence[FactBuilder],
) -> Plan:
    """Read and check a declaration; raises DeclarationError."""
    _check_head(saga, version, start, nodes)
    names = _names(saga, nodes)
    pivot = _check_order(saga, nodes, names)
    replies: list[tuple[int, str, type[Reply]]] = []
    steps: list[Planned] = []
    for index, node in enumerate(nodes):
        steps.append(_plan_node(saga, start, index, names[index], node, tuple(replies)))
        if not isinstance(node, Publish):
            replies.append((index, names[index], steps[-1].command.reply_type))
    done = Known(saga, start, tuple(replies))
    undone = Known(saga, start, (), tuple(replies), failure=True)
    return Plan(
        start,
        tuple(steps),
        tuple(_fact_builder(saga, function, done) for function in completed),
        tuple(_fact_builder(saga, function, undone) for function in compensated),
        pivot,
    )


def _check_head(saga: str, version: int, start: type[Message], nodes: Sequence[Node]) -> None:
    if not valid_name(saga):
        raise DeclarationError(f"{saga!r} is no name for a saga.", "use lower-case words joined by '-' or '_'.")
    if version < 1:
        raise DeclarationError(f"saga {saga!r}: version {version} is less than 1.", "count versions from 1.")
    if not _is_message(start):
        raise DeclarationError(f"saga {saga!r}: start={start!r} is no message type.", "derive it from choros.Message.")
    if not any(isinstance(node, (Step, Pivot, Retriable)) for node in nodes):
        raise DeclarationError(f"saga {saga!r} commands nobody.", "give it at least one Step, Pivot or Retriable.")


def _is_message(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Message)


def _names(saga: str, nodes: Sequence[Node]) -> list[str]:
    names = [_name(saga, node) for node in nodes]
    for name in names:
        if not valid_name(name):
            raise DeclarationError(f"saga {saga!r}: {name!r} is no name for a step.", "give it one: name='...'.")
        if names.count(name) > 1:
            raise DeclarationError(f"saga {saga!r}: two steps are called {name}.", "give one of them name='...'.")
    return names


def _name(saga: str, node: Node) -> str:
    if not isinstance(node, (Step, Pivot, Retriable, Publish)):
        raise DeclarationError(f"saga {saga!r}: {node!r} is no step.", "use Step, Pivot, Retriable or Publish.")
    function = node.fact if isinstance(node, Publish) else node.action
    return node.name or str(getattr(function, "__name__", ""))


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


def _check_commanded(saga: str, name: str, node: Step | Pivot | Retriable) -> None:
    if not valid_name(node.to):
        raise DeclarationError(
            f"saga {saga!r}: {name} goes to {node.to!r}, which is no name for a service.",
            "use lower-case words joined by '-' or '_'.",
        )
    if node.to in RESERVED_NAMES:
        raise DeclarationError(
            f"saga {saga!r}: {name} goes to {node.to!r}, a name that choros keeps for itself.",
            "give the service another name.",
        )
    if node.timeout <= timedelta(0):
        raise DeclarationError(f"saga {saga!r}: {name} has no time to answer.", "give it a timeout above zero.")


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


def _builder(saga: str, function: Callable[..., Message], known: Known, wanted: type[Message], shown: str) -> Builder:
    if not inspect.isroutine(function):  # a partial or a class has no annotations of its own to read
        raise DeclarationError(f"saga {saga!r}: {function!r} is no function.", f"write one that returns {shown}.")
    _, returned = signature_of(function, saga)
    if not (isinstance(returned, type) and issubclass(returned, wanted)):
        raise DeclarationError(
            f"saga {saga!r}: {function.__name__} returns {getattr(returned, '__name__', returned)}, not {shown}.",
            f"let it return {shown}.",
        )
    return Builder(function, needs_of(function, known), returned)
