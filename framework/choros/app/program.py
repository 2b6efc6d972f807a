"""A plain program that publishes facts of its own: a job, an importer, a person at the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from choros.errors import DeclarationError
from choros.messages import Fact
from choros.names import RESERVED_NAMES, is_name
from choros.saga.checks import is_a, listed, shown


@dataclass(frozen=True, slots=True, init=False)
class Program:
    """A program of its own, by the facts that it publishes; it has no database and handles nothing.

    `publisher_of(app, name, addresses)` publishes as this program, and so does `choros facts publish --program`."""

    name: str
    publishes: tuple[type[Fact], ...]

    def __init__(self, name: str, *, publishes: type[Fact] | Iterable[type[Fact]]) -> None:
        if not is_name(name) or name in RESERVED_NAMES:
            raise DeclarationError(f"{shown(name)} is no name for a program.", "lower-case words joined by '-' or '_'.")
        kinds = (publishes,) if isinstance(publishes, type) else listed(f"program {name!r}: publishes", publishes)
        for kind in kinds:
            if not is_a(kind, Fact):
                sentence = f"program {name!r} publishes {shown(kind)}, which is no Fact."
                raise DeclarationError(sentence, "name classes that are derived from choros.Fact.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "publishes", tuple(kinds))
