"""Frozen values: what they are with other fields."""

import dataclasses
from collections.abc import Callable, Mapping
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


@cache
def _changed(kind: type) -> Callable[[Any, Mapping[str, Any]], Any] | None:
    """Copies the fields into a draft of the same layout, which becomes one of the kind when it is changed; written out
    field by field, as dataclasses write their own methods. None for a class that takes more than that."""
    names = [one.name for one in dataclasses.fields(kind)]
    if kind.__bases__ != (object,) or hasattr(kind, "__post_init__") or kind.__dict__.get("__slots__") != tuple(names):
        return None
    lines = [
        "def changed(value, changes):",
        " draft = Draft()",
        *(f" draft.{name} = value.{name}" for name in names),
        " for name, given in changes.items(): setattr(draft, name, given)",
        " draft.__class__ = kind",
        " return draft",
    ]
    written: dict[str, Any] = {"Draft": type(kind.__name__, (), {"__slots__": names}), "kind": kind}
    exec("\n".join(lines), written)
    return cast(Callable[[Any, Mapping[str, Any]], Any], written["changed"])
