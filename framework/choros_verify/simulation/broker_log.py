"""The fact log of the simulated broker: a stream, read over the network from a place on."""

from choros.transport.memory.log import LogLine, MemoryLog
from choros.transport.memory.queues import QueuedMessage
from choros.transport.topology import Queue
from choros.wire.envelope import Wire
from choros_verify.simulation.broker_latency import Network
from choros_verify.simulation.broker_ledger import Ledger, LedgerLine, message_of
from choros_verify.simulation.broker_queue import LineEnds


class SimLog(MemoryLog):
    """A log whose entries are noted in the ledger, as copy 0: nobody ever takes them out."""

    def __init__(self, declared: Queue, network: Network, ledger: Ledger) -> None:
        super().__init__(declared)
        self.name = declared.name
        self.network = network
        """Between here and the readers."""
        self._ledger = ledger

    def put(self, wire: Wire, exchange: str) -> bool:
        """Take a message, always."""
        self._ledger.entries.append(LedgerLine(self.network.now, "queued", message_of(wire), self.name))
        return super().put(wire, exchange)

    def place(self, since: float | None) -> int:
        """Where a reader from that moment on begins, or one from the first."""
        line = self.open(0, since)
        self.lines.remove(line)
        return line.position

    def delete(self) -> None:
        """Its readers are told that it is gone."""
        for line in list(self.lines):
            if isinstance(line, SimLogLine):
                line.cancel()


class SimLogLine(LogLine):
    """From the log to one reader, over the network; from its end if the place is beyond that."""

    def __init__(self, log: SimLog, prefetch: int, position: int, receiver: LineEnds) -> None:
        super().__init__(log, prefetch, min(position, log.place(float("inf"))))
        self._receiver = receiver
        self._road = receiver.road(log.network, self._arrive)
        log.lines.append(self)
        log.hand_out()

    def hand(self, held: QueuedMessage) -> None:
        """Send the reader the one at its position."""
        super().hand(held)
        self.inbox.waiting.clear()  # it is on the road instead
        self._road.send((self._tag, held))

    def acknowledged(self, tag: int) -> None:
        """The reader may be sent one more."""
        self.settle(tag)

    def given_back(self, tag: int, *, counted: bool) -> None:
        """Read on from here again; a log counts nothing."""
        self.give_back(tag)

    def rejected(self, tag: int) -> None:
        """A log gives nothing up."""
        self.settle(tag)

    def cancel(self) -> None:
        """End the reader from the broker's side."""
        self.stop()
        self._road.send(None)

    def lose(self) -> None:
        """Its channel is gone; a log takes nothing back."""
        self.stop()
        self._road.cut()

    def _arrive(self, handed: tuple[int, QueuedMessage] | None) -> None:
        if handed is None:
            self._receiver.cancelled()
        else:
            self._receiver.deliver(handed[0], handed[1].wire, handed[1].exchange)
