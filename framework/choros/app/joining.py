"""What a reaction waits for: several facts of one flow, and the name of what is done about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, overload

from choros.errors import DeclarationError
from choros.messages import Fact, Message

_EFFECT = re.compile(r"[a-z][a-z0-9_-]{0,63}")


F1 = TypeVar("F1", bound=Fact)
F2 = TypeVar("F2", bound=Fact)
F3 = TypeVar("F3", bound=Fact)
F4 = TypeVar("F4", bound=Fact)


@dataclass(frozen=True, slots=True)
class AllOf(Generic[F1, F2, F3, F4]):
    """Several facts of one flow, which a reaction waits for until each has come: `all_of(PaymentCharged, Reserved)`.
    A type checker knows up to four of them."""

    facts: tuple[type[Fact], ...]

    @property
    def name(self) -> str:
        """What is done about them, where nobody says: by their types, in the order in which they are declared."""
        return "-and-".join(fact.type_name for fact in self.facts)

    def __str__(self) -> str:
        return f"all_of({', '.join(fact.__name__ for fact in self.facts)})"


AnyJoin = AllOf[Any, Any, Any, Any]
"""Whatever it waits for."""
Undone = type[Fact] | AnyJoin | str
"""What a reaction takes back: what was done about a fact, or about several; or an effect, by its name."""


@overload
def all_of(a: type[F1], b: type[F2], /) -> AllOf[F1, F2, F2, F2]: ...
@overload
def all_of(a: type[F1], b: type[F2], c: type[F3], /) -> AllOf[F1, F2, F3, F3]: ...
@overload
def all_of(a: type[F1], b: type[F2], c: type[F3], d: type[F4], /) -> AllOf[F1, F2, F3, F4]: ...
@overload
def all_of(*facts: type[Fact]) -> AnyJoin: ...
def all_of(*facts: type[Fact]) -> AnyJoin:
    """For `Service.on`: the reaction waits until all of these facts of one flow have come. Raises DeclarationError."""
    given: tuple[object, ...] = facts
    for fact in given:
        if not (isinstance(fact, type) and issubclass(fact, Fact)):
            raise DeclarationError(f"all_of is given {fact!r}, which is no Fact.", "all_of(Charged, Reserved).")
    if len(set(facts)) != len(facts) or len(facts) < 2:
        raise DeclarationError(
            f"all_of is given {', '.join(fact.__name__ for fact in facts) or 'nothing'}.",
            "two facts or more, each once.",
        )
    return AllOf(facts)


def facts_of(join: AnyJoin | None) -> tuple[type[Fact], ...]:
    """Those that are waited for."""
    return join.facts if join else ()


def is_effect(name: str) -> bool:
    """Whether something that is done may be called so."""
    return bool(_EFFECT.fullmatch(name))


class Undoable(Protocol):
    """What is known of a reaction, to find what it takes back."""

    @property
    def message(self) -> type[Message]:
        """What it is called for."""
        ...

    @property
    def undoes(self) -> type[Fact] | tuple[type[Fact], ...] | str | None:
        """What it takes back."""
        ...

    @property
    def effect(self) -> str:
        """What it does, by name."""
        ...

    @property
    def join(self) -> tuple[type[Fact], ...]:
        """What it waits for."""
        ...


U = TypeVar("U", bound=Undoable)


def undone_by(undo: U, reactions: Mapping[str, U]) -> U | None:
    """The reaction that it takes back, of those of its service by the type names of their facts."""
    match undo.undoes:
        case None:
            return None
        case str() as effect:
            return next((one for one in reactions.values() if one.effect == effect), None)
        case tuple() as join:
            return next((one for one in reactions.values() if one.join == join), None)
        case fact:
            return reactions.get(fact.type_name)


def is_undone(done: U, reactions: Mapping[str, U]) -> bool:
    """Whether one of these takes back what it does."""
    return any(_does(found) == _does(done) for undo in reactions.values() if (found := undone_by(undo, reactions)))


def _does(reaction: Undoable) -> str:
    return reaction.effect or reaction.message.type_name
