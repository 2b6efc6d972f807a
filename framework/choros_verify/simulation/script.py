"""What a simulated run is made of, as data: it can be printed, replayed, and made smaller."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from choros.saga.outline import Commanded
from choros_verify.simulation.broker_queue import Mode
from choros_verify.simulation.faults import Fault

Behaviour = Literal[
    "refused", "transient", "stuck", "slow", "landed", "strays", "hangs", "deaf", "panics", "cancels", "later"
]
"""refused: a definite no; transient: fails `amount` times; stuck: fails for ever; slow: takes `amount` seconds; landed
(at a provider): happens, and then fails `amount` times; strays (at a provider): fails, and happens `amount` seconds
later, unless it is called off; hangs: says nothing, `amount` times, until it is cancelled;
deaf: the same, and it passes over being cancelled and comes back late; panics: raises `amount` times what is no
Exception; cancels: lets what it awaits be cancelled, `amount` times; later: takes it, and somebody outside finishes it
`amount` seconds after that, or refuses it, or says once that it failed (the code `failed`)."""
OF_REACTIONS: tuple[Behaviour, ...] = ("refused", "transient", "stuck", "slow", "panics", "cancels")
"""Those of them that a reaction of a flow can do: `refused` with a fact that says no."""
StoreKind = Literal["memory", "redis", "sqlite"]
"""What sagas and rows are kept in."""
PersonVerb = Literal[
    "cancel", "pause", "resume", "retry", "skip", "terminate", "signal", "update", "query", "rerun", "move"
]
BESIDE = "beside:"
"""Before the name of a process of the second application."""
RIVAL = "rival:"
"""Before the name of a process that works on the second store."""
PATIENT, IMPATIENT = 30.0, 2.0
"""Seconds that whoever starts a saga waits for the store."""


@dataclass(frozen=True, slots=True, order=True)
class ScriptLine:
    """What a participant does about one command; whatever has no line goes well at once."""

    saga: int
    """Which of the run's sagas, counted from 0."""
    step: str
    """Its path; in a loop with the index of an item, or without any index (`lines[].pack`) for all of them."""
    operation: Literal["do", "undo"]
    outcome: Behaviour
    amount: float = 1.0
    code: str = ""
    """The code of a refusal."""

    def __str__(self) -> str:
        what = f"{self.outcome} {self.code}".strip()
        return f"saga {self.saga}: {self.operation} {self.step}: {what} ({self.amount:g})"


@dataclass(frozen=True, slots=True, order=True)
class FlowLine:
    """What a service does in one reaction of one flow; whatever has no line goes well at once."""

    flow: int
    """Which of the run's flows, counted from 0."""
    reaction: str
    """As `service.function`."""
    outcome: Behaviour
    amount: float = 1.0
    code: str = ""
    """The type of the fact by which it says no."""

    def __str__(self) -> str:
        what = f"{self.outcome} {self.code}".strip()
        return f"flow {self.flow}: {self.reaction}: {what} ({self.amount:g})"


@dataclass(frozen=True, slots=True, order=True)
class PersonAct:
    """What a person asks for, so many seconds into the run."""

    at: float
    saga: int
    verb: PersonVerb
    nth: int = 0
    """For `retry` and `skip`: which of the nodes that are parked then, counted from 0, as often round as it takes. For
    `signal`: which of the waits; for `update` and `query` of what may be asked; for `rerun` of the saga's own steps."""

    def __str__(self) -> str:
        nth = f" (parked node {self.nth})" if self.nth else ""
        return f"{self.verb} saga {self.saga} at {self.at:g} s{nth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """One run. The same plan gives the same run."""

    seed: int
    broker: Mode = "4.3"
    orchestrators: int = 1
    starts: tuple[float, ...] = (0.0,)
    """When each saga is started, in seconds."""
    sagas: tuple[int, ...] = ()
    """Which of those that may be started each of them is, counted from 0; where it is not said, one after the other."""
    script: tuple[ScriptLine, ...] = ()
    acts: tuple[PersonAct, ...] = ()
    flows: tuple[float, ...] = ()
    """When each flow is begun, in seconds: the application's choreographies, one after the other."""
    reactions: tuple[FlowLine, ...] = ()
    faults: tuple[Fault, ...] = ()
    calm_at: float | None = None
    """From then on no fault strikes (liveness); None: they may strike at any time (safety)."""
    a_step: float = 1e-4
    """Seconds that every step takes."""
    stays: float = 0.0
    """How likely the process that made a step makes the next one as well."""
    every: float = 2.0
    """Seconds between two looks for timers, and two scans of an outbox."""
    together: bool = False
    """Whether all subscribers keep their inboxes in one database, beside each other."""
    beside: bool = False
    """Whether a second application, the same under another namespace, works on the same store and databases."""
    keep: float | None = None
    """Seconds that sagas are kept after their end; None: for ever. Their start keys are kept."""
    rival: bool = False
    """Whether the same application under the same namespace is run on a second store, too, with the same services."""

    store: StoreKind = "memory"
    """What sagas and services' rows are kept in; all but `memory` behind the adapters that run in earnest."""
    forgets: float = 0.0
    """Seconds after which services forget what they have done; 0 for longer than a run lasts."""
    frames: bool = False
    """Whether processes reach the broker as they do in earnest: by the RabbitMQ adapter and its client, over a pipe."""
    patience: float = PATIENT
    """Seconds that whoever starts a saga waits for the store. With less than usual they give up what was not handed
    over, and begin nothing again."""

    @property
    def clocks_off(self) -> float:
        """Seconds by which no two clocks of the run differ more."""
        return sum(abs(fault.amount) for fault in self.faults if fault.kind in ("skew", "jump"))

    def kind(self, index: int, of: int) -> int:
        """Which of so many sagas that may be started this one is."""
        return (self.sagas[index] if index < len(self.sagas) else index) % of

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(given: Mapping[str, Any]) -> RunPlan:
        """From what `to_json` gave, also after a trip through JSON text."""
        kinds: dict[str, Any] = {"script": ScriptLine, "acts": PersonAct, "faults": Fault, "reactions": FlowLine}
        known = {field.name for field in fields(RunPlan)}
        read = {name: value for name, value in given.items() if name in known and name not in kinds}
        for name, kind in kinds.items():
            read[name] = tuple(kind(**one) for one in given.get(name, ()))
        return RunPlan(**{**read, **{name: tuple(given.get(name, usual)) for name, usual in _NUMBERS.items()}})


_NUMBERS: Mapping[str, tuple[float, ...]] = {"starts": (0.0,), "sagas": (), "flows": ()}


def chance_of(plan: RunPlan, what: str) -> random.Random:
    """A source of chance for this alone, so that another one changes nothing about it."""
    return random.Random(f"{plan.seed} {what}")


def in_some_item(chance: random.Random, leaf: Commanded) -> str:
    """The path of this step, in one of the first items of the loops that it stands in."""
    first, *rest = leaf.path.split("[]")
    return "".join((first, *(f"[{chance.choice((0, 0, 1, 2))}]{one}" for one in rest)))
