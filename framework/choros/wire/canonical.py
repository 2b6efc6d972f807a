"""The canonical text of a message: the same for messages that say the same, in whatever order or form they say it.

It is the text that is sent, except where equal values may be written as several texts: the order of a dictionary or a
set, the zeros behind a Decimal, the sign of a zero, the zone of a moment. So two processes, or two runs of one, agree.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from contextvars import copy_context
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, RootModel
from pydantic_core import from_json, to_json, to_jsonable_python

from choros.messages import Message, fidelity_of

_MOST_DIGITS = 60
"""Of a number that is written out."""


def canonical(message: Message, body: str) -> str:
    """The canonical text of a message that is written as `body`."""
    fidelity = fidelity_of(type(message))
    if fidelity.plain:
        return body
    # A default may stand for another value, as a 0 for a Decimal; what was read is what it is.
    said = type(message).from_json(body) if fidelity.doubtful else message
    return copy_context().run(_text, _said(said, from_json(body)))


def _text(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def _said(value: Any, written: Any) -> Any:
    """What was written, as it would have been in the one form; where a serializer of the user's own has made something
    else of it, that."""
    if isinstance(value, RootModel):
        value = value.root
    if isinstance(written, dict):
        return _of_object(value, written)
    if isinstance(written, list):
        return _of_array(value, written)
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, float) and value == 0:
        return 0.0
    if isinstance(value, datetime) and isinstance(written, str):
        return _of_moment(value, written)
    return written


def _of_object(value: Any, written: dict[str, Any]) -> Any:
    """Fields stay in the order of their class, whatever else there is goes by its name; what is computed from them says
    nothing more."""
    if isinstance(value, Mapping):
        return _of_mapping(value, written)
    fields, extra = _fields(value, written), getattr(value, "__pydantic_extra__", None) or {}
    held = {name: one for name, one in written.items() if name in fields}
    more = {name: written[name] for name in sorted(written.keys() - held.keys() - _computed(type(value)))}
    return {name: _said(fields.get(name, extra.get(name)), one) for name, one in {**held, **more}.items()}


def _of_mapping(value: Mapping[Any, Any], written: dict[str, Any]) -> Any:
    if len(value) != len(written):
        return {name: _said(None, written[name]) for name in sorted(written)}
    pairs = [
        (_said(key, name), _said(one, text))
        for (key, one), (name, text) in zip(value.items(), written.items(), strict=True)
    ]
    return dict(sorted(((str(name), one) for name, one in pairs), key=lambda pair: pair[0]))


def _of_array(value: Any, written: list[Any]) -> Any:
    if not isinstance(value, (list, tuple, deque, set, frozenset)) or len(value) != len(written):
        return [_said(None, one) for one in written]
    said = [_said(one, text) for one, text in zip(value, written, strict=True)]
    return sorted(said, key=_text) if isinstance(value, (set, frozenset)) else said


def _fields(value: Any, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a class's fields, by the names that they are written as."""
    if isinstance(value, BaseModel):
        aliases = ((name, one.serialization_alias or name) for name, one in type(value).__pydantic_fields__.items())
        by_alias = type(value).model_config.get("serialize_by_alias", False)
        return {alias if by_alias else name: getattr(value, name, None) for name, alias in aliases}
    if dataclasses.is_dataclass(value):
        held = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
        return held if len(held) != len(written) else dict(zip(written, held.values(), strict=True))
    return {}


def _computed(model: type) -> set[str]:
    """The names of its computed fields, as they are written or could be."""
    decorators = getattr(model, "__pydantic_decorators__", None)
    found = decorators.computed_fields if decorators else {}
    return {name for known, one in found.items() for name in (known, one.info.alias) if name}


def _of_decimal(value: Decimal) -> str:
    """Digits without zeros behind them; whole numbers written out, so that most are as they are written."""
    if not value.is_finite() or not value:
        return str(value) if value else "0"
    sign, digits, exponent = value.as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    exponent = int(exponent) + len(digits) - len(shown)
    if 0 <= exponent <= _MOST_DIGITS:
        shown, exponent = shown + "0" * exponent, 0
    return str(Decimal((sign, tuple(map(int, shown)), exponent)))


def _of_moment(value: datetime, written: str) -> Any:
    if value.tzinfo is None:
        return written
    try:
        return to_jsonable_python(value.astimezone(UTC))
    except OverflowError:  # in UTC it would be before the first year, or past the last
        return written
