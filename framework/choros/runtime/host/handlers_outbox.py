"""What a handler is given as its `Outbox`: it writes into the transaction of its handler what that is declared to let
leave."""

from __future__ import annotations

from collections.abc import Callable

from choros.app.handler import Handler
from choros.app.outbox import Outbox
from choros.app.service import Service
from choros.errors import UsageError, WrongFact
from choros.messages import Fact, Signal
from choros.runtime.host.outbox_rows import Departure, OutboxRows
from choros.store.barrier import Transaction
from choros.transport.topology import Names
from choros.wire.envelope import Envelope

OpenOutbox = Callable[[Handler, Envelope, Transaction, list[Departure]], "HandlersOutbox"]
"""Opens one for a handler, about the message that it handles. What it writes is added to the list."""


class HandlersOutbox(Outbox):
    """An outbox that writes what it is given into the transaction of its handler."""

    def __init__(
        self, service: Service, handler: Handler, rows: OutboxRows, names: Names, written: list[Departure]
    ) -> None:
        super().__init__()
        self._service, self._handler, self._rows, self._names = service, handler, rows, names
        self._written = written

    async def publish(self, fact: Fact) -> None:
        """A reaction returns its fact, and hands none over."""
        if not issubclass(self._handler.message, Fact):
            await self.put(fact)
            return
        raise WrongFact(f"{self._handler.name} reacts to a fact, so it returns the one that it publishes.")

    async def put(self, fact: object) -> None:
        """Write a fact, if it is one of those that are declared."""
        if type(fact) not in self._handler.publishes:
            given = "nothing" if fact is None else type(fact).__name__
            raise WrongFact(
                f"{self._handler.name} publishes {given}, which it is not declared to.",
                f"publishes=({', '.join(kind.__name__ for kind in self._handler.publishes) or '...'},)",
            )
        assert isinstance(fact, Fact)
        if (left := await self._rows.fact(fact)) is not None:
            self._written.append(left)
        await super().publish(fact)

    async def put_returned(self, fact: object) -> None:
        """What a reaction has returned."""
        if fact is None and self._handler.silent:
            return
        if self._handler.publishes or isinstance(fact, Fact):
            await self.put(fact)

    async def signal(
        self, saga: str, signal: Signal, *, key: str = "", saga_id: str = "", wait: str = "", application: str = ""
    ) -> None:
        """Write a signal, if the service may give it, and an instance is named."""
        if type(signal) not in self._service.signals:
            raise WrongFact(
                f"{self._handler.name} gives a signal that service {self._service.name!r} may not give.",
                f"Service({self._service.name!r}, signals=({type(signal).__name__},)).",
            )
        if bool(key) == bool(saga_id):
            raise UsageError("A signal is for one instance of a saga.", "its start key, key='o1', or its saga_id.")
        queue = self._names.signal_queue(application or self._names.namespace)
        self._written.append(await self._rows.signal(signal, to=queue, saga=saga, key=key, saga_id=saga_id, wait=wait))
        await super().signal(saga, signal)
