"""What became of a saga instance, as whoever started it wants to know."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic

from choros.errors import MessageRejected
from choros.messages import Failure
from choros.runtime.orchestrator.recognition import as_stored
from choros.saga.machine.instance import TERMINAL, Instance, Status
from choros.saga.parameters import Builder
from choros.saga.saga import Result_co, Sagas
from choros.store.sagas import Record

SETTLED: tuple[Status, ...] = (*TERMINAL, "parked")
"""Of a saga that goes no further by itself: it has ended, or waits for a person."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result_co]):
    """How far a saga instance is, and how it ended if it has."""

    saga_id: str
    status: Status
    failure: Failure | None = None
    """Why it was undone."""
    parked: str = ""
    """Why it waits for a person."""
    result: Result_co | None = None
    """What it came to, once it is completed, if its declaration says (`Saga(result=...)`); None as well where this
    application has no declaration of its version any more."""

    left_standing: tuple[str, ...] = ()
    """The steps whose undo it went on without: their effect may be there. Of a terminated saga not those that it never
    wanted to undo."""

    @property
    def ended(self) -> bool:
        """Whether it is completed, compensated or terminated; a parked saga is none of these."""
        return self.status in TERMINAL

    @property
    def settled(self) -> bool:
        """Whether it goes no further by itself: it has ended, or waits for a person."""
        return self.status in SETTLED


def outcome_of(instance: Instance, declared: Builder | None = None) -> Outcome[Any]:
    """How far it is; with what it came to, where `declared` says how to read that."""
    failure = Failure.from_json(instance.failure) if instance.failure else None
    result = None
    if declared and instance.result:
        with suppress(MessageRejected):  # of a declaration that went by the same version
            result = declared.builds.from_json(instance.result)
    left = tuple(instance.standing)
    return Outcome(instance.saga_id, instance.status, failure, instance.why_parked, result, left)


def recorded(record: Record, sagas: Sagas) -> Outcome[Any]:
    """How far the saga of this record is."""
    saga = sagas.get((record.saga, record.saga_version))
    return outcome_of(as_stored(record), saga.outline.result if saga else None)
