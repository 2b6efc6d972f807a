"""Who speaks to expeditions: finishes their permits, tells them to depart, changes their tents; each twice.

What was answered stands in the load's log, `said NUMBER WHAT ANSWER`, and `otherwise NUMBER WHAT ANSWERS` where the
second time it was another one. Killed in the middle, the load asks all of it again, under the same ids.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from choros import Call, ChorosError, Client, Done, TooLate, Unfinished, UpdateRefused
from tests.chaos import books
from tests.chaos.scripts import EXPEDITION
from tests.chaos.voyages import LARGE, ChangeTent, Depart, token_of

Ask = Callable[[int, str, str], Awaitable[str]]
ALL = ("permit", "depart", "tent")
_AGAIN_SECONDS = 0.5
_WITHIN_SECONDS = 2.0
"""So soon after the start each of them is asked for the first time."""
_SAME = {"finished": "repeated"}
"""What is answered the second time, where that is another word."""


@dataclass
class Talk:
    """Speaks to them, as the load's log has it that they were begun."""

    client: Client
    outside: Unfinished
    write: Callable[..., None]

    async def all(self, number: int, saga_id: str, script: str) -> None:
        """Until each was answered, or the saga has ended without it."""
        asks: dict[str, Ask] = {"permit": self._permit, "depart": self._depart, "tent": self._tent}
        await asyncio.gather(*(self._one(what, partial(ask, number, saga_id, script)) for what, ask in asks.items()))

    async def permit_again(self, number: int, saga_id: str, script: str) -> None:
        """Whoever finishes commands says it again after a broker was emptied: the answer may have been in it."""
        if not await self._is_over(saga_id):
            await self._answer(saga_id, partial(self._permit, number, saga_id, script))

    async def _one(self, what: str, ask: Any) -> None:
        number, saga_id, _ = ask.args
        await asyncio.sleep(random.uniform(0, _WITHIN_SECONDS))
        first = await self._answer(saga_id, ask)
        again = await self._answer(saga_id, ask) if first else ""
        if again and again not in (first, _SAME.get(first, first)):
            self.write("otherwise", number, what, f"{first}/{again}")
        self.write("said", number, what, first or "nothing")

    async def _answer(self, saga_id: str, ask: Any) -> str:
        """Empty where the saga is over, and there is nothing to be said."""
        while True:
            try:
                return str(await ask())
            except TooLate:
                return "too_late"
            except UpdateRefused as refused:
                return refused.code
            except ChorosError:
                await asyncio.sleep(_AGAIN_SECONDS)
            if await self._is_over(saga_id):
                return ""

    async def _is_over(self, saga_id: str) -> bool:
        try:
            return (await self.client.outcome(saga_id)).ended
        except ChorosError:
            return False

    async def _permit(self, number: int, saga_id: str, script: str) -> str:
        if script == f"{EXPEDITION}, refuse permit":
            return await self.outside.refuse(token_of(number), "not_allowed")

        async def entered(db: Any) -> None:
            await books.enter(db, number, "permit", "do", Call(token_of(number), saga_id))

        return await self.outside.complete(token_of(number), Done(), effect=entered)

    async def _depart(self, number: int, saga_id: str, script: str) -> str:
        return await self.client.signal(saga_id, Depart(), id=f"depart-{number}")

    async def _tent(self, number: int, saga_id: str, script: str) -> str:
        """Only every other one wants another tent."""
        if number % 2:
            return "none"
        await self.client.update(saga_id, ChangeTent(tent=LARGE), id=f"tent-{number}")
        return "accepted"
