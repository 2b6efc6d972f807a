"""RESP: commands off the wire, and answers of version 3 onto it. Text here is bytes, one character each: it is sorted
as Redis sorts it, and nothing is lost of what is no UTF-8."""

from collections.abc import Iterator, Mapping
from typing import Any

Words = list[str]
"""A command: its name, and what it is given."""


class RedisRefusal(Exception):
    """An answer that says no, as Redis puts it."""


class SimpleString(str):
    """An answer that is no value, such as OK."""

    __slots__ = ()


OK = SimpleString("OK")


class _PartOnly(Exception):
    """The rest has not come yet."""


class CommandReader:
    """Makes commands of what comes, in whatever pieces."""

    def __init__(self) -> None:
        self._text = ""

    def commands(self, data: bytes) -> Iterator[Words]:
        """Those that are whole by now."""
        self._text += data.decode("latin-1")
        at = 0
        try:
            while at < len(self._text):
                words, at = _command(self._text, at)
                yield words
        except _PartOnly:
            pass
        finally:
            self._text = self._text[at:]


def _command(text: str, at: int) -> tuple[Words, int]:
    count, at = _number(text, at)
    words = []
    for _ in range(count):
        length, at = _number(text, at)
        end = at + length
        if end + 2 > len(text):
            raise _PartOnly
        words.append(text[at:end])
        at = end + 2
    return words, at


def _number(text: str, at: int) -> tuple[int, int]:
    end = text.find("\r\n", at)
    if end < 0:
        raise _PartOnly
    return int(text[at + 1 : end]), end + 2


def answer_bytes(answers: list[Any]) -> bytes:
    """These answers, one behind the other, as they go over the wire."""
    parts: list[str] = []
    for answer in answers:
        _put(answer, parts)
    return "".join(parts).encode("latin-1")


def _put(answer: Any, parts: list[str]) -> None:
    match answer:
        case None:
            parts.append("_\r\n")
        case SimpleString():
            parts.append(f"+{answer}\r\n")
        case str():
            parts.append(f"${len(answer)}\r\n{answer}\r\n")
        case int():
            parts.append(f":{answer:d}\r\n")
        case float():
            parts.append(f",{number(answer)}\r\n")
        case RedisRefusal():
            parts.append(f"-{answer}\r\n")
        case _:
            _put_several(answer, parts)


def _put_several(answer: Any, parts: list[str]) -> None:
    if isinstance(answer, Mapping):
        parts.append(f"%{len(answer)}\r\n")
        answer = [part for item in answer.items() for part in item]
    elif isinstance(answer, (set, frozenset)):
        parts.append(f"~{len(answer)}\r\n")
        answer = sorted(answer)
    else:
        parts.append(f"*{len(answer)}\r\n")
    for one in answer:
        _put(one, parts)


def number(value: float) -> str:
    """A score as Redis writes it."""
    return f"{value:.17g}"


def text_of(words: str) -> str:
    """What these bytes stand for."""
    return words.encode("latin-1").decode()
