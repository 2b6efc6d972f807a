"""How the queues of an application are, as its broker tells: asked on the side, when somebody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from choros.runtime.host.presence import AskQueue
from choros.transport.port import Seen
from choros.transport.topology import Names


class QueueLooks:
    """The last look at each, one at a time: a broker that answers slowly is not asked again meanwhile."""

    def __init__(self, ask: AskQueue) -> None:
        self._ask = ask
        self._seen: dict[str, Seen] = {}
        self._looking: asyncio.Task[None] | None = None

    async def look(self, queues: Sequence[str], within: float) -> Mapping[str, Seen]:
        """What is known within so many seconds; of what the broker does not tell nothing."""
        if self._looking is None or self._looking.done():
            wanted = [*queues, *map(Names.dead_queue, queues)]
            self._looking = asyncio.create_task(self._look_at(wanted))
        await asyncio.wait({self._looking}, timeout=within)
        return {queue: seen for queue, seen in self._seen.items() if seen.state in ("there", "missing")}

    async def _look_at(self, queues: Sequence[str]) -> None:
        for queue in queues:
            self._seen[queue] = await self._ask(queue)
