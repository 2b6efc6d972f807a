"""Noticing a handler that blocks the loop: nothing else goes on meanwhile, no heartbeat, no answer, no signal."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from types import CodeType, FrameType

from choros.app.service import Service
from choros.callables import code_of
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

BLOCKS_AFTER = 1.0
"""Seconds that a loop may stand still before that is said."""
_LOOK_EVERY = 0.25


@asynccontextmanager
async def watching(services: Iterable[Service], after: float = BLOCKS_AFTER) -> AsyncIterator[None]:
    """Meanwhile whatever keeps this loop from turning is named in the log, once each time it does."""
    watched = _Watched(
        threading.get_ident(),
        {code_of(one.function): one.name for service in services for one in service.called},
        after,
    )
    over = threading.Event()
    thread = threading.Thread(target=watched.watch, args=(over.wait,), name="choros-watchdog", daemon=True)
    thread.start()
    turning = asyncio.create_task(watched.keep_turning())
    try:
        yield
    finally:
        over.set()
        turning.cancel()
        with suppress(asyncio.CancelledError):
            await turning


class _Watched:
    def __init__(self, thread: int, names: dict[CodeType | None, str], after: float) -> None:
        self._thread, self._names, self._after = thread, names, after
        self._turned = time.monotonic()

    async def keep_turning(self) -> None:
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(_LOOK_EVERY)

    def watch(self, over: Callable[[float], bool]) -> None:
        """In a thread of its own, which the loop cannot keep from it."""
        said = 0.0
        while not over(_LOOK_EVERY):
            turned, still = self._turned, time.monotonic() - self._turned
            if still >= self._after and turned != said:
                said = turned
                self._say(still)

    def _say(self, still: float) -> None:
        frames = list(_frames(sys._current_frames().get(self._thread)))
        name = next((self._names[one.f_code] for one in frames if one.f_code in self._names), "")
        if name:
            where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}"
            log.error("choros.handler.blocks", handler=name, seconds=round(still, 1), where=where)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back
