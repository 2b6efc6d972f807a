"""How long a subscriber knows what it has handled."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from choros.app.settings import Settings
from choros.errors import DeclarationError
from choros.saga.policy import check_duration
from choros.transport.fact_log import FactLog

SHORTEST_MEMORY = timedelta(hours=1)
"""A fact that fails is on its way for half of that."""


class Remembers(Protocol):
    """A service, as far as it says how long it remembers."""

    name: str
    settings: Settings
    remember: timedelta | None


def checked_memory(service: str, wanted: timedelta | None) -> timedelta | None:
    """What is declared; raises DeclarationError where that is shorter than a fact may be on its way."""
    if wanted is not None:
        check_duration(f"service {service!r}", "remember", wanted)
    if wanted is not None and wanted < SHORTEST_MEMORY:
        raise DeclarationError(
            f"service {service!r} forgets facts while they may still be on their way.", "remember=timedelta(days=30)."
        )
    return wanted


def memory_for(service: Remembers, settings: Settings, log: FactLog | None = None) -> timedelta:
    """How long a subscriber knows what it has handled; where nobody says, a day longer than the fact log knows it."""
    memory = settings.over(service.settings).remember or service.remember
    if memory and log and memory < log.max_age:
        raise DeclarationError(
            f"service {service.name!r} forgets facts that are still in the fact log.",
            "a `remember` longer than the log's max_age.",
        )
    return memory or (log or FactLog()).max_age + timedelta(days=1)
