"""From what is stored and what came in to what shall be stored and sent: a decision in the store's terms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from choros.app.app import App
from choros.errors import (
    ChorosError,
    DeclaredOtherwise,
    MessageRejected,
    MessageUnwritable,
    SagaNotFound,
    StartConflict,
    UsageError,
)
from choros.runtime.orchestrator.history import MOST_ATTEMPTS, SET_ASIDE, Signed, told, write_history
from choros.runtime.orchestrator.move import moved
from choros.runtime.orchestrator.received import kept_and_apart, taken_in
from choros.runtime.orchestrator.recognition import Bodies, as_stored, instance_of, recognise
from choros.runtime.orchestrator.replies import judge
from choros.runtime.orchestrator.retention import gone
from choros.runtime.orchestrator.work import Folded, Move, Start, Work
from choros.saga.machine.inputs import Decision, Event, Input, TimerFired
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.saga import Saga, Sagas
from choros.sources import fresh_id
from choros.store.sagas import ENDED, Loaded, Record, Transition, Unsent
from choros.wire.canonical import canonical
from choros.wire.envelope import Envelope

_PROGRESS = frozenset({"replied", "refused", "failed", "undone", "skipped"})
"""Events after which no command sent so far is wanted any more: one that is still in the outbox leaves it."""


class Transitions:
    """Makes transitions for the sagas of one application. Does no I/O."""

    def __init__(self, app: App, reply_to: Callable[[], str] = str, new_id: Callable[[], str] = fresh_id) -> None:
        """`reply_to` says to which queue the replies to what is sent shall come."""
        self._app = app
        self._reply_to = reply_to
        self._new_id = new_id
        self._bodies = Bodies()
        self._source = f"/{app.namespace}/{app.name}"

    def make(self, works: Sequence[Work], loaded: Loaded | None, now: float) -> Folded:
        """Fold the work on one saga into one transition; raises Lacking where what is loaded does not do for that."""
        if loaded is None:
            return self._begin(works, now)
        if loaded.record.gone:
            return _over(works, loaded.record, self._app.sagas)
        sorted_ = _sort(works, loaded, self._app.sagas)
        move = next((work for work in sorted_.fresh if isinstance(work.given, Move)), None)
        if move:
            try:
                return self._move(loaded.record, sorted_, move, now)
            except UsageError as refused:
                rest = self.make([work for work in works if work is not move], loaded, now)
                return replace(rest, rejected=[*rest.rejected, (move, refused)])
        try:
            saga, instance = recognise(self._app.sagas, loaded.record, self._bodies)
            return self._decide(saga, instance, loaded, sorted_, now)
        except DeclaredOtherwise as unlike:
            return self._set_aside(loaded.record, sorted_, unlike, now)

    def _decide(self, saga: Saga[Any], before: Instance, loaded: Loaded, given: _Sorted, now: float) -> Folded:
        record = loaded.record
        versions = (record.saga_version, *before.moved_from)
        fresh, repeated, rejected = _judged(given, saga, versions, loaded)
        inputs = [*self._undecided(saga, versions, record), *fresh.values()]
        decision = decide(saga, before, inputs, now)
        strays = frozenset(decision.strays)
        stray = MessageRejected("No command of this saga asked for this reply.")
        rejected += [(work, stray) for work in (*fresh, *repeated) if work.id in strays]
        repeated = [*given.repeated, *(work for work in repeated if work.id not in strays)]
        done = [work for work in fresh if work.id not in strays]
        kept, late = told(decision.events, record.late)
        if decision.instance == before and not kept and not record.undecided:
            return Folded(done, repeated, rejected, before)
        after = replace(record, late=late)
        transition = self._transition(
            after, saga, replace(decision, events=kept), _kept_ids(done, decision, kept), now, _signed(done)
        )
        if any(event.kind in _PROGRESS for event in decision.events):
            transition = replace(transition, sent=tuple(loaded.unsent))
        return Folded(done, repeated, rejected, decision.instance, decision.events, transition)

    def _begin(self, works: Sequence[Work], now: float) -> Folded:
        first = next((work for work in works if isinstance(work.given, Start)), None)
        others = [(w, _not_found(w)) for w in works if not isinstance(w.given, Start)]
        if first is None or not isinstance(first.given, Start):
            return Folded(rejected=others)
        start = first.given
        saga = self._app.sagas[start.saga, start.version]
        decision = begin(
            saga, first.saga_id, start.body, now,
            cause=start.id, traceparent=start.traceparent, tracestate=start.tracestate, kept=start.kept,
        )  # fmt: skip
        blank = Record(
            saga_id=first.saga_id, saga=start.saga, saga_version=start.version, key=start.key, digest=start.digest,
            application=self._app.name, version=0, transition="", status="", state="", started_at=now, updated_at=now,
        )  # fmt: skip
        same, conflicting = _same_start([w for w in works if isinstance(w.given, Start)], start.digest)
        transition = self._transition(
            blank, saga, decision, _kept_ids(same, decision, decision.events), now, _signed(same)
        )
        return Folded(same, (), others + conflicting, decision.instance, decision.events, transition)

    def _set_aside(self, record: Record, given: _Sorted, unlike: DeclaredOtherwise, now: float) -> Folded:
        """Not ours to decide: keep the replies, unjudged and undecided, for a worker that knows it."""
        replies = [work for work in given.fresh if isinstance(work.given, Envelope)]
        rejected = [*given.rejected, *((w, unlike) for w in given.fresh if w not in replies and w.id)]
        known = as_stored(record)
        if not replies or record.status in ENDED:  # to one that has ended any reply is late
            return Folded(replies, given.repeated, rejected, known, stuck=unlike.sentence)
        after = self._after(record, replies, replies, now)
        transition = Transition(replace(after, wake_at=now), record.transition, history=SET_ASIDE)
        return Folded(replies, given.repeated, rejected, known, (), transition, unlike.sentence)

    def _move(self, record: Record, given: _Sorted, move: Work, now: float) -> Folded:
        """Replies that came with it are kept for whoever knows the declaration that it follows from now on.

        Raises UsageError where it must not be moved."""
        assert isinstance(move.given, Move)
        others = [work for work in given.fresh if work is not move and work.id]
        replies = [work for work in others if isinstance(work.given, Envelope)]
        busy = UsageError(f"Saga {record.saga_id} is being moved to another version.", "the same again.")
        rejected = [*given.rejected, *((work, busy) for work in others if work not in replies)]
        saga = self._app.sagas.get((record.saga, move.given.version))
        goes_on, instance = moved(saga, record, instance_of(record), move.given)
        recognise(self._app.sagas, goes_on, self._bodies)  # its classes must read what is stored, too
        after = self._after(goes_on, [move, *replies], replies, now)
        if after.undecided:
            after = replace(after, wake_at=now)
        event = Event("moved", code=f"version {move.given.version}", cause=move.id)
        text = self._app.sagas[after.saga, after.saga_version].fingerprint.text
        transition = Transition(after, record.transition, history=write_history([event], (), text, _signed([move])))
        return Folded([move, *replies], given.repeated, rejected, instance, (event,), transition)

    def _after(self, record: Record, taken: Sequence[Work], undecided: Sequence[Work], now: float) -> Record:
        """The record with its inputs taken in, some of them for later."""
        kept = tuple(work.given.dumps() for work in undecided if isinstance(work.given, Envelope))
        return replace(
            record,
            version=record.version + 1,
            transition=self._new_id(),
            received=record.received + tuple(work.id for work in taken),
            undecided=record.undecided + kept,
            updated_at=now,
        )

    def _undecided(self, saga: Saga[Any], versions: Collection[int], record: Record) -> list[Input]:
        inputs: list[Input] = []
        for reply in map(_kept, record.undecided):
            with suppress(MessageRejected):  # it stays among what was received, and decides nothing
                inputs.append(judge(saga, versions, reply))
        return inputs

    def _transition(
        self, record: Record, saga: Saga[Any], decision: Decision, taken: Sequence[str], now: float, signed: Signed
    ) -> Transition:
        received, apart = kept_and_apart((*record.received, *taken))
        instance = decision.instance
        if apart:
            instance = replace(instance, apart=instance.apart + len(apart))
        self._bodies.vouch(saga, instance)
        after = replace(
            record,
            version=record.version + 1,
            transition=self._new_id(),
            status=instance.status,
            state=instance.dumps(),
            updated_at=now,
            wake_at=instance.wake_at,
            received=received,
            undecided=(),
            fingerprint=saga.fingerprint.hash,
        )
        commands = [self._command(after, decision, index, now) for index in range(len(decision.sends))]
        facts = [self._fact(after, decision, index, now) for index in range(len(decision.facts))]
        outbox = [Unsent(e.id, "commands", e.dumps(), after.saga_id, e) for e in commands]
        outbox += [Unsent(e.id, "facts", e.dumps(), after.saga_id, e) for e in facts]
        declared = "" if record.fingerprint else saga.fingerprint.text
        return Transition(
            after, record.transition, tuple(outbox), (), write_history(decision.events, facts, declared, signed), apart
        )

    def _envelope(self, record: Record, instance: Instance, now: float, **more: Any) -> Envelope:
        return Envelope(
            id=self._new_id(),
            source=self._source,
            time=now,
            subject=record.key,
            correlation_id=record.saga_id,
            causation_id=instance.cause,
            saga=record.saga,
            saga_version=record.saga_version,
            traceparent=instance.traceparent,
            tracestate=instance.tracestate,
            **more,
        )

    def _command(self, record: Record, decision: Decision, index: int, now: float) -> Envelope:
        send = decision.sends[index]
        return self._envelope(
            record, decision.instance, now,
            kind="command", type=send.type, data=send.data, to=send.to, key=str(send.key), step=send.key.path,
            attempt=send.attempt, not_after=send.not_after, began=send.began, reply_to=self._reply_to(),
        )  # fmt: skip

    def _fact(self, record: Record, decision: Decision, index: int, now: float) -> Envelope:
        fact = decision.facts[index]
        return self._envelope(
            record, decision.instance, now,
            kind="fact", type=fact.type, data=fact.data, step=fact.step, stream=record.saga_id, seq=fact.seq,
            began=record.started_at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Fresh work, work that was taken in before, and work that must not be taken in."""

    fresh: Sequence[Work]
    repeated: Sequence[Work]
    rejected: Sequence[tuple[Work, ChorosError]]


def _sort(works: Sequence[Work], loaded: Loaded, sagas: Sagas) -> _Sorted:
    known = taken_in(loaded, (work.id for work in works if work.id and not isinstance(work.given, Start)))
    fresh: dict[str, list[Work]] = {}
    repeated: list[Work] = []
    rejected: list[tuple[Work, ChorosError]] = []
    for work in works:
        if isinstance(work.given, Start):
            conflict = None if _says_the_same(work.given, loaded.record, sagas) else _conflict(work.given)
            (rejected.append((work, conflict)) if conflict else repeated.append(work))
        elif work.id and (work.id in known or any(work.given == twin.given for twin in fresh.get(work.id, ()))):
            repeated.append(work)
        else:  # also what is another message under the same id: one of them may be forged
            fresh.setdefault(work.id, []).append(work)
    return _Sorted([work for twins in fresh.values() for work in twins], repeated, rejected)


def _judged(
    given: _Sorted, saga: Saga[Any], versions: Collection[int], loaded: Loaded
) -> tuple[dict[Work, Input], list[Work], list[tuple[Work, ChorosError]]]:
    """What each means to this declaration; what repeats one that counts; what nothing can have asked for."""
    fresh: dict[Work, Input] = {}
    repeated: list[Work] = []
    rejected = list(given.rejected)
    taken: set[str] = set()
    for work in given.fresh:
        try:
            meant = _input(work, saga, versions, loaded)
        except MessageRejected as unfit:
            rejected.append((work, unfit))
            continue
        if work.id in taken:
            repeated.append(work)
        else:
            fresh[work] = meant
            taken.update([work.id] if work.id else [])
    return fresh, repeated, rejected


def _kept(text: str) -> Envelope:
    """A reply that was set aside; raises DeclaredOtherwise where a newer choros did so."""
    try:
        return Envelope.loads(text)
    except (ValueError, TypeError):
        raise DeclaredOtherwise(
            "A reply was set aside in a format that this choros does not know.", "the choros that wrote it."
        ) from None


def _same_start(works: Sequence[Work], digest: str) -> tuple[list[Work], list[tuple[Work, ChorosError]]]:
    same = [w for w in works if isinstance(w.given, Start) and w.given.digest == digest]
    other = [(w, _conflict(w.given)) for w in works if isinstance(w.given, Start) and w.given.digest != digest]
    return same, other


def _says_the_same(start: Start, record: Record, sagas: Sagas) -> bool:
    """Whether the saga was begun with the same message, written in whatever way. An older choros made its digest of
    the text as it was sent, whatever the order of a set in it; of a deleted saga only that is left."""
    if record.digest == start.digest:
        return True
    saga = sagas.get((start.saga, start.version))
    if not start.said or saga is None:
        return False
    if record.digest == hashlib.sha256(start.body.encode()).hexdigest():
        return True
    with suppress(DeclaredOtherwise, MessageRejected, MessageUnwritable):
        begun = saga.start.from_json(instance_of(record).start)
        return canonical(begun, begun.to_json()) == start.said
    return False


def _conflict(start: Start) -> ChorosError:
    return StartConflict(
        f"saga {start.saga!r} was started under this key with another body.",
        "use another key, or send the same body.",
    )


def _not_found(work: Work) -> ChorosError:
    if work.delivery:
        return MessageRejected("No saga of this id is known here.")
    return SagaNotFound(f"There is no saga instance {work.saga_id}.", "choros saga list.")


def _input(work: Work, saga: Saga[Any], versions: Collection[int], loaded: Loaded) -> Input:
    """What a piece of work means to this declaration; raises MessageRejected for a reply that nothing asked for."""
    given = work.given
    if isinstance(given, TimerFired):
        return TimerFired(unsent=bool(loaded.unsent - loaded.unreadable))
    if isinstance(given, Envelope):
        return judge(saga, versions, given)
    assert not isinstance(given, Start | Move)  # a stored saga has begun, and a move is no input of the machine
    return given


def _over(works: Sequence[Work], record: Record, sagas: Sagas) -> Folded:
    """Its record was deleted long after it had ended: the same start is the same saga, over; a reply is late."""
    repeated, rejected = [], []
    for work in works:
        error: ChorosError | None = gone(record) if work.waiter else None
        if isinstance(work.given, Start):
            error = None if _says_the_same(work.given, record, sagas) else _conflict(work.given)
        (rejected.append((work, error)) if error else repeated.append(work))
    return Folded((), repeated, rejected, as_stored(record))


def _kept_ids(works: Sequence[Work], decision: Decision, told: Sequence[Event]) -> tuple[str, ...]:
    """The ids taken in, by which an input that comes again, or whose commit was not answered, is known.

    Not kept is what is known without: late replies beyond the bound, and failures of high attempts, since the attempt
    that is awaited answers for them. A refusal that nobody declared decides nothing: the participant keeps it as its
    answer, and once it is declared the same answer must count."""
    lost = {event.cause for event in decision.events if event not in told or event.kind == "undeclared_refusal"}
    lost |= {event.cause for event in told if event.kind == "failed" and event.attempt > MOST_ATTEMPTS}
    return tuple(work.id for work in works if work.id and work.id not in lost)


def _signed(works: Sequence[Work]) -> Signed:
    return {work.id: work.signed for work in works if work.signature}
