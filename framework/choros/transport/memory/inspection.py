"""Looking into a queue in memory."""

from choros.transport.leased import CopyTo, Lease, LeasedDelivery
from choros.transport.memory.queues import MemoryQueue, QueuedMessage
from choros.transport.port import NotDeclared
from choros.transport.topology import Names


class MemoryLook(Lease):
    """A walk through a queue that takes nothing out; it is the lease of what it shows."""

    def __init__(self, names: Names, queue: str, found: MemoryQueue | None, copy_to: CopyTo) -> None:
        super().__init__(queue, names, copy_to)
        self._found = found
        self._left = len(found.ready) if found else 0
        self._held: dict[int, QueuedMessage] = {}
        self._tag = 0

    async def take(self) -> LeasedDelivery | None:
        """The next; None behind what was there at first."""
        if self._found is None:
            raise NotDeclared(f"The queue '{self.queue}' does not exist.", "choros topology apply APP.")
        if not self._left or not self._found.ready or not self.alive:
            return None
        self._left -= 1
        self._tag += 1
        held = self._held[self._tag] = self._found.ready.popleft()
        return LeasedDelivery(self, self._tag, held.wire, held.exchange)

    async def close(self) -> None:
        """All that is held goes back to its place."""
        self.alive = False
        held, self._held = list(self._held.values()), {}
        if self._found is not None:
            self._found.take_back(held, counted=False)

    def acknowledge(self, tag: int) -> None:
        """Forget it."""
        self._held.pop(tag, None)

    def give_back(self, tag: int) -> None:
        """It goes back when the walk is over."""
