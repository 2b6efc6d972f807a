"""From what is stored and what came in to what shall be stored and sent: a decision in the store's terms."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from choros.app.app import App
from choros.app.flow_part import Begun
from choros.app.sending import Stamp
from choros.errors import ChorosError, DeclaredOtherwise, MessageRejected, SagaNotFound, UsageError
from choros.messages import Message, NestedUnderLock
from choros.names import ORCHESTRATOR
from choros.runtime.host.stamping import stamped
from choros.runtime.orchestrator.history import SET_ASIDE, Signed, told, write_history
from choros.runtime.orchestrator.inputs import Sorted, conflict, known_again, sort
from choros.runtime.orchestrator.labels import label_entries
from choros.runtime.orchestrator.move import moved
from choros.runtime.orchestrator.nesting import ForAnother, answer, order_of
from choros.runtime.orchestrator.received import kept_and_apart
from choros.runtime.orchestrator.recognition import Familiar, as_stored, instance_of, recognise
from choros.runtime.orchestrator.replies import judge, known_here, known_there
from choros.runtime.orchestrator.retention import gone
from choros.runtime.orchestrator.signals import judged_signal, signalled
from choros.runtime.orchestrator.states import states_and_entries
from choros.runtime.orchestrator.updates import answer_entries, checked_update
from choros.runtime.orchestrator.work import Due, Folded, Move, Start, Unjudged, Work
from choros.saga.lock import Lock
from choros.saga.machine.inputs import Decision, Event, Input, Release, SignalRequested, TimerFired, UpdateRequested
from choros.saga.machine.instance import Instance, LockState, Parent, States
from choros.saga.machine.locks import locked
from choros.saga.machine.machine import begin, decide, never_begun
from choros.saga.renaming import renaming
from choros.saga.saga import Saga, Sagas
from choros.sources import derived_id, fresh_id
from choros.store.sagas import ENDED, Channel, Loaded, Record, Transition, Unsent
from choros.values import replace
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

NEVER = Instance("", "")
"""What was there before a saga began."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Puts commands and facts into envelopes that name the saga, and on whose behalf they go. `reply_to` says to which
    queue the replies to commands shall come; those for `local` services are kept apart."""

    source: str
    reply_to: Callable[[], str]
    local: Collection[str] = ()
    starts: Mapping[str, Begun] = field(default_factory=dict)
    """The flows that facts of these types begin, or take back."""
    stamps: Sequence[Stamp] = ()
    """What is done around what is sent."""

    def unsent(self, record: Record, decision: Decision, now: float) -> tuple[Unsent, ...]:
        """All of them for the outbox; `record` is that of the saga, before or after this decision. What goes to a saga
        that is nested in this one, or that this one is nested in, goes to the reply queue of their store."""
        names = renaming(decision.instance)
        commands = [
            self._unsent(
                "local" if send.to in self.local else "commands", record, decision.instance, now,
                source=self._as(send.to), kind="command", type=send.type, data=send.data, to=self._address(send.to),
                key=str(known_there(names, send.key)), step=names.there(send.key.path),
                attempt=send.attempt, not_after=send.not_after, began=send.began, reply_to=self.reply_to(),
            )
            for send in decision.sends
        ]  # fmt: skip
        facts = [
            self._unsent(
                "facts", record, decision.instance, now,
                source=self.source, kind="fact", type=fact.type, data=fact.data, step=names.there(fact.step),
                stream=record.saga_id, seq=fact.seq, began=record.started_at, **self._flow(record, fact),
            )
            for fact in decision.facts
        ]  # fmt: skip
        answers = [answer(reply, self._as(ORCHESTRATOR), now) for reply in decision.replies]
        return (*commands, *facts, *(_kept("commands", record, one) for one in answers))

    def _flow(self, record: Record, fact: Release) -> dict[str, Any]:
        """The flow that it begins, or takes back: one for each place of the saga that may begin some."""
        if (flow := self.starts.get(fact.type)) is None:
            return {}
        id = derived_id("choros.flow.of_saga", record.saga_id, fact.step, flow.start.type_name)
        return {"flow": flow.name, "flow_version": flow.version, "flow_id": id}

    def _as(self, to: str) -> str:
        """As whom it is said."""
        return f"{self.source}/{to}" if to == ORCHESTRATOR else self.source

    def _address(self, to: str) -> str:
        return self.reply_to() if to == ORCHESTRATOR else to

    def _unsent(self, channel: Channel, record: Record, instance: Instance, now: float, **more: Any) -> Unsent:
        envelope = Envelope(
            id=fresh_id(), time=now, subject=record.key, correlation_id=record.saga_id,
            causation_id=instance.cause, saga=record.saga, saga_version=record.saga_version,
            traceparent=instance.traceparent, tracestate=instance.tracestate,
            own_headers=instance.own_headers, **more,
        )  # fmt: skip
        return _kept(channel, record, stamped(envelope, self.stamps) if self.stamps else envelope)


def _kept(channel: Channel, record: Record, envelope: Envelope) -> Unsent:
    return Unsent(envelope.id, channel, envelope.dumps(), record.saga_id, envelope)


class Transitions:
    """Makes transitions for the sagas of one application. Does no I/O."""

    def __init__(self, app: App, reply_to: Callable[[], str] = str) -> None:
        """`reply_to` says to which queue the replies to what is sent shall come."""
        self._app = app
        self._familiar = Familiar()
        part, local = app.flow_part(), frozenset(app.local)
        self._envelopes = Envelopes(
            f"/{app.namespace}/{app.name}", reply_to, local, {**part.starts, **part.retracts}, app.stamps
        )

    def make(self, works: Sequence[Work], loaded: Loaded | None, now: float) -> Folded:
        """Fold the work on one saga into one transition; raises Lacking where what is loaded does not do for that."""
        if loaded is None:
            return self._begin(works, now)
        if loaded.record.gone:
            return _over(works, loaded.record, self._app.sagas)
        given = sort(works, loaded, self._app.sagas, self._familiar.read(loaded.record))
        move = next((work for work in given.fresh if isinstance(work.given, Move)), None)
        if move:
            try:
                return self._move(loaded.record, given, move, now)
            except UsageError as refused:
                rest = self.make([work for work in works if work is not move], loaded, now)
                return replace(rest, rejected=[*rest.rejected, (move, refused)])
        try:
            saga, instance = recognise(self._app.sagas, loaded.record, self._familiar, loaded.entries)
            return self._decide(saga, instance, loaded, given, now)
        except DeclaredOtherwise as unlike:
            return self._set_aside(loaded.record, given, unlike, now)

    def _decide(self, saga: Saga[Any], before: Instance, loaded: Loaded, given: Sorted, now: float) -> Folded:
        record = loaded.record
        given, inputs = given.judged(lambda work: _meant(work, saga, before, loaded))
        decision = decide(saga.tree, before, [*_were_set_aside(record, saga, before), *inputs], now)
        given = given.without(decision.strays)
        events, late = told(decision.events, record.late)
        if not (events or record.undecided or decision.replies) and decision.instance == before:
            return Folded(given.fresh, given.repeated, given.rejected, before)
        kept, signed = known_again(given.fresh, decision.events, events), _signed(given.fresh)
        transition = self._transition(
            record, saga, decision, events, kept, now, signed, loaded.entries, before, late=late
        )
        if decision.withdraws:
            transition = replace(transition, sent=tuple(_withdrawn(before, decision.instance, loaded.unsent)))
        return Folded(given.fresh, given.repeated, given.rejected, decision.instance, decision.events, transition)

    def _begin(self, works: Sequence[Work], now: float) -> Folded:
        if orders := [work for work in works if work.is_order]:
            return self._begin_nested(orders, [work for work in works if work not in orders], now)
        starts = [(work, work.given) for work in works if isinstance(work.given, Start)]
        rejected = [(work, _not_found(work)) for work in works if not isinstance(work.given, Start)]
        if not starts:
            return Folded(rejected=rejected)
        saga_id, start = starts[0][0].saga_id, starts[0][1]
        blank = Record(
            saga_id=saga_id, saga=start.saga, saga_version=start.version, key=start.key, digest=start.digest,
            application=self._app.name, version=0, transition="", status="", state="", started_at=now, updated_at=now,
        )  # fmt: skip
        conflicts = {work: error for work, one in starts if (error := conflict(one, blank, self._app.sagas))}
        same = [work for work, _ in starts if work not in conflicts]
        told = [one.signal for work, one in starts if one.signal and work not in conflicts]
        for work, one in starts[1:]:  # what these are answered is what came of their signals
            work.given = one.signal or one
        saga = self._app.sagas[start.saga, start.version]
        decision = begin(
            saga.tree, saga_id, start.body, now,
            cause=start.id, traceparent=start.traceparent, tracestate=start.tracestate, kept=start.kept,
            told=told, lock=locked(saga.lock, saga.start.from_json(start.body), now) if saga.lock else None,
            updated=start.updated, renamed=start.renamed, own_headers=start.own_headers,
        )  # fmt: skip
        decision = _begun_by(start, decision)
        taken = [work.id for work in same] + [signal.id for signal in told]
        transition = self._transition(blank, saga, decision, decision.events, taken, now, _signed(same))
        rejected += conflicts.items()
        return Folded(same, (), rejected, decision.instance, decision.events, transition)

    def _begin_nested(self, orders: Sequence[Work], others: Sequence[Work], now: float) -> Folded:
        """A saga that is nested in another one, or what is left of it where that has it undone before it has begun."""
        rejected: list[tuple[Work, ChorosError]] = [(work, _not_found(work)) for work in others]
        envelopes = [work.given.envelope for work in orders if isinstance(work.given, Unjudged)]
        try:
            saga, decision = _begun_nested(self._app.sagas, orders[0].saga_id, envelopes, now)
        except MessageRejected as unfit:
            return Folded(rejected=[*rejected, *((work, unfit) for work in orders)])
        blank = Record(
            saga_id=orders[0].saga_id, saga=saga.name, saga_version=saga.version,
            key=CommandKey.parse(envelopes[0].key).effect,
            digest=hashlib.sha256(decision.instance.start.encode()).hexdigest(),
            application=self._app.name, version=0, transition="", status="", state="", started_at=now, updated_at=now,
        )  # fmt: skip
        transition = self._transition(blank, saga, decision, decision.events, (), now, {})
        return Folded(orders, (), rejected, decision.instance, decision.events, transition)

    def _set_aside(self, record: Record, given: Sorted, unlike: DeclaredOtherwise, now: float) -> Folded:
        """Not ours to decide: keep the replies, unjudged and undecided, for a worker that knows it."""
        replies = [work for work in given.fresh if isinstance(work.given, Unjudged)]
        rejected = [*given.rejected, *((w, unlike) for w in given.fresh if w not in replies and w.id)]
        known = as_stored(record)
        if not replies or record.status in ENDED:  # to one that has ended any reply is late
            return Folded(replies, given.repeated, rejected, known, stuck=unlike.sentence)
        after = self._after(record, replies, now)
        transition = Transition(replace(after, wake_at=now), record.transition, history=SET_ASIDE)
        return Folded(replies, given.repeated, rejected, known, (), transition, unlike.sentence)

    def _move(self, record: Record, given: Sorted, move: Work, now: float) -> Folded:
        """Replies that came with it are kept for whoever knows the declaration that it follows from now on.

        Raises UsageError where it must not be moved."""
        assert isinstance(move.given, Move)
        others = [work for work in given.fresh if work is not move and work.id]
        replies = [work for work in others if isinstance(work.given, Unjudged)]
        busy = UsageError(f"Saga {record.saga_id} is being moved to another version.", "the same again.")
        rejected = [*given.rejected, *((work, busy) for work in others if work not in replies)]
        saga = self._app.sagas.get((record.saga, move.given.version))
        goes_on, instance = moved(saga, record, instance_of(record), move.given)
        recognise(self._app.sagas, goes_on, self._familiar)  # its classes must read what is stored, too
        after = self._after(goes_on, [move, *replies], now)
        if after.undecided:
            after = replace(after, wake_at=now)
        event = Event("moved", code=_moved_to(move.given), cause=move.id)
        its = self._app.sagas[after.saga, after.saga_version]
        history = write_history([event], (), its.fingerprint.text, _signed([move]))
        entries = label_entries(its, NEVER, instance)
        transition = Transition(after, record.transition, history=history, entries=entries)
        return Folded([move, *replies], given.repeated, rejected, instance, (event,), transition)

    def _after(self, record: Record, taken: Sequence[Work], now: float) -> Record:
        """The record with its inputs taken in, the replies among them for later."""
        kept = tuple(work.given.envelope.dumps() for work in taken if isinstance(work.given, Unjudged))
        undecided = record.undecided + kept
        received = (*record.received, *(work.id for work in taken))
        return _next(record, now, received=received, undecided=undecided)

    def _transition(
        self, record: Record, saga: Saga[Any], decision: Decision, events: Sequence[Event], taken: Sequence[str],
        now: float, signed: Signed, loaded: Mapping[str, str] = MappingProxyType({}),
        before: Instance = NEVER, *, late: int = 0,
    ) -> Transition:  # fmt: skip
        outbox = self._envelopes.unsent(record, decision, now)
        told_apart = _told_apart(decision.instance, outbox) if decision.instance.accepted else decision.instance
        instance, entries = states_and_entries(told_apart, loaded, saga.outline.place)
        received, apart = kept_and_apart((*record.received, *taken), instance.apart)
        if apart:
            instance = replace(instance, apart=instance.apart + len(apart))
        state = instance.dumps()
        self._familiar.keep(saga, state, instance, record.state)
        after = _next(
            record, now, received=received, status=instance.status, state=state, wake_at=instance.wake_at, undecided=(),
            fingerprint=saga.fingerprint.hash, late=late,
        )  # fmt: skip
        facts = [entry.envelope for entry in outbox if entry.channel == "facts"]
        declared = "" if record.fingerprint else saga.fingerprint.text
        history = write_history(events, facts, declared, signed)
        entries |= {**apart, **label_entries(saga, before, decision.instance, events)}
        entries |= answer_entries(decision.answers) if decision.answers else {}
        return Transition(after, record.transition, outbox, (), history, entries)


def _begun_by(start: Start, decision: Decision) -> Decision:
    """The same; its history says which fact began the saga, if one did."""
    if not start.fact:
        return decision
    first, *rest = decision.events
    return replace(decision, events=(replace(first, code=start.fact), *rest))


def _moved_to(move: Move) -> str:
    """In words, with what is called otherwise from here on."""
    return ", ".join([f"version {move.version}", *(f"{then} is called {now}" for then, now in move.names)])


def _next(record: Record, now: float, **changes: Any) -> Record:
    return replace(record, version=record.version + 1, transition=fresh_id(), updated_at=now, **changes)


def _meant(work: Work, saga: Saga[Any], before: Instance, loaded: Loaded) -> Input:
    """Raises MessageRejected for a reply that nothing asked for."""
    given = work.given
    if isinstance(given, Due):
        blind = frozenset(path for path, state in before.nodes.items() if state.unlooked) - given.looked
        return TimerFired(_unsent(before, loaded.unsent - loaded.unreadable), blind)
    if isinstance(given, Unjudged):
        return _judged(saga, loaded.record, before, given.envelope)
    if isinstance(given, SignalRequested):
        return signalled(saga, given, renaming(before))
    if isinstance(given, UpdateRequested):
        return checked_update(saga, given)
    assert not isinstance(given, Start | Move)  # a stored saga has begun, and a move is no input of the machine
    return given


def _begun_nested(sagas: Sagas, saga_id: str, envelopes: Sequence[Envelope], now: float) -> tuple[Saga[Any], Decision]:
    """The first decision of a nested saga: it begins, or it never will; raises MessageRejected."""
    first, said = envelopes[0], NestedUnderLock.from_json(envelopes[0].data)
    saga = sagas.get((said.saga, said.version))
    if saga is None:
        raise ForAnother("This process does not know the saga that is to begin.")
    orders = [order_of(one) for one in envelopes]
    if any(one.order.operation != "do" for one in orders):
        return saga, never_begun(saga.tree, saga_id, orders, now, detached=said.detached)
    message = saga.start.from_json(said.start)
    decision = begin(
        saga.tree, saga_id, said.start, now,
        cause=first.id, traceparent=first.traceparent, tracestate=first.tracestate, own_headers=first.own_headers,
        parent=Parent(said.detached, orders[-1].order, locks=said.locks),
        lock=_locked_as_nested(saga.lock, message, now) if saga.lock else None,
    )  # fmt: skip
    return saga, decision


def _locked_as_nested(lock: Lock, message: Message, now: float) -> LockState:
    """Raises MessageRejected where the lock has no key for that."""
    try:
        return locked(lock, message, now)
    except UsageError as unfit:
        raise MessageRejected(unfit.sentence) from None


def _judged(saga: Saga[Any], record: Record, before: Instance, envelope: Envelope) -> Input:
    names = renaming(before)
    if envelope.kind == "signal":
        return judged_signal(saga, envelope, names)
    if envelope.kind == "command":
        return order_of(envelope)
    return judge(saga, (record.saga_version, *before.moved_from), envelope, names)


def _withdrawn(before: Instance, after: Instance, unsent: frozenset[str]) -> Collection[str]:
    """The commands that no answer is awaited to any more; of a nested saga there are answers beside them."""
    awaited = {state.leg.message for state in after.nodes.values() if state.leg}
    if after.parent is None:
        return unsent - awaited
    return unsent & {state.leg.message for state in before.nodes.values() if state.leg} - awaited


def _told_apart(instance: Instance, outbox: Sequence[Unsent]) -> Instance:
    """The instance with the id in each leg that its command goes by, so that what is unsent of one is not taken for
    another's."""
    names = renaming(instance)
    sent = {
        known_here(names, CommandKey.parse(one.message.key)).path: one.id
        for one in outbox
        if one.message and one.message.kind == "command"
    }
    legs = {path: replace(leg, message=sent[path]) for path in sent if (leg := instance.state(path).leg)}
    changed = {path: replace(instance.state(path), leg=leg) for path, leg in legs.items()}
    return replace(instance, nodes=States({**instance.nodes, **changed})) if changed else instance


def _unsent(instance: Instance, unsent: frozenset[str]) -> frozenset[str]:
    """The nodes whose commands these are; where no command is told from another, only one is under way."""
    legs = ((path, state.leg) for path, state in instance.nodes.items() if unsent and state.leg)
    return frozenset(path for path, leg in legs if not leg.message or leg.message in unsent)


def _were_set_aside(record: Record, saga: Saga[Any], before: Instance) -> list[Input]:
    """Raises DeclaredOtherwise where a newer choros has set one aside."""
    inputs: list[Input] = []
    for reply in map(Unjudged.loads, record.undecided):
        with suppress(MessageRejected):  # it stays among what was received, and decides nothing
            inputs.append(_judged(saga, record, before, reply.envelope))
    return inputs


def _not_found(work: Work) -> ChorosError:
    if work.delivery:
        return MessageRejected("No saga of this id is known here.")
    return SagaNotFound(f"There is no saga instance {work.saga_id}.", "choros saga list.")


def _over(works: Sequence[Work], record: Record, sagas: Sagas) -> Folded:
    """Its record was deleted long after it had ended: the same start is the same saga, over; a reply is late."""
    repeated, rejected = [], []
    for work in works:
        error: ChorosError | None = gone(record) if work.waiter else None
        if isinstance(work.given, Start):
            error = conflict(work.given, record, sagas)
        (rejected.append((work, error)) if error else repeated.append(work))
    return Folded((), repeated, rejected, as_stored(record))


def _signed(works: Sequence[Work]) -> Signed:
    return {work.id: work.signed for work in works if work.signature}
