"""What goes into a decision, and what comes out of it."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from choros.messages import Failure, Reply
from choros.saga.machine.instance import Instance, Order
from choros.values import quickly_made
from choros.wire.command_key import CommandKey, Operation


@quickly_made
@dataclass(frozen=True, slots=True)
class Answered:
    """A participant's reply, already checked against the type that its command declares."""

    id: str
    """The reply's envelope id."""
    key: CommandKey
    attempt: int
    outcome: Literal["ok", "refused", "failed"]
    data: str
    """The reply's body; a Failure's body unless the outcome is ok."""
    code: str = ""
    """The failure's code."""
    refusal: str = ""
    """What is given with a refusal, already checked against the type that its command declares for the code."""
    undone: tuple[str, ...] = ()
    """What the participant that refuses had done and has taken back itself, as it says; newest first."""
    kind: type[Reply] | None = None
    """The type of the reply to a `do` that was carried out."""
    standing: bool = False
    """Whether a nested saga has left something standing when it was undone."""

    @property
    def detail(self) -> str:
        """What more is said of a failure."""
        return Failure.from_json(self.data).detail if self.outcome != "ok" else ""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The wake-up time has come."""

    unsent: frozenset[str] = frozenset()
    """The nodes whose commands still wait for the broker: for these no attempt is counted."""
    blind: frozenset[str] = frozenset()
    """The waits for facts of which nobody has looked yet what is kept of them: their time has not come."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants the saga undone."""

    id: str


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """A person wants the parked step tried again."""

    id: str
    step: str
    round: int


@dataclass(frozen=True, slots=True)
class SkipRequested:
    """A person wants the parked step closed, and the saga to go on as if it had been answered with `reply`."""

    id: str
    step: str
    round: int
    reply: str


@dataclass(frozen=True, slots=True)
class SettleRequested:
    """A person knows what became of a step that was left standing or in doubt, or has undone by hand what is parked."""

    id: str
    step: str
    round: int
    stands: bool = False
    """Whether its effect is there, and stays."""
    reply: str = ""
    """What it would have replied with, where it stands and never did."""


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Send nothing more until resumed. Commands already sent keep their timers."""

    id: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """Go on after a pause."""

    id: str


@dataclass(frozen=True, slots=True)
class TerminateRequested:
    """A person wants the saga to end as it is: nothing more is done, and nothing undone."""

    id: str


@dataclass(frozen=True, slots=True)
class SignalRequested:
    """Somebody tells the saga what it waits for, or will wait for."""

    id: str
    step: str
    """The path of the wait, in an item with its index; where that is the time of a `Repeat`, it may be left out."""
    body: str
    """Already checked against the type that the wait declares."""


@dataclass(frozen=True, slots=True)
class UpdateRequested:
    """Somebody asks something of the saga, which it answers."""

    id: str
    update: str
    """The name of its type."""
    body: str
    """Already checked against that."""


@dataclass(frozen=True, slots=True)
class RerunRequested:
    """A person wants the saga, which has ended, run again from a step."""

    id: str
    step: str
    successor: str
    """The id of the instance that will take it over."""


@dataclass(frozen=True, slots=True)
class OrderReceived:
    """The saga that this one is nested in commands it."""

    id: str
    order: Order


@dataclass(frozen=True, slots=True)
class LockTold:
    """What has come of the lock that a saga asked for."""

    id: ClassVar[str] = ""
    word: Literal["taken", "waiting", "refuse", "join"]
    key: str = ""
    """Unless all are taken: the one that is not."""
    holder: str = ""
    """The saga that has it."""


Act = (
    CancelRequested
    | RetryRequested
    | SkipRequested
    | SettleRequested
    | PauseRequested
    | ResumeRequested
    | RerunRequested
    | TerminateRequested
)
Input = Answered | TimerFired | LockTold | SignalRequested | UpdateRequested | OrderReceived | Act


@quickly_made
@dataclass(frozen=True, slots=True)
class Send:
    """A command to send."""

    to: str
    key: CommandKey
    type: str
    data: str
    attempt: int
    not_after: float | None
    began: float | None = None


@dataclass(frozen=True, slots=True)
class NestedReply:
    """An answer to the saga that this one is nested in."""

    order: Order
    operation: Operation
    """Under the key of which it goes: a close is answered by the stored outcome of what it closes."""
    outcome: Literal["ok", "refused", "failed"]
    type: str
    data: str


@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """What an update comes to, kept under its id."""

    id: str
    update: str
    body: str
    """That of the reply; of a Failure where it was refused."""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """A fact to publish."""

    type: str
    data: str
    seq: int
    step: str = ""


EventKind = Literal[
    "started", "sent", "retry_scheduled", "timed_out", "replied", "refused", "failed", "late_reply", "undone",
    "pivot_passed", "compensating", "fact_held", "fact_published", "fact_dropped", "parked", "unparked",
    "wanted", "too_late", "paused", "resumed", "skipped", "undeclared_refusal", "completed", "compensated", "rerun",
    "moved", "asleep", "woken", "chosen", "passed_over", "listed", "lost", "undoing", "terminating", "terminated",
    "closed", "left_in_doubt", "repeated", "awaiting", "reminded", "lapsed", "signalled", "kept", "not_kept",
    "revocable", "settled", "released", "never_begun", "start_held", "start_dropped",
    "queued", "lock_taken", "joined", "updated", "update_refused",
    "unfinished",
    "left_standing", "fact_withheld", "by_hand",
]  # fmt: skip


@quickly_made
@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for the history. Holds no payload."""

    kind: EventKind
    step: str = ""
    operation: str = ""
    attempt: int = 0
    code: str = ""
    detail: str = ""
    seconds: float = 0.0
    """For a scheduled retry, a sleep, a wait or an unfinished command: how long until it, or its end."""
    cause: str = ""
    """The id of the message or act behind it."""
    undone: tuple[str, ...] = ()
    """Of a refusal: what its participant has taken back itself."""


class Lacking(Exception):
    """A decision needs entries that did not come with the record: load it once more with them, and decide again."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = frozenset(names)


@quickly_made
@dataclass(frozen=True, slots=True)
class Decision:
    """The instance as it shall be, and what to do about it."""

    instance: Instance
    sends: tuple[Send, ...] = ()
    facts: tuple[Release, ...] = ()
    events: tuple[Event, ...] = ()
    strays: tuple[str, ...] = field(default=())
    """Ids of replies that no command of this saga can have asked for."""
    replies: tuple[NestedReply, ...] = ()
    """To the saga that this one is nested in."""
    answers: tuple[UpdateAnswer, ...] = ()
    """To those who asked something of it."""

    @property
    def withdraws(self) -> bool:
        """Whether no command sent before is wanted any more: one that is still in the outbox leaves it unsent."""
        return any(event.kind in _PROGRESS for event in self.events)


_PROGRESS = frozenset({"replied", "refused", "failed", "undone", "skipped", "terminating"})
