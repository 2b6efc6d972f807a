"""Which facts of a store's history their own application has not acted on: what they begin is not there, or they are
not kept for the sagas that wait for them."""

from collections.abc import Iterator, Sequence

from choros.app.app import App
from choros.app.awaited_fact import label_of
from choros.errors import ChorosError
from choros.messages import Fact
from choros.runtime.orchestrator.kept_facts import row_id
from choros.runtime.orchestrator.start import Startable
from choros.store.sagas import Store
from choros.wire.envelope import Envelope


class OwnFacts:
    """Looks for what an application's own queue of facts has left, in the stores of its sagas and of awaited facts."""

    def __init__(self, app: App, sagas: Store, kept: Store | None) -> None:
        """`kept`: an open store of the scope `App.facts_scope`, where its sagas wait for facts."""
        self._app, self._sagas, self._kept = app, sagas, kept
        self._starts = Startable(app.scope, app.sagas)

    async def unheard(self, facts: Sequence[Envelope]) -> Sequence[Envelope]:
        """Those of them that left less than they should have. Also those that it cannot read, or that a function of the
        declaration fails on: they are parked."""
        begun: dict[str, list[str]] = {}
        kept: dict[str, list[str]] = {}
        unfit: set[str] = set()
        for one in facts:
            try:
                begun[one.id], kept[one.id] = list(self._begun(one)), list(self._rows(one))
            except ChorosError:
                unfit.add(one.id)
        there = {*await _there(self._sagas, begun), *(await _there(self._kept, kept) if self._kept else ())}
        return [one for one in facts if one.id in unfit or not there.issuperset([*begun[one.id], *kept[one.id]])]

    def begins(self, envelope: Envelope) -> Sequence[str]:
        """The sagas that it is to begin, by id; none where it, or a function of the declaration, does not do."""
        try:
            return list(self._begun(envelope))
        except ChorosError:
            return []

    def _begun(self, envelope: Envelope) -> Iterator[str]:
        """The sagas that it is to begin, by id."""
        for one in (one for one in self._app.starts if one.on.type_name == envelope.type):
            fact = one.on.from_json(envelope.data)
            if (message := one.message(fact)) is not None:
                saga = self._app.sagas[one.saga.name, one.saga.version]
                yield self._starts.work(saga, message, one.key_of(fact)).saga_id

    def _rows(self, envelope: Envelope) -> Iterator[str]:
        """Where it is to be kept; nowhere where that was long enough ago."""
        awaited = self._app.awaited.get(envelope.type)
        if awaited is None or envelope.time + awaited.keep.total_seconds() <= self._sagas.now():
            return
        fact: Fact = awaited.kind.from_json(envelope.data)
        if key := awaited.about(fact, envelope.correlation_id):
            yield row_id(label_of(envelope.type, key), envelope)


async def _there(store: Store, ids: dict[str, list[str]]) -> list[str]:
    wanted = list(dict.fromkeys(one for some in ids.values() for one in some))
    return list(await store.load(wanted)) if wanted else []
