"""A transaction of the database in memory for a handler that is no coroutine."""

from typing import Any, ClassVar

from choros.store.blocking import BlockingTransaction
from choros.store.memory.barrier import MemoryTransaction


class BlockingMemoryTransaction(BlockingTransaction):
    """`MemoryTransaction` for a handler that is written without `async`."""

    of: ClassVar[type[Any] | None] = MemoryTransaction

    def get(self, key: Any, default: Any = None) -> Any:
        """What is kept under the key."""
        return self._wait(self._transaction.get(key, default))

    def put(self, key: Any, value: Any) -> None:
        """Keep it."""
        self._wait(self._transaction.put(key, value))

    def delete(self, key: Any) -> None:
        """Keep nothing under the key."""
        self._wait(self._transaction.delete(key))
