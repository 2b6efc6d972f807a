"""What must hold of facts and of acknowledgements in every run."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from choros.messages import UNFINISHED, NestedCommand
from choros.runtime.orchestrator.history import MOST_ATTEMPTS, MOST_LATE
from choros.runtime.orchestrator.received import APART
from choros.saga.machine.instance import Instance
from choros.store.sagas import ENDED, Record
from choros_verify.simulation.broker_ledger import LedgerLine
from choros_verify.simulation.evidence import Evidence
from choros_verify.simulation.flow_invariants import in_flows
from choros_verify.simulation.strangers import FORGED

_LEFT = ("confirmed", "returned")
"""What the broker says of a fact that has left: one that no queue takes counts as sent."""
_BEYOND = ("empty", "lose")
"""Faults after which facts have to be put out again from the history, by hand."""


def fact_violations(run: Evidence) -> Iterator[str]:
    """8. Every fact under one identity, in order, in every queue that is bound; 11. no ack before its commit."""
    if run.were("lose"):
        return
    for invariant in (_numbers, _order, _once, _closing, _acks):
        yield from invariant(run)


def _numbers(run: Evidence) -> Iterator[str]:
    by_stream: dict[tuple[str, str], list[int]] = defaultdict(list)
    for fact in run.facts.values():
        by_stream[fact.source, fact.stream].append(fact.seq)
    for (_, saga_id), numbers in by_stream.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"8: the facts of {run.name(saga_id)} are numbered {numbers}."


def _order(run: Evidence) -> Iterator[str]:
    """Each for the first time in order; a repeated one may come later."""
    seen: dict[tuple[str, str], list[int]] = defaultdict(list)
    published = {entry.message for entry in run.ledger.entries if entry.what == "published"}
    for entry in run.ledger.entries:
        fact = run.facts.get(entry.message)
        if fact and entry.what == "published" and entry.note in _LEFT:
            numbers = seen[fact.source, fact.stream]
            numbers += [fact.seq] if fact.seq not in numbers else []
    for (_, saga_id), numbers in seen.items():
        if numbers != sorted(numbers):
            yield f"8: the facts of {run.name(saga_id)} left in the order {numbers}."
    for index, effect in enumerate(run.effects):
        if effect.kind == "fact" and effect.what not in run.facts:
            yield f"8: a fact that no commit let go was told (line {index}); {len(published)} messages in all."


def _once(run: Evidence) -> Iterator[str]:
    told = Counter((effect.service, effect.what) for effect in run.effects if effect.kind == "fact")
    expected = run.quiet and not run.were(*_BEYOND)
    # What no queue takes counts as sent: nobody was bound, as far as anybody could tell.
    unbound = {e.message for e in run.ledger.entries if e.what == "answered" and e.note == "returned"}
    older = set(_first_older(run))
    for service in run.app.services.values():
        types = set() if service.name in older else {fact.type_name for fact in service.facts}
        types -= {fact.type_name for fact in in_flows(run, service.name)}
        for fact_id, fact in run.facts.items():
            times = told[service.name, fact_id]
            missing = fact.type in types and times < 1 and expected and fact_id not in unbound
            if times > 1 or missing:
                name = f"{fact.type} of {run.name(fact.stream)}"
                yield f"8: {service.name} reacted to {name} {times} times."


def _first_older(run: Evidence) -> Iterator[str]:
    """Subscribers of which an older release may have been there first: what it has no reaction to, it passes over.
    Where the newer one had received anything by then, it had said before what it handles."""
    for fault in (fault for fault in run.struck if fault.kind == "older"):
        came = (one for one in run.ledger.entries if one.what == "delivered" and one.process == fault.target)
        if not any(one.at < fault.nth for one in came):
            yield fault.target.rpartition(":")[2]


_UNLIKE = ('"parent":', '"standing"')
"""What the record of a saga has that may tell another end than its status."""


def _told_as(record: Record) -> str:
    """The end that it has told; a nested saga that nothing can change any more tells it before it may end, and one that
    has never begun tells none, as one that was undone and has left something standing."""
    instance = Instance.loads(record.state) if any(one in record.state for one in _UNLIKE) else None
    if instance is None:
        return record.status
    if instance.backward and instance.standing:
        return ""
    if instance.parent is None:
        return record.status
    if not instance.start:
        return ""
    settled = "compensated" if instance.backward else "completed"
    return settled if instance.stage == "settled" else record.status


def _closing(run: Evidence) -> Iterator[str]:
    """A saga that has ended has published what it ends with, once, and one that has not has not."""
    own = f"/{run.app.namespace}/{run.app.name}"
    published = Counter((fact.stream, fact.type) for fact in run.facts.values() if fact.source == own)
    for record in run.records.values():
        outline = run.app.sagas[record.saga, record.saga_version].outline
        ended = _told_as(record)
        for status, builders in (("completed", outline.completed), ("compensated", outline.compensated)):
            for builder in builders:
                times = sum(published[record.saga_id, kind.type_name] for kind in builder.kinds)
                if times != (ended == status) and not (builder.optional and times == 0):
                    name = run.name(record.saga_id)
                    yield f"8: {name} is {record.status}, and has published {builder.builds.type_name} {times} times."


def _too_late(run: Evidence, entry: LedgerLine) -> bool:
    """Whether its saga was deleted by then, or has had as many late replies, or attempts of a command, as are noted."""
    wire = run.ledger.about[entry.message]
    attempt = int(str(wire.headers.get("cloudEvents_sagaattempt", 0)))
    deleted, record = run.deleted.get(wire.correlation_id or ""), run.records.get(wire.correlation_id or "")
    late = record is not None and record.late >= MOST_LATE
    if wire.type == NestedCommand.type_name:  # what a saga tells one that is nested in it may be taken in twice
        return True
    return attempt > MOST_ATTEMPTS or late or (deleted is not None and deleted.at <= entry.at)


def _says_nothing(run: Evidence, entry: LedgerLine) -> bool:
    """That a command is not finished yet: said once more, that changes nothing; lost, it is asked for again."""
    return f'"code":"{UNFINISHED}"'.encode() in run.ledger.about[entry.message].body


def _ended(run: Evidence, entry: LedgerLine) -> bool:
    """Whether its saga had ended by then, where workers differ: one with another declaration notes no late reply."""
    saga_id = run.ledger.about[entry.message].correlation_id
    ends = (one for one in run.commits if one.transition.record.status in ENDED and one.at <= entry.at)
    return run.were("deploy") and any(one.transition.record.saga_id == saga_id for one in ends)


def _acks(run: Evidence) -> Iterator[str]:
    """A reply that was acknowledged is in the record by then; a command's answer is on the broker by then."""
    taken: dict[str, float] = {}
    for commit in run.commits:
        for received in (*commit.transition.record.received, *commit.transition.entries):
            taken.setdefault(received.removeprefix(APART), commit.at)
    for entry in run.ledger.entries:
        reply = entry.what == "acked" and entry.queue == run.replies and entry.message  # else it is a stranger's
        early = reply and taken.get(entry.message, entry.at + 1) > entry.at
        forged = entry.message.startswith(FORGED)  # which is to be parked, and is asked for there
        if (
            early
            and not forged
            and not _says_nothing(run, entry)
            and not _too_late(run, entry)
            and not _ended(run, entry)
        ):
            yield f"11: the reply {entry.message} was acknowledged at {entry.at:.4f}, and is not in the store by then."
