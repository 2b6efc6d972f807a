"""One direction of a pipe: bytes in order, broken and merged by chance, slowly at times."""

from collections.abc import Callable
from typing import NamedTuple

from choros_verify.simulation.broker_latency import Carriage, Network

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


class ByteRoad(Carriage[_Piece]):
    """Carries bytes one way, in order; where they are broken and merged on it is left to chance."""

    def __init__(self, network: Network, arrive: Callable[[bytes], None]) -> None:
        super().__init__(network)
        self._arrive = arrive
        self._gone = False
        self._slow_until = -1.0
        self.size = 0
        """Bytes under way."""

    def send(self, data: bytes, arrived: Arrived | None = None) -> None:
        """Let these set out now; `arrived` is called once all of them are there."""
        if self._gone:
            return
        self._under_way.append(_Piece(self._arrival(self._network.latency.bytes), data, arrived))
        self.size += len(data)
        self._expect()

    def slow(self, seconds: float) -> None:
        """For so long they are taken a few at a time."""
        self._slow_until = self._network.now + seconds

    def lose(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self.cut(0)

    def cut(self, arriving: int) -> None:
        """Only the first so many bytes still arrive, now; nothing ever follows them."""
        pieces, self._gone = self._empty(), True
        self.size = 0
        for piece in pieces:
            if not arriving:
                return
            arrived = piece.arrived if arriving >= len(piece.data) else None
            self._hand_over([_Piece(piece.at, piece.data[:arriving], arrived)])
            arriving -= min(arriving, len(piece.data))

    def _arrive_due(self) -> None:
        now, pieces = self._network.now, list[_Piece]()
        while self._under_way and self._under_way[0].at <= now:
            pieces.append(self._under_way.popleft())
        size = sum(len(piece.data) for piece in pieces)
        slowly = now < self._slow_until
        if size > 1 and (slowly or self._network.chance() < BREAKS):
            pieces = self._broken(pieces, min(SIPS, size) if slowly else size)
        self.size -= sum(len(piece.data) for piece in pieces)
        self._hand_over(pieces)

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
