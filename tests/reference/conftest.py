"""A service's handlers, called as a participant would: in a transaction of the service's own SQLite database."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from choros import Call, Message, Service, Transaction
from choros.app.handler import Handler
from choros.store.barrier import Database, Ok, value_of
from choros.store.sqlite.barrier import SqliteDatabase
from reference_services.contracts import OrderConfirmed, OrderLine, OrderRejected, PlaceOrder


@dataclass(frozen=True)
class Desk:
    """Where messages are handed to services."""

    database: Database

    async def prepare(self, service: Service) -> None:
        """Make its tables."""
        answers = await self.database.run(list(service.preparations))
        assert all(isinstance(answer, Ok) for answer in answers)

    async def give(self, service: Service, message: Message, key: str = "saga:step:1:do") -> Any:
        """The reply; raises what the handler raises."""
        handler = {**service.handlers, **service.reactions}[message.type_name]
        return await self.call(handler, message, key)

    async def ask(self, service: Service, message: Message, key: str = "saga:step:1:do") -> Any:
        """What a provider's service finds out about an earlier call."""
        asking = service.handlers[message.type_name].ask
        assert asking is not None
        return await self.call(asking, message, key)

    async def call(self, handler: Handler, message: Message, key: str) -> Any:
        """In a transaction if the handler wants one."""
        call = Call(key=key, correlation_id="saga")
        if handler.transaction is None:
            return await handler(message, None, call)

        async def job(transaction: Transaction) -> Any:
            return await handler(message, transaction, call)

        return value_of(*await self.database.run([job]))

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database holds."""

        async def job(transaction: Any) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = await transaction.fetch(query)
            return rows

        return value_of(*await self.database.run([job]))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk with an empty database."""
    database = SqliteDatabase(tmp_path / "service.db")
    await database.open()
    yield Desk(database)
    await database.close()


def order(order_id: str = "1", *lines: tuple[str, int, int], customer: str = "c1") -> PlaceOrder:
    """An order of (article, pieces, pence)."""
    return PlaceOrder(
        order_id=order_id,
        customer=customer,
        country="France",
        placed_at="2010-12-01T08:26:00",
        lines=tuple(OrderLine(article=a, quantity=n, unit_price=p) for a, n, p in lines or [("22222", 2, 150)]),
    )


def confirmed(of: PlaceOrder) -> OrderConfirmed:
    """The fact that it is on its way."""
    return OrderConfirmed(
        order_id=of.order_id,
        customer=of.customer,
        country=of.country,
        placed_at=of.placed_at,
        total=of.total,
        tracking="t-1",
    )


def rejected(of: PlaceOrder, reason: str = "out_of_stock") -> OrderRejected:
    """The fact that it did not happen."""
    return OrderRejected(order_id=of.order_id, customer=of.customer, country=of.country, reason=reason)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
