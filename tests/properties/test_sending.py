"""A lane lives through random lives: any answer at any time, or none."""

from __future__ import annotations

from choros.testing.conformance.stage import fact
from choros.transport.port import Published
from choros.transport.sending import Post, Sending, Ticket
from tests.properties.machines import explore
from tests.properties.sending_machine import SendingMachine


def test_each_gets_one_answer_and_none_overtakes_another_of_its_order() -> None:
    explore(SendingMachine, 100, 30)


def test_a_long_line_behind_one_that_is_refused_is_refused_at_once() -> None:
    """One after another, not one within another."""
    sending = Sending[Ticket](lambda there: None, Ticket)
    post = Post("facts", "a", fact(), ("app", "s"))
    batches = [sending.begin([post], 10.0) for _ in range(2_000)]
    there = sending.destination("facts", "a")
    assert sending.next(there, 0.0) is not None
    sending.expire(batches[0], 10.0)
    assert {answer for batch in batches for answer in batch.answers} == {Published.UNKNOWN}
