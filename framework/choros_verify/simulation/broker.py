"""The simulated broker: RabbitMQ's semantics in virtual time, as in 3.10 or as in 4.3, with faults and a ledger.

broker = SimBroker(Faults(...), "4.3", chance=Random(seed))
transport = SimTransport(broker, "choros", "payment-1")  # one for each simulated process
"""

import math
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Protocol

from choros.errors import BrokerMisconfigured
from choros.transport.memory.broker import MemoryBroker
from choros.transport.memory.queues import MemoryQueue
from choros.transport.port import Published
from choros.transport.topology import Queue, Topology
from choros.wire.envelope import Wire
from choros_verify.simulation.amqp.carried import strange
from choros_verify.simulation.broker_latency import Latency, Network
from choros_verify.simulation.broker_ledger import Balance, Ledger, LedgerLine, What, message_of
from choros_verify.simulation.broker_log import SimLog
from choros_verify.simulation.broker_queue import BrokerSetting, Copy, Mode, SimLine, SimQueue
from choros_verify.simulation.faults import Fault, Faults
from choros_verify.simulation.strangers import forged

ACK_TIMEOUT = 1800.0
"""Seconds that RabbitMQ lets a delivery lie unsettled."""
DEAD_LETTER_AGAIN = 60.0
"""Seconds until a dead letter that nobody took is tried again; a real broker takes up to 180."""

_A_MOMENT = 0.001
NEVER = math.inf
"""The delay of a message that the broker confirms and then forgets, as if it had been emptied in between."""


class BrokerClient(Protocol):
    """What the broker knows of a transport."""

    process: str

    def lose(self, *, publishing: bool, consuming: bool, keep: bool) -> None:
        """Its connections are lost; without `keep` the broker may forget what it has not confirmed yet."""

    def die(self) -> None:
        """Its process is gone: nothing of it may act any more."""

    def block(self) -> None:
        """The broker reads nothing that it publishes."""

    def unblock(self) -> None:
        """The broker reads again."""


class SimBroker(MemoryBroker):
    """A broker shared by all simulated processes; everything it does by chance comes from `chance`."""

    def __init__(
        self,
        faults: Faults | None = None,
        mode: Mode = "4.3",
        *,
        chance: Random | None = None,
        ack_timeout: float = ACK_TIMEOUT,
    ) -> None:
        super().__init__()
        self.faults = faults or Faults()
        """What strikes the messages; faults by the clock are given to `strike` when their moment has come."""
        self.meddle: Callable[[str, Wire], Sequence[Fault]] | None = None
        """Asked for every message that a process publishes what else strikes it; a delay of `NEVER` swallows it."""
        self.ledger = Ledger()
        """What became of every message."""
        self.network = Network(chance or Random(0), Latency())
        """Between the processes and here."""
        self.setting = BrokerSetting(mode, self.network, self.ledger, ack_timeout)
        """What its parts share."""
        self.away = False
        """It takes no connection at the moment."""
        self.blocked = False
        """It reads nothing that is published, because of an alarm."""
        self._clients: list[BrokerClient] = []
        self._numbers = count(1)
        self._trying_again = False
        self._away_until = self._blocked_until = 0.0

    # What transports ask for.

    def join(self, client: BrokerClient) -> None:
        """A transport belongs to this broker from now on."""
        self._clients.append(client)

    def leave(self, client: BrokerClient) -> None:
        """A transport was closed."""
        if client in self._clients:
            self._clients.remove(client)

    def clients_of(self, process: str) -> list[BrokerClient]:
        """The transports, or connections, of a process."""
        return [client for client in self._clients if client.process == process]

    def arrive(
        self, process: str, exchange: str, key: str, wire: Wire, faults: Sequence[Fault] = ()
    ) -> tuple[Published, list[Copy]]:
        """A message has come over the network: put it into the queues that are bound for it."""
        verdict, copies = self._take(exchange, key, wire, faults)
        self.note_message("published", process, wire, verdict)
        for fault in (fault for fault in faults if fault.kind == "forge"):
            if sent := forged(exchange, key, wire, int(fault.amount)):
                self.publish(*sent)
        return verdict, copies

    def strikes(self, process: str, wire: Wire) -> Sequence[Fault]:
        """A process publishes a message: what strikes it on its way."""
        struck = self.faults.count("message", process)
        return (*struck, *self.meddle(process, wire)) if self.meddle else struck

    def forget(self, copies: Sequence[Copy]) -> None:
        """Lose what was never confirmed, as far as nobody has received it yet."""
        for queue in self.queues():
            queue.forget(copies)

    def queue(self, name: str) -> SimQueue:
        """A queue by its name; raises BrokerMisconfigured if there is none."""
        found = self._queues.get(name)
        if not isinstance(found, SimQueue):
            raise BrokerMisconfigured(f"The queue '{name}' does not exist.", "declare the topology before consuming.")
        return found

    def log(self, name: str) -> SimLog:
        """A fact log by its name; raises BrokerMisconfigured if there is none."""
        found = self._queues.get(name)
        if not isinstance(found, SimLog):
            raise BrokerMisconfigured(f"The queue '{name}' does not exist.", "declare the topology with a fact log.")
        return found

    def found(self, name: str) -> SimQueue | SimLog | None:
        """The queue or log of this name, if there is one."""
        found = self._queues.get(name)
        return found if isinstance(found, SimQueue | SimLog) else None

    def queues(self) -> list[SimQueue]:
        """All queues but logs, in the order in which they were declared."""
        return [queue for queue in self._queues.values() if isinstance(queue, SimQueue)]

    def publish(self, exchange: str, key: str, wire: Wire) -> Published:
        """Put a message, of any shape, into every queue that is bound for it, with no network between."""
        return self.arrive("", exchange, key, wire)[0]

    def note_message(self, what: What, process: str, wire: Wire, verdict: Published) -> None:
        """Write down what the broker said of a message, or what its publisher heard."""
        self.ledger.entries.append(LedgerLine(self.network.now, what, message_of(wire), "", 0, process, verdict.value))
        self.ledger.about[message_of(wire)] = wire

    def account(self) -> Balance:
        """The sum of the ledger against what is here."""
        return self.ledger.account(sum(len(queue.contents()) for queue in self.queues()))

    # What strikes it.

    def strike(self, fault: Fault) -> None:
        """Let one of the faults that go by the clock strike."""
        acts: dict[str, Callable[[], None]] = {
            "block": lambda: self.block(fault.amount),
            "restart": lambda: self.restart(fault.amount),
            "empty": lambda: self.restart(fault.amount, emptied=True),
            "cancel": lambda: self.cancel(fault.target),
            "ack_timeout": lambda: self.time_out(fault.target),
            "full": lambda: self.fill(fault.target, fault.amount),
            "undecodable": lambda: self.meet(fault.target, strange(fault.kind, fault.amount)),
            "oversized": lambda: self.meet(fault.target, strange(fault.kind, fault.amount)),
        }
        acts[fault.kind]()

    def cut(self, process: str, *, consuming: bool = True) -> None:
        """A process loses its connections, or only the one it publishes on; they come back by themselves."""
        for client in self.clients_of(process):
            client.lose(publishing=True, consuming=consuming, keep=True)

    def drop(self, process: str) -> None:
        """A process is gone, its connections with it: what it has not settled goes back to the queues."""
        for client in self.clients_of(process):
            self._clients.remove(client)
            client.die()

    def block(self, seconds: float) -> None:
        """An alarm: nothing that is published is read for so long; deliveries and acknowledgements go on."""
        self.blocked = True
        self._blocked_until = max(self._blocked_until, self.network.now + seconds)
        for client in self._clients:
            client.block()
        self.network.later(seconds, self._unblock)

    def restart(self, seconds: float, *, emptied: bool = False) -> None:
        """It is away for so long and keeps what it confirmed; or, emptied, comes back without any queue or exchange."""
        self.away = True
        self._away_until = max(self._away_until, self.network.now + seconds)
        for client in list(self._clients):
            client.lose(publishing=True, consuming=True, keep=False)
        if emptied:
            self.clear()
        self.network.later(seconds, self._come_back)

    def clear(self) -> None:
        """Every exchange, queue, binding and message is gone."""
        for name in list(self._queues):
            self.delete_queue(name)
        self._exchanges.clear()

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its contents; its consumers are told."""
        queue = self._queues.pop(name)
        self._routes.clear()
        for bound in self._exchanges.values():
            bound.bindings[:] = [b for b in bound.bindings if b.to_exchange or b.destination != name]
        if isinstance(queue, SimLog | SimQueue):
            queue.delete()

    def exchange(self, name: str) -> str | None:
        """The kind of an exchange, if there is one of this name."""
        return self._exchanges[name].kind if name in self._exchanges else None

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange, if there is one, with everything that leads to it or away from it."""
        self._exchanges.pop(name, None)
        self._routes.clear()
        for bound in self._exchanges.values():
            bound.bindings[:] = [b for b in bound.bindings if not b.to_exchange or b.destination != name]

    def cancel(self, name: str) -> None:
        """End all consumers of a queue, as when its leader moves; nothing happens if there is no such queue."""
        for line in self._lines(name):
            line.cancel()

    def time_out(self, name: str) -> None:
        """What is unsettled on this queue has been so for too long."""
        for line in self._lines(name):
            if line.unsettled() and line.source.times_out:
                line.time_out()

    def fill(self, name: str, seconds: float) -> None:
        """This queue refuses for so long whatever is published to it."""
        queue = self._queues.get(name)
        if isinstance(queue, SimQueue):
            queue.refuses = True
            self.network.later(seconds, lambda: self._make_room(queue))

    def meet(self, name: str, wire: Wire) -> None:
        """A stranger puts a message into this queue, if there is one."""
        queue = self.found(name)
        if queue is not None:
            queue.put(wire, "")

    # Within.

    def declare(self, topology: Topology) -> None:
        """Create what is missing; raises BrokerMisconfigured for what exists in another form."""
        super().declare(topology)
        self._bury_again()

    def _take(self, exchange: str, key: str, wire: Wire, faults: Sequence[Fault]) -> tuple[Published, list[Copy]]:
        if exchange not in self._exchanges:
            return Published.UNKNOWN, []
        refusals = {"return": Published.RETURNED, "nack": Published.NACKED}
        refused = next((refusals[fault.kind] for fault in faults if fault.kind in refusals), None)
        queues = self.bound(exchange, key)
        if refused or not queues:
            return refused or Published.RETURNED, []
        if any(fault.amount == NEVER for fault in faults):
            self.note_message("swallowed", "", wire, Published.CONFIRMED)
            return Published.CONFIRMED, []
        copies: list[Copy] = []
        refusals_of_queues = 0
        for queue in queues:
            taken = queue.take(wire, exchange, faults) if isinstance(queue, SimQueue) else queue.put(wire, exchange)
            refusals_of_queues += not taken
            copies += taken if isinstance(taken, list) else ()
        return Published.NACKED if refusals_of_queues else Published.CONFIRMED, copies

    def _new_queue(self, queue: Queue) -> MemoryQueue:
        if queue.arguments.get("x-queue-type") == "stream":
            return SimLog(queue, self.network, self.ledger)
        return SimQueue(queue, self.setting, lambda: next(self._numbers), self._bury)

    def _bury(self, queue: SimQueue, copy: Copy, why: str) -> None:
        """A queue gives a message up. At least once, it keeps it until it has a grave; at most once, it may be lost."""
        letter = queue.letter(copy, why)
        if letter is not None and self._take(*letter, ())[0] is Published.CONFIRMED:
            self.setting.note("dead_lettered", queue.name, copy, note=why)
        elif letter is not None and queue.at_least_once:
            queue.keep(copy, letter)
            self._try_again()
        else:
            self.setting.note("dropped", queue.name, copy, note=why)

    def _try_again(self) -> None:
        if not self._trying_again:
            self._trying_again = True
            self.network.later(DEAD_LETTER_AGAIN, self._bury_after_a_while)

    def _bury_after_a_while(self) -> None:
        self._trying_again = False
        self._bury_again()

    def _bury_again(self) -> None:
        for queue in self.queues():
            stuck, queue.aside.stuck = queue.aside.stuck, []
            for each in stuck:
                self._bury(queue, each.copy, str(each.letter[2].headers["x-first-death-reason"]))

    def _lines(self, name: str) -> list[SimLine]:
        queue = self._queues.get(name)
        return list(queue.aside.lines) if isinstance(queue, SimQueue) else []

    def _unblock(self) -> None:
        if self.network.now >= self._blocked_until - _A_MOMENT:
            self.blocked = False
            for client in list(self._clients):
                client.unblock()

    def _come_back(self) -> None:
        if self.network.now >= self._away_until - _A_MOMENT:
            self.away = False

    @staticmethod
    def _make_room(queue: SimQueue) -> None:
        queue.refuses = False
