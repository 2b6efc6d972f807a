"""What has to exist on the broker for facts of producers that know nothing of choros."""

from __future__ import annotations

from dataclasses import dataclass

from choros.transport.permissions import Rights
from choros.transport.topology import Binding, Exchange, Names, Topology, publisher_topology, working_queue

KINDS = ("fanout", "topic", "direct")


@dataclass(frozen=True, slots=True)
class ForeignExchange:
    """An exchange of theirs, and by what a queue of ours is bound to it."""

    name: str
    """What the facts that come from it are called here."""
    exchange: str
    keys: tuple[str, ...]
    create: str = ""
    """The kind that it is created as; empty where that is their affair."""

    def queue(self, names: Names) -> str:
        """Where what they publish waits; no subscriber is called so."""
        return names.subscriber_queue(f"foreign.{self.name}")

    def ours(self, names: Names) -> Topology:
        """The queue, and the exchange that its facts are published to."""
        queue = self.queue(names)
        return working_queue(names, queue, Binding(names.retry, queue, queue)) + publisher_topology(names, self.name)

    def theirs(self, names: Names) -> Topology:
        """What leads to it."""
        created = (Exchange(self.exchange, self.create),) if self.create else ()
        bindings = tuple(Binding(self.exchange, self.queue(names), key) for key in self.keys)
        return Topology(names.namespace, exchanges=created, bindings=bindings)

    def rights(self, names: Names) -> Rights:
        """Reads what they publish, publishes it as facts, parks what cannot be read."""
        facts, queue = names.facts_of(self.name), self.queue(names)
        return Rights((facts, Names.detour_of(facts), Names.dead_queue(queue), names.probe), (queue,))
