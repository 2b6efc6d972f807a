"""The life of the outbox: two orchestrators' relays on one store, and a publisher with any fate.

What must hold: nothing leaves the outbox that no broker has taken; everything leaves it in the end; and a fact never
comes for the first time before an earlier one of its saga.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from choros.runtime.host.pacing import MOST_SECONDS
from choros.runtime.host.relay import Publisher, Relay
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Channel, Committed, Record, Transition, Unsent
from choros.testing.conformance.records import a_record
from choros.transport.port import Published
from choros.wire.envelope import Envelope, MessageKind
from tests.properties.machines import AsyncMachine
from tests.relays import MANNERS, outgoing, saga_relay

RESEND_AFTER = 5.0
CHANNELS = tuple(MANNERS)
FATES = ("confirmed", "confirmed", "silent", "unknown", "returned", "broken")
"""silent: the broker took it, its confirm was lost; broken: the publisher itself raises."""
ids = st.sampled_from(["s0", "s1", "s2"])
processes = st.integers(0, 1)


class RelayMachine(AsyncMachine):
    """`relay` is what is tested, or a mutant of it."""

    def __init__(self, relay: type[Relay] = Relay) -> None:
        super().__init__()
        self._relay = relay
        self.now = 1000.0
        self.count = 0
        self.fates: deque[str] = deque()
        self.stalls = 0
        self.records: dict[str, Record] = {}
        self.committed: list[tuple[str, Channel, str]] = []
        """(saga, channel, entry) in the order of the commits."""
        self.arrived: list[str] = []
        self.overtaken: list[str] = []
        """Found in the publisher, where the relay would take an AssertionError for a broken one."""
        self.settled: set[str] = set()
        """What the publisher has said was taken."""

    @initialize()
    def start(self) -> None:
        self.run(self._start())

    async def _start(self) -> None:
        self.store = MemoryStore(clock=lambda: self.now)
        await self.store.open()
        self.relays = [self._pair(), self._pair()]

    def _pair(self) -> dict[Channel, Relay]:
        return {
            channel: saga_relay(
                channel,
                self._publisher(channel),
                self.store,
                resend_after=RESEND_AFTER,
                kind=self._relay,
                clock=lambda: self.now,
            )
            for channel in CHANNELS
        }

    async def ended(self) -> None:
        """With the faults over, everything goes out."""
        self.fates.clear()
        self.stalls = 0
        for _ in range(4):
            await self._pass_time(RESEND_AFTER + max(MOST_SECONDS.values()))
        left = [entry.id for one in CHANNELS for entry in await self.store.unsent(one, self.now + 1, 10_000)]
        assert not left, f"{left} never left"
        assert not self.overtaken
        assert {entry for _, _, entry in self.committed} <= set(self.arrived) | self.settled

    # --- the broker ---

    def _publisher(self, channel: Channel) -> Publisher:
        async def publish(messages: Sequence[Envelope]) -> Sequence[Published]:
            for _ in range(self.stalls):
                await asyncio.sleep(0)
            results: list[Published] = []
            gone_wrong: set[str] = set()
            for message in messages:
                fate = self.fates.popleft() if self.fates else "confirmed"
                if fate == "broken":
                    raise RuntimeError("the publisher is broken")
                if channel == "facts" and message.stream in gone_wrong:
                    results.append(Published.UNKNOWN)  # as the port promises: the rest of the stream is not sent
                    continue
                results.append(self._take(channel, message, fate))
                if results[-1] is Published.UNKNOWN:
                    gone_wrong.add(message.stream)
            return results

        return publish

    def _take(self, channel: Channel, message: Envelope, fate: str) -> Published:
        if fate in ("confirmed", "silent"):
            self._arrives(message.id)
        if fate == "confirmed" or (fate == "returned" and channel == "facts"):
            self.settled.add(message.id)
        if fate == "returned" and channel == "facts":
            self._arrives(message.id)  # at all of the queues that there are: none
        words = {"confirmed": Published.CONFIRMED, "returned": Published.RETURNED}
        return words.get(fate, Published.UNKNOWN)

    def _arrives(self, entry_id: str) -> None:
        if entry_id not in self.arrived:
            saga_id, channel = next((saga, channel) for saga, channel, one in self.committed if one == entry_id)
            facts = [one for saga, kind, one in self.committed if (saga, kind) == (saga_id, "facts")]
            if channel == "facts":
                missing = [one for one in facts[: facts.index(entry_id)] if one not in self.arrived]
                self.overtaken += [f"{entry_id} came before {missing}"] if missing else []
        self.arrived.append(entry_id)

    # --- the orchestrators ---

    @rule(process=processes, saga_id=ids, kinds=st.lists(st.sampled_from(CHANNELS), max_size=3), crash=st.booleans())
    def commit(self, process: int, saga_id: str, kinds: list[Channel], crash: bool) -> None:
        """As the decider does it; with `crash`, the process dies before it hands the messages on."""
        self.run(self._commit(process, saga_id, kinds, crash))

    async def _commit(self, process: int, saga_id: str, kinds: list[Channel], crash: bool) -> None:
        relays, old = self.relays[process], self.records.get(saga_id)
        loaded = await self.store.load([saga_id])
        earlier = loaded[saga_id].unsent_facts if old else frozenset()
        sent = tuple(entry for relay in relays.values() for entry in relay.take_confirmed(saga_id))
        entries = tuple(self._entry(saga_id, kind) for kind in kinds)
        record = self._next(saga_id, old)
        made = Transition(record, old.transition if old else "", entries, sent)
        assert list(await self.store.commit([made])) == [Committed.OK]
        self.records[saga_id] = record
        self.committed += [(saga_id, entry.channel, entry.id) for entry in entries]
        for relay in relays.values():
            relay.forget(sent)
        if crash:
            await self._crash(process)
            return
        relays["commands"].dispatch(outgoing([entry for entry in entries if entry.channel == "commands"]))
        if relays["facts"].holds(earlier.difference(sent)):
            relays["facts"].dispatch(outgoing([entry for entry in entries if entry.channel == "facts"]))

    def _next(self, saga_id: str, old: Record | None) -> Record:
        self.count += 1
        version = old.version + 1 if old else 1
        return replace(old or a_record(saga_id), version=version, transition=f"t{self.count}")

    def _entry(self, saga_id: str, channel: Channel) -> Unsent:
        self.count += 1
        kind: MessageKind = "command" if channel == "commands" else "fact"
        message = Envelope(
            id=f"e{self.count}", kind=kind, type="t.v1", source="/s", time=1.0, data="{}", to="payment", stream=saga_id
        )  # fmt: skip
        return Unsent(message.id, channel, message.dumps(), saga_id)

    @rule(process=processes, saga_id=ids)
    def lose_a_race(self, process: int, saga_id: str) -> None:
        """A commit that meets a conflict gives back what it wanted to take out."""
        for relay in self.relays[process].values():
            relay.give_back(saga_id, relay.take_confirmed(saga_id))

    @rule(process=processes)
    def crash(self, process: int) -> None:
        self.run(self._crash(process))

    async def _crash(self, process: int) -> None:
        for relay in self.relays[process].values():
            for task in list(relay._tasks):
                task.cancel()
            await asyncio.gather(*relay._tasks, return_exceptions=True)
        self.relays[process] = self._pair()

    @rule(fates=st.lists(st.sampled_from(FATES), max_size=8), stalls=st.integers(0, 3))
    def change_the_weather(self, fates: list[str], stalls: int) -> None:
        self.fates, self.stalls = deque(fates), stalls

    @rule(turns=st.integers(1, 8))
    def wait(self, turns: int) -> None:
        self.run(self._turns(turns))

    async def _turns(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    @rule(seconds=st.sampled_from([0.5, RESEND_AFTER + 1]))
    def pass_time(self, seconds: float) -> None:
        self.run(self._pass_time(seconds))

    async def _pass_time(self, seconds: float) -> None:
        """What `Relay.run` does each time it wakes."""
        self.now += seconds
        for relays in self.relays:
            for relay in relays.values():
                relay._again()
                await relay.flush()
                await relay._scan()
        await self._turns(12)

    # --- what must hold ---

    @invariant()
    def nothing_left_the_outbox_that_was_not_taken(self) -> None:
        if hasattr(self, "store"):
            self.run(self._check_outbox())
            assert not self.overtaken

    async def _check_outbox(self) -> None:
        for channel in CHANNELS:
            left = [entry.id for entry in await self.store.unsent(channel, self.now + 1, 10_000)]
            gone = {one for _, kind, one in self.committed if kind == channel} - set(left)
            assert gone <= self.settled, f"{gone - self.settled} left the outbox unconfirmed"
