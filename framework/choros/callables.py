"""What may be called for a message: functions and methods, partials of them, and objects with an async `__call__`."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import CodeType
from typing import Any, get_type_hints

from choros.errors import DeclarationError

Function = Callable[..., Any]


def name_of(function: Function) -> str:
    """As its author calls it: the function under a partial, the class of an object."""
    inner = _unwrapped(function)
    return str(getattr(inner, "__name__", None) or type(inner).__name__)


def is_async(function: Function) -> bool:
    """Whether what it returns is to be awaited."""
    return inspect.iscoroutinefunction(_body(function))


def check_called(where: str, function: Any) -> None:
    """Raises DeclarationError for what cannot be a handler, with or without `async`."""
    if not callable(function):
        raise DeclarationError(f"{where} is no function.", "write async def.")
    if isinstance(function, type):
        raise DeclarationError(f"{where} is a class, not an object of it.", f"{function.__name__}(...).")
    if inspect.isasyncgenfunction(_body(function)) or inspect.isgeneratorfunction(_body(function)):
        raise DeclarationError(f"{where} yields, so it returns nothing.", "return what it comes to.")


def check_async(where: str, function: Any) -> None:
    """Raises DeclarationError for what cannot be awaited."""
    check_called(where, function)
    if not is_async(function):
        raise DeclarationError(f"{where} is not async.", "write async def.")


def hints_of(function: Callable[..., Any], where: str) -> Mapping[str, Any]:
    """The annotations of a function, evaluated; raises DeclarationError for one that says nothing."""
    try:
        return get_type_hints(function)
    except (NameError, AttributeError) as error:
        raise DeclarationError(
            f"{where} is annotated with {error.name}, which is not known.", "import the message at module level."
        ) from None
    except (TypeError, SyntaxError):
        raise DeclarationError(
            f"{where} has an annotation that is no type.", "annotate it with message classes."
        ) from None


def annotations_of(function: Function, where: str) -> Mapping[str, Any]:
    """What its parameters and what it returns are said to be, evaluated; raises DeclarationError."""
    return hints_of(_body(function), where)


def parameters_of(function: Function, where: str) -> Sequence[inspect.Parameter]:
    """Those that are to be filled: none that a partial has filled. Raises DeclarationError for `*args` and `**kwargs`,
    of which nobody knows what they want."""
    found = [one for one in inspect.signature(function).parameters.values() if one.name not in _bound(function)]
    for one in found:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            hint = "name what it takes; a decorator keeps the names with functools.wraps."
            raise DeclarationError(f"{where} takes {str(one).partition(':')[0]}, which says nothing of it.", hint)
    return found


def positional_only(parameters: Sequence[inspect.Parameter]) -> tuple[str, ...]:
    """Those that cannot be given by name."""
    return tuple(one.name for one in parameters if one.kind is one.POSITIONAL_ONLY)


def code_of(function: Function) -> CodeType | None:
    """What runs when it is called; None for what is not written in Python."""
    return getattr(inspect.unwrap(_body(function)), "__code__", None)


def _unwrapped(function: Function) -> Function:
    while isinstance(function, partial):
        function = function.func
    return function


def _body(function: Function) -> Function:
    """Where its annotations are."""
    inner = _unwrapped(function)
    return inner if inspect.isroutine(inner) or not callable(inner) else type(inner).__call__


def _bound(function: Function) -> Collection[str]:
    """What a partial has filled by name: it stands in its signature still, as a default."""
    return function.keywords if isinstance(function, partial) else ()
