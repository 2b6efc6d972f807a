"""What there is in an application that something can go wrong with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from choros.app.app import App
from choros.saga.saga import Saga


@dataclass(frozen=True)
class Targets:
    """What there is to strike in an application, and how often it could be struck in an undisturbed run."""

    app: App
    sagas: Sequence[Saga[Any]]
    processes: Sequence[str]
    queues: Sequence[str]
    occasions: Mapping[str, int]
    frames: bool = False
    """Whether processes reach the broker by frames."""

    @property
    def stores(self) -> list[str]:
        """The saga store, and each service's database."""
        return ["store", *self.databases]

    @property
    def databases(self) -> list[str]:
        """Each service's database."""
        return [f"{name} database" for name in self.app.services]
