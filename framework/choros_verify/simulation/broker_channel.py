"""A consumer's channel as the broker sees it: lines to consumers, settlements, and the ways in which it ends."""

from collections.abc import Callable

from choros_verify.simulation.broker_latency import Road
from choros_verify.simulation.broker_log import SimLogLine
from choros_verify.simulation.broker_queue import BrokerSetting, LineEnds, SimLine, SimQueue

ChannelLine = SimLine | SimLogLine


class SimChannel:
    """One channel, with any number of consumers on it; `closed` is called when the broker closes it."""

    def __init__(self, setting: BrokerSetting, process: str, closed: Callable[[], None]) -> None:
        self._setting = setting
        self._process = process
        self._closed = closed
        self._lines: list[ChannelLine] = []
        network = setting.network
        self._settlements: Road[Callable[[], None]] = Road(network, network.latency.settle, lambda settle: settle())

    def consume(self, queue: SimQueue, prefetch: int, receiver: LineEnds) -> SimLine:
        """Open a line from a queue."""
        line = SimLine(queue, prefetch, self._process, receiver, self.shut)
        self.add(line)
        queue.hand_out()
        return line

    def add(self, line: ChannelLine) -> None:
        """One more consumer on this channel."""
        self._lines.append(line)

    def acknowledge(self, line: ChannelLine, tag: int) -> None:
        """Tell the broker to forget a delivery."""
        self._settlements.send(lambda: line.acknowledged(tag))

    def give_back(self, line: ChannelLine, tag: int, *, counted: bool) -> None:
        """Put a delivery back into its queue, by `basic.reject` if it is to count and by `basic.nack` if not."""
        self._settlements.send(lambda: line.given_back(tag, counted=counted))

    def close(self) -> None:
        """Close it after what was settled has arrived."""
        self._settlements.cut(arriving=len(self._settlements))
        self._lose_lines()

    def lose(self) -> None:
        """The connection is gone, and with it some of what was on its way."""
        self._settlements.cut(arriving=self._setting.network.how_many(len(self._settlements)))
        self._lose_lines()

    def shut(self) -> None:
        """Close it from the broker's side."""
        self._settlements.cut()
        self._lose_lines()
        network = self._setting.network
        network.later(network.seconds(network.latency.delivery), self._closed)

    def _lose_lines(self) -> None:
        lines, self._lines = self._lines, []
        for line in lines:
            line.stop()  # first all of them, so that none is handed what another gives back
        for line in lines:
            line.lose()
