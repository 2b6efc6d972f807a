"""A type of fact that sagas of an application wait for: what it is about, and how long it is kept for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

from choros.errors import DeclarationError, UsageError
from choros.messages import Fact
from choros.names import BusinessKey, key_text
from choros.saga.outline import Outline
from choros.saga.waiting import SignalWait

_BETWEEN = "\x1f"


class WaitingSaga(Protocol):
    """What has to be known here of a `Saga`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def outline(self) -> Outline:
        """Its waits are among its leaves."""


@dataclass(frozen=True, slots=True)
class AwaitedFact:
    """Of all the waits for it."""

    kind: type[Fact]
    of: Callable[[Any], BusinessKey] | None
    """What it is about; None for its correlation id."""
    keep: timedelta
    """The longest that any of them wants it kept."""

    def about(self, fact: Fact, correlation_id: str) -> str:
        """The key of this fact; raises UsageError where `of` gives none."""
        if self.of is None:
            return correlation_id
        what = f"What {self.kind.__name__} is about"
        try:
            key = key_text(self.of(fact))
        except Exception as error:
            hint = "a function that has an answer for every fact of this type."
            raise UsageError(f"{what}: of failed with {type(error).__name__}.", hint) from error
        if not isinstance(key, str):
            raise UsageError(f"{what}: of returned {type(key).__name__}, not a text.", "of=lambda fact: fact.id")
        return key


def label_of(type_name: str, key: str) -> str:
    """What joins a fact that is kept, and the records that wait for it: of whatever a key is made."""
    return hashlib.sha256(_BETWEEN.join((type_name, key)).encode()).hexdigest()[:32]


def waits_for_facts(saga: WaitingSaga) -> Iterable[SignalWait]:
    """Those of its waits that a fact answers."""
    waits = (leaf for leaf in saga.outline.leaves.values() if isinstance(leaf, SignalWait))
    return (leaf for leaf in waits if leaf.about)


def awaited_facts(sagas: Iterable[WaitingSaga]) -> Mapping[str, AwaitedFact]:
    """By the name of the type; raises DeclarationError where two waits say otherwise what a fact is about."""
    found: dict[str, AwaitedFact] = {}
    for saga in sagas:
        for leaf in waits_for_facts(saga):
            kind = cast("type[Fact]", leaf.signal)
            before = found.setdefault(kind.type_name, AwaitedFact(kind, leaf.of, leaf.keep))
            if before.of is not leaf.of:
                raise DeclarationError(
                    f"saga {saga.name!r}: {leaf.path} says otherwise what {kind.__name__} is about than another wait.",
                    "give both the same function: of=...",
                )
            found[kind.type_name] = AwaitedFact(kind, leaf.of, max(before.keep, leaf.keep))
    return found
