"""From what is stored and what came in to what shall be stored and sent: a decision in the store's terms."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from choros.envelope import Envelope
from choros.errors import ChorosError, MessageRejected, SagaNotFound, StartConflict, UsageError
from choros.ids import fresh_id
from choros.runtime.application import App
from choros.runtime.replies import read_reply
from choros.runtime.work import Folded, Start, Work
from choros.saga.inputs import Decision, Event, Input, TimerFired
from choros.saga.instance import Instance
from choros.saga.machine import begin, decide
from choros.store.port import Entry, Loaded, Record, Transition
from choros.transport.topology import Names

_PROGRESS = frozenset({"replied", "refused", "failed", "undone", "skipped"})
"""Events after which no command sent so far is wanted any more: one that is still in the outbox leaves it."""
_SET_ASIDE = '[{"kind":"set_aside"}]'


class Transitions:
    """Makes transitions for the sagas of one application. Does no I/O."""

    def __init__(self, app: App, new_id: Callable[[], str] = fresh_id) -> None:
        self._app = app
        self._new_id = new_id
        self._source = f"/{app.namespace}/{app.name}"
        self._reply_to = Names(app.namespace).reply_queue(app.name)

    def make(self, works: Sequence[Work], loaded: Loaded | None, now: float) -> Folded:
        """Fold the work on one saga into one transition."""
        if loaded is None:
            return self._begin(works, now)
        record = loaded.record
        known = frozenset(record.received)
        fresh, repeated, rejected = _sort(works, record, known)
        saga = self._app.sagas.get((record.saga, record.saga_version))
        if saga is None:
            return self._set_aside(record, fresh, repeated, rejected, now)
        instance = Instance.loads(record.state)
        inputs = [*self._undecided(record), *(_input(work, loaded) for work in fresh)]
        decision = decide(saga, instance, inputs, now)
        strays = frozenset(decision.strays)
        stray = MessageRejected("No command of this saga asked for this reply.")
        rejected += [(work, stray) for work in fresh if work.id in strays]
        done = [work for work in fresh if work.id not in strays]
        if decision.instance == instance and not decision.events and not record.undecided:
            return Folded(done, repeated, rejected, instance)
        transition = self._transition(record, decision, done, now)
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
        transition = self._transition(blank, decision, same, now)
        return Folded(same, (), others + conflicting, decision.instance, decision.events, transition)

    def _set_aside(
        self,
        record: Record,
        fresh: list[Work],
        repeated: list[Work],
        rejected: list[tuple[Work, ChorosError]],
        now: float,
    ) -> Folded:
        """A version that this worker does not know: keep the replies undecided, for a worker that does."""
        replies = [work for work in fresh if work.envelope]
        error = UsageError(
            f"This process does not know saga {record.saga!r} version {record.saga_version}.",
            "ask an orchestrator that runs that version.",
        )
        rejected += [(work, error) for work in fresh if not work.envelope and work.id]
        if not replies:
            return Folded((), repeated, rejected, Instance.loads(record.state) if repeated else None)
        after = replace(
            record,
            version=record.version + 1,
            transition=self._new_id(),
            received=record.received + tuple(work.id for work in replies),
            undecided=record.undecided + tuple(work.envelope for work in replies),
            wake_at=now,
            updated_at=now,
        )
        return Folded(replies, repeated, rejected, None, (), Transition(after, record.transition, history=_SET_ASIDE))

    def _undecided(self, record: Record) -> list[Input]:
        inputs: list[Input] = []
        for text in record.undecided:
            try:
                answer = read_reply(self._app.sagas, Envelope.loads(text))
            except MessageRejected:
                continue  # it stays in the history of the worker that took it in, and can decide nothing
            if answer:
                inputs.append(answer)
        return inputs

    def _transition(self, record: Record, decision: Decision, works: Sequence[Work], now: float) -> Transition:
        instance = decision.instance
        after = replace(
            record,
            version=record.version + 1,
            transition=self._new_id(),
            status=instance.status,
            state=instance.dumps(),
            updated_at=now,
            wake_at=instance.wake_at,
            received=record.received + _decided(works, decision),
            undecided=(),
        )
        commands = [self._command(after, decision, index, now) for index in range(len(decision.sends))]
        facts = [self._fact(after, decision, index, now) for index in range(len(decision.facts))]
        outbox = [Entry(e.id, "commands", e.dumps(), after.saga_id, e) for e in commands]
        outbox += [Entry(e.id, "facts", e.dumps(), after.saga_id, e) for e in facts]
        return Transition(after, record.transition, tuple(outbox), (), _history(decision, facts))

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
            attempt=send.attempt, not_after=send.not_after, reply_to=self._reply_to,
        )  # fmt: skip

    def _fact(self, record: Record, decision: Decision, index: int, now: float) -> Envelope:
        fact = decision.facts[index]
        return self._envelope(
            record, decision.instance, now,
            kind="fact", type=fact.type, data=fact.data, step=fact.step, stream=record.saga_id, seq=fact.seq,
        )  # fmt: skip


def _sort(
    works: Sequence[Work], record: Record, known: frozenset[str]
) -> tuple[list[Work], list[Work], list[tuple[Work, ChorosError]]]:
    """Fresh work, work that was taken in before, and work that must not be taken in."""
    fresh: dict[str, Work] = {}
    repeated: list[Work] = []
    rejected: list[tuple[Work, ChorosError]] = []
    for work in works:
        if isinstance(work.given, Start):
            conflict = _conflict(work.given, record.digest)
            (rejected.append((work, conflict)) if conflict else repeated.append(work))
        elif work.saga_version and work.saga_version != record.saga_version:
            rejected.append((work, MessageRejected("The reply names another version of this saga.")))
        elif work.id and (work.id in known or work.id in fresh):
            repeated.append(work)
        else:
            fresh[work.id or f"timer {len(fresh)}"] = work
    return list(fresh.values()), repeated, rejected


def _same_start(works: Sequence[Work], digest: str) -> tuple[list[Work], list[tuple[Work, ChorosError]]]:
    same = [w for w in works if isinstance(w.given, Start) and w.given.digest == digest]
    other = [(w, e) for w in works if isinstance(w.given, Start) and (e := _conflict(w.given, digest))]
    return same, other


def _conflict(start: Start, digest: str) -> ChorosError | None:
    if start.digest == digest:
        return None
    return StartConflict(
        f"saga {start.saga!r} was started under this key with another body.",
        "use another key, or send the same body.",
    )


def _not_found(work: Work) -> ChorosError:
    if work.delivery:
        return MessageRejected("No saga of this id is known here.")
    return SagaNotFound(f"There is no saga instance {work.saga_id}.", "choros saga list.")


def _input(work: Work, loaded: Loaded) -> Input:
    given = work.given
    if isinstance(given, TimerFired):
        return TimerFired(unsent=bool(loaded.unsent))
    assert not isinstance(given, Start)  # _sort takes these out: a stored saga has begun
    return given


def _decided(works: Sequence[Work], decision: Decision) -> tuple[str, ...]:
    """The ids taken in. A refusal that nobody declared decides nothing: the participant keeps it as its answer, and
    once it is declared the same answer must count."""
    undecided = {event.cause for event in decision.events if event.kind == "undeclared_refusal"}
    return tuple(work.id for work in works if work.id and work.id not in undecided)


def _history(decision: Decision, facts: Sequence[Envelope]) -> str:
    rows: list[dict[str, Any]] = [_event(event) for event in decision.events]
    rows += [{"kind": "fact", "envelope": fact.dumps()} for fact in facts]
    return json.dumps(rows, separators=(",", ":"))


def _event(event: Event) -> dict[str, Any]:
    fields = ("kind", "step", "operation", "attempt", "code", "seconds", "cause")
    return {name: value for name in fields if (value := getattr(event, name))}
