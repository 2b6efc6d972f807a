"""What a handler lets leave with its transaction: facts that it publishes, and signals that it gives to sagas."""

from __future__ import annotations

from choros.messages import Fact, Signal


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
