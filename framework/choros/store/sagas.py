"""The store port: what an orchestrator asks of a database. Its conformance suite: `choros.testing.conformance.store`.

A record is one saga instance. One `commit` moves it from one version to the next together with everything that
belongs to that step: the ids of what was received, the messages to send (outbox), the wake-up time, the history.

What of its state must not be rewritten with each commit lies beside it in *entries*, texts by name: a commit writes
those that change, a load reads those that are named, and neither costs more the more there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Literal, Protocol

from choros.store.schema import Upgraded
from choros.values import quickly_made
from choros.wire.envelope import Envelope

Channel = Literal["commands", "local", "facts"]
"""local: commands that an orchestrator hands over within its own process; no broker ever gets them."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What decides who may decide a record: the declaration that it was begun with."""

    saga: str
    version: int
    fingerprint: str = ""
    """Of the declaration, as a hash; on a record empty where it was written before there were any."""


KnownKinds = Collection[Kind]
"""The declarations that a worker has. Its timers are those of records with the same fingerprint, or with none."""

EntryNames = Mapping[str, Collection[str] | None]
"""Which entries shall come with a record, by saga id: the names of some, or None for all that there are."""
NOTHING: EntryNames = MappingProxyType({})
LABEL = "label:"
"""How the names of entries begin by which records are looked for: see `Store.labelled`."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One saga instance as it is stored. Times are seconds since the epoch by the store's clock."""

    saga_id: str
    saga: str
    saga_version: int
    key: str
    """The caller's start key."""
    digest: str
    """Of the start message: the same key with another digest is a conflict."""
    application: str
    version: int
    """1 at creation, then + 1 with each transition."""
    transition: str
    """The id of the transition that made this version."""
    status: str
    state: str
    """The instance as JSON; opaque to the store."""
    started_at: float
    updated_at: float
    wake_at: float | None = None
    """When a timer is due; None for never."""
    received: tuple[str, ...] = ()
    """Ids of the inputs folded in last; those of older ones are entries."""
    undecided: tuple[str, ...] = ()
    """Inputs that were taken in by a worker that does not know this saga version."""
    fingerprint: str = ""
    """Of the declaration that it follows; empty on an old record, until its next commit."""
    late: int = 0
    """How many replies that came too late its history has; beyond a bound they leave no trace."""
    gone: bool = False
    """Whether the record itself was deleted after its retention. What is left answers for its start key: whose it was,
    the digest, how and when (`updated_at`) it ended. It must not be committed."""
    unreadable: str = ""
    """Names the fields that the store cannot read, as when somebody has changed them. Nothing else is to be believed
    then, and the record must not be committed: that would lose what is still there."""

    @property
    def kind(self) -> Kind:
        """Who may decide it."""
        return Kind(self.saga, self.saga_version, self.fingerprint)


@quickly_made
@dataclass(frozen=True, slots=True)
class Unsent:
    """A message to send: it stays in the outbox until whoever it goes to, or a broker, has taken it."""

    id: str
    """The envelope's id."""
    channel: Channel
    envelope: str
    """The envelope as `Envelope.dumps` wrote it."""
    saga_id: str = ""
    """Filled in by the store when it hands the message out."""
    message: Envelope | None = field(default=None, compare=False, repr=False)
    """The same envelope, unwritten: only until that has been through a store."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Transition:
    """One step of one saga instance: all of it is stored, or nothing."""

    record: Record
    """The record as it shall be; `record.version` is one more than the version it was decided on (1 = creation)."""
    previous: str = ""
    """The transition id that it was decided on; empty for a creation. Compare-and-set is on (version, previous)."""
    outbox: tuple[Unsent, ...] = ()
    sent: tuple[str, ...] = ()
    """Ids of messages known to be confirmed: they leave the outbox with this commit."""
    history: str = ""
    """What happened, as a JSON array, kept under (saga_id, version) as long as the record; empty for nothing."""
    entries: Mapping[str, str] = field(default_factory=dict)
    """Entries that are written or written anew, by name, and kept as long as the record; an empty text takes one away.
    """


def handed_out(known: KnownKinds) -> Collection[Kind]:
    """The kinds of records whose timers a worker is handed: its own, and those of old records of the same versions."""
    return {*known, *(Kind(kind.saga, kind.version) for kind in known)}


LIVE = ("running", "compensating", "parked")
"""The statuses of a record that has not ended."""
ENDED = ("completed", "compensated", "terminated")
"""The statuses of one that has: no commit will ever make it live again."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """A claimed timer that nothing came of: when it is due now."""

    saga_id: str
    claimed: float
    """Until when it was claimed: a commit in between has set the timer anew, and that counts."""
    until: float


class Committed(Enum):
    """The answer to one transition of a batch."""

    OK = "ok"
    CONFLICT = "conflict"
    """Another transition came first (or this very one, whose answer was lost): load again and decide again."""
    REFUSED = "refused"
    """This transition alone the database cannot take, now or later; nothing of it is stored."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Loaded:
    """A record together with the ids of its messages that no broker has confirmed yet."""

    record: Record
    unsent: frozenset[str] = frozenset()
    """Commands, local ones too."""
    unsent_facts: frozenset[str] = frozenset()
    """Facts, apart: one that cannot leave must not hold back a command's timer, only the facts behind it."""
    unreadable: frozenset[str] = frozenset()
    """Those of the commands that this worker cannot read, as it tells itself: they hold back no timer."""
    entries: Mapping[str, str] = field(default_factory=dict)
    """The entries that were wanted, by name; an empty text for one that was named and is not there."""
    recalled: bool = False
    """Whether no store was asked: it is what this worker committed last, with at least the messages that are unsent.
    Only a commit may rest on that, since its compare-and-set says whether it still holds."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """What one transition did."""

    version: int
    at: float
    events: str
    """The JSON array of `Transition.history`."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first, and where to go on; an empty cursor means the end."""

    records: Sequence[Record] = field(default_factory=tuple)
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one call of `forget` came to."""

    looked: int = 0
    """How many records old enough it has looked at."""
    records: int = 0
    """How many of them it has deleted."""
    left: int = 0
    """How many it had to leave; the others had been deleted by somebody else meanwhile."""
    keys: int = 0
    """How many start keys it has deleted."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much there is of what a store fills, and how much of it is used, in bytes."""

    what: str
    used: int
    total: int

    @property
    def share(self) -> float:
        """The part that is used, from 0 to 1."""
        return self.used / self.total if self.total else 0.0


class Store(Protocol):
    """The saga instances of one application, on a database that others may use too: it sees nothing of theirs.

    Every method may raise StoreUnreachable; `commit` may then have happened."""

    async def open(self) -> None:
        """Connect and prepare; raises StoreUnreachable or StoreMisconfigured, the latter also for another schema."""

    @property
    def identity(self) -> str:
        """What tells this store from every other one, once it is open: lower-case letters and digits, made when it was
        first opened and kept with what it holds, so that a copy of it has the same."""

    @property
    def lasting(self) -> bool:
        """Whether what it holds, and its identity, outlive the process."""

    async def schema_version(self) -> int:
        """How what is stored is laid out, 0 where nothing is. It need not be open."""

    async def upgrade(self) -> Upgraded:
        """Lay out anew what an older choros has stored: `open` refuses it, so that none is upgraded behind the back of
        older processes. None may use the database meanwhile, or afterwards. It need not be open."""

    def now(self) -> float:
        """The store's clock, in seconds since the epoch (an adapter may keep the offset to the local clock)."""

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        """The records that exist among these, each with the entries wanted of it, all from the same moment; also what
        is left of those that were forgotten, marked `gone`."""

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all; one answer for each, in order. At most one per saga in a batch.

        When it returns OK, the transition survives what the store configuration promises."""

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take messages, as pairs of saga and id, out of their outboxes. Never changes a record's version.

        Other processes may see it late, and a crash may undo it: a message sent twice does no harm."""

    async def unsent(self, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
        """What is unsent on this channel, committed before that moment, oldest first, and of one saga in the order
        in which they were committed. Of every saga version: to send what is committed nobody has to know it."""

    async def due(
        self,
        now: float,
        known: KnownKinds,
        limit: int,
        *,
        claim_until: float | None = None,
        passing_over: Collection[str] = (),
    ) -> Sequence[str]:
        """Ids of records that this worker may decide and whose `wake_at` is not after `now`, most overdue first, but
        none of those that it passes over.

        With `claim_until` nobody is handed them again before that moment, unless a commit or `put_off` sets their
        timer anew: of several workers each gets others. That never changes a record, only when its timer counts as due;
        without it this is a mere look."""

    async def put_off(self, timers: Sequence[PutOff]) -> None:
        """Set timers that are still claimed so."""

    async def next_due(self, known: KnownKinds) -> float | None:
        """When the next timer is due that this worker may be handed; None where none is set."""

    async def find(self, *, saga: str = "", status: str = "", limit: int = 50, cursor: str = "") -> Page:
        """Records, last started first."""

    async def ended(self, since: float, *, limit: int = 50, cursor: str = "") -> Page:
        """Records that have ended and were changed last at that moment or later, the oldest change first: one that
        changes meanwhile is still ahead."""

    async def labelled(self, label: str, *, limit: int = 50, after: str = "") -> Sequence[str]:
        """Ids of the records that have an entry of the name `LABEL + label`, in their order, behind the id `after`. It
        costs what it hands out."""

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many records there are by (saga, status)."""

    async def live(self) -> Mapping[Kind, int]:
        """How many records that have not ended there are of each kind. Asked for again and again: it must not cost
        what all records cost."""

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended; None where all have. It costs what `counts` does."""

    async def history(self, saga_id: str) -> Sequence[HistoryRow]:
        """What happened to a record, oldest first."""

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records with their histories and entries that have ended, with the last change before that moment; the
        oldest first. Of each its start key stays, unless it ended before `keys_before`: such keys are deleted too.

        Left where they are: those with a message in the outbox, and those that were run again as a record that is
        there. Looks at `limit` records (and start keys) at most, past the `skip` oldest ones that were left before."""

    async def forgotten(self) -> float:
        """The latest end of all records that were deleted, 0 for none: what ended up to then may be gone."""

    async def room(self) -> Room | None:
        """What this store fills, where it can tell and there is a limit."""

    async def close(self) -> None:
        """Let go of the database; everything committed stays."""
