"""The first difference between what was written and what was read back: a path of field names, never a value."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_SIMPLE = frozenset({str, int, bool, NoneType, bytes, date, UUID})
_MISSING = object()


def first_difference(sent: Any, read: Any, arrays: bool = False) -> str | None:
    """Where the two differ, as a path that begins with a dot; None where they are the same, and empty where all of it
    differs. Private attributes are not part of a message. `arrays`: a list is never a tuple."""
    if type(sent) in _SIMPLE and type(sent) is type(read):
        return None if sent == read else ""
    if isinstance(sent, BaseModel):
        return _in_model(sent, read, arrays)
    if isinstance(sent, Mapping):
        return _in_values(sent, read, arrays) if isinstance(read, Mapping) and _alike(sent, read) else ""
    if not isinstance(sent, type) and dataclasses.is_dataclass(sent):
        return _in_dataclass(sent, read, arrays)
    if not (_alike(sent, read) or (not arrays and _is_listed(sent, read))):
        return ""
    if isinstance(sent, (list, tuple, deque)):
        return _in_items(sent, read, arrays)
    return None if _equal(sent, read) else ""


def _alike(sent: Any, read: Any) -> bool:
    """Whether one type may stand for the other: a default is not validated, so a 0 may stand where a float is meant."""
    if isinstance(sent, type(read)):
        return True
    number = isinstance(sent, (int, float, Decimal)) and not isinstance(sent, bool)
    return number and isinstance(read, (float, Decimal))


def _is_listed(sent: Any, read: Any) -> bool:
    """Whether a list stands where a tuple is meant, as a default may."""
    return isinstance(sent, list) and isinstance(read, (tuple, deque))


def _in_model(sent: BaseModel, read: Any, arrays: bool) -> str | None:
    """What a subclass adds is lost, so it has to be the very class."""
    if type(sent) is not type(read):
        return ""
    found = _in_names(type(sent).__pydantic_fields__, sent.__dict__, read.__dict__, arrays)
    if found is None and sent.__pydantic_extra__ != read.__pydantic_extra__:
        ours, theirs = sent.__pydantic_extra__ or {}, read.__pydantic_extra__ or {}
        found = _in_names({**ours, **theirs}, ours, theirs, arrays)
    return found


def _in_dataclass(sent: Any, read: Any, arrays: bool) -> str | None:
    if type(sent) is not type(read):
        return ""
    names = [one.name for one in dataclasses.fields(sent)]
    ours, theirs = ({name: getattr(one, name, _MISSING) for name in names} for one in (sent, read))
    return _in_names(names, ours, theirs, arrays)


def _in_names(names: Iterable[str], sent: Mapping[str, Any], read: Mapping[str, Any], arrays: bool) -> str | None:
    for name in names:
        ours, theirs = sent.get(name, _MISSING), read.get(name, _MISSING)
        if ours is not theirs and (found := first_difference(ours, theirs, arrays)) is not None:
            return f".{name}{found}"
    return None


def _in_values(sent: Mapping[Any, Any], read: Mapping[Any, Any], arrays: bool) -> str | None:
    if sent.keys() != read.keys():
        return ""
    return _first(first_difference(value, read[key], arrays) for key, value in sent.items())


def _in_items(sent: Iterable[Any], read: Iterable[Any], arrays: bool) -> str | None:
    ours, theirs = list(sent), list(read)
    if len(ours) != len(theirs):
        return ""
    return _first(first_difference(*pair, arrays) for pair in zip(ours, theirs, strict=True))


def _first(places: Iterable[str | None]) -> str | None:
    return next((f"[]{place}" for place in places if place is not None), None)


def _equal(sent: Any, read: Any) -> bool:
    if sent == read:
        return True
    if isinstance(sent, float):
        return bool(sent != sent and read != read)
    if isinstance(sent, datetime):  # Python calls no moment of a clock that is set back equal to one of another zone
        return bool(sent.isoformat() == read.isoformat())
    by_identity: bool = getattr(type(sent), "__eq__", None) is object.__eq__
    return by_identity and getattr(sent, "__dict__", None) == getattr(read, "__dict__", None)
