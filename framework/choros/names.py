"""What sagas, steps, services, subscribers and applications may be called."""

import re
from uuid import UUID

BusinessKey = str | int | UUID
"""A business key, as a message has it."""
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
LONGEST_NAME = 60
ORCHESTRATOR = "orchestrator"
"""Who carries out sagas that are nested in others."""
RESERVED_NAMES = frozenset({"commands", "replies", "facts", "retry", "dead", "log", "orchestrator", "signals"})
"""Names that stand for something else on the broker, so no service or subscriber may bear them."""


def is_name(name: object) -> bool:
    """Whether a saga, step, service, subscriber or application may be called so: at most 60 lower-case letters and
    digits, in words joined by '-' or '_'."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and len(name) <= LONGEST_NAME


def key_text(key: object) -> object:
    """A business key as text, where it is a whole number or a UUID; whatever else it is, itself."""
    return str(key) if isinstance(key, int | UUID) and not isinstance(key, bool) else key
