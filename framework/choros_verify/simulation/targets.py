"""What there is in an application that something can go wrong with."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from choros.app.app import App
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros_verify.simulation.script import RunPlan, StoreKind
from choros_verify.simulation.staged_flows import StagedFlows


@dataclass(frozen=True)
class Targets:
    """What there is to strike in an application, and how often it could be struck in an undisturbed run."""

    app: App
    sagas: Sequence[Saga[Any]]
    processes: Sequence[str]
    queues: Sequence[str]
    occasions: Mapping[str, int]
    shares: Mapping[StoreKind, float]
    """Which kinds of stores it runs on, each in such a share of the runs."""
    occasions_on: Callable[[StoreKind], Mapping[str, int]]
    """The same as `occasions`, which are those in memory, on another kind of stores."""
    flows: StagedFlows
    """Its choreographies."""
    frames: bool = False
    """Whether processes reach the broker by frames."""

    def saga(self, plan: RunPlan, index: int) -> Saga[Any]:
        """Which one the saga of this number in a plan is."""
        return self.sagas[plan.kind(index, len(self.sagas))]

    def later(self, leaf: Commanded) -> bool:
        """Whether its service may have this step finished later where it is played; not where a provider is."""
        known = self.app.service(leaf.to).handlers
        handlers = (known.get(command.type_name) for command in leaf.commands["do"])
        return leaf.finished_within is not None and not any(one and one.provider for one in handlers)

    def kind(self, seed: int) -> StoreKind:
        """What the run of this seed keeps its sagas in."""
        kinds, shares = list(self.shares), list(self.shares.values())
        return random.Random(f"{seed} store").choices(kinds, shares)[0]

    def on(self, kind: StoreKind) -> "Targets":
        """The same where all is kept in that."""
        return self if kind == "memory" else replace(self, occasions=self.occasions_on(kind))

    @property
    def stores(self) -> list[str]:
        """The saga store, and each service's database."""
        return ["store", *self.databases]

    @property
    def databases(self) -> list[str]:
        """Each service's database."""
        return [f"{name} database" for name in self.app.services]
