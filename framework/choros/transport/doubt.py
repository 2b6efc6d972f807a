"""Whether one destination confirms what is published to it: while it does not, one probe at a time goes there.

A quorum queue that does not answer (its leader hangs, or has no majority) confirms nothing, and RabbitMQ soon reads no
more from the channel that leads to it. Sending everything again and again would only fill that hole.
"""

from collections.abc import Callable

from choros.transport.port import Published

WINDOW = 200
"""Publishes to one destination that may be without an answer. RabbitMQ stops reading the whole *connection* 200
messages, at the earliest, after a quorum queue behind one of its channels has left 32 unanswered: with a channel for
each destination, this window never gets there."""
PROBE_SECONDS = 1.0
"""How long a probe may take before it counts as unanswered; whoever waits behind it waits no longer."""
SETTLED_WELL = (Published.CONFIRMED, Published.RETURNED)
"""Answers of a destination that is there."""


class Doubt:
    """What we think of one destination, from its answers alone."""

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self.held = False
        """Whether it has left something unanswered, and has confirmed nothing since."""
        self._overdue = False
        self._changed = changed

    @property
    def refuses(self) -> bool:
        """Whether nothing is to be sent: the probe is out, and late."""
        return self.held and self._overdue

    @property
    def window(self) -> int:
        """How many publishes may be without an answer."""
        return 1 if self.held else WINDOW

    @staticmethod
    def is_due(in_flight: float, patience: float) -> bool:
        """Whether what has been in flight for so long should have been answered, where one waits for so long: that it
        waited for its turn before is no fault of the destination."""
        return in_flight >= patience / 2

    def late(self) -> None:
        """Something that was sent has had no answer in time."""
        self._overdue = True
        if not self.held:
            self.held = True
            self._changed(True)

    def answered(self, published: Published) -> None:
        """It has answered."""
        if published in SETTLED_WELL and self.held:
            self.held = self._overdue = False
            self._changed(False)

    def nothing_flies(self) -> None:
        """All that was sent is answered or given up: the next one is the probe."""
        self._overdue = False
