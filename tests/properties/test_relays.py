"""Outboxes live through random lives: any fate of a publish, crashes, a second orchestrator."""

from __future__ import annotations

import pytest

from tests.properties.machines import explore
from tests.properties.relay_machine import RelayMachine


@pytest.mark.usefixtures("quiet")
def test_nothing_is_lost_and_facts_stay_in_order() -> None:
    explore(RelayMachine, 60, 30)
