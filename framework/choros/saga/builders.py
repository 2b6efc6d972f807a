"""Functions of the declaration, read once: each with what fills its parameters and what it builds."""

from collections.abc import Callable
from typing import Any

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message
from choros.saga.checks import check_function, is_a, is_bare
from choros.saga.parameters import Builder, Known, PureFunction, needs_of, shown_type, signature_of


def command_builder(function: Callable[..., Message], known: Known) -> Builder:
    """For a function that builds a command; raises DeclarationError."""
    return _builder(function, known, Command, "a Command")


def fact_builder(function: Callable[..., Message], known: Known) -> Builder:
    """For a function that builds a fact; raises DeclarationError."""
    return _builder(function, known, Fact, "a Fact")


def result_builder(function: Callable[..., Message], known: Known) -> Builder:
    """For a function that builds a saga's result, any message; raises DeclarationError."""
    return _builder(function, known, Message, "a Message")


def pure_function(function: Callable[..., Any], known: Known, wanted: type, hint: str = "") -> PureFunction:
    """For a function that returns a value of this very type; raises DeclarationError."""
    kind = f"a {wanted.__name__}"
    check_function(known.saga, function, kind)
    _, returned = signature_of(function, known.saga)
    if returned is not wanted:
        raise DeclarationError(
            f"saga {known.saga!r}: {function.__name__} returns {shown_type(returned)}, not {kind}.",
            hint or f"let it return {kind}.",
        )
    return PureFunction(function, needs_of(function, known))


def _builder(function: Callable[..., Message], known: Known, wanted: type[Message], kind: str) -> Builder:
    check_function(known.saga, function, kind)
    _, returned = signature_of(function, known.saga)
    if not is_a(returned, wanted):
        says_nothing = isinstance(returned, type) and is_bare(returned)
        raise DeclarationError(
            f"saga {known.saga!r}: {function.__name__} returns {shown_type(returned)},"
            f" {'which has no name on the wire' if says_nothing else f'not {kind}'}.",
            f"let it return {kind} of your own." if says_nothing else f"let it return {kind}.",
        )
    return Builder(function, needs_of(function, known), returned)
