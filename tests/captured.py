"""What choros logs while a block runs, as entries: `event`, `log_level`, and the keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_USUAL = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Everything of the loggers `choros`, which goes nowhere else meanwhile."""
    entries: list[dict[str, Any]] = []
    log, handler = logging.getLogger("choros"), _Handler(entries)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield entries
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


class _Handler(logging.Handler):
    def __init__(self, entries: list[dict[str, Any]]) -> None:
        super().__init__()
        self._entries = entries

    def emit(self, record: logging.LogRecord) -> None:
        keys = {key: value for key, value in record.__dict__.items() if key not in _USUAL}
        self._entries.append({**keys, "log_level": record.levelname.lower()})
