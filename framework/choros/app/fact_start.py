"""A start by a fact: a saga that begins when something has happened, once, however often that is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from choros.app.schedule import StartedSaga
from choros.callables import hints_of
from choros.errors import DeclarationError, UsageError, with_article
from choros.messages import Fact, Message
from choros.names import BusinessKey, key_text
from choros.saga.checks import is_a, is_function, shown
from choros.saga.parameters import without_none


class FactStart:
    """Starts a saga when a fact is published: `FactStart(onboarding, on=CustomerSignedUp, start=onboard)`. Raises
    DeclarationError.

    `start` makes the start message of the fact, or says None where this one begins nothing. It is a pure function: it
    may be asked again for the same fact, which is told at least once. What makes that one saga is its start key: that
    of the start message (`Saga(key=...)`), or what `key` makes of the fact. So never make it of anything that is
    another one the next time, as the moment or a fresh id are."""

    def __init__(
        self,
        saga: StartedSaga,
        *,
        on: type[Fact],
        start: Callable[[Any], Message | None],
        key: Callable[[Any], BusinessKey] | None = None,
    ) -> None:
        self.saga: StartedSaga = saga
        self.on: type[Fact] = on
        self.start: Callable[[Any], Message | None] = start
        self.key: Callable[[Any], BusinessKey] | None = key
        if not hasattr(saga, "start"):
            raise DeclarationError(f"A FactStart starts {shown(saga)}, which is no Saga.", "what Saga(...) made.")
        where = f"saga {saga.name!r}"
        if not is_a(on, Fact):
            raise DeclarationError(f"{where} starts on {shown(on)}, which is no Fact.", "derive it from choros.Fact.")
        _check_functions(where, self)

    def message(self, fact: Fact) -> Message | None:
        """The start message, None where the fact begins nothing; raises UsageError where `start` makes neither."""
        made = self._asked(self.start, fact)
        if made is not None and type(made) is not self.saga.start:
            expected = self.saga.start.__name__
            raise UsageError(f"{self._said} made {type(made).__name__}, not {with_article(self.saga.start)}.", expected)
        return made

    def key_of(self, fact: Fact) -> str | None:
        """The start key, where it is not that of the start message; raises UsageError."""
        if self.key is None:
            return None
        made = key_text(self._asked(self.key, fact))
        if not isinstance(made, str):
            raise UsageError(f"{self._said}: its key is {type(made).__name__}, not a text.", "key=lambda fact: fact.id")
        return made

    @property
    def _said(self) -> str:
        return f"The start of saga {self.saga.name!r} on {self.on.__name__}"

    def _asked(self, function: Callable[[Any], Any], fact: Fact) -> Any:
        try:
            return function(fact)
        except Exception as error:
            what = f"{self._said} failed: {type(error).__name__}."
            raise UsageError(what, "a function that has an answer for every fact of this type.") from error


def _check_functions(where: str, given: FactStart) -> None:
    """What can be known of them before they are asked."""
    wanted, fact = given.saga.start, given.on.__name__
    hint = f"def {getattr(given.start, '__name__', 'start')}(fact: {fact}) -> {wanted.__name__}"
    if not is_function(given.start):
        raise DeclarationError(f"{where}: start={shown(given.start)} is no function.", hint)
    hints = hints_of(given.start, f"{where}: {given.start.__name__}")
    taken = list(inspect.signature(given.start).parameters)
    makes = without_none(hints.get("return"))[0] is wanted and not inspect.iscoroutinefunction(given.start)
    if not makes or len(taken) != 1 or hints.get(taken[0]) is not given.on:
        what = f"{where}: {given.start.__name__} does not make {with_article(wanted)}"
        raise DeclarationError(f"{what} of {with_article(given.on)}.", hint)
    if given.key is not None and not callable(given.key):
        raise DeclarationError(f"{where}: key={shown(given.key)} is no function.", "write key=lambda fact: fact.id.")
    if given.key is None and getattr(given.saga, "key", None) is None:
        raise DeclarationError(
            f"{where} starts on {fact}, and nothing says under which key.",
            "write Saga(..., key=...), or FactStart(..., key=lambda fact: ...).",
        )
