"""A story has words for whatever happens."""

import pytest

from choros_verify.exploration.books import Books, Carried, Ending
from choros_verify.exploration.decisions import Happening
from choros_verify.exploration.story import _CARRIED, Teller
from choros_verify.exploration.wire import Ordered
from tests.exploration.trips import trip_saga


def told(said: str) -> str:
    carried = Carried(0, -1, Ending(Books(), None, said), "")
    (sentence,) = Teller(trip_saga).tell([Happening("carried", ordered=Ordered(0, 1, "undo", 1), carried=carried)])
    return sentence


@pytest.mark.parametrize("said", _CARRIED)
def test_whatever_becomes_of_a_command_is_told(said: str) -> None:
    assert "hotel" in told(said)


def test_an_intent_that_is_settled_first_is_told() -> None:
    assert told("settled undone") == (
        "hotel first settles book_room with its provider; then hotel carries cancel_room (undo of book_room) out,"
        " and answers ok."
    )
