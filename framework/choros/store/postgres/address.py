"""What an address of PostgreSQL says: for whom it is made, and two things that are ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from choros.errors import UsageError, shown

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Address:
    """An address in its parts."""

    dsn: str
    """What the driver is given."""
    name: str
    """As errors and logs name it."""
    schema: str
    """In which schema of the database the tables lie; empty for the one that this login's `search_path` names first."""
    prepared: bool
    """Whether statements may stay prepared on a connection: not behind a pooler that gives each to whoever comes."""


def address_of(url: str) -> Address:
    """The parts of `postgresql://user:password@host:5432/database?schema=choros&statement_cache_size=0`, whose options
    may be left out; others are the driver's. Raises UsageError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema, size = options.pop("schema", ""), options.pop("statement_cache_size", "")
    if schema and not _NAME.fullmatch(schema):
        raise UsageError(
            f"The address {shown(url)} names a schema that is no plain name.",
            "?schema=choros; small letters, digits, _.",
        )
    if size not in ("", "0"):
        raise UsageError(
            f"The address {shown(url)} has a statement_cache_size that means nothing.", "0, behind a pooler; or none."
        )
    dsn = urlunsplit(parts._replace(query=urlencode(options)))
    return Address(dsn, shown(url), schema, prepared=size != "0")
