"""What can go wrong, as a tree; every error is one sentence with a hint what to do.

ChorosError
├── DeclarationError          a saga, service or message that cannot work (raised at import)
├── UsageError                a command line, setting or address that means nothing
│   ├── UnfitHeaders          headers of the user's own that cannot be sent
│   └── DeclaredOtherwise     an act on a saga that this process does not know as it was begun
├── MessageRejected           a message off the wire that is not acceptable; it is parked, never raised to users
├── MessageUnwritable         a message whose own model fails to write it
├── WrongFact                 a handler publishes, or signals, what it does not declare
├── StartConflict             the same start key with another body
├── FactConflict              the same key and number of a program's fact with another fact
├── SagaNotFound              no saga instance has this id
├── UpdateRefused             a saga says no to what was asked of it
├── TokenUnknown              no command is to be finished under this token, or not yet
├── TooLate                   a command that is finished from outside was undone, closed or answered otherwise by then
├── OutcomePending            `run` gave up waiting; the saga itself goes on
├── Unreachable               a server does not answer
│   ├── BrokerUnreachable
│   └── StoreUnreachable
└── Misconfigured             a server answers, but must not be used like this
    ├── BrokerMisconfigured   wrong password, queue with other arguments
    └── StoreMisconfigured    eviction policy, a database of another kind

Refused                       raised by handlers: a definite business "no" (not a ChorosError: nothing went wrong)
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

from pydantic import BaseModel

EXITS = (SystemExit, KeyboardInterrupt)
"""What is no failure of whoever raises it, but the wish that the process ends; the role at work stops in order."""
_LOGIN = re.compile(r"://.*@", re.DOTALL)
_OPTION = re.compile(r"((?:password|passwd|pwd|secret|token)=)[^&\s'\"]+", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}")
_HOST = r"(?:[\w.-]*|\[[\w:.%]*\])(?::\d*)?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?#]*)?")


def masked(text: str) -> str:
    """Any text, without what stands before the last `@` of an address in it, and without passwords among options.

    A password that was not percent-encoded may hold anything, `/`, `?` and blanks too: rather too much is masked.
    """
    if "=" in text:
        text = _OPTION.sub(r"\1***", text)
    return _LOGIN.sub("://***@", text) if "://" in text else text


def shown(address: str) -> str:
    """An address, as errors and logs name it: without user, password and options; what could be any of them is out."""
    scheme, separator, rest = address.partition("://")
    scheme = scheme if separator and _SCHEME.fullmatch(scheme) else ""
    login, at, place = rest.rpartition("@")
    options_hold_it = "?" in login and "=" in login
    place = re.split(r"[?#]", place, maxsplit=1)[0]
    if not scheme or options_hold_it or not _PLACE.fullmatch(place):
        return f"{scheme}{scheme and separator}***"
    return f"{scheme}://{'***@' if at else ''}{place}"


_AN = re.compile(r"[aeio]|u(?!s|ni|t)", re.IGNORECASE)


def with_article(kind: type) -> str:
    """A type in a sentence: 'an Order', 'a UserId'."""
    return f"{'an' if _AN.match(kind.__name__) else 'a'} {kind.__name__}"


def unknown(sentence: str, typed: str, known: Iterable[str], hint: str = "") -> tuple[str, str]:
    """Sentence and hint for a name that there is not: the one that was probably meant, else all that there are."""
    names = list(dict.fromkeys(known))
    near = get_close_matches(typed, names, n=1)
    if near:
        return f"{sentence} Did you mean {near[0]!r}?", ""
    return sentence, hint or f"one of: {', '.join(names) or 'none'}."


class ChorosError(Exception):
    """Any error of choros: a sentence, and a hint what to do about it."""

    sentence: str = ""
    hint: str = ""
    says_all: ClassVar[bool] = False
    """Whether a log needs no traceback: it is raised about what is at work, and not by what stands there."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        self.sentence = masked(sentence)  # it may quote an address that was typed
        super().__init__(self.sentence)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.sentence} Try: {self.hint}" if self.hint else self.sentence


class DeclarationError(ChorosError):
    """A declaration that cannot work; raised when it is written, not when it runs."""


class UsageError(ChorosError):
    """A command line, setting or address that means nothing."""


class UnfitHeaders(UsageError):
    """Headers of the user's own that cannot be sent: too many, too long, or called otherwise."""


class DeclaredOtherwise(UsageError):
    """A saga instance that this process must not decide: it has another declaration, version or format than it."""


class MessageRejected(ChorosError):
    """A message off the wire that cannot be accepted. The reason never repeats what the message said."""


class WrongFact(ChorosError):
    """A handler publishes a fact, or gives a signal, that it does not declare: a bug, so nothing of its call stays."""


class MessageUnwritable(ChorosError):
    """A message that its own model fails to write as JSON: a bug of whoever made it."""


class StartConflict(ChorosError):
    """A saga was started with the same key but another body."""


class FactConflict(ChorosError):
    """A program published another fact under the same key and number."""


class SagaNotFound(ChorosError):
    """No saga instance has this id."""


class UpdateRefused(ChorosError):
    """A saga says no to an update: with a `code` of whoever answers it, or one of choros's own, `too_late`, `too_many`,
    `too_large` or `failed`. Nothing was changed, and the same id is answered so for ever."""

    def __init__(self, sentence: str, hint: str = "", *, code: str = "") -> None:
        super().__init__(sentence, hint)
        self.code = code


class TokenUnknown(ChorosError):
    """No command is to be finished under this token; the one that will be may not have been committed yet."""


class TooLate(ChorosError):
    """A command that was to be finished from outside was undone, closed, or finished otherwise before."""


class OutcomePending(ChorosError):
    """The wait for an outcome ended before the saga did; the saga goes on."""


class Unreachable(ChorosError):
    """A server does not answer."""


class BrokerUnreachable(Unreachable):
    """The message broker does not answer."""


class StoreUnreachable(Unreachable):
    """The saga store or a service's database does not answer."""


class Misconfigured(ChorosError):
    """A server answers but must not be used as it is configured."""


class BrokerMisconfigured(Misconfigured):
    """Wrong credentials, or an exchange or queue that exists with other arguments."""


class StoreMisconfigured(Misconfigured):
    """A store that could lose what it acknowledged, such as Redis with an eviction policy."""


class Refused(Exception):
    """A definite business "no" of a participant: the step is undone by nobody and never retried.

    `code` must be one that the command declares (`refusals=`), as text or as a member of a `str` enum; raises
    UsageError for anything else. `detail` travels in the reply, shortened if it is long, and is never logged; so does
    `data`, whole: the message that the command declares for this code, if it declares one. `fact`: one that the handler
    is declared to publish, in place of all that it has done: its effect is rolled back, and the fact leaves. So a
    reaction says no, to nobody but who listens.
    """

    code: str = ""
    detail: str = ""
    data: BaseModel | None = None
    fact: BaseModel | None = None
    undone: tuple[str, ...] = ()
    """What its handler has done and taken back itself, newest first; filled in by choros."""

    def __init__(
        self, code: str, detail: str = "", *, data: BaseModel | None = None, fact: BaseModel | None = None
    ) -> None:
        self.code = _text_of(code)
        super().__init__(self.code)
        self.detail = detail
        self.data = data
        self.fact = fact


def _text_of(code: object) -> str:
    """Checked here, where the traceback still names the line that is wrong."""
    if isinstance(code, str):
        return str.__str__(code)  # of an enum's member its value, not its name
    raise UsageError(
        f"Refused is given a code of the type {type(code).__name__}.",
        "Refused('card_declined'): a text that the command declares; of an enum that is no str, the member's value.",
    )
