"""Exploration: every interleaving of a declared saga within stated budgets, held to what choros promises.

    from choros_verify import explore

    found = explore(my_saga)                       # one duplicate, one crash, one retry; every refusal, timer, cancel
    assert found.complete, "\\n".join(found.story)

The machine and the barrier's decisions are the real ones; what they are made of around it (store, broker, database) is
as simple as their ports promise. `choros verify APP` does the same from a shell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from choros.saga.saga import Saga
from choros_verify.exploration.bounds import LONG, SHORT, Bounds
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS, Mutant
from choros_verify.exploration.report import ExplorationReport, lines, report
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import Tried, try_mutant, try_mutants

__all__ = [
    "LONG", "MUTANTS", "SHORT", "Bounds", "Exploration", "ExplorationReport", "Left", "Mutant", "Tried", "explore",
    "lines", "report", "try_mutant", "try_mutants",
]  # fmt: skip


def explore(
    saga: Saga[Any], bounds: Bounds | None = None, *, start: str = "", replies: Mapping[str, str] | None = None
) -> ExplorationReport:
    """Explore one saga; `start` is the body of its start message, `replies` are bodies by type name; what is missing is
    made up. Raises UsageError."""
    exploration = Exploration(saga, bounds or Bounds(), start=start, replies=replies or {})
    return report(exploration, exploration.run())
