"""Facts that sagas wait for: kept for those that come to wait later, and told to those that wait already.

Who keeps a fact and who waits for it write each their own row before they look for the other's. The fact is stored, and
then it is looked who waits; a saga's commit says what it waits for (a label of its record), and its timer is due at
once, so that somebody looks what is kept. Whoever is later finds the other; both may, and the saga takes it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from choros.app.app import App
from choros.app.awaited_fact import AwaitedFact, label_of, waits_for_facts
from choros.errors import DeclaredOtherwise, MessageRejected, SagaNotFound, StoreUnreachable, UsageError
from choros.messages import Fact
from choros.runtime.orchestrator.labels import AWAITS, paths_in
from choros.runtime.orchestrator.recognition import recognise
from choros.runtime.orchestrator.retention import Retention, Sweep
from choros.runtime.orchestrator.work import Due, Work, WorkDone
from choros.saga.machine.inputs import SignalRequested
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.sources import derived_id, fresh_id
from choros.store.sagas import LABEL, Committed, Kind, Loaded, Record, Store, Transition
from choros.telemetry.logs import get_logger
from choros.values import replace
from choros.wire.envelope import Envelope

log = get_logger("choros.orchestrator")

MOST_KEPT = 64
"""Facts of one type that are kept about one key."""
AT_ONCE = 100
"""Records that are looked at in one go."""
LOOK_EVERY, CLAIM_SECONDS = 30.0, 60.0
KIND = Kind("fact", 1, "kept")
"""Of all facts that are kept: any orchestrator may let go of them."""
AT_AN_END = "completed"


def opened_for(app: App, store: Store | None) -> Store:
    """The store of the facts that this application keeps; raises UsageError where none was given."""
    if store is None:
        raise UsageError(f"The facts that {app.name!r} waits for have no store.", "kept=: one of their scope.")
    return store


class KeptFacts:
    """Those of one application, on open stores: that of its sagas, and one of the scope `App.facts_scope`."""

    def __init__(
        self, app: App, sagas: Store, store: Store, ask: Callable[[Work], Awaitable[WorkDone]],
        look_every: float = LOOK_EVERY,
    ) -> None:  # fmt: skip
        self._app, self._sagas, self._store, self._ask = app, sagas, store, ask
        self._look_every = look_every
        self._waiting = {key for key, saga in app.sagas.items() if any(waits_for_facts(saga))}

    # --- who keeps ---

    async def take(self, awaited: AwaitedFact, fact: Fact, envelope: Envelope) -> None:
        """Keep a fact, then tell it to whoever waits for it. Raises MessageRejected where it cannot be kept."""
        key = awaited.about(fact, envelope.correlation_id)
        if not key:
            return
        label = label_of(envelope.type, key)
        await self._keep(awaited, label, envelope)
        async for works in self._untold(label, envelope):
            results = await asyncio.gather(*map(self._ask, works), return_exceptions=True)
            for error in results:
                # Deleted meanwhile, or under another version, which has no such wait: nobody waits there.
                if isinstance(error, BaseException) and not isinstance(error, SagaNotFound | MessageRejected):
                    raise error

    async def _keep(self, awaited: AwaitedFact, label: str, envelope: Envelope) -> None:
        kept = row_id(label, envelope)
        if kept in await self._store.load([kept]):
            return
        if len(await self._store.labelled(label, limit=MOST_KEPT)) >= MOST_KEPT:
            raise MessageRejected(f"{MOST_KEPT} facts of this type are kept about the same key.")
        now = self._store.now()
        record = Record(
            saga_id=kept, saga=KIND.saga, saga_version=KIND.version, key=envelope.type, digest=label,
            application="", version=1, transition=fresh_id(), status="running", state=envelope.dumps(),
            started_at=now, updated_at=now, wake_at=now + awaited.keep.total_seconds(), fingerprint=KIND.fingerprint,
        )  # fmt: skip
        answer = (await self._store.commit([Transition(record, "", entries={LABEL + label: "1"})]))[0]
        if answer is Committed.REFUSED:  # a conflict says that somebody else has kept it
            raise MessageRejected("The database cannot take this fact, now or later, for those that will wait for it.")

    async def _untold(self, label: str, envelope: Envelope) -> AsyncIterator[Sequence[Work]]:
        """What it is to the sagas that wait for it, some of them at a time."""
        name, after = AWAITS + label, ""
        while found := await self._sagas.labelled(name, limit=AT_ONCE, after=after):
            loaded = await self._sagas.load(found, {saga_id: [LABEL + name] for saga_id in found})
            yield [
                Work(saga_id, told(envelope, saga_id, path))
                for saga_id, one in loaded.items()
                for path in paths_in(one.entries.get(LABEL + name, ""))
            ]
            after = found[-1]

    # --- who waits ---

    async def look(self, asked: Mapping[str, list[Work]], loaded: Mapping[str, Loaded]) -> dict[str, list[Work]]:
        """The same work, and with a timer what is kept of the facts that its saga waits for."""
        found = dict(asked)
        for saga_id, works in asked.items():
            due = [work for work in works if isinstance(work.given, Due)]
            if due and saga_id in loaded:
                found[saga_id] = [*works, *await self._kept_for(loaded[saga_id].record, due)]
        return found

    async def _kept_for(self, record: Record, due: Sequence[Work]) -> Sequence[Work]:
        saga = self._app.sagas.get((record.saga, record.saga_version))
        if saga is None or (saga.name, saga.version) not in self._waiting or record.gone or record.unreadable:
            return ()
        waits = _open(self._app.sagas, record)
        works = [work for path, label in waits.items() for work in await self._answer(record.saga_id, path, label)]
        for work in due:
            work.given = Due(frozenset(waits))
        return works

    async def _answer(self, saga_id: str, path: str, label: str) -> Sequence[Work]:
        """The first of those that are kept, if there are any."""
        ids = await self._store.labelled(label, limit=MOST_KEPT)
        rows = [one.record for one in (await self._store.load(ids)).values() if not one.record.gone] if ids else []
        first = min(rows, key=lambda row: (row.started_at, row.saga_id), default=None)
        return [Work(saga_id, told(Envelope.loads(first.state), saga_id, path))] if first else ()

    # --- who lets go ---

    async def run(self) -> None:
        """Let go of what was kept long enough, until cancelled."""
        nothing = Retention(sagas=timedelta(0), start_keys=timedelta(0))
        await asyncio.gather(self._let_go(), Sweep(self._store, nothing).run())

    async def _let_go(self) -> None:
        while True:
            with suppress(StoreUnreachable):  # whoever decides says so
                while await self.let_go():
                    pass
            await asyncio.sleep(self._look_every)

    async def let_go(self) -> int:
        """Of some of the facts whose time is over; says of how many."""
        now = self._store.now()
        ids = await self._store.due(now, [KIND], AT_ONCE, claim_until=now + CLAIM_SECONDS)
        loaded = await self._store.load(ids) if ids else {}
        over = [_let_go_of(one.record, now) for one in loaded.values() if one.record.status != AT_AN_END]
        await self._store.commit(over)
        return len(ids)


def row_id(label: str, envelope: Envelope) -> str:
    """Where this fact is kept: the same for whoever keeps it, and however often."""
    return derived_id("choros.kept", label, envelope.source, envelope.stream, str(envelope.seq))


def told(envelope: Envelope, saga_id: str, path: str) -> SignalRequested:
    """What a fact is to a wait of a saga: under the same id whoever tells it."""
    identity = envelope.source, envelope.stream, str(envelope.seq)
    return SignalRequested(derived_id("choros.told", *identity, saga_id, path), path, envelope.data)


def _open(sagas: Mapping[tuple[str, int], Saga[Any]], record: Record) -> dict[str, str]:
    """By path, the labels of the facts that the instance of this record waits for."""
    try:
        saga, instance = recognise(sagas, record)
    except DeclaredOtherwise:
        return {}  # another worker knows it, and looks
    found: dict[str, str] = {}
    for path, state in instance.nodes.items():
        leaf = saga.outline.leaf(path) if state.takes_signal and state.awaits else None
        if isinstance(leaf, SignalWait):
            found[path] = label_of(leaf.signal.type_name, state.awaits)
    return found


def _let_go_of(record: Record, now: float) -> Transition:
    over = replace(
        record, version=record.version + 1, transition=fresh_id(), status=AT_AN_END, wake_at=None, updated_at=now
    )
    return Transition(over, record.transition, entries={LABEL + record.digest: ""})
