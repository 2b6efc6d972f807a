"""Who did something to a saga, and why: it is kept in the history with the event that the act brought about.

An event row of the history is a JSON object; a signed one has three members more (`act`, `by`, `reason`), which a
choros that does not know them passes over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError
from choros.saga.machine.inputs import (
    CancelRequested,
    PauseRequested,
    RerunRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from choros.telemetry.logs import mask

MOST_BY, MOST_REASON = 200, 1000
"""Characters that are kept."""
_VERBS: dict[type, str] = {
    CancelRequested: "cancel", RetryRequested: "retry", SkipRequested: "skip", PauseRequested: "pause",
    ResumeRequested: "resume", RerunRequested: "rerun",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signature:
    """Who, and why; empty where nobody said. Raises UsageError for what is too long."""

    by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        for name, text, most in (("by", self.by, MOST_BY), ("reason", self.reason, MOST_REASON)):
            if len(text) > most:
                raise UsageError(f"{name} is no text of up to {most} characters.", "a few words.")

    def __bool__(self) -> bool:
        return bool(self.by or self.reason)

    def of(self, given: object) -> dict[str, str]:
        """The members that it adds to an event row of what was asked for."""
        verb = _VERBS.get(type(given), type(given).__name__.lower())
        said = {"act": verb, "by": _line(self.by), "reason": _line(self.reason)}
        return {name: text for name, text in said.items() if text}


UNSIGNED = Signature()
Signed = Mapping[str, Mapping[str, str]]
"""By the id of an act, the members that its signature adds."""


def sign(rows: Iterable[dict[str, Any]], signed: Signed) -> None:
    """Add each to the first row that its act has brought about."""
    left = dict(signed)
    for row in rows if left else ():
        row.update(left.pop(str(row.get("cause", "")), {}))


def _line(text: str) -> str:
    """On one line, without numbers of cards, and without what speaks to a terminal or, as bytes of another encoding,
    cannot be written to one: people paste."""
    return mask(" ".join("".join(one if one.isprintable() else " " for one in text).split()))
