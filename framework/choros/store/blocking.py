"""A transaction for a handler that is no coroutine: the same one, each of whose calls waits in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class BlockingTransaction:
    """What a handler that is written without `async` takes in place of a `Transaction`."""

    of: ClassVar[type[Any] | None] = None
    """The transaction that it is a face of; None for any."""

    def __init__(self, transaction: Any, wait: Callable[[Awaitable[Any]], Any]) -> None:
        self._transaction, self._wait = transaction, wait

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        inner = self._transaction.savepoint()
        self._wait(inner.__aenter__())
        try:
            yield
        except BaseException as error:
            self._wait(inner.__aexit__(type(error), error, error.__traceback__))
            raise
        self._wait(inner.__aexit__(None, None, None))
