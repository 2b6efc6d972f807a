"""A lane lives through random lives: any answer at any time, or none."""

from __future__ import annotations

from tests.properties.machines import explore
from tests.properties.sending_machine import SendingMachine


def test_each_gets_one_answer_and_none_overtakes_another_of_its_order() -> None:
    explore(SendingMachine, 100, 30)
