"""Who did something to a saga, and why: it is kept in the history with the event that the act brought about."""

from dataclasses import dataclass

from choros.errors import UsageError
from choros.telemetry.logs import mask

MOST_BY, MOST_REASON = 200, 1000
"""Characters that are kept."""


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

    def of(self, act: str) -> dict[str, str]:
        """What the history says of an act that is signed so."""
        said = {"act": act, "by": _line(self.by), "reason": _line(self.reason)}
        return {name: text for name, text in said.items() if text}


UNSIGNED = Signature()


def _line(text: str) -> str:
    """On one line, without numbers of cards, and without what speaks to a terminal or, as bytes of another encoding,
    cannot be written to one: people paste."""
    return mask(" ".join("".join(one if one.isprintable() else " " for one in text).split()))
