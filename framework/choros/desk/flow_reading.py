"""Gathers what is known of a flow from wherever it is kept: stores, services' outboxes and inboxes, the fact log, dead
letters. Each place is asked by the flow's ids, and goes by itself: what one cannot say, another may; an index of its
own would be one more place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from choros.app.app import App
from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.service import Service
from choros.desk.awaited import nested_at
from choros.desk.flow_tree import FlowRows, InboxNote, TracedFact, TracedSaga, TracedStep
from choros.desk.hearsay import Hearer
from choros.desk.parkings import Parkings
from choros.desk.republish import facts_in
from choros.desk.unheard import OwnFacts
from choros.errors import ChorosError, SagaNotFound
from choros.runtime.client.account import Account, account_of
from choros.runtime.client.reference import referred
from choros.runtime.host.outbox_rows import facts_of_stream, readable
from choros.runtime.orchestrator.history import Happened, read_history
from choros.runtime.subscriber.effect_rows import effect_state
from choros.runtime.subscriber.facts import is_wanted
from choros.runtime.subscriber.inbox import inbox_key
from choros.saga.nesting import Nesting
from choros.saga.renaming import renaming
from choros.saga.saga import Saga
from choros.sources import now as by_the_clock
from choros.store.barrier import Database, Transaction, value_of
from choros.store.sagas import Store
from choros.transport.inspection import LookingTransport
from choros.transport.topology import Names
from choros.wire.envelope import Envelope

T = TypeVar("T")
_TOLD = frozenset({
    "sent", "replied", "refused", "failed", "timed_out", "undone", "passed_over", "closed", "skipped",
    "left_in_doubt", "unfinished",
})  # fmt: skip
MOST_ROUNDS = 20
"""How often sagas may begin further sagas; what lies beyond is not looked for."""


class FactPlace(Protocol):
    """Where facts of flows are kept."""

    @property
    def name(self) -> str:
        """What it is called where it cannot be read."""

    async def facts(self, ids: Collection[str]) -> Sequence[TracedFact]:
        """Those of these flows; raises ChorosError."""


class InboxPlace(Protocol):
    """Where it is kept what one subscriber has handled."""

    @property
    def name(self) -> str:
        """The subscriber's."""

    async def notes(self, facts: Sequence[Envelope]) -> Mapping[str, InboxNote]:
        """What it says about these facts, by their ids; raises ChorosError."""


class OutboxFacts:
    """What a service has published, of its own database."""

    def __init__(self, service: str, database: Database) -> None:
        self.name = f"the outbox of {service}"
        self._service, self._database = service, database

    async def facts(self, ids: Collection[str]) -> Sequence[TracedFact]:
        """Those that it has not forgotten."""
        found: list[TracedFact] = []
        for stream in ids:
            (result,) = await self._database.run([partial(facts_of_stream, self._service, stream)])
            found += [TracedFact(fact, (self.name,), row.state != "left") for row, fact in readable(value_of(result))]
        return found


class ServiceInbox:
    """What a subscriber has handled, of its own database."""

    def __init__(self, service: Service, database: Database, flows: FlowPart = NO_FLOWS) -> None:
        """`flows`: those that it takes part in."""
        self.name, self._service, self._database, self._flows = service.name, service, database, flows

    async def notes(self, facts: Sequence[Envelope]) -> Mapping[str, InboxNote]:
        """Of each of them: whether there is a row, and else whether there may have been one."""
        (result,) = await self._database.run([partial(self._notes, facts)])
        return value_of(result)

    async def _notes(self, facts: Sequence[Envelope], transaction: Transaction) -> dict[str, InboxNote]:
        rows = await transaction.read_rows([inbox_key(self.name, fact) for fact in facts])
        horizon = await transaction.horizon("facts")
        notes: dict[str, InboxNote] = {}
        for fact, row in zip(facts, rows, strict=True):
            if row:
                effect = await effect_state(self.name, self._service.reactions, fact, transaction)
                notes[fact.id] = InboxNote(handled=True, at=row.since, effect=effect)
            else:
                wanted = self._flows.wants(fact) and is_wanted(self._service, fact)
                notes[fact.id] = InboxNote(handled=False, forgotten=fact.time <= horizon, passed_over=not wanted)
        return notes


class SagaFacts:
    """The sagas of an application, and what they have published, of its store."""

    def __init__(self, app: App, store: Store, kept: Store | None) -> None:
        """`kept`: of an application whose sagas wait for facts, as `OwnFacts` has it."""
        self.name = f"app.{app.name}"
        self._app, self._store = app, store
        self._own = OwnFacts(app, store, kept)

    async def refers(self, typed: str) -> Sequence[str]:
        """The id of the saga that a person means; none where there is no such saga."""
        try:
            return [await referred(self._store, self._app.scope, typed, {name for name, _ in self._app.sagas})]
        except SagaNotFound:
            return []

    async def sagas(self, ids: Collection[str]) -> Sequence[TracedSaga]:
        """Those of them that it holds."""
        found = await self._store.load(list(ids))
        return [await self._saga(one) for one in found]

    async def _saga(self, saga_id: str) -> TracedSaga:
        account = await account_of(self._store, saga_id, self._app.sagas)
        saga = self._app.sagas.get((account.record.saga, account.record.saga_version))
        steps = _steps(account, saga, self._app.namespace)
        return TracedSaga(record=account.record, steps=tuple(steps))

    async def facts(self, ids: Collection[str]) -> Sequence[TracedFact]:
        """What these sagas have released."""
        found: list[TracedFact] = []
        for saga_id in ids:
            facts = [fact for row in await self._store.history(saga_id) for fact in facts_in(saga_id, row)]
            found += [TracedFact(fact, (f"the history of {self.name}",)) for fact in facts]
        return found

    def begun_by(self, facts: Sequence[Envelope]) -> Mapping[str, Sequence[str]]:
        """The sagas that each fact is to begin here."""
        return {fact.id: self._own.begins(fact) for fact in facts if fact.type in self._app.heard}

    async def notes(self, facts: Sequence[Envelope]) -> Mapping[str, InboxNote]:
        """Of those that it acts on itself: whether it has."""
        mine = [fact for fact in facts if fact.type in self._app.heard]
        unheard = {fact.id for fact in await self._own.unheard(mine)}
        return {fact.id: InboxNote(handled=fact.id not in unheard) for fact in mine}


class FlowReading:
    """One reading of a flow from all the places that could be reached."""

    def __init__(
        self, *, facts: Sequence[FactPlace], inboxes: Sequence[InboxPlace], sagas: Sequence[SagaFacts],
        hearers: Mapping[str, Sequence[Hearer]], unreached: Iterable[str] = (),
        clock: Callable[[], float] = by_the_clock,
    ) -> None:  # fmt: skip
        self._facts: Sequence[FactPlace] = [*sagas, *facts]
        self._inboxes: Sequence[InboxPlace] = [*sagas, *inboxes]
        self._sagas, self._hearers = sagas, hearers
        self._ids: set[str] = set()
        self.rows = FlowRows(clock(), unreached=list(unreached))

    async def read(self, ids: Collection[str]) -> FlowRows:
        """What is known of these flows, and of those that they have begun."""
        fresh = set(ids)
        for _ in range(MOST_ROUNDS):
            if not (fresh := fresh - self._ids):
                break
            self._ids |= fresh
            fresh = await self._round(fresh)
        await self._ask_inboxes()
        return self.rows

    async def _round(self, ids: Collection[str]) -> set[str]:
        """The ids that come of these."""
        found: list[TracedFact] = []
        for place in self._facts:
            found += await self._tried(place.name, place.facts(ids), [])
        for one in found:
            self.rows.facts[one.envelope.id] = _both(self.rows.facts.get(one.envelope.id), one)
        further = {one.envelope.flow_id for one in found if one.envelope.flow_id}
        for sagas in self._sagas:
            traced = await self._tried(sagas.name, sagas.sagas(ids), [])
            self.rows.sagas |= {one.record.saga_id: one for one in traced}
            begun = sagas.begun_by([one.envelope for one in found])
            self.rows.begun |= begun
            further |= {saga_id for ids in begun.values() for saga_id in ids}
            further |= {step.nested for one in traced for step in one.steps if step.nested}
        return further

    async def _ask_inboxes(self) -> None:
        for place in self._inboxes:
            mine = [one.envelope for one in self.rows.facts.values() if self._is_for(place.name, one.envelope)]
            notes = await self._tried(place.name, place.notes(mine), {}) if mine else {}
            self.rows.notes |= {(place.name, fact): note for fact, note in notes.items()}

    def _is_for(self, name: str, fact: Envelope) -> bool:
        return any(one.name == name for one in self._hearers.get(fact.type, ()))

    async def ask_broker(self, transport: LookingTransport, names: Names) -> None:
        """Of what is not handled: whether it is a dead letter, and whether anybody is there to handle it."""
        queues = {
            one.queue
            for fact in self.rows.facts.values()
            for one in self._hearers.get(fact.envelope.type, ())
            if not ((note := self.rows.notes.get((one.name, fact.envelope.id))) and note.handled)
        }
        for queue in sorted(queues):
            self.rows.queues[queue] = await transport.attendance(queue)
        dead = Parkings(transport, [names.dead_queue(queue) for queue in sorted(queues)], names)
        for id in sorted(self._ids):
            beside = await dead.beside(id)
            self.rows.letters |= {(one.queue, one.message_id): one for one in beside.found}
            for queue, count in beside.unread.items():
                self._lacks(f"{count:,} messages are parked in {queue}, which were not looked through")

    async def _tried(self, name: str, asked: Awaitable[T], otherwise: T) -> T:
        try:
            return await asked
        except (ChorosError, ValueError) as error:
            self._lacks(f"{name}: {error.sentence if isinstance(error, ChorosError) else error}")
            return otherwise

    def _lacks(self, sentence: str) -> None:
        if sentence not in self.rows.unreached:
            self.rows.unreached.append(sentence)


def _both(known: TracedFact | None, one: TracedFact) -> TracedFact:
    """The same fact, found in two places: where one of them has it from a broker, it has left."""
    if known is None:
        return one
    return TracedFact(known.envelope, tuple(dict.fromkeys([*known.places, *one.places])), known.leaving and one.leaving)


def _steps(account: Account, saga: Saga[Any] | None, namespace: str) -> Iterator[TracedStep]:
    """Each command once, by when it was first sent, as it came to in the end."""
    names = renaming(account.instance)
    told: dict[tuple[str, str], list[tuple[Happened, float]]] = {}
    for row in account.history:
        for event in read_history(row.events):
            if event.kind in _TOLD and event.operation:
                told.setdefault((names.here(event.step), event.operation), []).append((event, row.at))
    for (path, operation), events in told.items():
        (_, since), (last, at) = events[0], events[-1]
        leaf = saga.outline.commanded(path) if saga else None
        nested = ""
        if isinstance(leaf, Nesting) and operation == "do":
            nested = nested_at(leaf, path, account.instance, account.record, namespace)
        yield TracedStep(
            path=path, operation=operation, service=leaf.whom if leaf else "", came_to=last.kind, code=last.code,
            since=since, at=at, nested=nested,
        )  # fmt: skip
