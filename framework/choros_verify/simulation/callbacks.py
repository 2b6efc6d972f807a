"""Who finishes from outside what a service has taken: the world calls back, and a process of the service is called.

The world outlives every crash. It calls until its word counts, had been said before or comes too late; and then once
more, as they do who are not sure that they were heard.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from choros.app.handler import Call
from choros.errors import StoreMisconfigured, StoreUnreachable, TokenUnknown, TooLate
from choros.messages import Command

AGAIN_AFTER = 1.0
MOST_CALLS = 60
"""How often somebody calls in vain: the handler may never have committed what it has taken."""
FAILED = "failed"
"""The code of a callback that says that it did not work. The next one of that command says something else."""


def finishing(service: str, prefix: str = "") -> str:
    """The name of the process that finishes commands of this service."""
    return f"{prefix}outside:{service}"


@dataclass(eq=False)
class Callback:
    """What somebody will say of a command that was taken."""

    process: str
    """Who is called."""
    service: str
    call: Call
    command: Command[Any]
    token: str
    due: float
    """When first, by the loop's clock."""
    code: str = ""
    """Why it is refused, or `FAILED`; none where it is done."""
    vain: int = 0
    answers: list[str] = field(default_factory=list)
    """finished, repeated, or too late: what the first call was answered that was answered at all, and the next one."""

    @property
    def over(self) -> bool:
        """Whether nobody calls any more."""
        return len(self.answers) > 1 or self.vain >= MOST_CALLS

    @property
    def counted(self) -> bool:
        """Whether it was heard that it counts."""
        return self.answers[:1] in (["finished"], ["repeated"])


class Callbacks:
    """All of a run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.promised: list[Callback] = []
        """In the order in which the commands were taken."""
        self._more: dict[str, asyncio.Event] = {}

    @property
    def pending(self) -> bool:
        """Whether somebody still calls."""
        return any(not one.over for one in self.promised)

    def promise(self, made: Callback) -> None:
        """A handler has taken the command; where it is called again for it, that promises nothing new."""
        before = [one for one in self.promised if one.call.key == made.call.key]
        if all(one.over for one in before):
            if any(one.code == FAILED for one in before):
                made.code = ""
            self.promised.append(made)
            self._of(made.process).set()

    def _of(self, process: str) -> asyncio.Event:
        return self._more.setdefault(process, asyncio.Event())

    def _open(self, process: str) -> Iterator[Callback]:
        return (one for one in self.promised if one.process == process and not one.over)

    async def call(self, process: str, say: Callable[[Callback], Awaitable[str]]) -> None:
        """One life of the process that is called: `say` tells the service, and raises what that raises."""
        while True:
            first = min(self._open(process), key=lambda one: one.due, default=None)
            if first is None:
                self._of(process).clear()
                await self._of(process).wait()
            elif (left := first.due - self._loop.time()) > 0:
                await asyncio.sleep(left)
            else:
                await self._call(first, say)

    async def _call(self, one: Callback, say: Callable[[Callback], Awaitable[str]]) -> None:
        try:
            one.answers.append(await say(one))
        except TooLate:
            one.answers.append("too late")
        except (TokenUnknown, StoreUnreachable, StoreMisconfigured):
            one.vain += 1
        one.due = self._loop.time() + AGAIN_AFTER
