"""The items of a loop, as JSON: of any type that pydantic can write."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from choros.errors import MessageRejected


@lru_cache(maxsize=256)
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """What reads and writes items of this type; raises pydantic's errors for one that it does not know."""
    return TypeAdapter(kind)


def written_items(kind: Any, items: Sequence[Any]) -> list[str]:
    """Each as JSON text; raises ValueError for one that is not of this type, or that could not be read again."""
    adapter = adapter_of(kind)
    texts = [adapter.dump_json(item, warnings="error").decode() for item in items]  # pydantic's errors are ValueErrors
    for text in texts:
        adapter.validate_json(text)
    return texts


def read_item(kind: Any, text: str) -> Any:
    """The item that this text says; raises MessageRejected."""
    try:
        return adapter_of(kind).validate_json(text)
    except ValidationError as error:
        raise MessageRejected(
            f"An item is no {getattr(kind, '__name__', kind)}: {error.error_count()} faults."
        ) from None
