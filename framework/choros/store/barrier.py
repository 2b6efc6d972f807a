"""The barrier port: what makes a participant's effects single, in the participant's own database.

A row for every command key is written in the *same local transaction* as the effect and the reply, so a command
has its effect and its answer both or neither. `choros.testing.conformance.barrier` holds the conformance suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from choros.errors import ChorosError
from choros.store.local_undo import LocalUndo
from choros.values import quickly_made, replace

RowState = Literal[
    "running", "intent", "unfinished", "failed", "ok", "refused", "tombstone", "token", "handled", "mark",
    "publishing", "signalling", "left", "count", "begun", "waiting",
]  # fmt: skip
Listed = Literal["unfinished", "publishing", "signalling"]
"""States by which rows are looked for; in each of them somebody has still something to do."""
LISTED: tuple[Listed, ...] = ("unfinished", "publishing", "signalling")
LEAVING: tuple[Listed, ...] = ("publishing", "signalling")
"""What is on its way out of an outbox: facts and signals."""
Memory = Literal["commands", "facts", "outbox", "begun"]
"""What is kept for one and the same time, and has one horizon."""
MEMORIES: tuple[Memory, ...] = ("commands", "facts")
"""Those whose horizon somebody asks for."""
FORGETTABLE: frozenset[RowState] = frozenset({"refused", "tombstone"})
"""Rows that may be forgotten at a moment of their own: nothing is lost by that, so it moves no horizon."""
_MEMORIES: Mapping[RowState, Memory] = {
    "ok": "commands", "refused": "commands", "tombstone": "commands", "token": "commands",
    "waiting": "commands",
    "handled": "facts", "mark": "facts", "left": "outbox", "count": "outbox",
    "begun": "begun",
}  # fmt: skip
_ANSWERS: frozenset[RowState] = frozenset({"failed", "ok", "refused", "tombstone"})
BETWEEN = "\x1f"
"""Between the parts of a key that is no command's: in those is no control character."""
AT_ONCE = 200
"""Rows that are forgotten in one go: nobody else writes meanwhile."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one command key (or of one fact, in a subscriber's inbox)."""

    key: str
    """The full idempotency key with its operation."""
    state: RowState
    """running: inserted, the handler is at work in this very transaction; intent: a provider may have been called;
    unfinished: taken, and finished from outside; failed: so it was, but it did not work, and may be tried again; ok,
    refused: answered; tombstone: undone or closed before it was done, so it must never be done; token: by what an
    unfinished one is found. Of a subscriber: handled: a fact; mark: what it notes of itself; waiting: for the rest of
    the facts that a reaction takes together. Of the outbox: publishing: a fact, signalling: a signal that no broker has
    confirmed yet; left: one that it has; count: how many facts of a stream there are; begun: the same
    of a flow that the service has begun."""
    content: str = ""
    """What else it holds, to a database nothing but text: the answer, or of an intent and an unfinished one the
    command, as `participant/answers.py` writes and reads it; of a token the key; of a mark and of a handled fact what
    `subscriber/inbox.py` does; of the outbox what `runtime/host/outbox_rows.py` does; empty where nothing is."""
    prune_at: float | None = None
    """When a refusal or a tombstone may be forgotten, whatever its age. Of other rows it means nothing."""
    began: float | None = None
    """What its messages are compared with the horizon by: all messages about one effect, or one fact, carry the same
    moment. None: they carry none, so it is never forgotten for its age."""
    since: float = 0.0
    """When it was written, by this side's clock."""

    @property
    def memory(self) -> Memory | None:
        """Where it is forgotten for its age; None for nowhere: what is open, and what has a moment of its own."""
        return None if self.ends is not None or self.began is None else _MEMORIES.get(self.state)

    @property
    def ends(self) -> float | None:
        """The moment of its own from which on it may be forgotten; None where it has none."""
        return self.prune_at if self.state in FORGETTABLE else None

    @property
    def ages_from(self) -> float:
        """What its age is counted from. A clock that is ahead may have said when it began: were it forgotten before
        that, the horizon would lie behind what begins now, and nothing would be carried out any more."""
        return self.since if self.began is None else max(self.since, self.began)

    def keeping(self, content: str) -> Row:
        """The same row with this in it."""
        return Row(
            key=self.key, state=self.state, content=content, prune_at=self.prune_at, began=self.began, since=self.since
        )

    @property
    def owes_reply(self) -> bool:
        """Whether it holds an answer that somebody waits for."""
        return bool(self.content) and self.state in _ANSWERS and BETWEEN not in self.key


class Transaction(ABC):
    """A local transaction on the participant's database. A handler that names one writes its effects through it."""

    sessions: ClassVar[tuple[type, ...]] = ()
    """What a handler may take in its place, by its type: what `given` gives."""
    local_undo: LocalUndo
    """How its handler takes back what it has done so far. A savepoint that is rolled back takes along what was added in
    it; `store/standing.py` sees to that."""

    @abstractmethod
    async def read_row(self, key: str) -> Row | None:
        """The row of this key, guarded until the transaction ends."""

    async def read_rows(self, keys: Sequence[str]) -> Sequence[Row | None]:
        """The rows of these keys, in this order, each as `read_row` has it; an adapter may ask for all at once."""
        return [await self.read_row(key) for key in keys]

    @abstractmethod
    async def write_row(self, row: Row) -> None:
        """Insert or replace a row. One that owes a reply counts as unsent until `Database.mark_sent`."""

    @abstractmethod
    async def horizon(self, memory: Memory) -> float:
        """How far rows are forgotten: none that began later than this is. To be asked after the row was looked for,
        else that may have been forgotten in between. Before all time where nothing ever was forgotten."""

    @abstractmethod
    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A block whose writes are taken back when an exception leaves it; the transaction itself goes on."""

    def given(self, kind: type) -> Any:
        """What a handler takes in the transaction's place: one of `sessions`, in this very transaction. Only asked of
        who names such: any other is refused when the service's database is opened."""
        # Not abstract: most have no sessions. Here comes only an adapter that names some, and gives none.
        raise NotImplementedError(f"{type(self).__name__} gives no {kind.__name__}.")


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """It is done: what it came to, and what it wrote is there to stay."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Raised:
    """It raised this, or misused its transaction: nothing that it wrote remains, and the database is well."""

    error: Exception


@dataclass(frozen=True, slots=True)
class NotDone:
    """The database could not, for this reason: nothing of it remains, or its commit may have happened unnoticed."""

    why: ChorosError


Job = Callable[[Transaction], Awaitable[T]]
JobResult = Ok[T] | Raised | NotDone


def value_of(result: JobResult[T]) -> T:
    """What a job has come to; raises what it raised, or why it was not done."""
    match result:
        case Ok(value):
            return value
        case Raised(error):
            raise error
        case NotDone(why):
            raise why


Carry = Callable[[Row], Sequence[str]]
"""The keys under which a row of an older schema is kept now. For a row that has been carried over, its own."""
SCHEMA_VERSION = 3
"""1: the keys of a subscriber did not name it, and services that shared a SQLite file shared its rows. 2: no row knew
when it began, so none was ever forgotten for its age."""
NEVER = float("-inf")
"""The horizon before anything was forgotten."""


def grown_old(row: Row, now: float) -> Row | None:
    """An inbox row of an older schema as it is kept now; None for a row that stays as it is.

    When its fact was published, it does not say; to take the fact for younger than it is only keeps the row for longer.
    Of a command's row that would be wrong: messages that carry no time could not be compared with it."""
    timed = row.state == "handled" or (row.state == "mark" and row.prune_at is not None)
    return replace(row, began=now, since=now, prune_at=None) if timed and row.began is None else None


class Database(Protocol):
    """A participant's or subscriber's own database.

    The user's tables are shared by all who work on it; the barrier's rows are those of one `namespace` (by default
    "<namespace>.<service>"): whoever has another one never sees them, their unsent replies, or their being forgotten.
    """

    async def open(self) -> None:
        """Connect and create the barrier's own tables; raises StoreUnreachable or StoreMisconfigured, the latter also
        where rows of an older schema are there: they are not upgraded behind the back of older replicas."""

    async def schema_version(self) -> int:
        """Which schema the barrier's rows have, 0 where there are none yet. It need not be open."""

    async def upgrade(self, carry: Carry) -> int:
        """Bring the rows of an older schema to this one, whole or not at all as far as `open` sees; says how many.

        It need not be open. No process of an older choros may use the database meanwhile, or afterwards."""

    @property
    def transaction_type(self) -> type[Transaction]:
        """The transaction that handlers get."""

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        """Run each job in a transaction of its own as far as its effects go (an adapter may commit several at once).

        Answers in order what became of each. Where the commit itself fails, none that it held is done, and a call on a
        transaction that the database did not answer decides for its job, whatever that makes of it. A job may be run
        again after a conflict, so it must touch nothing but its transaction.
        """

    async def unsent(self, limit: int) -> Sequence[Row]:
        """Rows whose reply has not been confirmed by the broker, oldest first."""

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        """Rows of this state by `since`, the oldest first. By index: it costs what it answers.

        A row leaves the list when it is written in another state; one of `LEAVING` also by who has not read it. An
        adapter keeps this index beside its schema: replicas of an older choros go on, and see nothing of an outbox."""

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        """Rows of this memory whose age counts from that moment or later, by it and then by key; of those of that very
        moment only what comes behind the key `after`, so that a page goes on where the last one ended. By index: it
        costs what it answers, and how many there are of that moment."""

    async def mark_sent(self, keys: Sequence[str]) -> None:
        """The replies of these rows are confirmed. May be applied late: a reply sent twice does no harm."""

    async def prune(self, now: float) -> int:
        """Forget refusals and tombstones whose `prune_at` has passed; says how many."""

    async def forget(self, memory: Memory, before: float) -> int:
        """Forget rows whose age counts from before that moment, the oldest first, `AT_ONCE` at most; says how many, 0
        where there is none left.

        No commit forgets a row without moving the horizon to when that began, and the horizon never moves back, nor
        beyond that moment. Rows whose reply is not confirmed stay, and those that cannot be read: when these began,
        nobody knows. Several processes may do this at once."""

    async def close(self) -> None:
        """Let go of the database; everything committed stays."""
