"""The barrier port: what makes a participant's effects single, in the participant's own database.

A row for every command key is written in the *same local transaction* as the effect and the reply, so a command
has its effect and its answer both or neither. `choros.testing.barrier` holds the conformance suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

RowState = Literal["running", "intent", "ok", "refused", "tombstone", "handled", "mark"]
FORGETTABLE: frozenset[RowState] = frozenset({"refused", "tombstone", "handled", "mark"})
"""Rows that may be forgotten when their time has come; what was done for somebody never is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one command key (or of one fact, in a subscriber's inbox)."""

    key: str
    """The full idempotency key with its operation."""
    state: RowState
    """running: inserted, the handler is at work in this very transaction; intent: a provider may have been called;
    ok, refused: answered; tombstone: undone or closed before it was done, so it must never be done. Of a
    subscriber: handled: a fact; mark: how far it has come, with the number in the place of the reply."""
    reply: str = ""
    """The answer, as `Envelope.dumps` wrote it; empty where none is owed."""
    prune_at: float | None = None
    """When this row may be forgotten; None is never. Of an `ok`, an `intent` and a `running` it means nothing."""

    @property
    def owes_reply(self) -> bool:
        """Whether it holds an answer that somebody waits for."""
        return bool(self.reply) and self.state != "mark"


class Transaction(ABC):
    """A local transaction on the participant's database. A handler that names one writes its effects through it."""

    @abstractmethod
    async def read_row(self, key: str) -> Row | None:
        """The row of this key, guarded until the transaction ends."""

    @abstractmethod
    async def write_row(self, row: Row) -> None:
        """Insert or replace a row. One that owes a reply counts as unsent until `Database.mark_sent`."""

    @abstractmethod
    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A block whose writes are taken back when an exception leaves it; the transaction itself goes on."""


Job = Callable[[Transaction], Awaitable[Any]]
Carry = Callable[[Row], Sequence[str]]
"""The keys under which a row of an older schema is kept now. For a row that has been carried over, its own."""
SCHEMA_VERSION = 2
"""1: the keys of a subscriber did not name it, and services that shared a SQLite file shared its rows."""


class Database(Protocol):
    """A participant's or subscriber's own database.

    The user's tables are shared by all who work on it; the barrier's rows are those of one `namespace` (by default
    "<namespace>.<service>"): whoever has another one never sees them, their unsent replies, or their being forgotten.
    """

    async def open(self) -> None:
        """Connect and create the barrier's own tables; raises StoreUnreachable or StoreMisconfigured, the latter also
        where rows of an older schema are there: they are not upgraded behind the back of older replicas."""
        ...

    async def schema_version(self) -> int:
        """Which schema the barrier's rows have, 0 where there are none yet. It need not be open."""
        ...

    async def upgrade(self, carry: Carry) -> int:
        """Bring the rows of an older schema to this one, whole or not at all as far as `open` sees; says how many.

        It need not be open. No process of an older choros may use the database meanwhile, or afterwards."""
        ...

    @property
    def transaction_type(self) -> type[Transaction]:
        """The transaction that handlers get."""
        ...

    async def run(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Run each job in a transaction of its own as far as its effects go (an adapter may commit several at once).

        Answers in order, with the job's result or with the exception that it raised, after which none of its writes
        remain. Where the commit itself fails, every job that it held answers StoreUnreachable. A job may be run
        again after a conflict, so it must touch nothing but its transaction.
        """
        ...

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed by the broker, oldest first."""
        ...

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed. May be applied late: a reply sent twice does no harm."""
        ...

    async def prune(self, now: float) -> int:
        """Forget rows whose `prune_at` has passed; says how many."""
        ...

    async def close(self) -> None:
        """Let go of the database; everything committed stays."""
        ...
