"""Resources: what handlers need besides messages. A lifespan of their service makes each, and they name its type."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Hashable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import UnionType
from typing import Any, NewType, Union, get_args, get_origin

from choros.callables import hints_of, name_of
from choros.errors import DeclarationError

Resources = Mapping[Any, Any]
"""What is open, by its type."""
NO_RESOURCES: Resources = {}
Lifespan = Callable[[], AsyncIterator[Any] | AbstractAsyncContextManager[Any]]
_OURS = ("choros.messages", "choros.store.", "choros.app.")
"""What handlers ask for otherwise, or never."""
_SAY_NOTHING = ("builtins", "typing")
_MADE_BY = (AsyncIterator, AsyncGenerator, AbstractAsyncContextManager)
_SESSIONS = frozenset({
    "sqlalchemy.orm.session.Session", "sqlalchemy.orm.scoping.scoped_session", "sqlalchemy.orm.session.sessionmaker",
    "sqlalchemy.ext.asyncio.session.AsyncSession", "sqlalchemy.ext.asyncio.session.async_sessionmaker",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session", "sqlalchemy.engine.base.Connection",
    "sqlalchemy.ext.asyncio.engine.AsyncConnection", "asyncpg.connection.Connection", "psycopg.Connection",
    "psycopg.AsyncConnection", "psycopg.connection_async.AsyncConnection", "psycopg.connection.Connection",
    "sqlite3.Connection", "aiosqlite.core.Connection",
})  # fmt: skip
"""What writes to a database, and commits by itself. By name, since nothing of them is needed here."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that a lifespan makes."""

    kind: Any
    """Its type, just as handlers name it."""
    name: str
    """Of the function that makes it."""
    function: Any
    open: Callable[[], AbstractAsyncContextManager[Any]]


def may_be_resource(hint: Any) -> bool:
    """Whether a parameter of this type may ask for one: a class of somebody's own, or a NewType. A text or a number
    says nothing of what it is."""
    if isinstance(hint, NewType):
        return True
    kind = hint if isinstance(hint, type) else get_origin(hint)
    if not isinstance(kind, type) or kind is UnionType or not isinstance(hint, Hashable):
        return False
    return kind.__module__ not in ("builtins", "typing") and not any(
        base.__module__.startswith(_OURS) for base in kind.__mro__
    )


def resource_of(whose: str, function: Any) -> Resource:
    """What this lifespan makes; raises DeclarationError where it does not say, or must not be one."""
    where = f"{whose}: {name_of(function)}"
    generates = inspect.isasyncgenfunction(function)
    returned = hints_of(function, where).get("return") if callable(function) else None
    if get_origin(returned) not in _MADE_BY or not (generates or _is_context(function, returned)):
        raise DeclarationError(
            f"{where} is no lifespan.", "async def http() -> AsyncIterator[Client]: ...; yield client; ..."
        )
    if inspect.signature(function).parameters:
        raise DeclarationError(f"{where} makes a resource, so it is called with nothing.", "read what it needs itself.")
    kind = get_args(returned)[0]
    _check_kind(where, kind)
    return Resource(kind, name_of(function), function, asynccontextmanager(function) if generates else function)


def _is_context(function: Any, returned: Any) -> bool:
    """It was made one by `asynccontextmanager`, or says that it returns one."""
    return inspect.isasyncgenfunction(inspect.unwrap(function)) or get_origin(returned) is AbstractAsyncContextManager


def _check_kind(where: str, kind: Any) -> None:
    names = {f"{base.__module__}.{base.__qualname__}" for base in getattr(get_origin(kind) or kind, "__mro__", ())}
    if names & _SESSIONS:
        raise DeclarationError(
            f"{where} makes a {shown_kind(kind)}: what a handler writes to a database through it would not be committed"
            " with the barrier's row, and could be done twice.",
            "let the handler take its database's own: session: AsyncSession, or db: SqliteTransaction, for example.",
        )
    if not may_be_resource(kind):
        raise DeclarationError(
            f"{where} makes a {shown_kind(kind)}, which no handler can ask for by its type.",
            'a class of your own, or Rates = NewType("Rates", dict).',
        )


def shown_kind(kind: Any) -> str:
    """A type as one writes it."""
    return str(getattr(kind, "__name__", None) or kind) if get_origin(kind) is not Union else str(kind)


def missing(wanted: Collection[Any], made: Collection[Any]) -> str:
    """The types that are asked for and not made, for a sentence."""
    return ", ".join(dict.fromkeys(shown_kind(kind) for kind in wanted if kind not in made))


def check_resources(whose: str, asking: Mapping[str, Collection[Any]], made: Collection[Any]) -> None:
    """Raises DeclarationError where a handler asks for what nobody makes; `asking` are the types by handler."""
    for handler, wanted in asking.items():
        if lacking := missing(wanted, made):
            raise DeclarationError(
                f"{whose}: {handler} takes a {lacking}, which nobody makes.",
                "register what makes it with @service.lifespan, or annotate the parameter with what it is.",
            )
