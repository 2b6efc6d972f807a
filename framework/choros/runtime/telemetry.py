"""Logs: who says what about which saga, and never a payload.

Card numbers stand in message bodies, in exception messages, in details of refusals. So three things are never
logged: values of keys that are not on the allow-list (they are dropped, and counted as `dropped`; a digest would not
hide a card number, there are too few of them), what an exception says (only its type and where it happened), and
runs of digits as long as a card's, wherever they stand.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from choros.envelope import Envelope
from choros.errors import EXITS, ChorosError, Refused, masked
from choros.version import __version__

Logger = structlog.stdlib.BoundLogger
Entry = MutableMapping[str, Any]
Processor = Callable[[Any, str, Entry], Any]

ALLOWED = frozenset({
    "timestamp", "level", "event", "logger", "service", "version", "exception", "dropped",
    "saga_id", "saga", "saga_version", "step", "attempt", "operation", "outcome", "status", "code", "type",
    "message_id", "correlation_id", "causation_id", "trace_id", "span_id", "trace_flags", "stream", "seq",
    "reason", "error", "frames", "why", "count", "retries", "retry_in", "seconds", "duration_s",
    "application", "namespace", "queue", "exchange", "key", "connection", "lane", "channel", "published",
    "text", "handler", "server", "appendonly", "appendfsync", "advice",
})  # fmt: skip
"""Keys whose values are logged. Text under them is masked (see `mask`); all other keys are dropped."""

_TRUSTED_TEXT = ("uvicorn",)
"""Loggers of others whose messages are worth nothing without their arguments, and quote no payload."""
_CODE = re.compile(r"[a-z_]{1,60}")
_CARD = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z])")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_current: ContextVar[Envelope | None] = ContextVar("choros_message", default=None)


def get_logger(name: str) -> Logger:
    """The logger of a module, on `configure_logging` or on whatever the process configures."""
    return cast(Logger, _Unfailing(structlog.get_logger(name)))


class _Unfailing:
    """A logger that never fails whoever logs: what it writes to may be gone, a processor of the host's may raise."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        say = getattr(self._logger, name)

        def safely(*args: Any, **kwargs: Any) -> Any:
            try:
                return say(*args, **kwargs)
            except EXITS:
                raise
            except BaseException:
                return None

        return safely


class speaking_of:
    """While the block runs, everything logged in this task carries the ids of this message."""

    __slots__ = ("_envelope", "_token")

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def __enter__(self) -> None:
        self._token = _current.set(self._envelope)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def about(envelope: Envelope) -> dict[str, Any]:
    """The ids of a message as they are logged; what it lacks is left out."""
    ids = {
        "saga_id": envelope.correlation_id if envelope.saga else "",
        "saga": envelope.saga,
        "step": envelope.step,
        "attempt": envelope.attempt,
        "message_id": envelope.id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
    }
    if found := _TRACEPARENT.fullmatch(envelope.traceparent):
        ids |= zip(("trace_id", "span_id", "trace_flags"), found.groups(), strict=True)
    return {key: value for key, value in ids.items() if value}


def described(error: BaseException) -> dict[str, Any]:
    """An exception as it may be logged: `error` and `frames`, and its words only where they are choros's own."""
    return {"error": type(error).__name__, "frames": frames(error.__traceback__), **words(error)}


def words(error: BaseException) -> dict[str, str]:
    """What an exception says. That of a handler may quote a message, a card number too, so it is left out unless
    CHOROS_LOG_ERROR_TEXT=1 asks for it: for a developer's own machine."""
    if isinstance(error, ChorosError):
        return {"text": error.sentence}
    if isinstance(error, Refused) and _CODE.fullmatch(str(error.code)):  # a subclass may have set anything
        return {"code": error.code}
    return {"text": _said(error)} if os.environ.get("CHOROS_LOG_ERROR_TEXT") == "1" else {}


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except EXITS:
        raise
    except BaseException:  # a handler's own may not even have words
        return ""


def frames(traceback: TracebackType | None, most: int = 20) -> list[str]:
    """Where it happened, innermost last: `file:line function`."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return found[-most:]


def mask(text: str) -> str:
    """The text without passwords in addresses and without numbers that could be a card's."""
    return _CARD.sub("[number]", masked(text))


# --- processors -----------------------------------------------------------------------------------------------------


def add_ids(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Say which message is being worked on, unless the entry itself does."""
    envelope = _current.get()
    if envelope is not None:
        for key, value in about(envelope).items():
            entry.setdefault(key, value)
    return entry


def add_exception(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Replace an exception by its type and its place; its message and the variables around it are left out."""
    given = entry.pop("exc_info", None)
    entry.pop("exception", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if error is None and given:
        error = sys.exc_info()[1]
    if error is not None:
        entry["exception"] = list(_chain(error))
    return entry


def _chain(error: BaseException, most: int = 5) -> Iterator[dict[str, Any]]:
    following: BaseException | None = error
    while following is not None and most > 0:
        yield {"type": type(following).__name__, "frames": frames(following.__traceback__), **words(following)}
        hidden = following.__suppress_context__
        following, most = following.__cause__ or (None if hidden else following.__context__), most - 1


def add_arguments(_logger: Any, _method: str, entry: Entry) -> Entry:
    """What other libraries log: the text without its arguments, which may quote a message."""
    arguments = entry.pop("positional_args", None)
    trusted = entry["_record"].name.split(".")[0] in _TRUSTED_TEXT
    if trusted and arguments:
        entry["event"] = entry["event"] % arguments
    return entry


def allowing(extra: Iterable[str] = ()) -> Processor:
    """A processor that drops every key that is not allowed, and masks the text under those that are."""
    allowed = ALLOWED | set(extra)

    def allow(_logger: Any, _method: str, entry: Entry) -> Entry:
        kept: Entry = {key: _masked(value) for key, value in entry.items() if key in allowed}
        if len(kept) < len(entry):
            kept["dropped"] = len(entry) - len(kept)
        return kept

    return allow


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(str(key)): _masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(inner) for inner in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    # An object's repr may quote a message, and a card number may come as a number.
    return value if isinstance(value, int) and abs(value) < 10**12 else f"<{type(value).__name__}>"


def saying(service: str) -> Processor:
    """A processor that adds who is speaking."""

    def say(_logger: Any, _method: str, entry: Entry) -> Entry:
        return {**entry, "service": service, "version": __version__}

    return say


# --- configuration --------------------------------------------------------------------------------------------------


def configure_logging(
    service: str,
    *,
    level: str = "INFO",
    stream: TextIO | None = None,
    json: bool | None = None,
    allow: Iterable[str] = (),
) -> None:
    """Log to stdout, or to `stream` (stderr for a command line whose stdout is its answer): JSON, or for people where
    it is a terminal.

    `allow` adds keys that handlers may log; whatever stands under other keys is dropped. Loggers of the standard
    library (aio_pika, aiormq, uvicorn) go the same way."""
    target = stream or sys.stdout
    as_json = json if json is not None else not target.isatty()
    shared = _shared(service)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _handle(target, level, _formatter(shared, as_json, allow))


def _shared(service: str) -> list[Any]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        saying(service),
        add_ids,
        add_exception,
    ]


def _formatter(shared: list[Any], as_json: bool, allow: Iterable[str]) -> structlog.stdlib.ProcessorFormatter:
    render: Any = structlog.processors.JSONRenderer() if as_json else _for_people
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, allowing(allow), render],
        foreign_pre_chain=[add_arguments, *shared],
        pass_foreign_args=True,
        use_get_message=False,
    )


def _for_people(logger: Any, method: str, entry: Entry) -> str:
    entry.pop("version", None)
    if exception := entry.pop("exception", None):
        entry["error"] = " < ".join(f"{link['type']} at {' > '.join(link['frames'])}" for link in exception)
    return structlog.dev.ConsoleRenderer(colors=True)(logger, method, entry)


def _handle(target: TextIO, level: str, formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("aio_pika", "aiormq", "uvicorn", "uvicorn.error", "uvicorn.access"):
        inherited = logging.getLogger(name)
        inherited.handlers.clear()
        inherited.propagate = True
    for chatty in ("aio_pika", "aiormq"):  # a lost connection is told by the transport, in words
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
