"""The network of an exploration: a bag of messages. What was sent may arrive at any time, in any order, or never.

Nothing makes a message arrive, so a lost one is one that stays here for ever: losing needs no event of its own.
A bag is one number with two bits for each message (how many copies), so that it is small and quick to compare.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from choros.saga.machine.inputs import Answered
from choros.wire.command_key import Operation

Deadline = Literal["", "ahead", "past", "short"]
"""Of a `do`: none, not passed yet, passed. Of an `undo`: none, the greatest ever sent, one that is not the greatest."""
COPIES = 3
"""Copies of one message that are told apart: more than any budget makes."""


class Ordered(NamedTuple):
    """A command on its way."""

    step: int
    round: int
    operation: Operation
    attempt: int
    deadline: Deadline = ""
    of: Literal["", "do", "undo"] = ""
    """What a `close` closes."""
    kind: str = ""
    """Which command it is, where its step may choose."""
    by_hand: bool = False
    """Whether a person has undone what this closes."""


InFlight = Ordered | Answered


class Bags:
    """Gives every message its place in a bag."""

    def __init__(self) -> None:
        self.messages: list[InFlight] = []
        self.replies = 0
        """The mask of all messages that are replies."""
        self._numbers: dict[InFlight, int] = {}

    def number(self, message: InFlight) -> int:
        """The message's number."""
        number = self._numbers.get(message)
        if number is None:
            number = self._numbers[message] = len(self.messages)
            self.messages.append(message)
            if isinstance(message, Answered):
                self.replies |= every(number)
        return number

    def numbers(self, bag: int) -> Iterator[int]:
        """The numbers of the messages in a bag, each once."""
        while bag:
            number = ((bag & -bag).bit_length() - 1) >> 1
            yield number
            bag &= ~(COPIES << (number << 1))

    def content(self, bag: int) -> list[InFlight]:
        """The messages in a bag, each once."""
        return [self.messages[number] for number in self.numbers(bag)]


def one(number: int) -> int:
    """A bag with one copy of a message."""
    return 1 << (number << 1)


def every(number: int) -> int:
    """The mask of all copies of a message."""
    return COPIES << (number << 1)


def put(bag: int, number: int) -> int:
    """The bag with one copy more."""
    return bag if bag >> (number << 1) & COPIES == COPIES else bag + one(number)
