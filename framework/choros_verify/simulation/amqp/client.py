"""aiormq in virtual time: it reads the system's clock in one place, draws ids in another, and keeps tasks in sets."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from aiormq import channel
from aiormq.abc import TaskWrapper
from aiormq.tools import Countdown

from choros.sources import source

_LOGGER = logging.getLogger("aiormq")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _drawn(bits: int) -> int:
    ten = int.from_bytes(source.get().ten_bytes(), "big")
    return (ten << 80 | ten) & ((1 << bits) - 1)


def _place(wrapped: TaskWrapper) -> int:
    """Of its task, whose place in a set does not come from where it lies in memory."""
    return hash(wrapped.task)


@contextmanager
def simulated_client() -> Iterator[None]:
    """For as long as this lasts it goes by the loop's clock and by the chance of its process, and logs nothing."""
    level = _LOGGER.level
    _LOGGER.setLevel(logging.CRITICAL + 1)
    clock = patch.object(Countdown, "_now", staticmethod(_now))
    try:
        with clock, patch.object(channel, "getrandbits", _drawn), patch.object(TaskWrapper, "__hash__", _place):
            yield
    finally:
        _LOGGER.setLevel(level)
