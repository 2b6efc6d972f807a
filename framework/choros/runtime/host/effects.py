"""Which effects are being worked on in this process, one at a time each: what a `do`, its `undo` and its `close` share,
or what facts of one lane do."""

import asyncio
from collections import deque


class Effects:
    """One queue per effect, in order of arrival; an effect that nobody works on takes no memory."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._abandoned: set[str] = set()

    def enter(self, effect: str) -> asyncio.Future[None] | None:
        """Take the effect, or a place in its queue: then await what is returned. Either way, `leave` afterwards."""
        queue = self._waiting.get(effect)
        if queue is None:
            self._waiting[effect] = deque()
            return None
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        if effect in self._abandoned:
            turn.cancel()
        return turn

    def behind(self, effect: str) -> int:
        """How many wait for it."""
        return len(self._waiting[effect])

    def abandon(self, effect: str) -> None:
        """Nobody shall take it any more: cancel all who wait, and who will."""
        self._abandoned.add(effect)
        for turn in self._waiting[effect]:
            turn.cancel()

    def leave(self, effect: str) -> None:
        """Hand the effect to the next in its queue."""
        queue = self._waiting[effect]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[effect]
