"""How full what the saga store fills is: said at 80 %, while there is time to do something about it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from choros.errors import ChorosError
from choros.store.sagas import Room
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

FULL_AT = 0.8
"""The part of a memory or disk from which on it is said."""
_ADVICE = "Give it more, or keep what has ended for less time (--keep-sagas)."


class StoreRoom:
    """Looks at it, and says once when it fills up and when it no longer does."""

    def __init__(self, ask: Callable[[], Awaitable[Room | None]] | None = None) -> None:
        self.ask = ask
        self.filling: Sequence[str] = ()
        """A sentence where it was nearly full at the last look."""

    async def look(self, within: float) -> None:
        """Look at it; what does not answer within so many seconds, or is away, is as it was."""
        if self.ask:
            with suppress(TimeoutError, ChorosError):
                async with asyncio.timeout(within):
                    self._note(await self.ask())

    def _note(self, room: Room | None) -> None:
        before, self.filling = self.filling, [_sentence(room)] if room and room.share >= FULL_AT else []
        if self.filling and not before:
            log.warning("choros.store.filling", reason=self.filling[0])
        elif before and not self.filling:
            log.info("choros.store.room_again", store="saga store")


def _sentence(room: Room) -> str:
    return f"{room.what}, where the saga store is, is {room.share:.0%} full. {_ADVICE}"
