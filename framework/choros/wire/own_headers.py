"""Headers of the user's own, such as a tenant: one attribute, an object of JSON as text, in one form.

Whoever answers or publishes because of a message says them again, so they are few and short.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json

Headers = Mapping[str, str]
"""By their names."""
NO_HEADERS: Headers = MappingProxyType({})
MOST_OWN = 16
"""How many one message may have."""
LONGEST_OWN = 1024
"""Characters of all of them, as they are written."""
LONGEST_VALUE = 512
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,39}")


def written(headers: Headers) -> str:
    """The attribute; empty for none. Raises ValueError, which says why nobody would take them."""
    if not isinstance(headers, Mapping):
        raise ValueError(f"a {type(headers).__name__} is no mapping")
    return _written(headers)


def read(text: str) -> Headers:
    """What the attribute says; of none, and of what is none, an empty mapping."""
    return _read(text) if text else NO_HEADERS


def read_own_headers(value: Any) -> str:
    """The attribute in the form that we write, whoever has written it; raises ValueError."""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if not isinstance(value, str) or len(value) > LONGEST_OWN:
        raise ValueError
    return _canonical(value)


@lru_cache(maxsize=1024)
def _read(text: str) -> Headers:
    try:
        return MappingProxyType(from_json(_canonical(text)))
    except ValueError:
        return NO_HEADERS


@lru_cache(maxsize=1024)
def _canonical(text: str) -> str:
    found = from_json(text.encode())
    if not (isinstance(found, dict) and found):
        raise ValueError
    return _written(found)


def _written(headers: Mapping[Any, Any]) -> str:
    if len(headers) > MOST_OWN:
        raise ValueError(f"there are {len(headers)} of them, and {MOST_OWN} are the most")
    for name, value in headers.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{name!r} is no name")
        if not (isinstance(value, str) and 0 < len(value) <= LONGEST_VALUE and value.isprintable()):
            raise ValueError(f"the value of {name!r} is no such text")
    text = json.dumps(dict(headers), sort_keys=True, separators=(",", ":")) if headers else ""
    if len(text) > LONGEST_OWN:
        raise ValueError(f"they have {len(text)} characters as they are written, and {LONGEST_OWN} are the most")
    return text
