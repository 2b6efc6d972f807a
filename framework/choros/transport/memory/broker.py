"""The broker in memory: exchanges, bindings, routing, and the faults a test can ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from choros.envelope import Wire
from choros.errors import BrokerMisconfigured
from choros.transport.memory.queues import Line, MemoryQueue
from choros.transport.port import Published
from choros.transport.topology import Binding, Exchange, Queue, Topology


@dataclass(slots=True)
class _Bound:
    kind: str
    bindings: list[Binding] = field(default_factory=list)


class MemoryBroker:
    """A message broker inside this process, shared by every `MemoryTransport` that is given it."""

    def __init__(self) -> None:
        self._exchanges: dict[str, _Bound] = {}
        self._queues: dict[str, MemoryQueue] = {}
        self._routes: dict[tuple[str, str], tuple[MemoryQueue, ...]] = {}
        self._undeliverable: list[tuple[str, str, Wire]] = []
        self._running: asyncio.Event | None = None

    def declare(self, topology: Topology) -> None:
        """Create what is missing; raises BrokerMisconfigured for what exists in another form."""
        for exchange in topology.exchanges:
            self._declare_exchange(exchange)
        for queue in topology.queues:
            self._declare_queue(queue)
        for binding in topology.bindings:
            self._bind(binding)
        self._routes.clear()
        self._deliver_leftovers()

    def publish(self, exchange: str, key: str, wire: Wire) -> Published:
        """Put a message, of any shape, into every queue that is bound for it."""
        if exchange not in self._exchanges:
            return Published.UNKNOWN
        queues = self._routes.get((exchange, key))
        if queues is None:
            queues = self._routes[exchange, key] = tuple(dict.fromkeys(self._route(exchange, key)))
        if not queues:
            return Published.RETURNED
        taken = [queue.put(wire, exchange) for queue in queues]
        return Published.CONFIRMED if all(taken) else Published.NACKED

    def subscribe(self, queue: str, prefetch: int) -> Line:
        """Open a line from a queue to a new consumer; raises BrokerMisconfigured if there is none."""
        found = self._queues.get(queue)
        if found is None:
            raise BrokerMisconfigured(f"The queue '{queue}' does not exist.", "declare the topology before consuming.")
        line = Line(found, prefetch)
        found.lines.append(line)
        found.hand_out()
        return line

    @staticmethod
    def unsubscribe(line: Line) -> None:
        """Hand out no more on this line, and take back what was never received."""
        if line in line.queue.lines:
            line.queue.lines.remove(line)
            line.give_back_unread()

    def waiting(self, queue: str) -> Sequence[Wire]:
        """What lies in a queue right now and is with no consumer."""
        return [held.wire for held in self._queues[queue].ready]

    # Faults on request.

    def duplicate(self, queue: str, times: int = 1) -> None:
        """Deliver each of the next messages of this queue twice."""
        self._queues[queue].duplicates += times

    def drop_connections(self) -> None:
        """Lose every connection at once: what is unsettled is delivered again, settling it does nothing."""
        for line in [line for queue in self._queues.values() for line in queue.lines]:
            line.give_back_all()

    def pause(self) -> None:
        """Stop delivering and confirming, as a broker under a memory alarm does."""
        self._running = asyncio.Event()
        self._hold_up(True)

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._running is not None:
            self._running.set()
        self._running = None
        self._hold_up(False)

    async def ready(self, patience: float) -> bool:
        """Wait until the broker is not paused; False if that takes too long."""
        if self._running is not None:
            try:
                async with asyncio.timeout(patience):
                    await self._running.wait()
            except TimeoutError:
                return False
        return True

    def _hold_up(self, held_up: bool) -> None:
        for queue in self._queues.values():
            queue.held_up = held_up
            queue.hand_out()

    def _declare_exchange(self, exchange: Exchange) -> None:
        bound = self._exchanges.setdefault(exchange.name, _Bound(exchange.kind))
        if bound.kind != exchange.kind:
            raise BrokerMisconfigured(
                f"The exchange '{exchange.name}' exists as {bound.kind}, not as {exchange.kind}.",
                "choose another namespace, or delete the exchange if nobody needs it.",
            )

    def _declare_queue(self, queue: Queue) -> None:
        found = self._queues.get(queue.name)
        if found is None:
            self._queues[queue.name] = MemoryQueue(queue, self._dead_letter)
        elif found.arguments != dict(queue.arguments):
            raise BrokerMisconfigured(
                f"The queue '{queue.name}' exists with other arguments.",
                "choose another namespace, or empty and delete the queue.",
            )

    def _bind(self, binding: Binding) -> None:
        bound = self._exchanges.get(binding.source)
        known = self._exchanges if binding.to_exchange else self._queues
        if bound is None or binding.destination not in known:
            raise BrokerMisconfigured(f"'{binding.source}' or '{binding.destination}' does not exist.", "declare both.")
        if binding not in bound.bindings:
            bound.bindings.append(binding)

    def _route(self, exchange: str, key: str) -> Iterator[MemoryQueue]:
        bound = self._exchanges[exchange]
        for binding in bound.bindings:
            if not _matches(bound.kind, binding.key, key):
                continue
            if binding.to_exchange:
                yield from self._route(binding.destination, key)
            else:
                yield self._queues[binding.destination]

    def _dead_letter(self, exchange: str, key: str, wire: Wire) -> None:
        """At least once: what cannot be delivered yet is kept until it can."""
        if self.publish(exchange, key, wire) is not Published.CONFIRMED:
            self._undeliverable.append((exchange, key, wire))

    def _deliver_leftovers(self) -> None:
        leftovers, self._undeliverable = self._undeliverable, []
        for exchange, key, wire in leftovers:
            self._dead_letter(exchange, key, wire)


def _matches(kind: str, pattern: str, key: str) -> bool:
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key
    words = re.escape(pattern).replace(r"\*", r"[^.]+")
    # '#' stands for any number of words, together with the dot beside it
    words = words.replace(r"\.\#", r"(\..*)?").replace(r"\#\.", r"(.*\.)?").replace(r"\#", ".*")
    return re.fullmatch(words, key) is not None
