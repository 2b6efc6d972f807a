"""How a reaction wants its facts: which of a type, how often, and how many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Protocol, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from choros.errors import DeclarationError

SLOWEST = timedelta(minutes=10)
"""Between two calls. The broker takes a fact back that stays with a subscriber for half an hour."""
ATTRIBUTES: Mapping[str, str] = {"source": "source", "subject": "subject", "saganame": "saga", "sagastep": "step"}
"""What is said beside a fact and may be asked for: by its name on the wire, where an envelope has it."""
SEVERAL = (tuple, list, set, frozenset)


class SaidBeside(Protocol):
    """What is said beside a fact; `Envelope` is one."""

    @property
    def source(self) -> str:
        """Who says it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """No more than so many calls in any span of this length, in each process: `Rate(100, per=timedelta(seconds=1))`.
    Raises DeclarationError."""

    most: int
    per: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if self.most < 1 or not timedelta(0) < self.per <= self.most * SLOWEST:
            raise DeclarationError(
                f"Rate({self.most}, per={self.per}) is none, or less than one call in {SLOWEST}.",
                "Rate(100, per=timedelta(seconds=1)); what may wait for longer is a saga's, with a Schedule.",
            )


@dataclass(frozen=True, slots=True)
class Batch:
    """How many facts are handled by one call: no more than `most`, and none waits longer than `within` for others.
    Raises DeclarationError."""

    most: int = 200
    within: timedelta = timedelta(milliseconds=100)

    def __post_init__(self) -> None:
        if not 1 <= self.most <= 10_000 or not timedelta(0) < self.within <= timedelta(minutes=1):
            raise DeclarationError(
                f"Batch({self.most}, within={self.within}) is none.",
                "1 to 10000 facts, within a minute: Batch(200, within=timedelta(milliseconds=100)).",
            )


def is_list_of(hint: object, message: type[BaseModel]) -> bool:
    """Whether a parameter with this annotation takes a list of such messages, maybe among others."""
    inner = get_args(hint)[0] if get_origin(hint) is list else None
    return inner is message or message in get_args(inner)


@dataclass(frozen=True, slots=True)
class Where:
    """Which facts of a type a reaction wants."""

    fields: Mapping[str, tuple[Any, ...]]
    attributes: Mapping[str, tuple[Any, ...]]

    def fits(self, fact: BaseModel, beside: SaidBeside) -> bool:
        """Whether this is one of them."""
        return all(getattr(fact, name) in wanted for name, wanted in self.fields.items()) and all(
            getattr(beside, ATTRIBUTES[name]) in wanted for name, wanted in self.attributes.items()
        )


def where_of(where: str, fact: type[BaseModel], wanted: Mapping[str, Any]) -> Where:
    """What `wanted` says of such a fact; raises DeclarationError for what none of them has, or can be."""
    known = fact.model_fields
    given: object = wanted
    if not isinstance(given, Mapping):
        hint = f"where={{{next(iter(known), 'field')!r}: ...}}."
        raise DeclarationError(f"{where}: where={given!r} names no field and its value.", hint)
    values = {name: tuple(value) if isinstance(value, SEVERAL) else (value,) for name, value in wanted.items()}
    strange = [name for name in values if name not in known and name not in ATTRIBUTES]
    if strange or not values:
        what = f"asks for {strange[0]!r}, which {fact.__name__} has not" if strange else "asks for nothing"
        raise DeclarationError(f"{where}: where= {what}.", f"one of {', '.join([*known, *ATTRIBUTES])}.")
    return Where(
        {name: _read(where, fact, name, found) for name, found in values.items() if name in known},
        {name: found for name, found in values.items() if name not in known},
    )


def _read(where: str, fact: type[BaseModel], name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    field = fact.model_fields[name]
    kind: Any = Annotated[field.annotation, *field.metadata, None]
    adapter = TypeAdapter[Any](kind)
    try:
        return tuple(map(adapter.validate_python, values))
    except ValidationError:
        raise DeclarationError(
            f"{where}: where= asks for a {name} that no {fact.__name__} can have.", "a value of the field's type."
        ) from None
