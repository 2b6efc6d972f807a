"""Numbers that no float holds, read exactly where a Decimal is wanted, although JSON parsers make floats of them."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import ValidationError

T = TypeVar("T")
_SUSPECT = re.compile(r"\d[\d.]{15}|[eE][+-]?\d{3}")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)


def read_exactly(read: Callable[[str | bytes], T], data: str | bytes) -> T:
    """What `read` makes of the JSON; it raises ValidationError. A Decimal is read from a text, too, so a number that
    would lose digits is given to it as one; where that is not what is wanted, it was meant for a float."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if not _SUSPECT.search(text):
        return read(data)
    long: list[str] = []
    quoted = _TOKEN.sub(lambda found: _quoted(found[0], long), text)
    if not long:
        return read(data)
    try:
        return read(quoted)
    except ValidationError as error:
        if _only_floats(error, len(long)):
            return read(data)
        raise


def _quoted(token: str, long: list[str]) -> str:
    if token[0] == '"' or not any(sign in token for sign in ".eE"):  # whole numbers are exact
        return token
    if Decimal(token) == Decimal(repr(float(token))):
        return token
    long.append(token)
    return f'"{token}"'


def _only_floats(error: ValidationError, count: int) -> bool:
    faults: list[Any] = list(error.errors(include_url=False, include_context=False, include_input=False))
    return len(faults) == count and all(fault["type"] == "float_type" for fault in faults)
