"""Bodies as JSON that a person reads and changes: whatever is left alone is written as it was, to the last digit."""

import json
import re
from typing import Any

from choros.sources import fresh_id


class Body:
    """A body, read; raises ValueError or RecursionError for what is no JSON."""

    def __init__(self, text: str | bytes) -> None:
        self._mark = fresh_id()  # which no body says
        self.value: Any = json.loads(text, parse_float=self._kept, parse_int=self._kept, parse_constant=_refused)

    def _kept(self, digits: str) -> str:
        """A number, as the text that it was: a float would be another, and a Decimal no JSON."""
        return f"{self._mark}{digits}"

    def text(self, *, indent: int | None = None) -> str:
        """As JSON again."""
        separators = None if indent else (",", ":")
        written = json.dumps(self.value, indent=indent, separators=separators, ensure_ascii=False)
        return re.sub(f'"{self._mark}([^"]*)"', r"\1", written)

    def set(self, path: str, value: str) -> None:
        """Put a value at a place: names and numbers of a list, joined by dots. It is JSON, or else a text.

        Raises LookupError where there is no such place."""
        *way, last = path.split(".")
        there = self.value
        for name in way:
            there = there[_within(there, name)]
        there[_within(there, last, new=True)] = self._read(value)

    def _read(self, value: str) -> Any:
        try:
            return json.loads(value, parse_float=self._kept, parse_int=self._kept, parse_constant=_refused)
        except ValueError:
            return value


def _within(there: Any, name: str, *, new: bool = False) -> str | int:
    """The key of this name, which is there, or may be new."""
    if isinstance(there, list) and name.isdecimal() and int(name) < len(there):
        return int(name)
    if isinstance(there, dict) and name and (new or name in there):
        return name
    raise LookupError(name)


def _refused(constant: str) -> Any:
    raise ValueError(constant)
