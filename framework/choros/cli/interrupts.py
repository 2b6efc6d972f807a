"""How a command that only computes ends when it is told to: at once, in one line, and its workers with it.

An exception would not do: raised in a callback of the garbage collector it is dropped, in pydantic it becomes another.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SHOW_THE_CURSOR = b"\x1b[?25h\n"
"""What draws progress has hidden it."""


@contextmanager
def ends_when_told() -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM end this process (with 130 and 143) and those that it has forked."""
    parent = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() == parent:
            for worker in multiprocessing.active_children():
                worker.kill()
            with suppress(Exception):
                sys.stdout.flush()
            os.write(2, _SHOW_THE_CURSOR * sys.stderr.isatty() + "✖ Interrupted.\n".encode())
        os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
