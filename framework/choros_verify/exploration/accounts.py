"""The participants' books in numbers, and which messages can still decide anything: all others leave the network.

A message that can decide nothing, now or ever, makes no difference to any story, so states that differ in such messages
only are one state. That is the reduction that makes an exploration small. It is sound, because

- a reply is let go only where the machine ignores it, which is tried out (a machine that does not is found out);
- a command is let go only when no answer to it is awaited (a step's command is never awaited again once it is decided)
  and when, in every row that its participant can ever come to have, it changes no effect (a `do`) or nothing at all (an
  `undo`, a `close`). This is computed by trying all commands on all rows, with whatever barrier is being explored.
"""

from collections.abc import Callable, Iterator, Sequence

from choros.saga.machine.inputs import Answered
from choros_verify.exploration import holds
from choros_verify.exploration.books import Books, Carried, Ending
from choros_verify.exploration.orchestrator import OrchestratorModel
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.wire import Bags, Deadline, Ordered, every

CarryingOut = Callable[[Books, Ordered], Sequence[Ending]]
"""Every way in which a command may end at its participant."""
Finishing = Callable[[Books, int], Sequence[Ending]]
"""Every way in which somebody outside may finish what a step's participant has taken."""


class Accounts:
    """All participants together are one number; behind it is a tuple with the books of each step."""

    def __init__(
        self, carry_out: CarryingOut, orchestrator: OrchestratorModel, protocol: Protocol, wire: Bags, names: list[str],
        grow_old: bool = False, finish: Finishing = lambda books, step: (),
    ) -> None:  # fmt: skip
        self._carry_out, self._finish = carry_out, finish
        self._orchestrator = orchestrator
        self._protocol = protocol
        self._wire = wire
        self._names = names
        self._grow_old = grow_old
        self.books: list[tuple[Books, ...]] = []
        self._numbers: dict[tuple[Books, ...], int] = {}
        self._carried: dict[tuple[int, int], list[Carried]] = {}
        self._outcomes: dict[tuple[Books, Ordered], list[Ending]] = {}
        self._inert: dict[tuple[Books, Ordered], bool] = {}
        self._wanted: dict[int, tuple[int, int]] = {}
        self._at_work: dict[int, tuple[int, int]] = {}
        self._forgetful: dict[int, bool] = {}
        self.taken_late: list[tuple[int, Answered]] = []
        """Replies that would change a saga that does not await them, whether or not that can come about."""

    def number(self, books: tuple[Books, ...]) -> int:
        """The number of these books."""
        number = self._numbers.get(books)
        if number is None:
            number = self._numbers[books] = len(self.books)
            self.books.append(books)
        return number

    def forgetful(self, number: int) -> bool:
        """Whether there are rows that may be forgotten some day."""
        if number not in self._forgetful:
            self._forgetful[number] = any(books.pruned("ahead") != books for books in self.books[number])
        return self._forgetful[number]

    def replaced(self, number: int, step: int, books: Books) -> int:
        """The number of these with one step's books replaced."""
        all_books = self.books[number]
        return self.number((*all_books[:step], books, *all_books[step + 1 :]))

    def carry_out(self, number: int, message: int, ordered: Ordered) -> list[Carried]:
        """Every way in which this command may end, given these books."""
        key = (number, message)
        if key not in self._carried:
            outcomes = self._ends(self.books[number][ordered.step], ordered)
            self._carried[key] = [self._one(number, ordered.step, outcome) for outcome in outcomes]
        return self._carried[key]

    def finish(self, number: int, step: int) -> list[Carried]:
        """Every way in which somebody outside may finish what is not finished of this step."""
        return [self._one(number, step, ending) for ending in self._finish(self.books[number][step], step)]

    def _one(self, number: int, step: int, outcome: Ending) -> Carried:
        after = self.replaced(number, step, outcome.books)
        reply = self._wire.number(outcome.reply) if outcome.reply else -1
        return Carried(after, reply, outcome, outcome.books.wrong(self._names[step]))

    def _ends(self, books: Books, ordered: Ordered) -> list[Ending]:
        key = (books, ordered)
        if key not in self._outcomes:
            self._outcomes[key] = list(self._carry_out(books, ordered))
        return self._outcomes[key]

    # --- what can still decide anything -------------------------------------------------------------------------------

    def live(self, stored: int, accounts: int) -> int:
        """The mask of the messages that may still make a difference."""
        count = len(self._wire.messages)
        wanted = self._wanted.get(stored, (0, 0))
        if wanted[0] < count:
            wanted = self._wanted[stored] = (count, wanted[1] | self._wanted_from(stored, wanted[0], count))
        at_work = self._at_work.get(accounts, (0, 0))
        if at_work[0] < count:
            at_work = self._at_work[accounts] = (count, at_work[1] | self._at_work_from(accounts, at_work[0], count))
        return wanted[1] | at_work[1]

    def _wanted_from(self, stored: int, first: int, end: int) -> int:
        messages = self._wire.messages
        return sum(every(number) for number in range(first, end) if self._is_wanted(stored, messages[number]))

    def _is_wanted(self, stored: int, message: Ordered | Answered) -> bool:
        instance = self._orchestrator.stored[stored].instance
        if isinstance(message, Answered):
            if holds.awaited(instance, message):
                return True
            if self._orchestrator.ignores(stored, message):
                return False
            self.taken_late.append((stored, message))
            return True
        return holds.is_asked(instance.state(self._names[message.step]), message.round, message.operation)

    def _at_work_from(self, accounts: int, first: int, end: int) -> int:
        mask = 0
        for number in range(first, end):
            message = self._wire.messages[number]
            if isinstance(message, Ordered) and not self.inert(self.books[accounts][message.step], message):
                mask |= every(number)
        return mask

    def inert(self, books: Books, ordered: Ordered) -> bool:
        """Whether this command can never again make a difference at its participant."""
        key = (books, ordered)
        if key not in self._inert:
            self._inert[key] = not any(self._differs(*after) for after in self._reachable(books, ordered))
        return self._inert[key]

    def _differs(self, books: Books, ordered: Ordered) -> bool:
        for outcome in self._ends(books, ordered):
            after = outcome.books
            if (after.applied, after.undone) != (books.applied, books.undone):
                return True
            if ordered.operation != "do" and after != books:
                return True
        return False

    def _reachable(self, books: Books, ordered: Ordered) -> Iterator[tuple[Books, Ordered]]:
        """All books that the step can come to have, with what has become of the command by then."""
        todo, seen = [(books, ordered)], {(books, ordered)}
        while todo:
            current = todo.pop()
            yield current
            for after in self._next(*current):
                if after not in seen and not after[0].wrong(""):
                    seen.add(after)
                    todo.append(after)

    def _next(self, books: Books, ordered: Ordered) -> Iterator[tuple[Books, Ordered]]:
        for command in _commands(ordered):
            for outcome in self._ends(books, command):
                yield outcome.books, ordered
        for ending in self._finish(books, ordered.step):
            yield ending.books, ordered
        yield books.pruned("short"), ordered
        past: Deadline = "past" if ordered.operation == "do" and ordered.deadline else ordered.deadline
        yield books.pruned("ahead"), ordered._replace(deadline=past)
        if self._protocol.rows_expire:
            yield books.pruned("all"), ordered
        if self._grow_old:
            yield books.forget(ordered.round), ordered


def _commands(like: Ordered) -> Iterator[Ordered]:
    """Every command that may meet this one at its step."""
    deadlines: tuple[Deadline, ...] = (like.deadline, "past") if like.operation == "do" and like.deadline else ("",)
    for deadline in deadlines:
        yield Ordered(like.step, like.round, "do", like.attempt, deadline)
    for until in ("ahead", "short") if like.deadline else ("",):
        yield Ordered(like.step, like.round, "undo", like.attempt, until)
        for by_hand in (True, False):
            yield Ordered(like.step, like.round, "close", like.attempt, until, "do", by_hand=by_hand)
            yield Ordered(like.step, like.round, "close", like.attempt, until, "undo", by_hand=by_hand)
