"""The checks of a declaration that look at one value: each mistake is a sentence that names it, with a way out."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from choros.errors import DeclarationError
from choros.messages import Message
from choros.names import RESERVED_NAMES, valid_name
from choros.saga.policy import RetryPolicy, check_timedelta
from choros.saga.steps import Commanded, Pivot, Publish, Retriable, Step


def shown(value: object) -> str:
    """A value as a newcomer would write it, in one short line."""
    if isinstance(value, (Step, Pivot, Retriable, Publish)):
        function = value.fact if isinstance(value, Publish) else value.action
        return f"{type(value).__name__}({shown(function)})"
    if inspect.isroutine(value):
        return value.__name__
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def listed(what: str, value: object) -> tuple[Any, ...]:
    """The members of a sequence; raises DeclarationError where the comma of a tuple was forgotten."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(value)
    name = what.rpartition(" ")[2]
    raise DeclarationError(f"{what}={shown(value)} is no sequence.", f"write {name}=(..., ), with a comma, or [...].")


def is_name(value: object) -> bool:
    """Whether it is a string that a saga, step or service may be called."""
    return isinstance(value, str) and valid_name(value)


def is_a(value: object, wanted: type[Message]) -> bool:
    """Whether it is a message type of this kind."""
    return isinstance(value, type) and issubclass(value, wanted)


def check_head(saga: object, version: object, start: object) -> None:
    """What a saga is called, counted as and started with."""
    if not is_name(saga):
        raise DeclarationError(f"{shown(saga)} is no name for a saga.", "use lower-case words joined by '-' or '_'.")
    if not isinstance(version, int):
        raise DeclarationError(f"saga {saga!r}: version {shown(version)} is no whole number.", "count from 1.")
    if version < 1:
        raise DeclarationError(f"saga {saga!r}: version {version} is less than 1.", "count versions from 1.")
    if not is_a(start, Message):
        raise DeclarationError(
            f"saga {saga!r}: start={shown(start)} is no message type.", "derive it from choros.Message."
        )


def check_start(saga: str, key: object, deadline: object) -> None:
    """What else is said of a saga's start."""
    if key is not None and not callable(key):
        field = key if isinstance(key, str) and key.isidentifier() else "id"
        raise DeclarationError(
            f"saga {saga!r}: key={shown(key)} is no function.", f"write key=lambda start: start.{field}."
        )
    if deadline is not None:
        check_timedelta(f"saga {saga!r}", "deadline", deadline)


def check_steps(saga: str, nodes: Iterable[object]) -> None:
    """Whether all are steps, and one of them commands somebody."""
    commands = False
    for node in nodes:
        if not isinstance(node, (Step, Pivot, Retriable, Publish)):
            raise DeclarationError(f"saga {saga!r}: {shown(node)} is no step.", _wrapped(node))
        commands = commands or not isinstance(node, Publish)
    if not commands:
        raise DeclarationError(f"saga {saga!r} commands nobody.", "give it at least one Step, Pivot or Retriable.")


def _wrapped(node: object) -> str:
    if inspect.isroutine(node):
        return f"wrap the function: Step({node.__name__}, to='...', compensation=...)."
    return "use Step, Pivot, Retriable or Publish."


def check_function(saga: str, function: object, wanted: str) -> None:
    """Whether it is a plain function: a partial or a class has no annotations of its own to read."""
    if not inspect.isroutine(function):
        raise DeclarationError(f"saga {saga!r}: {shown(function)} is no function.", f"write one that returns {wanted}.")


def check_commanded(saga: str, name: str, node: Commanded) -> None:
    """Where a command goes, and how long it is waited for."""
    _check_destination(saga, name, node.to)
    where = f"saga {saga!r}: {name}"
    check_timedelta(where, "timeout", node.timeout)
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
