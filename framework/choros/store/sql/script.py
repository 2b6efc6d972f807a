"""Which statements of a handler would begin or end the transaction that is not its own."""

import re

_SPACE = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_ENDS = (
    rf"{_SPACE}(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b"
)
_FIRST = re.compile(_ENDS, re.I | re.S)
_LATER = re.compile(rf";{_ENDS}", re.I | re.S)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.S)


def ends_transaction(sql: str) -> bool:
    """Whether one of these statements begins or ends a transaction. Savepoints are no such thing."""
    if _FIRST.match(sql):
        return True
    return ";" in sql and _LATER.search(_QUOTED.sub(_without, sql)) is not None


def _without(found: re.Match[str]) -> str:
    return " " if found[0].startswith(("--", "/*")) else "''"
