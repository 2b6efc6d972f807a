"""The SQLite store's writer, in a world without threads."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from typing import Any

from choros.store.sqlite.writer import AGAIN_SECONDS, FLUSH_SECONDS, Errand, Request, Wake, Writer


class InlineWriter(Writer):
    """Takes up what waits in calls that the loop makes."""

    def _begin(self) -> None:
        self._calls = ThreadPoolExecutor(1)  # it never has a thread: the loop makes its calls
        self._due = False
        self._requests: list[Request] = []
        self._errands: deque[Errand] = deque()

    def _put(self, item: Any) -> None:
        super()._put(item)
        loop = asyncio.get_running_loop()
        if isinstance(item, Wake):
            loop.call_later(FLUSH_SECONDS, self._expect)
        else:
            self._expect()

    def _expect(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().run_in_executor(self._calls, self._turn)

    def _turn(self) -> None:
        """Also what an earlier try did not get through with."""
        self._due = False
        with suppress(Empty):
            while True:
                item = self._waiting.get_nowait()
                self._requests += [item] if isinstance(item, Request) else []
                self._errands += [item] if isinstance(item, Errand) else []
        self._write(self._requests)
        self._requests = []
        while self._errands:
            self._run(self._errands[0])
            self._errands.popleft()
        if self.marks():
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._expect)
