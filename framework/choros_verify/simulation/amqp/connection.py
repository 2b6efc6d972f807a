"""One connection: the handshake, the heartbeat, its channels, and the ways in which it ends."""

from collections import deque
from typing import Any

from pamqp import commands
from pamqp.base import Frame

from choros_verify.simulation.amqp.channel import AmqpChannel
from choros_verify.simulation.amqp.frame_codec import (
    BEAT,
    GREETING,
    HEARTBEAT,
    Cut,
    FrameCutter,
    method_frame,
    read_method,
)
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.byte_road import Arrived
from choros_verify.simulation.pipe import Pipe

MOST_CHANNELS = 2047
_SILENT_BEATS = 2
_FORCED = 320
_CHANNEL_ERROR = 504


class AmqpConnection:
    """The broker's end of a client's connection."""

    def __init__(self, broker: SimBroker, pipe: Pipe, frame_max: int) -> None:
        self.broker = broker
        self.process = pipe.process
        self.frame_max = frame_max
        """Of the larger frames that are sent."""
        self._pipe = pipe
        self._cutter = FrameCutter()
        self._come = deque[Cut]()
        self._busy = False
        self._channels: dict[int, AmqpChannel] = {}
        self._over = self._publishing = self._told = False
        self._heartbeat = 0
        self._silent = 0
        broker.join(self)

    # --- what the pipe tells ---

    def received(self, data: bytes) -> None:
        """Some bytes have come; also in the middle of those before, where they were struck."""
        self._silent = 0
        self._come.extend(self._cutter.cut(data))
        if self._busy:
            return
        self._busy = True
        while self._come and not self._over:
            self._take(*self._come.popleft())
        self._busy = False

    def ended(self) -> None:
        """It is gone, with all that was on it."""
        if self._over:
            return
        self._over = True
        self.broker.leave(self)
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.stop()
        for channel in channels:
            channel.lose()

    # --- what comes ---

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        for fault in self.broker.faults.count("frame", self.process):
            self._strike(fault.kind, number, fault.amount)
        if self._over or kind == HEARTBEAT:
            return
        if kind == 0:
            self._greet(payload)
        elif number == 0:
            self._method(read_method(payload))
        else:
            self._channel(number, payload).take(kind, payload)

    def _strike(self, kind: str, number: int, amount: float) -> None:
        if kind == "cut_frame":
            self._pipe.cut()
        elif kind == "half_open":
            self._pipe.half_open(there=amount != 1, back=amount != 2)
        elif kind == "slow_read":
            self._pipe.slow(amount)
        elif number in self._channels:
            self._channels[number].strike(kind, amount)

    def _greet(self, greeting: bytes) -> None:
        if greeting != GREETING:
            self._pipe.answer(GREETING)
            self._pipe.end()
            return
        names = ["publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify"]
        names += ["connection.blocked", "authentication_failure_close", "per_consumer_qos"]
        if self.broker.setting.mode == "4.3":
            names.append("accept_consumer_cancel_ok")
        properties: dict[str, Any] = {"product": "RabbitMQ", "capabilities": dict.fromkeys(names, True)}
        self._say(commands.Connection.Start(0, 9, properties, "PLAIN AMQPLAIN", "en_US"))

    def _method(self, method: Any) -> None:
        match method.name:
            case "Connection.StartOk":
                self._say(commands.Connection.Tune(MOST_CHANNELS, self.frame_max, 60))
            case "Connection.TuneOk":
                self._heartbeat = method.heartbeat
                self._expect_beat()
            case "Connection.Open":
                self._say(commands.Connection.OpenOk())
            case "Connection.Close":
                self._say(commands.Connection.CloseOk())
                self._pipe.end()
            case "Connection.CloseOk":
                self._pipe.end()

    def _channel(self, number: int, payload: bytes) -> AmqpChannel:
        if number not in self._channels:
            self._channels[number] = AmqpChannel(self, number)
        return self._channels[number]

    # --- what channels ask for ---

    def send(self, data: bytes, arrived: Arrived | None = None) -> None:
        """Let this go to the client."""
        if not self._over:
            self._pipe.answer(data, arrived)

    def sever(self) -> None:
        """It is lost, and perhaps others of its process."""
        self._pipe.cut()
        for other in self.broker.clients_of(self.process):
            if self.broker.network.coin():
                other.lose(publishing=True, consuming=True, keep=True)

    def publishes(self) -> None:
        """Something was published on it: an alarm is its affair from now on."""
        self._publishing = True
        if self.broker.blocked:
            self.block()

    def forget(self, channel: AmqpChannel) -> None:
        """The channel is closed."""
        self._channels = {number: one for number, one in self._channels.items() if one is not channel}

    # --- what the broker does to it ---

    def lose(self, *, publishing: bool, consuming: bool, keep: bool) -> None:
        """It is lost, if it is one of these; without `keep` by the broker's own end, which it may say."""
        if not ((publishing and self._publishing) or (consuming and not self._publishing)):
            return
        channels = list(self._channels.values())
        if not keep and self.broker.network.coin():
            self._say(commands.Connection.Close(_FORCED, "CONNECTION_FORCED - broker forced connection closure", 0, 0))
            self._forget(channels)
            self._pipe.end()
            return
        if not keep:
            self._forget(channels)
        self._pipe.cut()

    def _forget(self, channels: list[AmqpChannel]) -> None:
        for channel in channels:
            channel.forget()

    def die(self) -> None:
        """Its process is gone."""
        self._pipe.die()

    def block(self) -> None:
        """Nothing is read here, if it is published on."""
        if self._publishing and not self._told:
            self._told = True
            self._say(commands.Connection.Blocked("low on memory"))
            self._pipe.stop_reading()

    def unblock(self) -> None:
        """It is read again."""
        if self._told:
            self._told = False
            self._say(commands.Connection.Unblocked())
            self._pipe.go_on_reading()

    # --- heartbeat ---

    def _expect_beat(self) -> None:
        if self._heartbeat and not self._over:
            self.broker.network.later(float(self._heartbeat), self._beat)

    def _beat(self) -> None:
        """Who says nothing for two of them is gone, unless it is not read."""
        if self._silent >= _SILENT_BEATS and not self._told:
            self._pipe.cut()
        else:
            self._silent += 1
            self.send(BEAT)
            self._expect_beat()

    def _say(self, method: Frame) -> None:
        self.send(method_frame(0, method))
