"""Functions of the declaration, read once: each with what fills its parameters and what it builds."""

from collections.abc import Callable, Sequence
from typing import Any

from choros.errors import DeclarationError, with_article
from choros.messages import Command, Fact, Message
from choros.saga.checks import check_function, is_a, is_bare
from choros.saga.parameters import (
    Builder,
    Known,
    PureFunction,
    bare_name,
    members,
    needs_of,
    shown_type,
    signature_of,
    without_none,
)


def command_builder(function: Callable[..., Message | None], known: Known) -> Builder:
    """For a function that builds a command, or one of several, or perhaps none; raises DeclarationError."""
    return _builder(function, known, Command, "a Command", choosing=True)


def start_builder(function: Callable[..., Message | None], known: Known, start: type[Message]) -> Builder:
    """For a function that builds the start message of another saga, or perhaps none; raises DeclarationError."""
    builder = _builder(function, known, Message, with_article(start), choosing=True)
    if builder.kinds != (start,):
        returned = " or ".join(kind.__name__ for kind in builder.kinds)
        raise DeclarationError(
            f"saga {known.saga!r}: {function.__name__} returns {returned}, not {start.__name__}.",
            f"the other saga starts with that: let it return {with_article(start)}.",
        )
    return builder


def fact_builder(function: Callable[..., Message | None], known: Known) -> Builder:
    """For a function that builds a fact, or one of several, or perhaps none; raises DeclarationError."""
    return _builder(function, known, Fact, "a Fact", choosing=True)


def result_builder(function: Callable[..., Message], known: Known) -> Builder:
    """For a function that builds a saga's result, any message; raises DeclarationError."""
    return _builder(function, known, Message, "a Message")


def pure_function(function: Callable[..., Any], known: Known, wanted: type, hint: str = "") -> PureFunction:
    """For a function that returns a value of this very type; raises DeclarationError."""
    kind = with_article(wanted)
    check_function(known.saga, function, kind)
    _, returned = signature_of(function, known.saga)
    if returned is not wanted:
        raise DeclarationError(
            f"saga {known.saga!r}: {function.__name__} returns {shown_type(returned)}, not {kind}.",
            hint or f"let it return {kind}.",
        )
    return PureFunction(function, needs_of(function, known))


def _builder(
    function: Callable[..., Message | None], known: Known, wanted: type[Message], kind: str, *, choosing: bool = False
) -> Builder:
    check_function(known.saga, function, kind)
    _, annotated = signature_of(function, known.saga)
    returned, optional = without_none(annotated) if choosing else (annotated, False)
    kinds = members(returned) if choosing else (returned,)
    for one in kinds:
        if not is_a(one, wanted):
            raise _returns_none(known.saga, function.__name__, annotated, one, kind)
    _check_unlike(known.saga, function.__name__, kinds)
    return Builder(function, needs_of(function, known), kinds[0], kinds[1:], optional)


def _returns_none(saga: str, function: str, annotated: Any, one: Any, kind: str) -> DeclarationError:
    """The error for a function that returns what is none of this kind."""
    says_nothing = isinstance(one, type) and is_bare(one)
    return DeclarationError(
        f"saga {saga!r}: {function} returns {shown_type(annotated)},"
        f" {'which has no name on the wire' if says_nothing else f'not {kind}'}.",
        f"let it return {kind} of your own." if says_nothing else f"let it return {kind}.",
    )


def _check_unlike(saga: str, function: str, kinds: Sequence[type[Message]]) -> None:
    """What was chosen is kept by its name, in whatever version."""
    names = [bare_name(kind) for kind in kinds]
    for kind, name in zip(kinds, names, strict=True):
        if names.count(name) > 1:
            raise DeclarationError(
                f"saga {saga!r}: {function} may return several messages that are called {name}.",
                f"give {kind.__name__} another name.",
            )


def certain(builder: Builder, where: str, what: str, hint: str) -> Builder:
    """The same; raises DeclarationError where it may build nothing."""
    if builder.optional:
        raise DeclarationError(f"{where} {what}, but {builder.function.__name__} may return None.", hint)
    return builder
