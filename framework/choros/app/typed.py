"""What a type checker knows of a handler: which message it takes first, and what it answers. At run time, nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from choros.app.later import Later

C = TypeVar("C")
R = TypeVar("R")
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
