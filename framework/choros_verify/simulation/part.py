"""What an application of a world stands on, and what it does in a run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from choros.app.app import App
from choros.messages import Message
from choros.runtime.participant.unfinished import Unfinished
from choros.saga.saga import Saga
from choros.transport.port import Transport
from choros_verify.simulation.keeping import Keeping
from choros_verify.simulation.script import RIVAL, RunPlan
from choros_verify.simulation.staged_flows import StagedFlows


@dataclass(frozen=True)
class Ground:
    """What all applications of a world stand on."""

    transport: Callable[[str, str], Transport]
    """A process's way to the broker, by namespace and name."""
    keeping: Keeping
    finish: Callable[[str, Unfinished], Awaitable[None]]
    """What the process of this name does to which somebody says what has become of commands."""
    deployed: set[str] = field(default_factory=set)
    """Processes that run another release just now."""


@dataclass(frozen=True)
class Part:
    """An application, and what it does in a run."""

    app: App
    starts: Sequence[tuple[Saga[Any], Message]]
    plan: RunPlan
    flows: StagedFlows
    prefix: str = ""
    """Before the names of its processes."""

    @property
    def rival(self) -> bool:
        """Whether it has a store of its own, and no services."""
        return self.prefix == RIVAL

    @property
    def flow_ids(self) -> Sequence[str]:
        """Of the flows that it begins."""
        return [self.flows.flow_id(self.app.namespace, index) for index in range(len(self.plan.flows))]

    def key(self, index: int) -> str:
        """The start key of the saga of this number; that of a rival is another one, or the services would take both
        for one saga."""
        return f"{'rival' if self.rival else 'sim'}-{index}"
