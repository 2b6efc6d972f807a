"""The broker in memory: exchanges, bindings, routing, and the faults a test can ask for."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from choros.errors import BrokerMisconfigured
from choros.transport.memory.log import MemoryLog
from choros.transport.memory.queues import Letter, Line, MemoryQueue, QueuedMessage
from choros.transport.port import Published, Seen
from choros.transport.topology import Binding, Exchange, Queue, Topology
from choros.wire.envelope import Wire


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
        self._undeliverable: list[Letter] = []
        self._running: asyncio.Event | None = None
        self.watchers: list[Callable[[], None]] = []
        """Called after `pause` and `resume`."""

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
        queues = self.bound(exchange, key)
        if not queues:
            return Published.RETURNED
        taken = [queue.put(wire, exchange) for queue in queues]
        return Published.CONFIRMED if all(taken) else Published.NACKED

    def bound(self, exchange: str, key: str) -> Sequence[MemoryQueue]:
        """The queues that a message to this exchange goes into."""
        queues = self._routes.get((exchange, key))
        if queues is None:
            queues = self._routes[exchange, key] = tuple(dict.fromkeys(self._route(exchange, key)))
        return queues

    def attendance(self, queue: str) -> Seen:
        """Who consumes a queue, and what waits there."""
        found = self._queues.get(queue)
        return Seen("there", len(found.lines), len(found.ready)) if found else Seen("missing")

    def subscribe(self, queue: str, prefetch: int) -> Line:
        """Open a line from a queue to a new consumer; raises BrokerMisconfigured if there is none."""
        found = self._queues.get(queue)
        if found is None:
            raise BrokerMisconfigured(f"The queue '{queue}' does not exist.", "declare the topology before consuming.")
        line = Line(found, prefetch)
        found.lines.append(line)
        found.hand_out()
        return line

    def replay(self, log: str, prefetch: int, since: float | None) -> Line:
        """Open a line from a log to a new reader; raises BrokerMisconfigured if there is none."""
        found = self._queues.get(log)
        if not isinstance(found, MemoryLog):
            raise BrokerMisconfigured(f"The queue '{log}' does not exist.", "declare the topology with a fact log.")
        return found.open(prefetch, since)

    def queue(self, name: str) -> MemoryQueue | None:
        """The queue of this name, if there is one."""
        return self._queues.get(name)

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
        self._tell()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._running is not None:
            self._running.set()
        self._running = None
        self._hold_up(False)
        self._tell()

    @property
    def paused(self) -> bool:
        """Whether it takes and delivers nothing now."""
        return self._running is not None

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()

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
            made = self._queues[queue.name] = self._new_queue(queue)
            made.gone = partial(self._delete, queue.name)
        elif found.arguments != dict(queue.arguments):
            raise BrokerMisconfigured(
                f"The queue '{queue.name}' exists with other arguments.",
                "choose another namespace, or empty and delete the queue.",
            )

    def _new_queue(self, queue: Queue) -> MemoryQueue:
        if queue.arguments.get("x-queue-type") == "stream":
            return MemoryLog(queue)
        return MemoryQueue(queue, self._give_up)

    def _delete(self, name: str, queue: MemoryQueue) -> None:
        if self._queues.get(name) is queue:
            del self._queues[name]
            for bound in self._exchanges.values():
                bound.bindings = [one for one in bound.bindings if one.to_exchange or one.destination != name]
            self._routes.clear()

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

    def _give_up(self, queue: MemoryQueue, held: QueuedMessage, why: str) -> None:
        letter = queue.letter(held, why)
        if letter is not None:
            self._dead_letter(letter)

    def _dead_letter(self, letter: Letter) -> None:
        """At least once: what cannot be delivered yet is kept until it can."""
        if self.publish(*letter) is not Published.CONFIRMED:
            self._undeliverable.append(letter)

    def _deliver_leftovers(self) -> None:
        leftovers, self._undeliverable = self._undeliverable, []
        for letter in leftovers:
            self._dead_letter(letter)


def _matches(kind: str, pattern: str, key: str) -> bool:
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key
    words = re.escape(pattern).replace(r"\*", r"[^.]+")
    # '#' stands for any number of words, together with the dot beside it
    words = words.replace(r"\.\#", r"(\..*)?").replace(r"\#\.", r"(.*\.)?").replace(r"\#", ".*")
    return re.fullmatch(words, key) is not None
