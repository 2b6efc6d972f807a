"""The services of sagas that are nested in each other, behind the real barrier: what was once sent to one, or answered
by it, may arrive at any time, in any order, and any number of times. What never arrives has not arrived yet."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from choros.saga.machine.inputs import Answered, Send
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from choros_verify.exploration.books import Books
from choros_verify.exploration.examples import reply_examples
from choros_verify.exploration.participants import Participants
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.violation import hold
from choros_verify.exploration.wire import Ordered


class FromSaga(NamedTuple):
    """A command to a service, and whose it is."""

    name: str
    ordered: Ordered


class Served(NamedTuple):
    """What is on its way to services and from them, and what they have in their books."""

    commands: frozenset[FromSaga] = frozenset()
    answers: frozenset[tuple[str, Answered]] = frozenset()
    books: frozenset[tuple[str, str, Books]] = frozenset()

    @property
    def stands(self) -> frozenset[tuple[str, str]]:
        """The effects that are there: whose, and which step's."""
        return frozenset((name, path) for name, path, books in self.books if books.stands)

    def sent(self, name: str, saga: Saga[Any], send: Send) -> "Served":
        """With this on its way."""
        of: Any = "" if send.key.operation != "close" else "undo" if '"undo"' in send.data else "do"
        step = list(saga.outline.leaves).index(send.key.path)
        ordered = Ordered(step, send.key.round, send.key.operation, 1, of=of)
        return self._replace(commands=self.commands | {FromSaga(name, ordered)})


class Services:
    """They carry out, refuse, and know what they have done. Nothing is said of deadlines and of failures for now: what
    a barrier makes of these is explored for each saga by itself."""

    def __init__(self, barrier: Protocol) -> None:
        self._barrier = barrier
        self._of: dict[str, Participants] = {}

    def arrivals(self, served: Served, sagas: Mapping[str, Saga[Any]]) -> Iterator[tuple[str, Served]]:
        """Each command that may arrive, and every way in which that may end."""
        kept = {(name, path): books for name, path, books in served.books}
        for name, ordered in sorted(served.commands):
            saga = sagas[name]
            path = saga.outline.paths[ordered.step]
            before = kept.get((name, path), Books())
            for ending in self._participants(saga).carry_out(before, ordered):
                if ending.reply is None or ending.reply.outcome == "failed":
                    continue
                wrong = ending.books.wrong(f"{name}: {path}")
                hold(not wrong, wrong, 1)
                reply = replace(ending.reply, id=f"{path}:{ending.reply.key.operation}")
                books = served.books - {(name, path, before)} | {(name, path, ending.books)}
                after = Served(served.commands, served.answers | {(name, reply)}, books)
                yield f"{name}: {path} gets its {ordered.operation}: {ending.said}", after

    def _participants(self, saga: Saga[Any]) -> Participants:
        if saga.name not in self._of:
            self._of[saga.name] = Participants(saga, self._barrier, reply_examples(saga), frozenset(), 1)
        return self._of[saga.name]


def answer_to(saga_id: str, answer: Answered) -> Answered:
    """The answer under the key of this saga."""
    return replace(answer, key=CommandKey(saga_id, answer.key.path, answer.key.round, answer.key.operation))
