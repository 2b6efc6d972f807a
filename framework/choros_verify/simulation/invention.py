"""Messages made up from what their fields allow, where a test does not care what they say."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from choros.errors import UsageError
from choros.messages import Reply

M = TypeVar("M", bound=BaseModel)
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def invent(model: type[M], number: int = 1) -> M:
    """A valid message of this type; another number gives another one. Raises UsageError where nothing fits."""
    fields = model.model_fields.items()
    made = {field.alias or name: _value(model, name, field, number) for name, field in fields if _needed(field)}
    try:
        return model(**made)
    except ValidationError as error:  # a validator of the whole model, or one that no field's annotation tells of
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _nothing(model, where, first["msg"].removeprefix("Value error, ")) from None


def _nothing(model: type[BaseModel], where: str, why: str) -> UsageError:
    name = f"{model.__name__}.{where}" if where else model.__name__
    if issubclass(model, Reply):
        hint = f"--reply '{model.type_name}={{...}}' with its JSON, or Scene(replies=...) in a test."
    else:
        hint = "--start with a start message of yours as JSON, or Scene(starts=...) in a test."
    return UsageError(f"No value for {name} comes to mind{f': {why}' if why else ''}.", hint)


def _needed(field: FieldInfo) -> bool:
    return field.is_required()


def _value(model: type[BaseModel], name: str, field: FieldInfo, number: int) -> Any:
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    for candidate in _candidates(field.annotation, number):
        try:
            return adapter.validate_python(candidate)
        except ValidationError:
            continue
    raise _nothing(model, name, "")


def _candidates(hint: Any, number: int) -> Iterator[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from _candidates(arguments[0], number)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _candidates(argument, number)
    elif origin is Literal:
        yield arguments[0]
    elif origin in (list, tuple, set, frozenset) and arguments:
        yield from ([item] for item in _candidates(arguments[0], number))
        yield ()
    elif origin is dict:
        yield {}
    else:
        yield from _plain(hint, number)


def _plain(hint: Any, number: int) -> Iterator[Any]:
    if hint is NoneType:
        yield None
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield invent(hint, number)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield next(iter(hint))
    else:
        yield from _SAMPLES.get(hint, lambda _: iter(({}, [], "a", 1)))(number)


_SAMPLES: dict[Any, Any] = {
    bool: lambda number: iter((True, False)),
    int: lambda number: iter((number, 1, 0, 10, 100, 1000, -1)),
    float: lambda number: iter((float(number), 0.5, 0.0, -1.0)),
    Decimal: lambda number: iter((Decimal(number), Decimal("0.5"))),
    str: lambda number: iter(
        (f"a{number}", f"a-{number}", _MOMENT.isoformat(), "2026-01-01", f"a{number}@example.org", "GB", "GBP", "1", "")
    ),
    bytes: lambda number: iter((b"a", b"")),
    datetime: lambda number: iter((_MOMENT,)),
    date: lambda number: iter((_MOMENT.date(),)),
    timedelta: lambda number: iter((timedelta(seconds=number),)),
    UUID: lambda number: iter((UUID(int=number),)),
}
