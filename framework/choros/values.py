"""Frozen values: made as quickly as others, and what they are with other fields.

What keeps a dataclass frozen takes its own way in, too: each field is set by name, past it. Here a value is a draft of
the same layout until all is set."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

FrozenValue = TypeVar("FrozenValue")


if TYPE_CHECKING:
    from dataclasses import replace as replace  # checkers know its fields
else:

    def replace(value: FrozenValue, /, **changes: Any) -> FrozenValue:
        """The same with these fields, as `dataclasses.replace` makes it; that takes seven times as long, which was an
        eighth of what a saga cost. Raises AttributeError for a field that there is not."""
        changed = _changed(type(value))
        if changed is None:
            return dataclasses.replace(value, **changes)
        return changed(value, changes)


def quickly_made(kind: type[FrozenValue]) -> type[FrozenValue]:
    """A frozen dataclass with slots, whose values are made in a quarter of the time. For those of which a saga needs
    many, and which have more than a few fields."""
    assert _is_plain(kind)
    fields = _fields(kind)
    own, named = [one for one in fields if not one.kw_only], [one for one in fields if one.kw_only]
    given = ["self", *map(_parameter, own), *(["*"] if named else []), *map(_parameter, named)]
    lines = [
        f"def __init__({', '.join(given)}):",
        " _become(self, '__class__', _Draft)",
        *(f" self.{one.name} = {_value(one)}" for one in (*own, *named)),
        " self.__class__ = _kind",
    ]
    kind.__init__ = _written(kind, "__init__", lines)  # type: ignore[method-assign] # as a dataclass gets its own
    return kind


def _parameter(one: dataclasses.Field[Any]) -> str:
    optional = one.default is not MISSING or one.default_factory is not MISSING
    return f"{one.name}=_fields[{one.name!r}].default" if optional else one.name


def _value(one: dataclasses.Field[Any]) -> str:
    if one.default_factory is MISSING:
        return one.name
    return f"_fields[{one.name!r}].default_factory() if {one.name} is _missing else {one.name}"


def _fields(kind: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _is_plain(kind: type) -> bool:
    """Whether it is no more than its fields."""
    names = tuple(one.name for one in _fields(kind))
    return (
        kind.__bases__ == (object,) and not hasattr(kind, "__post_init__") and kind.__dict__.get("__slots__") == names
    )


@cache
def _changed(kind: type) -> Callable[[Any, Mapping[str, Any]], Any] | None:
    """Copies the fields into a draft, which becomes one of the kind when it is changed. None for a class that takes
    more than that."""
    if not _is_plain(kind):
        return None
    lines = [
        "def changed(value, changes):",
        " draft = _Draft()",
        *(f" draft.{one.name} = value.{one.name}" for one in _fields(kind)),
        " for name, given in changes.items(): setattr(draft, name, given)",
        " draft.__class__ = _kind",
        " return draft",
    ]
    return cast(Callable[[Any, Mapping[str, Any]], Any], _written(kind, "changed", lines))


def _written(kind: type, name: str, lines: Sequence[str]) -> Any:
    """A function written out field by field, as dataclasses write their own methods."""
    fields = {one.name: one for one in _fields(kind)}
    draft = type(kind.__name__, (), {"__slots__": tuple(fields)})
    known: dict[str, Any] = {
        "_kind": kind, "_Draft": draft, "_fields": fields, "_missing": MISSING, "_become": object.__setattr__,
    }  # fmt: skip
    exec("\n".join(lines), known)
    return known[name]
