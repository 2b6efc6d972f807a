"""What a type checker knows of a handler: which message it takes first, and what it answers. At run time, nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypedDict, TypeVar, overload

from choros.app.hearing import Batch, Rate
from choros.app.joining import F1, F2, F3, F4, AnyJoin, Undone
from choros.app.later import Later
from choros.app.sending import Stamp
from choros.messages import Fact

C = TypeVar("C")
R = TypeVar("R")
HeardOf = type[Fact] | AnyJoin
Command_co = TypeVar("Command_co", covariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)
P = ParamSpec("P")


class CommandClass(Protocol[Command_co, Reply_co]):
    """A class of commands, by its own type and that of its reply."""

    def command_and_reply(self) -> tuple[type[Command_co], type[Reply_co]]:
        """Both of them."""


class Registers(Protocol[Command_co, R]):
    """A decorator for handlers that take this command first, and answer it with this reply; of other commands, too."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Command_co, P], Coroutine[Any, Any, R]], /
    ) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Command_co, P], Coroutine[Any, Any, R | Later]], /
    ) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R | Later]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Command_co, P], R], /) -> Callable[Concatenate[Any, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Command_co, P], R | Later], /
    ) -> Callable[Concatenate[Any, P], R | Later]: ...


T = TypeVar("T", bound=Fact)
T2 = TypeVar("T2", bound=Fact)
T3 = TypeVar("T3", bound=Fact)
T4 = TypeVar("T4", bound=Fact)
S = TypeVar("S", bound=Stamp)
Fact_co = TypeVar("Fact_co", covariant=True)


class Reacts(Protocol[Fact_co]):
    """A decorator for handlers that take this fact first, or a list of such facts."""

    @overload
    def __call__(self, function: Callable[Concatenate[Fact_co, P], R], /) -> Callable[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[list[Fact_co], P], R], /) -> Callable[Concatenate[Any, P], R]: ...


class ReactsToAll(Protocol[F1, F2, F3, F4]):
    """A decorator for handlers that take one of these facts first; it may leave others of them out, in any order."""

    @overload
    def __call__(self, function: Callable[Concatenate[F1, P], R], /) -> Callable[Concatenate[F1, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[F2, P], R], /) -> Callable[Concatenate[F2, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[F3, P], R], /) -> Callable[Concatenate[F3, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[F4, P], R], /) -> Callable[Concatenate[F4, P], R]: ...


class ReactionOptions(TypedDict, total=False):
    """What may be said of a reaction where it is registered: see `Service.on`."""

    undoes: Undone | None
    effect: str
    gives_up: Callable[..., Fact] | None
    publishes: type[Fact] | Iterable[type[Fact]]
    where: Mapping[str, Any] | None
    batch: Batch | None
    at_most: Rate | None
    concurrency: int | None
    handler_time: timedelta | None
