"""What a handler lets leave with its transaction: facts that it publishes, and signals that it gives to sagas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from choros.errors import DeclarationError
from choros.messages import Fact, Signal
from choros.saga.checks import is_a, listed, shown
from choros.store.barrier import Transaction


class Outbox:
    """Facts and signals that leave with the transaction of a handler: with its effect, or not at all.

    A handler names one beside its transaction: `outbox: Outbox`. What it hands over is written into the service's own
    database in that transaction, and sent from there once it is committed, whatever crashes. A savepoint that is rolled
    back takes along what was handed over in it. In a test of a handler, `Outbox()` only remembers what it was given.
    """

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        """What was published, in that order."""
        self.signals: list[Signal] = []
        """What was given to sagas, in that order."""

    async def publish(self, fact: Fact) -> None:
        """Publish a fact, one of those that the handler declares: `@service.handles(..., publishes=(...))`.

        Its correlation id is that of what is handled, and the next number of the service in that stream is its own.
        Raises WrongFact for one that is not declared, MessageUnwritable for one that nobody could read."""
        self.facts.append(fact)

    async def signal(
        self, saga: str, signal: Signal, *, key: str = "", saga_id: str = "", wait: str = "", application: str = ""
    ) -> None:
        """Tell a running saga what it waits for: the instance of this start key, or of this id. The service is declared
        to: `Service(..., signals=(...))`. `wait`: the path of the wait, where the saga has several for this type.
        `application`: the saga's, where that has another name than the namespace. Raises as `publish`, and UsageError
        where no instance is named."""
        self.signals.append(signal)


def published(where: str, publishes: object) -> tuple[type[Fact], ...]:
    """The facts that a service or handler is declared to publish; raises DeclarationError."""
    kinds = (publishes,) if isinstance(publishes, type) else listed(f"{where}: publishes", publishes)
    for kind in kinds:
        if not is_a(kind, Fact):
            raise DeclarationError(
                f"{where} publishes {shown(kind)}, which is no Fact.",
                "name classes that are derived from choros.Fact.",
            )
    return tuple(kinds)


def check_published(where: str, publishes: Sequence[type[Fact]], transaction: type[Transaction] | None) -> None:
    """Without its transaction, a fact could leave of what never was, or never leave of what was."""
    if publishes and transaction is None:
        raise DeclarationError(
            f"{where} publishes {publishes[0].__name__}, but takes no Transaction: effect and fact could not be one.",
            "take a Transaction, and write the effect through it.",
        )


def check_returned(where: str, publishes: Sequence[type[Fact]], returned: object) -> None:
    """A reaction returns the fact that it publishes: what it announces to return must be declared."""
    for kind in (returned, *get_args(returned)):
        if is_a(kind, Fact) and kind not in publishes:
            raise DeclarationError(
                f"{where} returns {_name(kind)}, which it is not declared to publish.",
                f"on(..., publishes=({', '.join(map(_name, (*publishes, kind)))},)).",
            )


def may_return_nothing(returned: object) -> bool:
    """Whether a reaction may publish nothing: where it says so, or says nothing of what it returns."""
    return returned is None or returned is type(None) or type(None) in get_args(returned)


def _name(kind: Any) -> str:
    return str(kind.__name__)
