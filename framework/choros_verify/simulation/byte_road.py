"""One direction of a pipe: bytes in order, broken and merged by chance, slowly at times."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from choros_verify.simulation.broker_latency import Network

BREAKS = 0.1
"""How often what arrives together is broken in two."""
SIPS = 40
"""Bytes taken at once, at most, by whoever reads slowly."""
_SIP_SECONDS = (0.001, 0.05)
Arrived = Callable[[], None]


class _Piece(NamedTuple):
    at: float
    data: bytes
    arrived: Arrived | None


class ByteRoad:
    """Carries bytes one way, in order; where they are broken and merged on it is left to chance."""

    def __init__(self, network: Network, arrive: Callable[[bytes], None]) -> None:
        self._network = network
        self._arrive = arrive
        self._under_way: deque[_Piece] = deque()
        self._last = self._departed = -1.0
        self._handle: asyncio.TimerHandle | None = None
        self._shut = self._gone = False
        self._slow_until = -1.0
        self.size = 0
        """Bytes under way."""

    def send(self, data: bytes, arrived: Arrived | None = None) -> None:
        """Let these set out now; `arrived` is called once all of them are there."""
        if self._gone:
            return
        network, now = self._network, self._network.now
        if now != self._departed or not self._under_way:
            self._last = max(self._last, now + network.seconds(network.latency.bytes))
            self._departed = now
        self._under_way.append(_Piece(self._last, data, arrived))
        self.size += len(data)
        self._expect()

    def shut(self) -> None:
        """Let nothing arrive until it is opened."""
        self._shut = True
        self._forget_handle()

    def open(self) -> None:
        """Let bytes arrive again."""
        self._shut = False
        self._expect()

    def slow(self, seconds: float) -> None:
        """For so long they are taken a few at a time."""
        self._slow_until = self._network.now + seconds

    def lose(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self.cut(0)

    def cut(self, arriving: int) -> None:
        """Only the first so many bytes still arrive, now; nothing ever follows them."""
        pieces, self._gone = list(self._under_way), True
        self._under_way.clear()
        self._forget_handle()
        self.size = 0
        for piece in pieces:
            if not arriving:
                return
            arrived = piece.arrived if arriving >= len(piece.data) else None
            self._hand_over([_Piece(piece.at, piece.data[:arriving], arrived)])
            arriving -= min(arriving, len(piece.data))

    def _expect(self) -> None:
        if self._handle is None and self._under_way and not self._shut:
            self._handle = self._network.at(self._under_way[0].at, self._arrivals)

    def _arrivals(self) -> None:
        self._handle = None
        now, pieces = self._network.now, list[_Piece]()
        while self._under_way and self._under_way[0].at <= now:
            pieces.append(self._under_way.popleft())
        size = sum(len(piece.data) for piece in pieces)
        slowly = now < self._slow_until
        if size > 1 and (slowly or self._network.chance() < BREAKS):
            pieces = self._broken(pieces, min(SIPS, size) if slowly else size)
        self.size -= sum(len(piece.data) for piece in pieces)
        self._hand_over(pieces)
        self._expect()

    def _broken(self, pieces: list[_Piece], most: int) -> list[_Piece]:
        """Some of it now, the rest a little later."""
        left = 1 + self._network.how_many(most - 1)
        again = self._network.now + self._network.seconds(_SIP_SECONDS)
        now, later = list[_Piece](), list[_Piece]()
        for at, data, arrived in pieces:
            if left >= len(data) and not later:
                now.append(_Piece(at, data, arrived))
            else:
                now += [_Piece(at, data[:left], None)] if left else []
                later.append(_Piece(again, data[left:], arrived))
            left -= min(left, len(data))
        self._under_way.extendleft(reversed(later))
        return now

    def _hand_over(self, pieces: list[_Piece]) -> None:
        if pieces:
            self._arrive(pieces[0].data if len(pieces) == 1 else b"".join(piece.data for piece in pieces))
        for piece in pieces:
            if piece.arrived is not None:
                piece.arrived()

    def _forget_handle(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
