"""A Redis transaction for a handler that is no coroutine."""

from collections.abc import Mapping
from typing import Any, ClassVar

from choros.store.blocking import BlockingTransaction
from choros.store.redis.transaction import RedisTransaction, Value


class BlockingRedisTransaction(BlockingTransaction):
    """`RedisTransaction` for a handler that is written without `async`."""

    of: ClassVar[type[Any] | None] = RedisTransaction

    def get(self, key: str) -> str | None:
        """The string of this key."""
        found: str | None = self._wait(self._transaction.get(key))
        return found

    def exists(self, key: str) -> bool:
        """Whether the key is there."""
        return bool(self._wait(self._transaction.exists(key)))

    def hget(self, key: str, field: str) -> str | None:
        """One field of a hash."""
        found: str | None = self._wait(self._transaction.hget(key, field))
        return found

    def hgetall(self, key: str) -> dict[str, str]:
        """All fields of a hash."""
        return dict(self._wait(self._transaction.hgetall(key)))

    def smembers(self, key: str) -> set[str]:
        """All members of a set."""
        return set(self._wait(self._transaction.smembers(key)))

    def sismember(self, key: str, member: Value) -> bool:
        """Whether a set holds this member."""
        return bool(self._wait(self._transaction.sismember(key, member)))

    def lrange(self, key: str, start: int = 0, stop: int = -1) -> list[str]:
        """Elements of a list."""
        return list(self._wait(self._transaction.lrange(key, start, stop)))

    def set(self, key: str, value: Value) -> None:
        """Replace the key by a string."""
        self._wait(self._transaction.set(key, value))

    def incrby(self, key: str, amount: int = 1) -> None:
        """Add to an integer."""
        self._wait(self._transaction.incrby(key, amount))

    def hset(self, key: str, fields: Mapping[str, Value]) -> None:
        """Set fields of a hash."""
        self._wait(self._transaction.hset(key, fields))

    def hincrby(self, key: str, field: str, amount: int = 1) -> None:
        """Add to an integer in a hash."""
        self._wait(self._transaction.hincrby(key, field, amount))

    def rpush(self, key: str, *values: Value) -> None:
        """Append to a list."""
        self._wait(self._transaction.rpush(key, *values))

    def sadd(self, key: str, *members: Value) -> None:
        """Add to a set."""
        self._wait(self._transaction.sadd(key, *members))

    def delete(self, key: str) -> None:
        """Take the key out."""
        self._wait(self._transaction.delete(key))
