"""What the command says: answers as sentences, hints that can be pasted, and what is wrong with what was typed."""

import os
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import unquote, urlsplit

from choros.app.settings import seconds_of
from choros.cli.output import remark
from choros.errors import MessageRejected, UsageError, unknown
from choros.messages import Message
from choros.saga.machine.instance import Status

M = TypeVar("M", bound=Message)
_FAULTS = (
    (r": missing\b", " is missing"),
    (r": string_type\b", " is no text"),
    (r": (?:int|float)_(?:type|parsing)\b", " is no number"),
    (r": bool_type\b", " is neither true nor false"),
    (r"\bextra_forbidden\b", "it has a field more"),
)
"""The commonest faults, as pydantic and as a person calls them."""
STATUSES: tuple[str, ...] = get_args(Status)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+[smhd])+")
_PART = re.compile(r"(\d+)([smhd])")
LONGEST = 1e8
"""Seconds that anybody may wait: three years."""

GOES_ON = "it goes on"
_ANSWERS = {
    "compensating": "it is being undone",
    "terminating": "its open commands are closed first, then it has ended as it is",
    "terminated": "it has ended as it is; nothing was undone",
    "terminate too_late": "it is being terminated already, or has ended",
    "wanted": "the pivot is in flight; it is undone only if the pivot is refused",
    "unparked": GOES_ON,
    "skip unparked": "the step's command is closed first, then it goes on",
    "cancel unparked": "it is being undone",
    "paused": "nothing more is sent for it until it is resumed",
    "resumed": GOES_ON,
    "moved": "it goes on as this version",
    "repeated": "this was asked for before, and counts once",
    "by_hand": "this is noted in its history",
    "settle unparked": "the undo is closed first, then it counts as done",
    "settle too_late": "nothing of it is to be settled any more",
    "signalled": GOES_ON,
    "kept": "it has not come to the wait yet; this is kept for it",
    "not_kept": "it has not come to the wait yet, and keeps too many signals already",
    "signal too_late": "nobody waits for it any more",
    "cancel too_late": "it has passed its pivot, is being undone already, or has ended",
    "retry too_late": "it is not parked at this step and round, or it is paused",
    "skip too_late": "it is not parked at this step and round with a command that can be closed, or it is paused",
    "pause too_late": "it is paused already, or has ended",
    "resume too_late": "it is not paused, or has ended",
}


def answer(verb: str, word: str, step: str = "") -> str:
    """A sentence that starts with the word, so that a script can go by it; `step` is the one that it is about."""
    meaning = _ANSWERS.get(f"{verb} {word}") or _ANSWERS.get(word)
    where = f" with {step}" if step and meaning == GOES_ON else ""
    return f"{word}: {meaning}{where}" if meaning else word


def command(verb: str, application: str, store: str, *more: str) -> str:
    """A `choros saga` command to be pasted. An address that may hold a password is left for the user to fill in."""
    address = "..." if "@" in store or "?" in store else shlex.quote(store)
    words = [word for word in (application, *more) if word]
    return " ".join(["choros saga", verb, *map(shlex.quote, words), "--store", address])


def interrupted(saga_id: str, hint: str) -> str:
    """What Ctrl-C means for a saga: nothing."""
    if not saga_id:
        return "Stopped. Once started, a saga goes on; whether it was: " + hint
    return f"Stopped waiting; saga {saga_id} goes on. Try: {hint}"


def tell_beyond(warned: str) -> None:
    """Say on stderr what the answer does not reach."""
    if warned:
        remark(f"! {warned}")


# --- what was typed ---------------------------------------------------------------------------------------------------


def status_named(status: str) -> str:
    """The status, or nothing; raises UsageError for one that there is not."""
    if status and status not in STATUSES:
        raise UsageError(*unknown(f"There is no status {status!r}.", status, STATUSES))
    return status


def seconds(timeout: str) -> float:
    """A time to wait; raises UsageError for what is none."""
    try:
        found = seconds_of(timeout)
    except ValueError:
        found = 0.0
    if not 0 < found <= LONGEST:
        raise UsageError(f"--timeout {timeout} is no time to wait.", "30, 500ms or 1m30s: more than 0.")
    return found


def moment(text: str, now: float, option: str = "--since") -> float:
    """The moment that was typed, in seconds since the epoch; raises UsageError."""
    try:
        if _DURATION.fullmatch(text):
            return max(0.0, now - sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))
        found = datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        found = -1.0
    if found < 0:
        raise UsageError(f"{option} {text!r} is no time.", "2h, 30m, 7d, 1d12h, or 2026-11-22T12:00:00Z.")
    return found


def lasting(store: str) -> str:
    """The store's address; raises UsageError if it ends with this command."""
    if store.startswith("memory:"):
        hint = "--store sqlite:///file, redis://... or postgresql://..., as the application runs with."
        raise UsageError("A store in memory ends with this command.", hint)
    return store


def existing(store: str, what: str = "store") -> str:
    """The address of a store, or of a database; raises UsageError if it is a file that is not there, which looking
    would create."""
    if lasting(store).startswith(("sqlite:///", "sqlite+aiosqlite:///", "sqlite+pysqlite:///")):
        path = unquote(urlsplit(store).path[1:])
        if path and not os.path.exists(path):
            hint = f"the folder and the --{what} that the application runs with."
            raise UsageError(f"There is no {what} {path!r}.", hint)
    return store


def writable(path: Path | None) -> None:
    """Raises UsageError if no file can be written there, before hours of work are lost."""
    if path and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
        raise UsageError(f"No file can be written at {path}.", "a file in a folder that is there.")


def message_of(kind: type[M], given: str, what: str = "-i") -> M:
    """The message typed, or on standard input (`-`); raises UsageError, which names the fields. `what`: how the command
    calls it."""
    try:
        return kind.from_json(sys.stdin.read() if given == "-" else given)
    except UnicodeError:
        raise UsageError("The message is no UTF-8 text.", fields_of(kind)) from None
    except MessageRejected as error:
        if "json_invalid" in error.sentence:
            hint = "that is no JSON; give the message itself, or - for standard input"
            raise UsageError(f"{what}: {hint}.", fields_of(kind)) from None
        raise UsageError(_in_words(error.sentence), fields_of(kind)) from None


def _in_words(sentence: str) -> str:
    for code, words in _FAULTS:
        sentence = re.sub(code, words, sentence)
    return sentence


def fields_of(kind: type[Message]) -> str:
    """A hint: what a message of this type is made of."""
    shown = [
        f"{name}: {_type_shown(field.annotation)}{'' if field.is_required() else ' (optional)'}"
        for name, field in kind.model_fields.items()
    ]
    return f"a JSON object with the fields of {kind.__name__}: {', '.join(shown) or 'none'}."


def _type_shown(annotation: Any) -> str:
    """Without the modules that the types are in."""
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__name__ if plain else re.sub(r"(?<!['\w])(?:\w+\.)+(?=\w)", "", str(annotation))
