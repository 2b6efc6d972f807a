"""How far a command is that takes its time: a line on the terminal, on stderr, and nothing anywhere else.

It comes only after half a second, so that what is quick shows nothing, and goes when the command is done. No thread
draws it: some of these commands fork.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from choros.cli.output import in_the_way, is_quiet, is_terminal

AFTER = 0.5
"""Seconds before there is anything to see."""
EVERY = 0.1
"""Seconds between two drawings."""


class Working:
    """Where a command says how far it is."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._bar: Progress | None = None

    def more(self, count: int = 1) -> None:
        """So many more are done."""
        self.at(self._done + count)

    def at(self, done: int, total: int | None = None, what: str = "") -> None:
        """It is so far; `total` and `what` may have changed."""
        self._done, self._what, self._total = done, what or self._what, total if total is not None else self._total
        moment = time.monotonic()
        if moment - self._begun < AFTER or moment - self._drawn < EVERY or not wanted():
            return
        self._drawn = moment
        bar = self._bar = self._bar or self._started()
        said = f"{done:,} {self._what}" if done and not self._total else self._what
        bar.update(bar.task_ids[0], description=said, completed=done, total=self._total)
        bar.refresh()

    def _started(self) -> Progress:
        counted = (BarColumn(bar_width=30), MofNCompleteColumn()) if self._total else ()
        said = TextColumn("{task.description}", markup=False)
        bar = Progress(
            SpinnerColumn(), *counted, said, TimeElapsedColumn(),
            console=Console(stderr=True, force_terminal=True), auto_refresh=False, transient=True,
        )  # fmt: skip
        bar.add_task(self._what, total=self._total)
        bar.start()
        in_the_way.append(self.end)
        return bar

    def end(self) -> None:
        """Clear the line: the answer comes in its place."""
        if self._bar:
            self._bar.stop()
            self._bar = None
            in_the_way.remove(self.end)


def wanted() -> bool:
    """Whether somebody looks."""
    return not is_quiet() and is_terminal(sys.stderr)


@asynccontextmanager
async def waiting(what: str) -> AsyncIterator[None]:
    """While something goes on that does not tell how far it is."""
    with working(what) as so_far:
        turning = asyncio.create_task(_turn(so_far))
        try:
            yield
        finally:
            turning.cancel()


async def _turn(so_far: Working) -> None:
    while True:
        so_far.at(0)
        await asyncio.sleep(EVERY)


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Working]:
    """Within it, say how far it is with `at`."""
    shown = Working(what, total)
    try:
        yield shown
    finally:
        shown.end()
