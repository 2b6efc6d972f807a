"""Ending tasks, and going on where nobody wants a task to end."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_SECONDS = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until it takes: `wait_for` of Python 3.11, which aiormq uses, can swallow a cancellation."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)


@contextmanager
def asked_for() -> Iterator[None]:
    """Let only a cancellation of this very task through: aiormq also cancels what it awaits itself, when a connection
    goes away, or ends it with an Exception of no kind, and either is a ConnectionError."""
    try:
        yield
    except Exception as stray:
        if type(stray) is not Exception:
            raise
        raise ConnectionError("the client gave its own work up") from stray
    except asyncio.CancelledError as stray:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the client gave its own work up") from stray
