"""The outboxes of the sagas: what the decider loads, commits and then sends, and what of it has left meanwhile."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from math import inf

from choros.runtime.host.outgoing import COMMANDS, FACTS, LOCAL, Outgoing
from choros.runtime.host.relay import Publisher, Relay
from choros.runtime.orchestrator.recent import Recent
from choros.store.sagas import ENDED, NOTHING, Channel, Committed, EntryNames, Loaded, Store, Transition, Unsent
from choros.transport.port import Transport
from choros.values import replace
from choros.wire.envelope import Envelope


def outgoing(unsent: Iterable[Unsent], channel: Channel) -> list[Outgoing]:
    """What a store keeps, on its way."""
    return [Outgoing(one.id, one.saga_id, partial(_read, one)) for one in unsent if one.channel == channel]


def _read(unsent: Unsent) -> Envelope:
    return unsent.message or Envelope.loads(unsent.envelope)


class StoreOutbox:
    """One channel of a saga store, as the outbox of a relay."""

    def __init__(self, store: Store, channel: Channel, resend_after: float) -> None:
        self._store, self._channel, self._resend_after = store, channel, resend_after

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        """What whoever committed it should have sent by now."""
        before = self._store.now() - self._resend_after
        return outgoing(await self._store.unsent(self._channel, before, limit), self._channel)

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        """These have left."""
        await self._store.mark_sent(left)


class Outboxes:
    """A store and the relays of what is committed there: facts can never stop commands, nor can local ones those that
    go over the broker."""

    def __init__(
        self, store: Store, transport: Transport, resend_after: float, scan_every: float,
        local: Publisher | None = None, local_every: float = 0.2,
    ) -> None:  # fmt: skip
        """`local` hands local commands over; who has none leaves them to whoever has, and looks every so many seconds
        for what was left: that is how long a saga waits whose client has started it with a local step."""
        commands, facts = StoreOutbox(store, "commands", resend_after), StoreOutbox(store, "facts", resend_after)
        self._store = store
        self._recent: Recent[Loaded] = Recent()
        self._commands = Relay(COMMANDS, transport.send, commands, scan_every=scan_every)
        self._facts = Relay(FACTS, transport.publish, facts, scan_every=scan_every)
        self._local: Relay | None = None
        if local is not None:
            self._local = Relay(LOCAL, local, StoreOutbox(store, "local", local_every / 2), scan_every=local_every)
        self._sending: Sequence[Relay] = (self._commands, *([self._local] if self._local else []))
        """Those of commands."""
        self.relays: Sequence[Relay] = (*self._sending, self._facts)

    @property
    def unreadable(self) -> int:
        """How many messages could not be read when they were last looked at."""
        return sum(len(one.unreadable) for one in self.relays)

    def recall(self, saga_ids: Iterable[str]) -> dict[str, Loaded]:
        """Those of these records that were committed here last, without asking anybody."""
        return {saga_id: known for saga_id in saga_ids if (known := self._recent.get(saga_id))}

    async def load(
        self, saga_ids: Sequence[str], fired: Collection[str], wanted: EntryNames = NOTHING
    ) -> Mapping[str, Loaded]:
        """The records, as the store has them but for two things. Commands that nobody here can read are told apart.
        And what has left, and is not marked yet, is not unsent where a timer has `fired`: else none would count before
        that, so what was confirmed while the records were on their way counts as well."""
        before = self._confirmed(fired)
        loaded = await self._store.load(saga_ids, wanted)
        confirmed = before | self._confirmed(fired)
        unreadable = {one for relay in self._sending for one in relay.unreadable}
        if not unreadable and not confirmed:
            return loaded
        return {
            i: replace(one, unsent=one.unsent.difference(confirmed), unreadable=one.unsent.intersection(unreadable))
            for i, one in loaded.items()
        }

    def _confirmed(self, saga_ids: Collection[str]) -> set[str]:
        return {one for relay in self._sending for one in relay.confirmed(saga_ids)}

    async def commit(self, batch: Sequence[Transition]) -> Mapping[str, tuple[Transition, Committed]]:
        """Each as it was handed to the store, which takes what has left out of the outbox on the way; and the answer,
        by saga."""
        if not batch:
            return {}
        batch = [self._with_sent(one) for one in batch]
        answers: Sequence[Committed] = [Committed.CONFLICT] * len(batch)
        try:
            answers = await self._store.commit(batch)
        finally:
            for transition, answer in zip(batch, answers, strict=True):
                self._mark(transition, answer)
        return {one.record.saga_id: (one, answer) for one, answer in zip(batch, answers, strict=True)}

    def _with_sent(self, moved: Transition) -> Transition:
        sent = (one for relay in self.relays for one in relay.take_confirmed(moved.record.saga_id))
        return replace(moved, sent=(*moved.sent, *sent))

    def _mark(self, transition: Transition, answer: Committed) -> None:
        for one in self.relays:
            if answer is Committed.OK:
                one.forget(transition.sent)
            else:
                one.give_back(transition.record.saga_id, transition.sent)
        if answer is not Committed.OK:
            self._recent.drop(transition.record.saga_id)

    def send(self, transition: Transition, before: Loaded | None, left: float = inf) -> None:
        """Send what was committed on what was there `before`. Whoever fires its timer in `left` seconds must find on
        record that the command has left. Facts that another orchestrator has not brought out yet go first: then the
        scan sends them all in order."""
        self._commands.dispatch(outgoing(transition.outbox, "commands"), mark_within=left / 2)
        if self._local:
            self._local.dispatch(outgoing(transition.outbox, "local"), mark_within=left / 2)
        earlier = before.unsent_facts.difference(transition.sent) if before else frozenset()
        if self._facts.holds(earlier):
            self._facts.dispatch(outgoing(transition.outbox, "facts"))
        self._keep(transition, before, earlier)

    def _keep(self, transition: Transition, before: Loaded | None, earlier: Collection[str]) -> None:
        """For the next decision. Of facts it must be known exactly what has left, and what has ended is over."""
        record, outbox = transition.record, transition.outbox
        if earlier or record.status in ENDED or any(one.channel == "facts" for one in outbox):
            self._recent.drop(record.saga_id)
            return
        unsent = before.unsent.difference(transition.sent) if before else frozenset[str]()
        known = Loaded(record, unsent.union(one.id for one in outbox), recalled=True)
        self._recent.keep(record.saga_id, known, len(record.state))

    async def close(self, within: float) -> None:
        """Let what is being published finish, for so many seconds at most each."""
        for one in self.relays:
            await one.close(within)
