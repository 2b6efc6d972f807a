"""Reactions to facts: inbox row and effect together, once; or, without a transaction, at least once.

One that can be undone, or that waits for several facts, has rows of its own: `effect_rows.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from choros.app.flow_part import NO_FLOWS, FlowPart
from choros.app.outbox import Outbox
from choros.app.service import Service
from choros.errors import Refused
from choros.runtime.host.handlers_outbox import HandlersOutbox
from choros.runtime.host.jobs import Jobs
from choros.runtime.host.outbox_rows import keep_standing
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.runtime.host.slots import Calls
from choros.runtime.subscriber.closing import Closing, EndedOtherwise
from choros.runtime.subscriber.effect_rows import Admitted, EffectRows, has_rows
from choros.runtime.subscriber.facts import Fate, Heard
from choros.runtime.subscriber.inbox import inbox_key, is_repeated
from choros.runtime.subscriber.order import is_overtaken, remember
from choros.store.barrier import Raised, Row, Transaction
from choros.wire.envelope import Envelope


class Reaction:
    """Lets the handlers of a service react, on its database."""

    def __init__(
        self, service: Service, name: str, jobs: Jobs, calls: Calls, clock: Callable[[], float],
        outbox: ServiceOutbox | None = None, flows: FlowPart = NO_FLOWS,
    ) -> None:  # fmt: skip
        """`name`: by what its inbox knows it; `outbox`: of a service that lets something leave with what it does."""
        self._name = name
        self._service, self._jobs, self._calls, self._clock = service, jobs, calls, clock
        self._outbox, self._flows = outbox, flows
        self._ordered = service.subscription.ordered
        self._plain = frozenset(kind for kind, one in service.reactions.items() if not has_rows(one, service.reactions))

    async def to(self, heard: Heard) -> Fate | Exception:
        """What comes of a fact, once there is a place for its handler; raises where the database must not be used."""
        async with self._calls.place(heard.handler):
            fate = await self._ended(heard, self._react)
            return await self._outside([heard]) if fate == "new" else fate

    async def instead(self, heard: Heard) -> Fate | Exception:
        """It was tried for the last time, and says what is said then: that, and a tombstone, or nothing."""
        return await self._ended(heard, self._give_up)

    async def _ended(self, heard: Heard, job: Callable[[Heard, Transaction], Awaitable[Fate]]) -> Fate | Exception:
        ended = await self._jobs.insist(partial(job, heard))
        if isinstance(ended, Raised):
            return ended.error
        if self._outbox:
            self._outbox.dispatch(heard.written)
        return ended.value

    async def to_all(self, facts: Sequence[Heard]) -> Sequence[Fate] | Exception:
        """The same of several facts of one type, which one call handles: all, or as if there had been none."""
        handler = facts[0].handler
        async with self._calls.place(handler):
            ended = await self._jobs.insist(partial(self._react_to_all, facts))
            if isinstance(ended, Raised):
                return ended.error
            new = [heard for heard, fate in zip(facts, ended.value, strict=True) if fate == "new"]
            if new and isinstance(failed := await self._outside(new), Exception):
                return failed
            return ["handled" if fate == "new" else fate for fate in ended.value]

    async def _react_to_all(self, facts: Sequence[Heard], transaction: Transaction) -> Sequence[Fate]:
        """The rows in the order of their keys, so that of two batches neither waits for what the other has locked."""
        keys = [heard.lane for heard in facts]  # no ordered service takes several
        known = dict(zip(sorted(keys), await transaction.read_rows(sorted(keys)), strict=True))
        horizon = await transaction.horizon("facts")
        fates = [await self._admit(one, known[key], horizon, transaction) for one, key in zip(facts, keys, strict=True)]
        handled = [heard for heard, fate in zip(facts, fates, strict=True) if fate == "handled"]
        if handled:
            await self._call(handled, transaction)
        return fates

    async def _react(self, heard: Heard, transaction: Transaction) -> Fate:
        """Inbox row and effect together, and what is published; for a handler without transaction only a look into the
        inbox."""
        fate = await self._admitted(heard, transaction)
        return await self._carry_out(heard, transaction) if fate == "handled" else fate

    async def _admitted(self, heard: Heard, transaction: Transaction) -> Fate:
        heard.written.clear()
        known = await transaction.read_row(inbox_key(self._name, heard.envelope))
        return await self._admit(heard, known, await transaction.horizon("facts"), transaction)

    async def _give_up(self, heard: Heard, transaction: Transaction) -> Fate:
        """Inbox row, tombstone and what is published instead, together; whatever was handled meanwhile stays so."""
        fate, handler = await self._admitted(heard, transaction), heard.handler
        if fate != "handled":
            return fate
        assert self._outbox is not None
        assert handler is not None
        assert handler.gives_up is not None
        await self._rows(heard, transaction).leave("tombstone")
        said = handler.gives_up(*self._taken(heard))
        outbox = self._outbox.open_for(handler, heard.envelope, transaction, heard.written)
        try:
            await self._closing(heard, transaction).check(getattr(said, "type_name", ""))
        except EndedOtherwise:
            return "too late"
        await outbox.put(said)
        return "given up"

    def _taken(self, heard: Heard) -> Sequence[Any]:
        """The facts of a reaction, in the order in which it is declared to wait for them."""
        handler = heard.handler
        came = [*heard.before, heard.fact]
        return [one for kind in handler.join for one in came if type(one) is kind] if handler and handler.join else came

    async def _admit(self, heard: Heard, known: Row | None, horizon: float, transaction: Transaction) -> Fate:
        """What becomes of it, with what is written of that; `handled` once the handler has been called."""
        if known is not None:
            return "repeated" if is_repeated(known, heard.envelope) else "given twice"
        if self._moment(heard.envelope) <= horizon:
            return "too old"
        if self._ordered and await is_overtaken(self._name, heard.envelope, transaction):
            return "overtaken"
        assert heard.handler is not None
        if heard.handler.transaction is None:
            return "new"
        admitted = "yes" if heard.envelope.type in self._plain else await self._by_its_rows(heard, transaction)
        if admitted in ("too old", "second cause", "repeated"):
            return admitted
        await self._remember([heard], transaction)
        return "handled" if admitted == "yes" else admitted

    async def _by_its_rows(self, heard: Heard, transaction: Transaction) -> Admitted:
        rows = self._rows(heard, transaction)
        admitted = await rows.admit()
        heard.before, heard.stands = rows.before, rows.stands
        return admitted

    def _moment(self, fact: Envelope) -> float:
        """When it was told; of what begins a flow when it was told first, as far as it says."""
        began = fact.began
        return fact.time if began is None or not self._flows.begins(fact) else min(fact.time, began)

    def _rows(self, heard: Heard, transaction: Transaction) -> EffectRows:
        assert heard.handler is not None
        about = self._service.name, self._service.reactions, heard.handler, heard.envelope
        return EffectRows(*about, transaction, self._clock())

    async def _carry_out(self, heard: Heard, transaction: Transaction) -> Fate:
        """Call it, and write what it publishes; in place of an effect that it takes back, what it refuses with. What
        would end a flow that has ended otherwise is taken back, too."""
        handler = heard.handler
        assert handler is not None
        if self._outbox is None or not handler.leaves:
            await self._call([heard], transaction)
            return "handled"
        outbox = self._outbox.open_for(handler, heard.envelope, transaction, heard.written)
        fate: Fate = "handled"
        try:
            await self._publish(heard, transaction, outbox)
        except EndedOtherwise:
            await self._rows(heard, transaction).leave("refused")
            fate = "too late"
        await keep_standing(heard.written, transaction)
        return fate

    async def _publish(self, heard: Heard, transaction: Transaction, outbox: HandlersOutbox) -> None:
        closing = self._closing(heard, transaction)
        try:
            async with transaction.savepoint():
                said = await self._call([heard], transaction, outbox)
                await closing.check(getattr(said, "type_name", ""))
                await outbox.put_returned(said)
        except Refused as refused:
            if refused.fact is None:
                raise
            await self._rows(heard, transaction).leave("refused")
            await closing.check(getattr(refused.fact, "type_name", ""))
            await outbox.put(refused.fact)

    def _closing(self, heard: Heard, transaction: Transaction) -> Closing:
        fact = heard.envelope
        decisions = self._flows.closes.get((fact.flow, fact.flow_version))
        return Closing(self._name, decisions, fact, transaction, self._clock())

    async def _remember(self, facts: Sequence[Heard], transaction: Transaction) -> None:
        for heard in facts:
            await remember(self._name, heard.envelope, transaction, ordered=self._ordered, now=self._clock())

    async def _call(self, facts: Sequence[Heard], transaction: Transaction | None, outbox: Outbox | None = None) -> Any:
        handler = facts[0].handler
        messages = [heard.fact for heard in facts if heard.fact is not None]
        envelopes = [heard.envelope for heard in facts]
        assert handler is not None
        if handler.batch is not None:
            return await self._calls.call_with_all(handler, envelopes, messages, transaction)
        taken = [*facts[0].before, *messages] if handler.join else messages[0]
        return await self._calls.call(handler, envelopes[0], taken, transaction, outbox=outbox, stands=facts[0].stands)

    async def _outside(self, facts: Sequence[Heard]) -> Fate | Exception:
        """No transaction holds this together: after a crash in between, the handler runs again."""
        try:
            await self._call(facts, None)
        except Exception as error:
            return error
        noted = await self._jobs.insist(partial(self._remember, facts))
        return noted.error if isinstance(noted, Raised) else "handled"
