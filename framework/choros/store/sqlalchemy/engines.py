"""Engines of SQLAlchemy: made from an address, and whether the barrier can be in what they lead to."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError

from choros.errors import StoreMisconfigured, UsageError

E = TypeVar("E")
DIALECTS = ("postgresql", "sqlite")


def made(make: Callable[[str], E], url: str) -> E:
    """An engine for this address; raises UsageError."""
    try:
        return make(url)
    except ModuleNotFoundError as error:
        raise UsageError(f"This database needs {error.name!r}.", f"pip install {error.name}.") from None
    except (ArgumentError, InvalidRequestError, NoSuchModuleError):
        hint = "postgresql+asyncpg://user:password@host/name, or sqlite+aiosqlite:///file."
        raise UsageError("SQLAlchemy does not know this address, or not for such an engine.", hint) from None


def check_engine(engine: Engine) -> None:
    """Raises StoreMisconfigured for one that the barrier cannot be behind."""
    if engine.dialect.name not in DIALECTS:
        raise StoreMisconfigured(
            f"The barrier does not know the SQL of {engine.dialect.name}.", f"one of: {', '.join(DIALECTS)}."
        )
    set_by = engine.get_execution_options().get("isolation_level")
    if "AUTOCOMMIT" in (set_by, getattr(engine.dialect, "_on_connect_isolation_level", None)):
        raise StoreMisconfigured(
            "This engine commits each statement by itself (AUTOCOMMIT).",
            "an engine without isolation_level, or another.",
        )


def places_of(engine: Engine) -> int:
    """How many of its connections may be at work at a time."""
    size = getattr(engine.pool, "size", None)
    return 1 if engine.dialect.name == "sqlite" or size is None else max(1, size())
