"""The checks of a declaration that look at one value: each mistake is a sentence that names it, with a way out."""

import inspect
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from types import FunctionType
from typing import Any, TypeGuard

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message, Reply, Signal, Update
from choros.names import is_name
from choros.saga.policy import check_duration

_BARE = (Message, Command, Reply, Fact, Signal, Update)
HIGHEST_VERSION = 2**31 - 1
"""What CloudEvents calls an Integer."""


def shown(value: object) -> str:
    """A value as a newcomer would write it, in one short line."""
    function = getattr(value, "action", None) or getattr(value, "fact", None)
    if is_function(function):
        return f"{type(value).__name__}({function.__name__})"
    if is_function(value):
        return value.__name__
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def listed(what: str, value: object) -> tuple[Any, ...]:
    """The members of a sequence; raises DeclarationError where the comma of a tuple was forgotten."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(value)
    name = what.rpartition(" ")[2]
    raise DeclarationError(f"{what}={shown(value)} is no sequence.", f"write {name}=(...,), with a comma, or [...].")


def is_function(value: object) -> TypeGuard[FunctionType]:
    """Whether it is a function with a name of its own; Python 3.14 takes a partial, which has none, for a routine."""
    return inspect.isroutine(value) and not isinstance(value, partial)


def is_a(value: object, wanted: type[Message]) -> bool:
    """Whether it is a message type of this kind, and not what all of them derive from: that has no name of its own."""
    return isinstance(value, type) and issubclass(value, wanted) and not is_bare(value)


def is_bare(value: type[Message]) -> bool:
    """Whether messages derive from it, and it is none itself; `Command[Done]` is no more than `Command`."""
    origin = getattr(value, "__pydantic_generic_metadata__", {}).get("origin")
    return value in _BARE or origin in _BARE


def check_head(saga: object, version: object, start: object) -> None:
    """What a saga is called, counted as and started with."""
    if not is_name(saga):
        raise DeclarationError(f"{shown(saga)} is no name for a saga.", "use lower-case words joined by '-' or '_'.")
    if not isinstance(version, int) or isinstance(version, bool):
        raise DeclarationError(f"saga {saga!r}: version {shown(version)} is no whole number.", "count from 1.")
    if version < 1:
        raise DeclarationError(f"saga {saga!r}: version {version} is less than 1.", "count versions from 1.")
    if version > HIGHEST_VERSION:
        raise DeclarationError(f"saga {saga!r}: version {version} is too high to be sent.", "count versions from 1.")
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
        check_duration(f"saga {saga!r}", "deadline", deadline, least=timedelta(microseconds=1))


def check_function(saga: str, function: object, wanted: str) -> None:
    """Whether it is a plain function: a partial or a class has no annotations of its own to read."""
    if not is_function(function):
        raise DeclarationError(f"saga {saga!r}: {shown(function)} is no function.", f"write one that returns {wanted}.")


def check_count(where: str, name: str, count: object, most: int) -> None:
    """Whether it is a number from one to the most."""
    if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= most:
        return
    raise DeclarationError(
        f"{where}: {name}={shown(count)} is no number from 1 to {most}.", f"write {name}=10, for example."
    )
