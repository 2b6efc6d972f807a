"""What must stay within bounds in every run, however long something is away, hangs or is in doubt."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from choros.runtime.orchestrator.history import MOST_LATE
from choros.runtime.participant.answers import kept
from choros.sources import CLOCK_SKEW
from choros.wire.envelope import Wire, decode
from choros_verify.simulation.broker_ledger import ENDS
from choros_verify.simulation.evidence import Evidence

MOST_TRIES = 20
"""How often a process tries in vain to send a message: what does not leave is tried less and less often."""
MOST_DELIVERIES = 15
"""How often one copy of a message comes: what a service has no handler for it gives back ten times."""
MOST_COPIES = 3
"""Of a command that is under way one is kept; the next is there for a moment before the one before it goes."""
HELD_SECONDS = 5.0
"""A copy that is held for less is on its way to being settled."""


def bound_violations(run: Evidence) -> Iterator[str]:
    """18. Nothing grows without bound; 19. what came in time is not judged late."""
    for invariant in (_tries, _deliveries, _copies, _late_replies, _judged_late):
        yield from invariant(run)


def _tries(run: Evidence) -> Iterator[str]:
    vain = (one for one in run.ledger.entries if one.what == "published" and one.note != "confirmed")
    sent = (one for one in vain if one.message)  # what has no id asks whether somebody is there
    for (process, message), count in Counter((one.process, one.message) for one in sent).items():
        if count > MOST_TRIES:
            yield f"18: {process} has tried {count} times to send {message}."


def _deliveries(run: Evidence) -> Iterator[str]:
    """Whoever ends by a message gets it again, and ends again."""
    times = Counter((one.copy, one.queue) for one in run.ledger.entries if one.what == "delivered" and one.copy)
    for (copy, queue), count in times.items():
        if count > MOST_DELIVERIES:
            yield f"18: copy {copy} in {queue} was delivered {count} times."


def _copies(run: Evidence) -> Iterator[str]:
    """A process that stands still settles nothing; and where failures cannot be told, each waits for that with the
    command that it is about."""
    if run.were("full", "block", "restart", "empty"):
        return
    still = {fault.target for fault in run.struck if fault.kind in ("pause", "crash")}
    for (process, key), spans in _long_held(run).items():
        most = max(sum(since <= began < until for since, until in spans) for began, _ in spans)
        if most > MOST_COPIES and process not in still:
            yield f"18: {process} held {most} copies of {key} at once."


def _long_held(run: Evidence) -> Mapping[tuple[str, str], Sequence[tuple[float, float]]]:
    """By process and key: since when and until when copies of commands were held that were not soon settled."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    began: dict[int, tuple[str, float]] = {}
    for entry in run.ledger.entries:
        if entry.what == "delivered" and entry.copy:
            began[entry.copy] = entry.process, entry.at
        elif entry.copy in began and (entry.what in ENDS or entry.what == "returned"):
            process, since = began.pop(entry.copy)
            if entry.at - since > HELD_SECONDS and (key := _command_key(run.ledger.about.get(entry.message))):
                found[process, key].append((since, entry.at))
    return found


def _command_key(wire: Wire | None) -> str:
    if wire is None or wire.headers.get("cloudEvents_sagakind") != "command":
        return ""
    return str(wire.headers.get("cloudEvents_idempotencykey", ""))


def _late_replies(run: Evidence) -> Iterator[str]:
    for record in run.records.values():
        if record.late > MOST_LATE:
            yield f"18: {run.name(record.saga_id)} has {record.late} late replies in its history."


def _judged_late(run: Evidence) -> Iterator[str]:
    """By the service's own clock, which may be wrong by as much as is allowed for: the command that it was said of came
    after that."""
    for service, rows in run.rows.items():
        for row in (row for row in rows.values() if row.state == "refused" and "expired" in row.content):
            reply = kept(row)
            asked = run.ledger.about.get(reply.causation_id)
            until = decode(asked).not_after if asked else None
            if until is not None and reply.time <= until + CLOCK_SKEW:
                yield f"19: {service} took {row.key} for late, and it was in time."
