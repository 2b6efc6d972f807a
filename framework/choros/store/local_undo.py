"""The local undo log: how a handler takes back, in its own transaction, what it has already done in it.

Rolled back, half-done work leaves no trace. Taken back, both movements stand in the service's books, with the refusal
and the list of what was taken back: in one commit, all of it or nothing.
"""

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from choros.errors import ChorosError, Refused, UsageError


class NotTakenBack(ChorosError):
    """A function that takes work back was refused: its transaction is rolled back, and the handler has failed."""


class LocalUndo:
    """What a handler has done so far in its transaction, and how each part of it is taken back.

    A handler names one beside its transaction: `undo: LocalUndo`. After each part it adds how that is taken back. If it
    then raises a declared `Refused`, what was added is called, newest first, and all that was written stays. With
    nothing added, and for every other exception, the transaction is rolled back. A savepoint that is rolled back takes
    along what was added in it.
    """

    __slots__ = ("_at_work", "_parts", "_taken_back")  # each transaction has one, and hardly any uses it

    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], Any]]] = []
        self._taken_back: list[str] = []
        self._at_work = False

    def add(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Note how what was just done is taken back: by this function, `async` or not, called with these arguments.

        `what` are a few words for people ("release line 1"): they travel with the refusal and stand in the saga's
        history, so they must not hold what is secret."""
        if self._at_work:
            raise UsageError("Work is being taken back.", "add nothing in the functions that take it back.")
        _check(what, function)
        self._parts.append((what, lambda: function(*arguments, **named)))

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def taken_back(self) -> tuple[str, ...]:
        """What was taken back, in that order."""
        return tuple(self._taken_back)

    def drop(self, beyond: int) -> None:
        """Forget all but the oldest so many: what they would take back has been rolled back."""
        del self._parts[beyond:]

    async def take_back(self) -> None:
        """Call what was added, newest first. Raises what that raises; then the transaction has to be rolled back."""
        self._at_work = True
        while self._parts:
            what, work = self._parts.pop()
            try:
                result = work()
                if isawaitable(result):
                    await result
            except Refused as refused:
                sentence = f"What takes back {what!r} was refused ({refused.code})."
                raise NotTakenBack(sentence, "a function that cannot be refused.") from refused
            self._taken_back.append(what)


def _check(what: object, function: object) -> None:
    """Where it is added, its traceback names the line that is wrong."""
    hint = "undo.add('release line 1', release, db, 1): words for people, a function, its arguments."
    if not isinstance(what, str) or not what.strip():
        raise UsageError("What is to be taken back has no words that say what it is.", hint)
    if not callable(function):
        raise UsageError(f"{what!r} is to be taken back by a {type(function).__name__}, which is no function.", hint)
