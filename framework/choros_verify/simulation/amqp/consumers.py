"""The consumers of one channel: deliveries numbered, and what is said of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from pamqp import commands

from choros.transport.copies import RETURNS
from choros.transport.fact_log import OFFSET
from choros.wire.envelope import Wire
from choros_verify.simulation.amqp.carried import StrangeWire, properties_of
from choros_verify.simulation.amqp.frame_codec import content_frames, deliver_frame, method_frame
from choros_verify.simulation.amqp.refusals import not_found, unknown_tag
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_log import SimLog, SimLogLine
from choros_verify.simulation.broker_queue import LineEnds, SimLine, SimQueue

_NO_BOUND = 1 << 30
_STARTS = {"first": None, "last": float("inf"), "next": float("inf")}


@dataclass(slots=True, eq=False)
class _Subscribed:
    tag: str
    no_ack: bool
    line: SimLine | SimLogLine = field(init=False)
    """There by the time that anything is settled."""


class ChannelConsumers:
    """What was delivered on a channel and is not settled."""

    def __init__(
        self, broker: SimBroker, process: str, channel: int, frame_max: int, send: Callable[[bytes], None],
        shut: Callable[[], None],
    ) -> None:  # fmt: skip
        self.prefetch = _NO_BOUND
        """How many each consumer from now on may have unsettled."""
        self._broker, self._process, self._channel, self._frame_max = broker, process, channel, frame_max
        self._send, self._shut = send, shut
        self._by_tag: dict[str, _Subscribed] = {}
        self._everybody: list[_Subscribed] = []
        self._getting: dict[str, _Subscribed] = {}
        self._out: dict[int, tuple[_Subscribed, int]] = {}
        self._last = 0

    def limit(self, prefetch: int) -> None:
        """For those who begin from now on; 0 is no bound."""
        self.prefetch = prefetch or _NO_BOUND

    def begin(self, asked: commands.Basic.Consume, tag: str) -> None:
        """Deliver from a queue; raises ChannelRefusal."""
        queue = self._broker.found(asked.queue)
        if queue is None:
            raise not_found("queue", asked.queue)
        if not asked.nowait:
            self._send(method_frame(self._channel, commands.Basic.ConsumeOk(tag)))
        one = _Subscribed(tag, bool(asked.no_ack))
        self._by_tag[tag] = one
        self._everybody.append(one)
        ends = LineEnds(partial(self._deliver, one), partial(self._cancelled, one), beside=True)
        if isinstance(queue, SimLog):
            position = _position(queue, (asked.arguments or {}).get(OFFSET, "next"))
            one.line = SimLogLine(queue, self.prefetch, position, ends)
        else:
            one.line = SimLine(queue, self.prefetch, self._process, ends, self._shut)
            queue.hand_out()

    def cancel(self, tag: str) -> None:
        """Deliver no more; what is out may still be settled."""
        one = self._by_tag.pop(tag, None)
        if one is not None:
            one.line.stop()

    def get(self, name: str, no_ack: bool) -> bool:
        """Hand over one message, if there is one; raises ChannelRefusal."""
        queue = self._broker.found(name)
        if not isinstance(queue, SimQueue):
            raise not_found("queue", name)
        if not queue.ready:
            return False
        one = self._getting.get(name) or self._getter(queue)
        one.no_ack = no_ack
        one.line.hand(queue.ready.popleft())
        return True

    def acknowledge(self, tag: int, *, multiple: bool) -> None:
        """These are done with; raises ChannelRefusal."""
        for one, number in self._settled(tag, multiple):
            one.line.acknowledged(number)

    def give_back(self, tag: int, *, multiple: bool, counted: bool) -> None:
        """Put these back, the newest first, so that they are as they were; raises ChannelRefusal."""
        for one, number in reversed(self._settled(tag, multiple)):
            one.line.given_back(number, counted=counted)

    def reject(self, tag: int, *, multiple: bool) -> None:
        """Give these up; raises ChannelRefusal."""
        for one, number in self._settled(tag, multiple):
            one.line.rejected(number)

    def stop(self) -> None:
        """Deliver no more to anybody: before anything is given back, so that none gets what another had."""
        for one in self._everybody:
            one.line.stop()

    def lose(self) -> None:
        """The channel is gone: all that is out goes back."""
        everybody, self._everybody = self._everybody, []
        self._by_tag.clear()
        self._getting.clear()
        self._out.clear()
        for one in everybody:
            one.line.lose()

    def _getter(self, queue: SimQueue) -> _Subscribed:
        """A line that nothing is handed to by itself."""
        one = self._getting[queue.name] = _Subscribed("", no_ack=False)
        ends = LineEnds(partial(self._got, one, queue), lambda: None, beside=True)
        one.line = SimLine(queue, 0, self._process, ends, self._shut)
        one.line.stop()
        self._everybody.append(one)
        return one

    def _settled(self, tag: int, multiple: bool) -> list[tuple[_Subscribed, int]]:
        if tag not in self._out and not (multiple and tag == 0):
            raise unknown_tag(tag)
        tags = [out for out in self._out if not tag or out <= tag] if multiple else [tag]
        return [self._out.pop(out) for out in tags]

    def _numbered(self, one: _Subscribed, number: int) -> int:
        self._last += 1
        if not one.no_ack:
            self._out[self._last] = one, number
        return self._last

    def _deliver(self, one: _Subscribed, number: int, wire: Wire, exchange: str) -> None:
        key = wire.key if isinstance(wire, StrangeWire) else b""
        again = bool(wire.headers.get(RETURNS))
        frame = deliver_frame(self._channel, one.tag, self._numbered(one, number), exchange, key, again=again)
        self._send(frame + self._content(wire))
        if one.no_ack:
            self._broker.network.later(0.0, lambda: one.line.acknowledged(number))

    def _got(self, one: _Subscribed, queue: SimQueue, number: int, wire: Wire, exchange: str) -> None:
        tag, key = self._numbered(one, number), ""
        got = commands.Basic.GetOk(tag, False, exchange, key, len(queue.ready))
        self._send(method_frame(self._channel, got) + self._content(wire))
        if one.no_ack:
            one.line.acknowledged(number)

    def _content(self, wire: Wire) -> bytes:
        return content_frames(self._channel, properties_of(wire), wire.body, self._frame_max)

    def _cancelled(self, one: _Subscribed) -> None:
        if self._by_tag.pop(one.tag, None) is not None:
            self._send(method_frame(self._channel, commands.Basic.Cancel(one.tag, nowait=True)))


def _position(log: SimLog, start: object) -> int:
    if isinstance(start, int):
        return start
    return log.place(start.timestamp() if isinstance(start, datetime) else _STARTS[str(start)])
