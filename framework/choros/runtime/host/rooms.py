"""How full the stores of this process are: said at 80 %, while there is time to do something about it."""

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
AskRoom = Callable[[], Awaitable[Room | None]]


class Rooms:
    """Looks at each, and says once when it fills up and when it no longer does."""

    def __init__(self) -> None:
        self._asks: dict[str, AskRoom] = {}
        self._filling: dict[str, Room] = {}

    def watch(self, name: str, ask: AskRoom) -> None:
        """Look at this one, too."""
        self._asks[name] = ask

    @property
    def filling(self) -> Sequence[str]:
        """A sentence for each that was nearly full at the last look."""
        return [_sentence(name, room) for name, room in self._filling.items()]

    async def look(self, within: float) -> None:
        """Look at all; what does not answer within so many seconds is as it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                for name, ask in self._asks.items():
                    with suppress(ChorosError):  # that it is away, others say
                        self._note(name, await ask())

    def _note(self, name: str, room: Room | None) -> None:
        was, fills = name in self._filling, room is not None and room.share >= FULL_AT
        if room is not None and fills:
            self._filling[name] = room
            if not was:
                log.warning("choros.store.filling", reason=_sentence(name, room))
        elif was:
            del self._filling[name]
            log.info("choros.store.room_again", store=name)


def _sentence(name: str, room: Room) -> str:
    return f"{room.what}, where the {name} is, is {room.share:.0%} full. {_ADVICE}"
