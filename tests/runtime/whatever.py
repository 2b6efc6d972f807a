"""Every exception that there is, and a few that there may be."""

from __future__ import annotations

import builtins
import decimal
from collections.abc import Callable, Iterator
from typing import Any

from choros.errors import (
    ChorosError,
    DeclarationError,
    MessageRejected,
    Refused,
    StartConflict,
    StoreMisconfigured,
    StoreUnreachable,
)


class Panic(BaseException):
    """What a Rust extension raises when it panics is no Exception either."""


class Wordless(Exception):
    """It cannot be printed."""

    def __str__(self) -> str:
        raise Panic

    __repr__ = __str__


class Shapeless(Refused):
    """A refusal that forgot its own constructor."""

    def __init__(self) -> None:
        self.detail = 4  # type: ignore[assignment] # a user's mistake


class Numbered(Refused):
    """A refusal that is given another code afterwards."""

    def __init__(self) -> None:
        super().__init__("card_declined")
        self.code = 404  # type: ignore[assignment] # a user's mistake


EXITS = ("SystemExit", "KeyboardInterrupt")
OWN: list[Callable[[], BaseException]] = [
    Panic,
    Wordless,
    Shapeless,
    Numbered,
    decimal.InvalidOperation,
    lambda: BaseExceptionGroup("several", [Panic(), ValueError()]),
    lambda: ExceptionGroup("several", [ValueError()]),
    lambda: Refused("moon_phase", "undeclared"),
    lambda: ChorosError("A sentence."),
    lambda: StoreUnreachable("Another database is away."),
    lambda: StoreMisconfigured("Another database is wrong."),
    lambda: DeclarationError("Something is wrong."),
    lambda: MessageRejected("A message of somebody else's."),
    lambda: StartConflict("Another saga."),
    lambda: type("Long" * 10_000, (Exception,), {})(),
]


def _builtins() -> Iterator[Callable[[], BaseException]]:
    for name, kind in sorted(vars(builtins).items()):
        if isinstance(kind, type) and issubclass(kind, BaseException) and name == kind.__name__ not in EXITS:
            yield lambda kind=kind: _made(kind)  # type: ignore[misc] # mypy knows no defaults of a lambda


def _made(kind: type[BaseException]) -> BaseException:
    special: dict[str, tuple[Any, ...]] = {
        "UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "why"),
        "UnicodeEncodeError": ("utf-8", "\ud800", 0, 1, "why"),
        "UnicodeTranslateError": ("x", 0, 1, "why"),
        "BaseExceptionGroup": ("several", [ValueError()]),
        "ExceptionGroup": ("several", [ValueError()]),
    }
    return kind(*special.get(kind.__name__, ()))


def _with_asyncio() -> list[Callable[[], BaseException]]:
    import asyncio

    return [asyncio.CancelledError, asyncio.InvalidStateError, asyncio.QueueEmpty]


EVERYTHING: list[Callable[[], BaseException]] = [*_builtins(), *_with_asyncio(), *OWN]
"""By number: how to make each of them."""


def bang(how: str) -> None:
    """Raise the exception of this number, if it is one."""
    if how.isdecimal():
        raise EVERYTHING[int(how)]()
