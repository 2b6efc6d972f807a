"""Whether a transaction still stands: it has not ended, and no call on it has failed on its way or was cut short.

A handler may catch what a call raises and go on. It then works on half of what it asked for, and the connection may
be another one, on which nothing guards what was read. So after such a call nothing more is done and nothing is kept.
What the database has *answered* is no such failure, a violated constraint for example: the statement was taken back
and all else stands. Nor is what was refused before it reached the database.
"""

from dataclasses import dataclass
from typing import TypeVar

from choros.errors import ChorosError, UsageError
from choros.store.barrier import Job, JobResult, NotDone, Ok, Raised, Transaction
from choros.store.local_undo import LocalUndo

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Savepoint:
    """One that has begun."""

    added: int
    """How much could be taken back when it began."""


class Standing:
    """How one transaction stands. Each call of its handler asks `check` first."""

    def __init__(self) -> None:
        self._ended = False
        self._lost: ChorosError | None = None
        self._spoilt: ChorosError | None = None
        self._savepoints: list[Savepoint] = []
        self.local_undo: LocalUndo = LocalUndo()

    def check(self) -> None:
        """Raises UsageError where the transaction has ended or is spoilt, and anew what it was lost by."""
        if self._ended:
            raise UsageError("This transaction has ended.", "use it inside its handler only.")
        if failure := self._lost or self._spoilt:
            raise failure

    @property
    def fallen(self) -> bool:
        """Whether nothing of it may be kept."""
        return (self._lost or self._spoilt) is not None

    def lose(self, error: ChorosError) -> None:
        """The database did not do a call: that is what became of the job, whatever its handler makes of it."""
        self._lost = self._lost or error

    def spoil(self, how: str) -> None:
        """It was misused, or a call was cut short: that is its handler's own affair."""
        self._spoilt = self._spoilt or UsageError(
            f"A handler {how}, and went on.", "let what it caught leave the handler; nothing was written."
        )

    def end(self) -> None:
        """From here on nothing can be read or written through it."""
        self._ended = True

    def enter(self) -> Savepoint:
        """A savepoint begins."""
        self.check()
        self._savepoints.append(mark := Savepoint(len(self.local_undo)))
        return mark

    def fail(self, mark: Savepoint) -> bool:
        """A savepoint ends with an exception; whether it is still for its block to take back what was written since."""
        self.local_undo.drop(mark.added)
        return self.leave(mark)

    def leave(self, mark: Savepoint) -> bool:
        """A savepoint ends; whether it may still be ended in the database."""
        if self._ended or self.fallen:
            return False
        if self._savepoints.pop() is not mark:  # two tasks, each in a savepoint: what is whose, nobody can say
            self.spoil("used its transaction from two tasks, in savepoints that overlap")
        return not self.fallen

    async def judged(self, job: Job[T], transaction: Transaction) -> JobResult[T]:
        """What becomes of a job, as far as its own transaction goes."""
        result: JobResult[T]
        try:
            result = Ok(await job(transaction))
        except Exception as error:
            result = Raised(error)
        if self._lost:
            return NotDone(self._lost)
        return Raised(self._spoilt) if self._spoilt and isinstance(result, Ok) else result
