"""Types of other libraries that a handler may take in the place of its `Transaction`, as teams write them already.

They are told by their names, so that none of these libraries has to be imported. Whether the service's database gives
one is known when it is opened (`app/checks.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeGuard

from choros.callables import annotations_of, name_of

SESSIONS = frozenset(
    {
        "asyncpg.connection.Connection",
        "sqlalchemy.ext.asyncio.engine.AsyncConnection",
        "sqlalchemy.ext.asyncio.session.AsyncSession",
    }
)
"""Those that are awaited."""
BLOCKING_SESSIONS = frozenset({"sqlalchemy.engine.base.Connection", "sqlalchemy.orm.session.Session"})
"""Those that block, for handlers that run in a thread."""


def is_session(hint: object) -> TypeGuard[type]:
    """Whether it is one of these types, or derived from one."""
    return _is_among(hint, SESSIONS | BLOCKING_SESSIONS)


def blocks(hint: object) -> bool:
    """Whether it is one of those that block."""
    return _is_among(hint, BLOCKING_SESSIONS)


def _is_among(hint: object, names: frozenset[str]) -> bool:
    return isinstance(hint, type) and any(f"{one.__module__}.{one.__qualname__}" in names for one in hint.__mro__)


async def called_with(function: Callable[[Any], Any], transaction: Any) -> Any:
    """Call a function of one argument with the transaction, or with what it names in its place: in a thread, where that
    blocks."""
    wanted = taken_by(function)
    given = transaction.given(wanted) if is_session(wanted) else transaction
    return await asyncio.to_thread(function, given) if blocks(wanted) else await function(given)


def taken_by(function: Callable[[Any], Any]) -> Any:
    """As what a function of one argument takes it."""
    return annotations_of(function, name_of(function)).get(next(iter(inspect.signature(function).parameters), ""))
