"""The seven messages of one order saga, and its state after each step, taken from choros at work: the floors send and
keep the very same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Arrivals, Part
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed, Transition
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Envelope, Wire, encode


@dataclass(frozen=True)
class Samples:
    """The messages, in the order in which they are sent."""

    steps: tuple[tuple[str, Wire, Wire], ...]
    """For each step: the participant, the command and its reply."""
    fact: Wire
    states: tuple[str, ...]
    """The saga's, as it begins and after each reply."""


class _Recorder(MemoryTransport):
    """Notes what passes."""

    def __init__(self, namespace: str) -> None:
        super().__init__(MemoryBroker(), namespace)
        self.seen: list[Envelope] = []

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        self.seen += messages
        return await super().send(messages)

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        self.seen += facts
        return await super().publish(facts)


class _Keeper(MemoryStore):
    """Notes what is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        self.states += [transition.record.state for transition in batch]
        return await super().commit(batch)


async def take_samples(namespace: str, saga: str) -> Samples:
    """Run one saga in memory and keep its messages and states."""
    transport, store = _Recorder(namespace), _Keeper()
    adapters = Adapters(lambda: transport, lambda: store, lambda _: MemoryDatabase())
    arrivals = Arrivals()
    async with Application(namespace, adapters).opened(Part.WHOLE, arrivals.heard) as shop:
        await shop.carry_out(saga)
        await arrivals.reach(1)
    commands = [message for message in transport.seen if message.kind == "command"]
    replies = {message.key: message for message in transport.seen if message.kind == "reply"}
    (fact,) = (message for message in transport.seen if message.kind == "fact")
    steps = tuple((command.to, encode(command), encode(replies[command.key])) for command in commands)
    return Samples(steps, encode(fact), tuple(store.states))
