"""A consumer's channel as the broker sees it: lines to consumers, settlements, and the ways in which it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from choros.transport.memory.queues import Line, QueuedMessage
from choros_verify.simulation.broker_latency import Road
from choros_verify.simulation.broker_line import ChannelLine, LineEnds
from choros_verify.simulation.broker_queue import BrokerSetting, Copy, SimQueue


class SimLine(Line):
    """From one queue to one consumer, over the network."""

    def __init__(self, queue: SimQueue, prefetch: int, channel: SimChannel, receiver: LineEnds) -> None:
        super().__init__(queue, prefetch)
        self.source = queue
        self.channel = channel
        self._receiver = receiver
        self._since: dict[int, float] = {}
        self._watched = False
        network = channel.setting.network
        self._road: Road[tuple[int, Copy] | None] = Road(network, network.latency.delivery, self._arrive)
        queue.lines.append(self)
        queue.aside.lines.append(self)

    def hand(self, held: QueuedMessage) -> None:
        """Send the consumer a message."""
        assert isinstance(held, Copy)
        self._tag += 1
        self._unsettled[self._tag] = held
        self._since[self._tag] = self.channel.setting.network.now
        self._road.send((self._tag, held))
        self._watch()

    def acknowledged(self, tag: int) -> None:
        """The consumer is done with it."""
        self._since.pop(tag, None)
        held = self._unsettled.get(tag)
        if isinstance(held, Copy):
            self.channel.setting.note("acked", self.source.name, held, self.channel.process)
        self.settle(tag)

    def given_back(self, tag: int, *, counted: bool) -> None:
        """The consumer puts it back. Since 4.3 a nack no longer counts towards the delivery limit."""
        self._since.pop(tag, None)
        held = self._unsettled.pop(tag, None)
        if held is not None:
            self.queue.take_back([held], counted=counted or self.channel.setting.mode == "3.10")

    def cancel(self) -> None:
        """End the consumer from the broker's side; what is out may still be settled."""
        self.stop()
        self._road.send(None)

    def lose(self) -> None:
        """Its channel is gone: all that is unsettled goes back."""
        self.stop()
        self._road.cut()
        self._since.clear()
        if self in self.source.aside.lines:
            self.source.aside.lines.remove(self)
        self.give_back_all()

    def queue_deleted(self) -> None:
        """What was out is gone, and the consumer is told."""
        self._unsettled.clear()
        self._since.clear()
        self.cancel()

    def time_out(self) -> None:
        """Something has been unsettled for too long. 3.10 closes the whole channel, 4.3 ends this consumer alone."""
        if self.channel.setting.mode == "3.10":
            self.channel.shut()
        else:
            self._since.clear()
            self.cancel()
            self.give_back_all()

    def _arrive(self, handed: tuple[int, Copy] | None) -> None:
        if handed is None:
            self._receiver.cancelled()
            return
        tag, copy = handed
        self.channel.setting.note("delivered", self.source.name, copy, self.channel.process)
        wire = copy.wire
        if copy.returns and self.source.quorum:
            wire = replace(wire, headers={**wire.headers, "x-delivery-count": copy.returns})
        self._receiver.deliver(tag, wire, copy.exchange)

    def _watch(self) -> None:
        """One look at a time, when the oldest delivery's time is up."""
        if not self._watched and self._since and self.source.times_out:
            self._watched = True
            setting = self.channel.setting
            setting.network.at(next(iter(self._since.values())) + setting.ack_timeout, self._look)

    def _look(self) -> None:
        self._watched = False
        setting = self.channel.setting
        if self._since and next(iter(self._since.values())) + setting.ack_timeout <= setting.network.now:
            self.time_out()
        self._watch()


class SimChannel:
    """One channel, with any number of consumers on it."""

    def __init__(self, setting: BrokerSetting, process: str, closed: Callable[[], None]) -> None:
        self.setting = setting
        self.process = process
        self._closed = closed
        self._lines: list[ChannelLine] = []
        network = setting.network
        self._settlements: Road[Callable[[], None]] = Road(network, network.latency.settle, lambda settle: settle())

    def consume(self, queue: SimQueue, prefetch: int, receiver: LineEnds) -> SimLine:
        """Open a line from a queue."""
        line = SimLine(queue, prefetch, self, receiver)
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
        self._settlements.cut(arriving=self.setting.network.how_many(len(self._settlements)))
        self._lose_lines()

    def shut(self) -> None:
        """Close it from the broker's side."""
        self._settlements.cut()
        self._lose_lines()
        network = self.setting.network
        network.later(network.seconds(network.latency.delivery), self._closed)

    def _lose_lines(self) -> None:
        lines, self._lines = self._lines, []
        for line in lines:
            line.stop()  # first all of them, so that none is handed what another gives back
        for line in lines:
            line.lose()
