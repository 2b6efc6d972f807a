"""Logs: events under `choros.*`, through the standard library, so that the host decides what becomes of them.

An event is a record whose message reads `choros.saga.stuck saga=order why="..."`, and whose keys are attributes of the
record as well (as `extra` makes them), `event` among them. Payloads are not logged, and what may quote one, such as the
words of an exception, loses runs of digits as long as a card's and the passwords in addresses.
"""

import json
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from choros.errors import EXITS, ChorosError, Refused, masked

Ids = Callable[[], Mapping[str, Any]]

MOST_TEXT = 4000
"""Characters of one text that are logged; the rest is cut off."""
MOST_READ = 25 * MOST_TEXT
"""So many are looked through for what has to be masked: before it is cut, or half of a number would be left."""

_CARD = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z])")
_PLAIN = re.compile(r"[^\s\"'={}\[\]]+")
TAKEN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}
"""What every record has: keys of an event must not be called so."""
_ids: ContextVar[Ids | None] = ContextVar("choros_message", default=None)


class Logger:
    """The logger of a module. It never fails whoever logs: what it writes to may be gone, a handler of the host's may
    raise."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **keys: Any) -> None:
        """Of use to whoever looks for a fault of choros."""
        self._say(logging.DEBUG, event, keys)

    def info(self, event: str, /, **keys: Any) -> None:
        """Something that happens as it should."""
        self._say(logging.INFO, event, keys)

    def warning(self, event: str, /, **keys: Any) -> None:
        """Something that passes by itself, or that somebody should know of."""
        self._say(logging.WARNING, event, keys)

    def error(self, event: str, /, **keys: Any) -> None:
        """Something that does not pass by itself."""
        self._say(logging.ERROR, event, keys)

    def _say(self, level: int, event: str, keys: Mapping[str, Any]) -> None:
        try:
            if self._logger.isEnabledFor(level):
                self._logger.handle(_record(self._logger.name, level, event, keys))
        except EXITS:
            raise
        except BaseException:
            return


def get_logger(name: str) -> Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return Logger(name)


class speaking:
    """While the block runs, every event of this task carries these ids, unless it has its own."""

    __slots__ = ("_given", "_token")

    def __init__(self, given: Ids) -> None:
        self._given = given

    def __enter__(self) -> None:
        self._token: Token[Ids | None] = _ids.set(self._given)

    def __exit__(self, *_: object) -> None:
        _ids.reset(self._token)


def ids() -> Mapping[str, Any]:
    """Of the message that is being worked on, if any."""
    given = _ids.get()
    return given() if given is not None else {}


def _record(name: str, level: int, event: str, keys: Mapping[str, Any]) -> logging.LogRecord:
    """An exception under `error` becomes its name, its words, and its traceback."""
    error = keys.get("error")
    said = {**keys, **described(error)} if isinstance(error, BaseException) else keys
    entry = {key: _safe(value) for key, value in {**ids(), **said}.items()}
    text = " ".join([event, *(f"{key}={_written(value)}" for key, value in entry.items())])
    record = logging.LogRecord(name, level, "", 0, text, None, None)
    record.__dict__.update({f"{key}_" if key in TAKEN else key: value for key, value in entry.items()})
    record.event = event
    if isinstance(error, BaseException) and telling() and not (isinstance(error, ChorosError) and error.says_all):
        # Formatters write `exc_text` as they would an `exc_info`, which would hand the bare exception to the host.
        record.exc_text = record.exception = mask("".join(traceback.format_exception(error))[-MOST_READ:])[
            -4 * MOST_TEXT :
        ].rstrip()
    return record


_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _write(value)
    return str(value) if type(value) is int else _write(value)


def _safe(value: Any) -> Any:
    """Plain data, masked: the repr of an object may quote a message, and a card number may come as a number."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, Mapping):
        return {mask(str(key)): _safe(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(inner) for inner in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    return value if isinstance(value, int) and abs(value) < 10**12 else f"<{type(value).__name__}>"


# --- exceptions -------------------------------------------------------------------------------------------------------


def telling() -> bool:
    """Whether the words of exceptions that are not choros's own may be told: CHOROS_LOG_ERROR_TEXT=0 forbids it."""
    return os.environ.get("CHOROS_LOG_ERROR_TEXT", "1") != "0"


def described(error: BaseException) -> dict[str, Any]:
    """An exception as keys of an event: `error`, its name, and what it says; where it happened, if its
    traceback may not be told."""
    place = {} if telling() else {"frames": frames(error.__traceback__)}
    return {"error": type(error).__name__, **words(error), **place}


def words(error: BaseException) -> dict[str, str]:
    """What an exception says, masked."""
    if isinstance(error, ChorosError):
        return {"text": error.sentence}
    if isinstance(error, Refused):
        return {"code": mask(_said(error.code))}  # its detail travels, and is not logged
    return {"text": cut(text)} if telling() and (text := _said(error)) else {}


def _said(what: object) -> str:
    try:
        return str(what)
    except EXITS:
        raise
    except BaseException:  # a handler's own may not even have words
        return ""


def frames(trace: TracebackType | None) -> list[str]:
    """Where it happened, innermost last: `file:line function`."""
    return _places(traceback.walk_tb(trace))[-20:]


def frames_of(frame: FrameType | None) -> list[str]:
    """Where a thread is, innermost last."""
    return _places(islice(traceback.walk_stack(frame), 3) if frame else ())[::-1]


def _places(found: Iterable[tuple[FrameType, int]]) -> list[str]:
    return [f"{Path(one.f_code.co_filename).name}:{line} {one.f_code.co_name}" for one, line in found]


def cut(text: str) -> str:
    """The beginning of the text, masked."""
    return mask(text[:MOST_READ])[:MOST_TEXT]


def mask(text: str) -> str:
    """The text without passwords in addresses and without numbers that could be a card's."""
    return _CARD.sub("[number]", masked(text))
