"""The clock of a server, without asking it for each look at it."""

from choros import sources


class ServerClock:
    """This machine's clock and a difference, which every answer that says the server's time measures anew."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._is_set = False

    def now(self) -> float:
        """Seconds since the epoch, by the server."""
        return sources.now() + self._ahead

    def said(self, server: float, asked_at: float) -> None:
        """The server said this at some moment since then; a difference that fits stays, however long that took."""
        least, most = sorted((server - sources.now(), server - asked_at))
        self._ahead = min(max(self._ahead, least), most) if self._is_set else (least + most) / 2
        self._is_set = True
