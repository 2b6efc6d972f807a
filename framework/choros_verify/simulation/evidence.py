"""What a run leaves behind for whoever judges it: ledgers, commits, books; nobody's claims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.runtime.host.outbox_rows import kept_message
from choros.saga.machine.instance import Instance
from choros.saga.renaming import Renaming
from choros.store.barrier import Row
from choros.store.sagas import ENDED, Record
from choros.transport.copies import REASON
from choros.wire.envelope import Envelope, Wire, decode
from choros_verify.simulation.broker_ledger import Balance, Ledger
from choros_verify.simulation.callbacks import Callback
from choros_verify.simulation.early_answers import EarlyAnswer
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.keeping import Deed, Deleted
from choros_verify.simulation.observer import Commit, Note
from choros_verify.simulation.strangers import FORGED

_IN_OUTBOX = ("publishing", "left")
SETTLED = (*ENDED, "parked")


def settled(record: Record) -> bool:
    """Whether a saga goes no further by itself: it has ended, or waits for a person, or for the saga that it is nested
    in."""
    if record.status in SETTLED or '"paused":true' in record.state:
        return True
    # A step may be called that too: only who says the word is read.
    return '"stage":' in record.state and bool(Instance.loads(record.state).stage)


def reason_of(wire: Wire) -> str:
    """Why it was parked, as its receiver says, or else the broker."""
    return str(wire.headers.get(REASON) or f"the broker: {wire.headers.get('x-first-death-reason')}")


@dataclass(frozen=True)
class Evidence:
    """All of it, as it was at the end of the run."""

    app: App
    saga_ids: Sequence[str]
    """Of every saga of the plan, in its order."""
    names: Mapping[str, str]
    """What to call each of them."""
    seconds: float
    """Of virtual time."""
    struck: Sequence[Fault]
    effects: Sequence[Deed]
    """The services' ledgers and what their providers did, in the order of the world."""
    rows: Mapping[str, Mapping[str, Row]]
    """The barrier's rows, by service."""
    commits: Sequence[Commit]
    records: Mapping[str, Record]
    """Also what retention has deleted, as it was."""
    deleted: Mapping[str, Deleted]
    ledger: Ledger
    """The broker's."""
    account: Balance
    accepted: Sequence[int]
    """Numbers of the sagas whose start returned."""
    skipped: frozenset[tuple[str, str]]
    """(saga id, step) that a person took over."""
    dropped: Sequence[str]
    """Sagas of whose start it was said that it is dropped."""
    refused: Sequence[str]
    """Starts that were answered with an error."""
    started: bool
    """Whether everything was started and asked for that was to be."""
    outbox: int
    """Messages that no broker has confirmed."""
    owing: Sequence[str]
    """Services with a reply that no broker has confirmed."""
    left: Mapping[str, int]
    """Messages in a queue, or with a consumer."""
    parked: Mapping[str, str]
    """What lies in a parking, by the messages' ids, and why."""
    notes: Sequence[Note]
    trouble: Sequence[str]
    """What nobody caught."""
    callbacks: Sequence[Callback] = ()
    """What was promised about commands that were taken, to be finished later, and how it was answered."""
    strangers: frozenset[str] = frozenset()
    """Processes of the application beside this one."""
    replies: str = ""
    """Its reply queue."""
    told_early: Sequence[EarlyAnswer] = ()
    """What was told of replies while the saga went on."""
    reruns: Mapping[str, str] = field(default_factory=dict)
    """By each saga that another one was run again as, that one."""
    flows: Mapping[str, Choreography[Any]] = field(default_factory=dict)
    """By its id, what each flow of the plan is."""
    begun: frozenset[str] = frozenset()
    """Flows whose first fact the broker has."""
    forgets: float = 0.0
    """Seconds after which services forget what they have done; 0 for longer than the run lasts."""
    reacted: Sequence[Deed] = ()
    """What the ledgers say about reactions of flows."""
    renamings: Mapping[str, Renaming] = field(default_factory=dict)
    """What the keys and facts of a saga that was moved call otherwise than its declaration."""

    def name(self, saga_id: str) -> str:
        """What to call a saga."""
        return self.names.get(saga_id, f"saga {saga_id}")

    def were(self, *kinds: str) -> bool:
        """Whether a fault of one of these kinds struck."""
        return any(fault.kind in kinds for fault in self.struck)

    def _here(self, fact: Envelope) -> Envelope:
        names = self.renamings.get(fact.stream)
        return replace(fact, step=names.here(fact.step)) if names else fact

    @property
    def store_lost(self) -> bool:
        """Whether the saga store forgot what it had acknowledged."""
        return any(fault.kind == "lose" and fault.target == "store" for fault in self.struck)

    @property
    def effects_lost(self) -> bool:
        """Whether a service's database forgot what it had committed."""
        return any(fault.kind == "lose" and fault.target != "store" for fault in self.struck)

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way any more."""
        return not (self.outbox or self.owing or self.left)

    @cached_property
    def facts(self) -> Mapping[str, Envelope]:
        """Every fact that a commit let go, of a saga or of a service, or that began a flow, by its id; those of one
        stream in their order."""
        of_sagas = {
            entry.id: self._here(entry.message or Envelope.loads(entry.envelope))
            for commit in self.commits
            for entry in commit.transition.outbox
            if entry.channel == "facts"
        }
        kept = {row.key: row for rows in self.rows.values() for row in rows.values() if row.state in _IN_OUTBOX}
        messages = (kept_message(row) for row in sorted(kept.values(), key=lambda row: row.since))
        own = {*self.names, *self.records}  # a rival's sagas have the same services
        of_services = {one.id: one for one in messages if one.kind == "fact" and one.correlation_id in own}
        return {one.id: one for one in self._beginnings()} | of_sagas | of_services

    def _beginnings(self) -> Iterator[Envelope]:
        """What the broker was told by whoever began a flow."""
        source = f"/{self.app.namespace}/{self.app.name}"
        for message, wire in self.ledger.about.items() if self.flows else ():
            said = wire.headers
            if said.get("cloudEvents_flowid") in self.flows and said.get("cloudEvents_source") == source:
                yield from () if message.startswith(FORGED) else (decode(wire),)

    def flow_of(self, message: str) -> str:
        """The id of the flow of the plan that a message on the broker belongs to; empty for none."""
        wire = self.ledger.about.get(message)
        found = str(wire.headers.get("cloudEvents_flowid")) if wire else ""
        return found if found in self.flows else ""
