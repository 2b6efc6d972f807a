"""A test of a saga: a dialogue with it, in the place of its services. No broker, no store, and no time passes.

The functions are tests for pytest as they stand; run as a program, it says what they have shown.
"""

from datetime import timedelta

from choros import Command, Done, Fact, Failure, Message, Pivot, Saga, Step
from choros.testing import SagaTest


class Lend(Message):
    """What the saga starts with."""

    book: str


class TakeFromShelf(Command[Done]):
    """An order to the library."""

    book: str


class PutBack(Command[Done]):
    """Undoes it."""

    book: str


class HandOut(Command[Done], refusals=("card_expired",)):
    """An order to the desk."""

    book: str


class NotLent(Fact):
    """Published where it was undone."""

    book: str
    why: str


def take_from_shelf(start: Lend) -> TakeFromShelf:
    """The first step."""
    return TakeFromShelf(book=start.book)


def put_back(start: Lend) -> PutBack:
    """Undoes it."""
    return PutBack(book=start.book)


def hand_out(start: Lend) -> HandOut:
    """The go or no-go."""
    return HandOut(book=start.book)


def not_lent(start: Lend, failure: Failure) -> NotLent:
    """Says why."""
    return NotLent(book=start.book, why=failure.code)


loan = Saga(
    "loan",
    start=Lend,
    steps=(Step(take_from_shelf, to="library", compensation=put_back), Pivot(hand_out, to="desk")),
    compensated=not_lent,
)


def begun() -> SagaTest:
    """A loan whose book is off the shelf."""
    saga = SagaTest(loan)
    saga.start(Lend(book="Odyssey"))
    saga.expect_command(TakeFromShelf, to="library").reply()
    return saga


def test_a_reader_with_an_old_card_gets_nothing() -> None:
    """What is refused for good is undone."""
    saga = begun()
    saga.expect_command(HandOut, to="desk").refuse("card_expired")
    saga.expect_compensation(PutBack(book="Odyssey"), to="library").reply()
    (told,) = saga.expect_facts(NotLent)
    assert (saga.status, told.why) == ("compensated", "card_expired")


def test_a_desk_that_does_not_answer_is_asked_again() -> None:
    """The pivot may have been carried out, so nothing is undone: the same command is sent again."""
    saga = begun()
    saga.expect_command(HandOut).time_out()
    saga.advance(timedelta(minutes=1))
    saga.expect_command(HandOut).reply()
    assert saga.status == "completed"


if __name__ == "__main__":
    for test in (test_a_reader_with_an_old_card_gets_nothing, test_a_desk_that_does_not_answer_is_asked_again):
        test()
        print(test.__name__.replace("_", " ").removeprefix("test "))
