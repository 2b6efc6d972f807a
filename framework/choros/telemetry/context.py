"""What a message is logged as, and the logs of a process that is choros's own: `choros run` and the other commands.

In a process of the host's nothing of this is called: events go to the loggers `choros.*` of the standard library, and
what becomes of them is the host's affair."""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import partial
from typing import Any, TextIO

import structlog

from choros.telemetry.logs import ids, speaking
from choros.version import __version__
from choros.wire.envelope import Envelope

LogEntry = MutableMapping[str, Any]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SEEN_OTHERWISE = ("aio_pika", "aiormq")
"""What they say of a lost connection the transport says in words."""


def speaking_of(envelope: Envelope) -> speaking:
    """While the block runs, everything logged in this task carries the ids of this message."""
    return speaking(partial(about, envelope))


def about(envelope: Envelope) -> dict[str, Any]:
    """The ids of a message as they are logged; what it lacks is left out."""
    found = {
        "saga_id": envelope.correlation_id if envelope.saga else "",
        "saga": envelope.saga,
        "step": envelope.step,
        "attempt": envelope.attempt,
        "message_id": envelope.id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
    }
    if trace := _TRACEPARENT.fullmatch(envelope.traceparent):
        found |= zip(("trace_id", "span_id", "trace_flags"), trace.groups(), strict=True)
    return {key: value for key, value in found.items() if value}


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


def _formatter(service: str, as_json: bool) -> structlog.stdlib.ProcessorFormatter:
    render: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)]
        if as_json
        else [_for_people]
    )
    common: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        partial(_say, service),
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]
    return structlog.stdlib.ProcessorFormatter(
        processors=[*common, *render], foreign_pre_chain=[structlog.stdlib.ExtraAdder()]
    )


def _say(service: str, _logger: Any, _method: str, entry: LogEntry) -> LogEntry:
    """Who is speaking, and on which message one is at work, unless the entry itself says so."""
    return {**ids(), "service": service, "version": __version__, **entry}


def _for_people(logger: Any, method: str, entry: LogEntry) -> str:
    entry.pop("version", None)
    return str(structlog.dev.ConsoleRenderer(colors=True)(logger, method, entry))
