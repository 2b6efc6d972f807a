"""Types of other libraries that a handler may take in the place of its `Transaction`, as teams write them already.

They are told by their names, so that none of these libraries has to be imported. Whether the service's database gives
one is known when it is opened (`app/checks.py`).
"""

from __future__ import annotations

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


def is_session(hint: object) -> TypeGuard[type]:
    """Whether it is one of these types, or derived from one."""
    return isinstance(hint, type) and any(f"{one.__module__}.{one.__qualname__}" in SESSIONS for one in hint.__mro__)


def given_to(function: Callable[[Any], Any], transaction: Any) -> Any:
    """What a function of one argument takes: the transaction, or what it names in its place."""
    hints = annotations_of(function, name_of(function))
    name = next(iter(inspect.signature(function).parameters), "")
    wanted = hints.get(name)
    return transaction.given(wanted) if is_session(wanted) else transaction
