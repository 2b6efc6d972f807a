"""How far a reader of the fact log has come."""

from choros.transport.fact_log import OFFSET
from choros.wire.envelope import Wire


class LogPlace:
    """Where a reader of the fact log goes on after a lost connection."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._out: dict[int, int] = {}

    def resume(self) -> int | None:
        """Begin anew, with the first that was not settled; None before any was read."""
        self._next = min(self._out.values(), default=self._next)
        self._out.clear()
        return self._next

    def handed(self, tag: int, wire: Wire) -> None:
        """This delivery is out."""
        offset = wire.headers.get(OFFSET)
        if isinstance(offset, int):
            self._out[tag], self._next = offset, offset + 1

    def settled(self, tag: int) -> None:
        """This delivery is done with."""
        self._out.pop(tag, None)
