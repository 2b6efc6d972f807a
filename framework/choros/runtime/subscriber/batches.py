"""Facts that are handled several at a time: gathered until there are enough, or one has waited for long enough.

What may be the one that fails is not gathered: it is handled alone, so that it takes no other with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from choros.app.hearing import Batch
from choros.runtime.subscriber.facts import Heard


@dataclass(slots=True)
class _Open:
    """What is gathered of one type."""

    facts: list[Heard] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Batches:
    """Those of one subscriber, of whose facts at most so many can be here at a time."""

    def __init__(
        self,
        at_once: int,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        work: Callable[[Sequence[Heard]], Awaitable[None]],
    ) -> None:
        self._at_once, self._spawn, self._work = at_once, spawn, work
        self._open: dict[str, _Open] = {}

    def add(self, heard: Heard, batch: Batch) -> None:
        """To be handled with others of its type."""
        kind = heard.envelope.type
        gathered = self._open.get(kind)
        if gathered is None:
            gathered = self._open[kind] = _Open()
            self._spawn(self._gather(kind, gathered, batch))
        gathered.facts.append(heard)
        if len(gathered.facts) >= min(batch.most, self._at_once):
            self._close(kind, gathered)
            gathered.full.set()

    async def _gather(self, kind: str, gathered: _Open, batch: Batch) -> None:
        try:
            async with asyncio.timeout(batch.within.total_seconds()):
                await gathered.full.wait()
        except TimeoutError:
            self._close(kind, gathered)
        await self._work(gathered.facts)

    def _close(self, kind: str, gathered: _Open) -> None:
        if self._open.get(kind) is gathered:
            del self._open[kind]


def batch_of(heard: Heard) -> Batch | None:
    """How it is gathered; None where it is to be handled alone: it has failed, or whoever had it has ended."""
    batch = heard.handler.batch if heard.handler else None
    return batch if batch and heard.delivery.fresh else None
