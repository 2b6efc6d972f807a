"""The logs of a process that is choros's own: `choros run` and the other commands.

In a process of the host's nothing of this is called: events go to the loggers `choros.*` of the standard library, and
what becomes of them is the host's affair; structlog is not even imported."""

import logging
import sys
from collections.abc import Callable, MutableMapping
from json import JSONEncoder
from typing import Any, TextIO

import structlog

from choros.telemetry.logs import TAKEN, ids
from choros.version import __version__
from choros.wire.attributes import rfc3339

LogEntry = MutableMapping[str, Any]

_SEEN_OTHERWISE = ("aio_pika", "aiormq")
"""What they say of a lost connection the transport says in words."""


def configure_logging(
    service: str, *, level: str = "INFO", stream: TextIO | None = None, json: bool | None = None
) -> None:
    """Log to stdout, or to `stream` (stderr for a command line whose stdout is its answer): JSON, or for people where
    it is a terminal. What the application says, by `logging` or structlog, goes the same way, whole.

    Where somebody has given the root logger a handler, or structlog a configuration, that stays as it is."""
    root, target = logging.getLogger(), stream or sys.stdout
    if not all(isinstance(handler, _Ours) for handler in root.handlers):
        return
    handler = _Ours(target)
    handler.setFormatter(_formatter(service, json if json is not None else not target.isatty()))
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _SEEN_OTHERWISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not structlog.is_configured():
        _carry_structlog()


class _Ours(logging.StreamHandler[TextIO]):
    """The handler that `configure_logging` makes, so that the next call knows it."""


def _carry_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(service: str, as_json: bool) -> logging.Formatter:
    return _LogLines({"service": service, "version": __version__}, _as_json if as_json else _for_people)


class _LogLines(logging.Formatter):
    """Writes a record as one line: what it says, by whatever way it came, and who says it, on which message."""

    def __init__(self, speaker: LogEntry, render: Callable[[LogEntry], str]) -> None:
        super().__init__()
        self._speaker, self._render = speaker, render

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry = {**ids(), **self._speaker, **_said(record)}
        entry |= {"logger": record.name, "level": record.levelname.lower(), "timestamp": rfc3339(record.created)}
        return self._render(entry)


def _said(record: logging.LogRecord) -> LogEntry:
    """Of structlog its entry, as it is; of anybody else the message, and what came as `extra`."""
    if isinstance(record.msg, dict) and hasattr(record, "_logger"):
        return dict(record.msg)
    said = {"event": record.getMessage(), **{key: value for key, value in record.__dict__.items() if key not in TAKEN}}
    if record.exc_info:
        said["exc_info"] = record.exc_info
    if record.stack_info:
        said["stack_info"] = record.stack_info
    return said


_write = JSONEncoder(default=repr).encode


def _as_json(entry: LogEntry) -> str:
    return _write(structlog.processors.format_exc_info(None, "", entry) if "exc_info" in entry else entry)


_console = structlog.dev.ConsoleRenderer(colors=True)


def _for_people(entry: LogEntry) -> str:
    entry.pop("version", None)
    return str(_console(None, "", entry))
