"""The values of CloudEvents attributes, as they come: native or as text. Whatever is none raises ValueError.

The types are CloudEvents' own: a String without control characters and noncharacters, an Integer of 32 bits, a
Timestamp in the form of RFC 3339.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any

_CONTROLS, _SURROGATES, _FIRST_NONCHARACTERS = r"\x00-\x1f\x7f-\x9f", r"\ud800-\udfff", r"\ufdd0-\ufdef"
_LAST_OF_PLANES = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
LONGEST = 512
"""Characters of a String."""
_TEXT = re.compile(rf"[^{_CONTROLS}{_SURROGATES}{_FIRST_NONCHARACTERS}{_LAST_OF_PLANES}]{{1,{LONGEST}}}")
_COUNT = re.compile(r"[0-9]{1,19}", re.ASCII)
MAX_DEPTH = 100
"""Levels that a body, or a header, may be nested."""
MOST = 2**31 - 1
"""The greatest Integer."""
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"  # it allows a blank, for those who want to read it
    r"((?:[01][0-9]|2[0-3]):[0-5][0-9]:)([0-5][0-9]|60)(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DAY = 86_400
_YEAR_10000 = 253402300800
LAST_MOMENT = _YEAR_10000 - 2.0
"""The latest time that can be written and read; a deadline behind it is as good as none."""
_LAST_SECOND = 2**32 - 1
"""A number that is greater is one of milliseconds, as AMQP 1.0 and who maps its types have them; a smaller one would
be, too, but of January 1970: whoever sends that has counted something else."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@lru_cache(maxsize=256)
def rfc3339(seconds: float) -> str:
    """The moment as RFC 3339 text in UTC, to the microsecond. What is decided together has its times in common."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_text(value: Any) -> str:
    """A String of 1 to 512 characters."""
    # The quick look, six times as fast as the pattern, is enough for nearly all that comes.
    if type(value) is str and 0 < len(value) <= LONGEST and value.isascii() and value.isprintable():
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise ValueError
    return value


def read_count(value: Any) -> int:
    """An Integer from 1 on."""
    if isinstance(value, (str, bytes)) and _COUNT.fullmatch(text := read_text(value)):
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError
    return value


def read_time(value: Any) -> float:
    """A Timestamp that can be written again: with its zone, from 1970 on and before the year 10000."""
    seconds = _seconds(value)
    if not 0 <= seconds < _YEAR_10000 - 1:
        raise ValueError
    return seconds


def _seconds(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and value > _LAST_SECOND:
        return value / 1000
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    return _written(read_text(value))


@lru_cache(maxsize=256)
def _written(text: str) -> float:
    """`datetime` reads all of ISO 8601, week dates and what has no seconds too, but no 60th second."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError
    day, minute, second, fraction, zone = found.groups("")
    leaping = second == "60"
    seconds = datetime.fromisoformat(f"{day}T{minute}{'59' if leaping else second}{fraction}{zone.upper()}").timestamp()
    if leaping and (int(seconds) + 1) % _DAY:  # there has never been one but at the end of a day, in UTC
        raise ValueError
    return seconds + leaping


def one_of(*words: str) -> Callable[[Any], str]:
    """How one of these words is read."""

    def read(value: Any) -> str:
        if (word := read_text(value)) not in words:
            raise ValueError
        return word

    return read


def read_aside(value: Any) -> str:
    """A String that nothing depends on: what cannot be read is as good as absent, and a mistake in it stops no saga."""
    try:
        return read_text(value)
    except ValueError:
        return ""


def read_traceparent(value: Any) -> str:
    """The same, of the form that W3C gives the parent of a trace."""
    text = read_aside(value)
    return text if _TRACEPARENT.fullmatch(text) else ""


def trace_context(traceparent: str, tracestate: str) -> tuple[str, str]:
    """What of a trace can be sent; what cannot be read is as good as absent, and without a parent the state is."""
    parent = read_traceparent(traceparent)
    return parent, read_aside(tracestate) if parent else ""


# An unclosed string runs to the end and nothing is tried twice, so no body makes this slow.
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""One in a body of JSON."""
_DEEPER = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _DEEPER)


def is_too_deep(body: bytes) -> bool:
    """Bounds the nesting before any parser sees it; brackets inside strings may only make the bound stricter."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    brackets = STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_DEEPER.__getitem__, brackets)), default=0) > MAX_DEPTH
