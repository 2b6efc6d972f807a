"""How long a client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import Any, TypeVar, cast

from choros.errors import StoreUnreachable, UsageError
from choros.store.sagas import Store

T = TypeVar("T")


def seconds_of(timeout: object) -> float:
    """A time to wait; raises UsageError for what is none."""
    if not isinstance(timeout, timedelta) or timeout < timedelta(0):
        raise UsageError(f"timeout={timeout!r} is no timedelta of zero or more.", "timedelta(seconds=30), for example.")
    return timeout.total_seconds()


def in_time(store: Store, seconds: float) -> Store:
    """The same store, which raises StoreUnreachable where an answer takes longer."""
    return cast("Store", _InTime(store, seconds))


class _InTime:
    """A store's own bounds are those of a server that is at work; who waits for the client has less patience."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(self._asked, found) if callable(found) else found

    def _asked(self, ask: Callable[..., Any], *given: Any, **named: Any) -> Any:
        answer = ask(*given, **named)
        return self._bounded(answer) if isawaitable(answer) else answer

    async def _bounded(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            sentence = f"The store did not answer within {self._seconds:g} s."
            raise StoreUnreachable(sentence, "ask again when it does.") from None
