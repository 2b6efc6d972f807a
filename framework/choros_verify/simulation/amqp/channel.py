"""One channel of a connection, as the broker sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pamqp import commands
from pamqp.base import Frame

from choros.transport.port import Published
from choros.wire.envelope import Wire
from choros_verify.simulation.amqp.carried import read_wire
from choros_verify.simulation.amqp.confirms import Confirms
from choros_verify.simulation.amqp.consumers import ChannelConsumers
from choros_verify.simulation.amqp.entities import ENTITY_METHODS
from choros_verify.simulation.amqp.frame_codec import (
    BODY,
    HEADER,
    content_frames,
    method_frame,
    read_method,
    read_sizes,
)
from choros_verify.simulation.amqp.refusals import ChannelRefusal, not_found, too_late, too_long_unsettled
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.byte_road import Arrived

_NO_ROUTE = 312


class ChannelOwner(Protocol):
    """The connection of a channel."""

    broker: SimBroker
    process: str
    frame_max: int

    def send(self, data: bytes, arrived: Arrived | None = None) -> None:
        """Let this go to the client."""

    def sever(self) -> None:
        """The connection is lost, and perhaps others of its process."""

    def publishes(self) -> None:
        """Something was published on it."""

    def forget(self, channel: AmqpChannel) -> None:
        """The channel is closed."""


class AmqpChannel:
    """Carries out the methods that come on it, one after another."""

    def __init__(self, owner: ChannelOwner, number: int) -> None:
        self._owner, self._number = owner, number
        self._broker, self._process = owner.broker, owner.process
        self._confirms = Confirms(owner.broker, owner.process, number, self._send)
        self._consumers = ChannelConsumers(
            owner.broker, owner.process, number, owner.frame_max, self._send, self._time_out
        )
        self._confirming = self._closing = self._over = False
        self._transaction: list[tuple[Any, Wire]] | None = None
        self._publish: Any = None
        self._properties, self._size = b"", 0
        self._body: list[bytes] = []
        self._held_in: list[tuple[int, bytes]] | None = None
        self._held_out: list[tuple[bytes, Arrived | None]] = []

    # --- what comes ---

    def take(self, kind: int, payload: bytes) -> None:
        """A frame has come on it."""
        if self._held_in is not None:
            self._held_in.append((kind, payload))
        elif kind == HEADER:
            self._size, self._properties = read_sizes(payload)
            self._whole()
        elif kind == BODY:
            self._body.append(payload)
            self._whole()
        else:
            self._method(read_method(payload))

    def strike(self, kind: str, seconds: float) -> None:
        """One of the faults that are counted by frames: what it asks does not answer for so long, or never, and nothing
        comes of what is asked on it; or it is closed."""
        if kind == "close_channel":
            if not self._closing:
                self._refuse(too_late(), 0)
        elif self._held_in is None:
            self._held_in = []
            if kind == "late_answer":
                self._broker.network.later(seconds, self._go_on)

    def _go_on(self) -> None:
        held, self._held_in = self._held_in or [], None
        answers, self._held_out = self._held_out, []
        for data, arrived in answers:
            self._send(data, arrived)
        for kind, payload in held:
            if not self._over:
                self.take(kind, payload)

    def _method(self, method: Any) -> None:
        name = method.name
        if self._closing and name not in ("Channel.Close", "Channel.CloseOk"):
            return
        try:
            if name in ENTITY_METHODS:
                answer = ENTITY_METHODS[name](self._broker, method)
                if not getattr(method, "nowait", False):
                    self._say(answer)
            else:
                _METHODS[name](self, method)
        except ChannelRefusal as refusal:
            self._refuse(refusal, method.index)

    def _whole(self) -> None:
        """A message, once all of its body is there."""
        publish = self._publish
        if publish is None or sum(map(len, self._body)) < self._size:
            return
        body, self._body, self._publish = b"".join(self._body), [], None
        wire = read_wire(self._properties, body)
        if self._transaction is not None:
            self._transaction.append((publish, wire))
            return
        try:
            self._route(publish, wire)
        except ChannelRefusal as refusal:
            self._refuse(refusal, publish.index)

    # --- publishing ---

    def _route(self, publish: Any, wire: Wire) -> None:
        tag = self._confirms.number() if self._confirming else 0
        faults = self._broker.strikes(self._process, wire)
        kinds = [fault.kind for fault in faults]
        if "cut_before" in kinds:
            self._owner.sever()
        if self._over:  # or whatever else has struck it
            return
        verdict, copies = self._broker.arrive(self._process, publish.exchange, publish.routing_key, wire, faults)
        if "cut_after" in kinds:
            self._owner.sever()
            return
        if verdict is Published.UNKNOWN:
            raise not_found("exchange", publish.exchange)
        if verdict is Published.RETURNED and publish.mandatory:
            self._return(publish, wire)
        if tag:
            self._confirms.add(tag, verdict, wire, copies)
        self._owner.publishes()

    def _return(self, publish: Any, wire: Wire) -> None:
        back = commands.Basic.Return(_NO_ROUTE, "NO_ROUTE", publish.exchange, publish.routing_key)
        content = content_frames(self._number, self._properties, wire.body, self._owner.frame_max)
        self._send(method_frame(self._number, back) + content)

    # --- its end ---

    def stop(self) -> None:
        """Nothing more is delivered on it."""
        self._consumers.stop()

    def lose(self) -> None:
        """It is gone with its connection."""
        self._over = True
        self._confirms.end()
        self._consumers.stop()
        self._consumers.lose()

    def forget(self) -> None:
        """The broker was lost before it had said what it has."""
        self._confirms.forget()

    def _time_out(self) -> None:
        self._refuse(too_long_unsettled(self._number), 0)

    def _refuse(self, refusal: ChannelRefusal, method: int) -> None:
        self._closing = True
        self._say(commands.Channel.Close(refusal.code, refusal.text, method >> 16, method & 0xFFFF))
        self._confirms.end()
        self._consumers.stop()
        self._consumers.lose()

    def _close(self, _: Any) -> None:
        self.lose()
        self._owner.send(method_frame(self._number, commands.Channel.CloseOk()))
        self._owner.forget(self)

    def _closed(self, _: Any) -> None:
        self.lose()
        self._owner.forget(self)

    # --- what it says ---

    def _say(self, method: Frame) -> None:
        self._send(method_frame(self._number, method))

    def _send(self, data: bytes, arrived: Arrived | None = None) -> None:
        if self._held_in is not None:
            self._held_out.append((data, arrived))
        elif not self._over:
            self._owner.send(data, arrived)

    # --- methods ---

    def _open(self, _: Any) -> None:
        self._say(commands.Channel.OpenOk())

    def _confirm(self, asked: Any) -> None:
        self._confirming = True
        if not asked.nowait:
            self._say(commands.Confirm.SelectOk())

    def _qos(self, asked: Any) -> None:
        self._consumers.limit(asked.prefetch_count)
        self._say(commands.Basic.QosOk())

    def _begin_publish(self, publish: Any) -> None:
        self._publish, self._size, self._body = publish, 0, []

    def _consume(self, asked: Any) -> None:
        self._consumers.begin(asked, asked.consumer_tag or f"amq.ctag-{self._number}")

    def _cancel(self, asked: Any) -> None:
        self._consumers.cancel(asked.consumer_tag)
        if not asked.nowait:
            self._say(commands.Basic.CancelOk(asked.consumer_tag))

    def _get(self, asked: Any) -> None:
        if not self._consumers.get(asked.queue, asked.no_ack):
            self._say(commands.Basic.GetEmpty())

    def _ack(self, said: Any) -> None:
        self._consumers.acknowledge(said.delivery_tag, multiple=said.multiple)

    def _nack(self, said: Any) -> None:
        if said.requeue:
            self._consumers.give_back(said.delivery_tag, multiple=said.multiple, counted=False)
        else:
            self._consumers.reject(said.delivery_tag, multiple=said.multiple)

    def _reject(self, said: Any) -> None:
        if said.requeue:
            self._consumers.give_back(said.delivery_tag, multiple=False, counted=True)
        else:
            self._consumers.reject(said.delivery_tag, multiple=False)

    def _tx_select(self, _: Any) -> None:
        self._transaction = []
        self._say(commands.Tx.SelectOk())

    def _tx_rollback(self, _: Any) -> None:
        self._transaction = []
        self._say(commands.Tx.RollbackOk())

    def _tx_commit(self, _: Any) -> None:
        published: Sequence[tuple[Any, Wire]] = self._transaction or ()
        self._transaction = []
        for publish, wire in published:
            self._route(publish, wire)
        self._say(commands.Tx.CommitOk())


_METHODS: dict[str, Callable[[AmqpChannel, Any], None]] = {
    "Channel.Open": AmqpChannel._open,
    "Channel.Close": AmqpChannel._close,
    "Channel.CloseOk": AmqpChannel._closed,
    "Confirm.Select": AmqpChannel._confirm,
    "Basic.Qos": AmqpChannel._qos,
    "Basic.Publish": AmqpChannel._begin_publish,
    "Basic.Consume": AmqpChannel._consume,
    "Basic.Cancel": AmqpChannel._cancel,
    "Basic.CancelOk": lambda channel, said: None,  # of a consumer that the broker itself has cancelled
    "Basic.Get": AmqpChannel._get,
    "Basic.Ack": AmqpChannel._ack,
    "Basic.Nack": AmqpChannel._nack,
    "Basic.Reject": AmqpChannel._reject,
    "Tx.Select": AmqpChannel._tx_select,
    "Tx.Rollback": AmqpChannel._tx_rollback,
    "Tx.Commit": AmqpChannel._tx_commit,
}
