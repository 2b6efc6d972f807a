"""What must hold in every run, whatever strikes it. Read from the services' ledgers, the store's commits and the
broker's books, never from what an orchestrator says of itself.

The numbers are those of the list in `docs/simulation.md`. Where a run's faults go beyond what is promised (a store
that loses what it acknowledged, an emptied broker), the clauses that depend on it are left out, and no others.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from choros.runtime.orchestrator.history import read_history
from choros.runtime.participant.answers import kept
from choros.saga.machine.instance import Instance
from choros.saga.paths import declared
from choros.store.sagas import ENDED
from choros.wire.command_key import CommandKey
from choros_verify.simulation.broker_ledger import LedgerLine
from choros_verify.simulation.evidence import Evidence, settled
from choros_verify.simulation.keeping import Deed
from choros_verify.simulation.nested_sagas import held_below, nested_net, unreleased
from choros_verify.simulation.order_invariants import by_saga, order_violations
from choros_verify.simulation.releases import line_of
from choros_verify.simulation.strangers import FORGED
from choros_verify.simulation.ways_gone import WaysGone

Invariant = Callable[[Evidence], Iterator[str]]


def net_effect(run: Evidence) -> Iterator[str]:
    """1. At all times the net effect of each step is 0 or 1."""
    if run.effects_lost:
        return
    net: Counter[str] = Counter()
    for effect in run.effects:
        if effect.kind == "fact":
            continue
        key = CommandKey.parse(effect.what)
        net[key.effect] += 1 if effect.kind == "do" else -1
        if net[key.effect] not in (0, 1):
            yield f"1: the net effect of {key.path} of {run.name(effect.saga_id)} is {net[key.effect]}."


def ends(run: Evidence) -> Iterator[str]:
    """2, 3. Completed: each step's effect once, on one way through the declaration. Compensated: none. A store that
    forgets an acknowledged commit may step back behind a command that it sent, so then only the bounds of the net
    effect hold."""
    if run.were("lose"):
        return
    effects = by_saga(run)
    for record in run.records.values():
        if record.status not in ("completed", "compensated"):
            continue
        saga = run.app.sagas[record.saga, record.saga_version]
        line = line_of(record.saga_id, run.reruns)
        taken_over = {path for saga_id, path in run.skipped if saga_id in line}
        instance = Instance.loads(record.state)
        if not (body := instance.start):  # nested in another saga, and undone before it began
            yield from (
                f"3: {run.name(record.saga_id)} has never begun; {one}." for one in effects.get(record.saga_id, ())
            )
            continue
        taken_over |= set(instance.standing)  # it says so itself
        start = saga.start.from_json(body)
        standing = WaysGone(start, _net(run, record.saga_id, effects.get(record.saga_id, ())), taken_over)
        for path in unreleased(saga, record.saga_id, run.records):
            yield f"5: {run.name(record.saga_id)} is {record.status}; {path} was never released."
        completed = record.status == "completed"
        for said in standing.completed(saga.outline) if completed else standing.compensated(saga.outline):
            yield f"{2 if completed else 3}: {run.name(record.saga_id)} is {record.status}; {said}."


def _net(run: Evidence, saga_id: str, effects: Sequence[Deed]) -> Mapping[str, int]:
    """By path: how often each step's effect is there, and each of the facts that nodes publish."""
    net: Counter[str] = Counter()
    for effect in effects:
        net[CommandKey.parse(effect.what).path] += 1 if effect.kind == "do" else -1
    record = run.records[saga_id]
    line = line_of(saga_id, run.reruns)
    for one in line:
        for path, stands in nested_net(run.app.sagas[record.saga, record.saga_version], one, run.records):
            net[path] += stands
    published = run.app.sagas[record.saga, record.saga_version].outline.publications
    taken_back = {(leaf.path, kind.type_name) for leaf in published if leaf.undo for kind in leaf.undo.kinds}
    for fact in run.facts.values():
        if fact.stream in line and declared(fact.step) in {leaf.path for leaf in published}:
            net[fact.step] += -1 if (declared(fact.step), fact.type) in taken_back else 1
    return net


def unfinished(run: Evidence) -> Iterator[str]:
    """5. Every accepted start comes to an end, or is parked."""
    records = run.records
    for index in sorted(run.accepted):
        record = records.get(run.saga_ids[index])
        if record is None:
            yield f"5: {run.name(run.saga_ids[index])} was accepted, and is not there."
        elif not settled(record) and record.saga_id not in held_below(records):
            yield f"5: {run.name(run.saga_ids[index])} is still {record.status} after {run.seconds:.0f} s."
    for saga_id in run.reruns:
        if saga_id in records and not settled(records[saga_id]) and saga_id not in held_below(records):
            yield f"5: {run.name(saga_id)} is still {records[saga_id].status} after {run.seconds:.0f} s."
    if not run.started:
        yield f"5: not every saga could be started: {sorted(run.accepted)} of {len(run.saga_ids)}."
    if run.outbox:
        yield f"5: {run.outbox} messages are still in the outbox."
    yield from (f"5: the service {name} still owes a reply." for name in run.owing)
    yield from (f"5: {count} messages are still in {queue}." for queue, count in run.left.items())


def woken(run: Evidence) -> Iterator[str]:
    """5. Nothing waits without a timer; 13. whoever parks a saga says so."""
    before: dict[str, str] = {}
    for commit in run.commits:
        record, history = commit.transition.record, commit.transition.history
        if not settled(record) and record.wake_at is None:
            yield f"5: {run.name(record.saga_id)} v{record.version} waits for nothing."
        parked = record.status == "parked" and before.get(record.saga_id) != "parked"
        if parked and not any(one.kind == "parked" for one in read_history(history)):
            yield f"13: {run.name(record.saga_id)} v{record.version} was parked without a word."
        before[record.saga_id] = record.status


def versions(run: Evidence) -> Iterator[str]:
    """9, 12. Versions rise by one, and every transition has its own id, whoever made it."""
    if run.store_lost:
        return
    last: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    for commit in run.commits:
        record, previous = commit.transition.record, commit.transition.previous
        version, transition = last.get(record.saga_id, (0, ""))
        if record.version != version + 1 or previous != transition:
            yield f"9: {run.name(record.saga_id)} went from v{version} to v{record.version}."
        if record.transition in seen:
            yield f"12: transition {record.transition} was made twice."
        seen.add(record.transition)
        last[record.saga_id] = record.version, record.transition


def declarations(run: Evidence) -> Iterator[str]:
    """42. An instance is decided by the declaration that it was begun with, whoever is deployed meanwhile."""
    own = {(saga.name, saga.version): saga.fingerprint.hash for saga in run.app.sagas.values()}
    for commit in run.commits:
        record = commit.transition.record
        if record.fingerprint != own[record.saga, record.saga_version]:
            yield f"42: {commit.process} decided {run.name(record.saga_id)} by another declaration."


def apart(run: Evidence) -> Iterator[str]:
    """14. Nobody of the application beside this one decides its sagas, sends their messages or has their effects. What
    facts its own sagas wait for is told to it, whoever publishes them."""
    if not run.strangers:
        return
    for commit in run.commits:
        if commit.process in run.strangers:
            yield f"14: {commit.process} decided {run.name(commit.transition.record.saga_id)}."
    for effect in run.effects:
        if effect.by in run.strangers:
            yield f"14: {effect.by} did something for {run.name(effect.saga_id)}: {effect.kind} {effect.what}."
    own = _messages(run)
    for entry in run.ledger.entries:
        if entry.what == "delivered" and run.app.heard and own.get(entry.message, "").startswith("facts "):
            continue
        if entry.what in ("published", "delivered") and entry.process in run.strangers and entry.message in own:
            yield f"14: the {own[entry.message]} was {entry.what} by, or to, {entry.process}."


def _messages(run: Evidence) -> dict[str, str]:
    """What this application is to send, by the message's id: the orchestrators' outboxes, and the services' replies."""
    own: dict[str, str] = {}
    for commit in run.commits:
        name = run.name(commit.transition.record.saga_id)
        own.update((entry.id, f"{entry.channel} of {name}") for entry in commit.transition.outbox)
    for row in (row for rows in run.rows.values() for row in rows.values() if row.owes_reply):
        reply = kept(row)
        saga_id = CommandKey.parse(reply.key).saga_id  # a row's own key may say more: what a close has closed
        if saga_id in run.saga_ids:
            own[reply.id] = f"reply for {run.name(saga_id)}"
    return own


def closed_keys(run: Evidence) -> Iterator[str]:
    """10. What was refused, or undone before it was done, never happens."""
    if run.effects_lost:
        return
    done = {effect.what for effect in run.effects if effect.kind != "fact"}
    for rows in run.rows.values():
        for row in rows.values():
            if row.state in ("refused", "tombstone") and row.key in done:
                yield f"10: {row.key} was refused for good, and has happened."


def starts(run: Evidence) -> Iterator[str]:
    """A start is never answered with a conflict: the same caller asks with the same key and message. What is said to be
    dropped does not begin behind its caller's back."""
    yield from (f"5: {sentence}" for sentence in run.refused)
    begun = (saga_id for saga_id in run.dropped if saga_id in run.records)
    yield from (f"5: {run.name(saga_id)} has begun, and was dropped." for saga_id in begun)


def books(run: Evidence) -> Iterator[str]:
    """6, 7. The broker's books balance; what it confirmed was consumed, parked, or is still there."""
    if not run.account.balanced:
        yield f"7: the broker's books do not balance: {run.account}."
    if twice := run.ledger.ended_twice():
        yield f"7: {len(twice)} copies came to two ends."
    if not run.were("empty"):
        yield from (f"6: the confirmed message {message} vanished." for message in run.ledger.vanished())


def parked(run: Evidence) -> Iterator[str]:
    """16. Nothing that this application has sent is parked by whoever it was for. A store that forgets an acknowledged
    commit may not know what it has asked for; and a command is given up whose reply nobody takes for long, as where an
    orchestrator hears nothing of what it has asked for."""
    if run.were("lose") or not run.parked:
        return
    for message, name in _messages(run).items():
        waited = run.were("half_open", "late_answer", "no_answer") and "the reply" in run.parked.get(message, "")
        if message in run.parked and not waited:
            yield f"16: the {name} was parked: {run.parked[message]}"


def forgeries(run: Evidence) -> Iterator[str]:
    """17. What a stranger has sent is parked, by every queue that it has come to."""
    if run.were("empty", "lose"):
        return
    for entry in run.ledger.entries:
        taken = entry.what == "acked" and entry.message.startswith(FORGED) and entry.message not in run.parked
        if taken and entry.process not in run.strangers and not (_is_over(run, entry) or _passes_over(run, entry)):
            yield f"17: {entry.process} took {entry.message} in, which a stranger had sent."


def _is_over(run: Evidence, entry: LedgerLine) -> bool:
    """Whether it was for a saga that was deleted by then, or had ended, where workers differ: nobody reads it then."""
    saga_id = run.ledger.about[entry.message].correlation_id or ""
    if saga_id in run.deleted:
        return run.deleted[saga_id].at <= entry.at
    return run.were("deploy") and saga_id in run.records and run.records[saga_id].status in ENDED


def _passes_over(run: Evidence, entry: LedgerLine) -> bool:
    """Whether it is a fact of a type that this subscriber, or an older release of it, has no reaction to: nobody reads
    what it says."""
    headers = run.ledger.about[entry.message].headers
    service = run.app.services.get(entry.process.rpartition(":")[2])
    if headers.get("cloudEvents_sagakind") != "fact" or service is None:
        return False
    older = any(fault.kind == "older" and fault.target == entry.process for fault in run.struck)
    return older or headers.get("cloudEvents_type") not in {fact.type_name for fact in service.facts}


def retention(run: Evidence) -> Iterator[str]:
    """15. Only what has ended and has nothing to send any more is deleted; and it does not come back."""
    for saga_id, one in run.deleted.items():
        if one.record.status not in ENDED or one.sends:
            yield f"15: {run.name(saga_id)} was deleted while it was {one.record.status}, sends: {one.sends}."
        later = [commit for commit in run.commits if commit.transition.record.saga_id == saga_id and commit.at > one.at]
        if later and not run.store_lost:
            yield f"15: {run.name(saga_id)} went on after it had been deleted."


def trouble(run: Evidence) -> Iterator[str]:
    """Nothing is left to asyncio to complain about, and no process ends by itself."""
    yield from (f"0: nobody caught: {said}" for said in run.trouble)
    for note in run.notes:
        denied = "Misconfigured" in note.text and run.were("deny")
        if " ended: " in note.text and "Unreachable" not in note.text and not denied:
            yield f"0: {note.text}"


INVARIANTS: tuple[Invariant, ...] = (
    net_effect, ends, order_violations, woken, versions, declarations, apart, closed_keys, starts, books, parked,
    forgeries, retention, trouble,
)  # fmt: skip
