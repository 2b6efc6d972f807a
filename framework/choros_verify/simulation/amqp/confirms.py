"""Confirms of one channel: together or apart, in another order than the messages at times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pamqp import commands

from choros.transport.port import Published
from choros.wire.envelope import Wire
from choros_verify.simulation.amqp.frame_codec import method_frame
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_queue import Copy
from choros_verify.simulation.byte_road import Arrived

LATER = 0.15
"""How often one of several is confirmed after those behind it."""


@dataclass(slots=True, eq=False)
class _Unconfirmed:
    tag: int
    verdict: Published
    wire: Wire
    copies: list[Copy]


class Confirms:
    """What a publisher has not been told yet."""

    def __init__(self, broker: SimBroker, process: str, channel: int, send: Callable[[bytes, Arrived], None]) -> None:
        self._broker, self._process, self._channel = broker, process, channel
        self._send = send
        self._last = 0
        self._untold: dict[int, _Unconfirmed] = {}
        self._expected = False

    def number(self) -> int:
        """The tag of the next message."""
        self._last += 1
        return self._last

    def add(self, tag: int, verdict: Published, wire: Wire, copies: list[Copy]) -> None:
        """Say so in a while, when it is on disk."""
        self._untold[tag] = _Unconfirmed(tag, verdict, wire, copies)
        self._expect()

    def forget(self) -> None:
        """The broker was lost before it said so: it may not have these."""
        for one in self._untold.values():
            if one.verdict is Published.CONFIRMED and self._broker.network.coin():
                self._broker.forget(one.copies)
        self._untold.clear()

    def end(self) -> None:
        """There is nobody to be told."""
        self._untold.clear()

    def _expect(self) -> None:
        if self._untold and not self._expected:
            self._expected = True
            network = self._broker.network
            network.later(network.seconds(network.latency.confirm), self._tell)

    def _tell(self) -> None:
        self._expected = False
        told = list(self._untold.values())
        if len(told) > 1 and self._broker.network.chance() < LATER:
            del told[self._broker.network.how_many(len(told) - 1)]
        frames = self._frames(told)
        for one in told:
            del self._untold[one.tag]
        if frames:
            self._send(frames, lambda: self._heard(told))
        self._expect()

    def _frames(self, told: Sequence[_Unconfirmed]) -> bytes:
        together = self._from_the_first(told)
        if together < 2 or self._broker.network.coin():
            together = 0
        frames = [self._frame(one) for one in told[together:]]
        if self._broker.network.chance() < LATER:
            frames.reverse()
        if together:  # at any place: it says nothing of what comes behind it
            ack = commands.Basic.Ack(told[together - 1].tag, multiple=True)
            frames.insert(self._broker.network.how_many(len(frames)), method_frame(self._channel, ack))
        return b"".join(frames)

    def _from_the_first(self, told: Sequence[_Unconfirmed]) -> int:
        """How many can be confirmed by one ack."""
        count = 0
        for one, first in zip(told, self._untold.values(), strict=False):
            if one is not first or one.verdict is Published.NACKED:
                break
            count += 1
        return count

    def _frame(self, one: _Unconfirmed) -> bytes:
        refused = one.verdict is Published.NACKED
        answer = commands.Basic.Nack(one.tag, requeue=False) if refused else commands.Basic.Ack(one.tag)
        return method_frame(self._channel, answer)

    def _heard(self, told: Sequence[_Unconfirmed]) -> None:
        for one in told:
            self._broker.note_message("answered", self._process, one.wire, one.verdict)
