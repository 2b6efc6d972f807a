"""What a handler returns of a command that is finished later, by somebody outside: a webhook, a batch, a person."""

from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError

LONGEST_TOKEN = 512
"""Characters: as of every attribute of a message."""


@dataclass(frozen=True, slots=True)
class Later:
    """It is taken, and not done yet: somebody finishes it under this token, however long that takes.

    A token is what finds the command again: a provider's own id for the payment, say, which its webhook names; without
    one it is the command's idempotency key, `call.key`. No two commands of a service may have the same. The undo of a
    command that is not finished gets it as `call.token`.
    """

    token: str = ""

    def __post_init__(self) -> None:
        if not is_token(self.token):
            raise UsageError(
                "This token is no text that can be written in one line.",
                f"Later(payment_id): at most {LONGEST_TOKEN} characters, or none for the command's own key.",
            )


def is_token(text: Any) -> bool:
    """Whether it may be one."""
    return isinstance(text, str) and len(text) <= LONGEST_TOKEN and text.isprintable()
