"""Schema versions: what is said of a database that another version of choros has laid out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from choros.errors import StoreMisconfigured

SCHEMA_VERSION = 3
"""How this choros lays out a saga store, on every adapter."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade came to."""

    found: int
    """The schema version that was there; 0 for an empty database."""
    records: int = 0
    """How many were carried over."""
    others: Mapping[str, int] = field(default_factory=dict)
    """How many wait for the upgrade of another application, by its name."""


def other_schema(what: str, found: int, known: int, option: str) -> StoreMisconfigured:
    """The error for `what`, which has another schema than this choros: older, with what upgrades it, or newer."""
    if found > known:
        return StoreMisconfigured(
            f"{what} has schema version {found}; this choros knows version {known}.",
            "the choros that wrote it, or a newer one.",
        )
    return StoreMisconfigured(
        f"{what} has schema version {found}; this choros needs version {known}.",
        f"stop every process that uses it, then: choros schema upgrade APP {option}.",
    )
