"""Handlers that ask for the session that a team writes with anyway, in the transaction of their command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from choros import (
    Addresses,
    App,
    Command,
    DeclarationError,
    Done,
    Fact,
    Message,
    Outbox,
    Pivot,
    Refused,
    Saga,
    Service,
    Step,
    UsageError,
    running,
)  # fmt: skip
from choros.app.checks import check
from choros.roles.addresses import database_at, database_of
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from choros.store.sqlalchemy.threaded import ThreadedSqlAlchemyDatabase


class Base(DeclarativeBase):
    pass


class Charge(Base):
    __tablename__ = "charge"
    order: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]


class PlaceOrder(Message):
    order: str
    amount: int


class ChargePayment(Command[Done], refusals=("card_declined",)):
    order: str
    amount: int


class RefundPayment(Command[Done]):
    order: str


class ShipOrder(Command[Done], refusals=("damaged",)):
    order: str


class OrderShipped(Fact):
    order: str


def charge_payment(order: PlaceOrder) -> ChargePayment:
    return ChargePayment(order=order.order, amount=order.amount)


def refund_payment(order: PlaceOrder) -> RefundPayment:
    return RefundPayment(order=order.order)


def ship_order(order: PlaceOrder) -> ShipOrder:
    return ShipOrder(order=order.order)


def order_shipped(order: PlaceOrder) -> OrderShipped:
    return OrderShipped(order=order.order)


saga = Saga(
    "order",
    start=PlaceOrder,
    key=lambda order: order.order,
    steps=(Step(charge_payment, to="payment", compensation=refund_payment), Pivot(ship_order, to="shipping")),
    completed=order_shipped,
)


async def create_tables(connection: AsyncConnection) -> None:
    await connection.run_sync(Base.metadata.create_all)


async def charge(command: ChargePayment, session: AsyncSession) -> Done:
    session.add(Charge(order=command.order, amount=command.amount))
    if command.amount > 100:
        await session.flush()
        raise Refused("card_declined")
    return Done()


async def refund(command: RefundPayment, session: AsyncSession) -> Done:
    charged = await session.get_one(Charge, command.order)
    charged.amount = 0
    return Done()


async def ship(command: ShipOrder) -> Done:
    if command.order == "o2":
        raise Refused("damaged")
    return Done()


async def note(fact: OrderShipped, session: AsyncSession) -> None:
    session.add(Charge(order=f"told of {fact.order}", amount=1))


def shop(**options: Any) -> App:
    payment, shipping = Service("payment", **options), Service("shipping")
    payment.prepares(create_tables)
    payment.handles(ChargePayment)(charge)
    payment.handles(RefundPayment)(refund)
    payment.on(OrderShipped)(note)
    shipping.handles(ShipOrder)(ship)
    return App("shop", sagas=[saga], services=[payment, shipping])


async def charges(url: str) -> dict[str, int]:
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        found = {one.order: one.amount for one in await session.scalars(select(Charge))}
    await engine.dispose()
    return found


async def test_a_saga_runs_on_models_of_sqlalchemy(tmp_path: Path) -> None:
    addresses = Addresses("memory://", "memory://", f"sqlite+aiosqlite:///{tmp_path}/new/{{service}}.db")
    async with running(shop(), addresses) as client:
        ends = [
            (await client.run(saga, PlaceOrder(order=order, amount=amount))).status
            for order, amount in (("o1", 42), ("o2", 43), ("o3", 1000))
        ]
    assert ends == ["completed", "compensated", "compensated"]
    assert await charges(f"sqlite+aiosqlite:///{tmp_path}/new/payment.db") == {"o1": 42, "o2": 0, "told of o1": 1}


def create_tables_at_once(connection: Connection) -> None:
    Base.metadata.create_all(connection)


def charge_in_a_thread(command: ChargePayment, session: Session) -> Done:
    assert threading.current_thread() is not threading.main_thread()
    session.add(Charge(order=command.order, amount=command.amount))
    if command.amount > 100:
        session.flush()
        raise Refused("card_declined")
    return Done()


def refund_in_a_thread(command: RefundPayment, session: Session) -> Done:
    session.get_one(Charge, command.order).amount = 0
    return Done()


def note_in_a_thread(fact: OrderShipped, connection: Connection) -> None:
    connection.execute(insert(Charge).values(order=f"told of {fact.order}", amount=1))


@pytest.mark.parametrize("brought", [True, False], ids=["its own engine", "an address"])
async def test_handlers_in_threads_write_with_the_session_that_blocks(tmp_path: Path, brought: bool) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/payment.db")
    database = partial(ThreadedSqlAlchemyDatabase, engine) if brought else None
    payment, shipping = Service("payment", database=database), Service("shipping")
    payment.prepares(create_tables_at_once)
    payment.handles(ChargePayment)(charge_in_a_thread)
    payment.handles(RefundPayment)(refund_in_a_thread)
    payment.on(OrderShipped)(note_in_a_thread)
    shipping.handles(ShipOrder)(ship)
    app = App("shop", sagas=[saga], services=[payment, shipping])
    addresses = Addresses("memory://", "memory://", f"sqlite+pysqlite:///{tmp_path}/{{service}}.db")

    async with running(app, addresses) as client:
        ends = [
            (await client.run(saga, PlaceOrder(order=order, amount=amount))).status
            for order, amount in (("o1", 42), ("o2", 43), ("o3", 1000))
        ]

    assert ends == ["completed", "compensated", "compensated"]
    engine.dispose()
    assert await charges(f"sqlite+aiosqlite:///{tmp_path}/payment.db") == {"o1": 42, "o2": 0, "told of o1": 1}


def test_a_session_that_blocks_is_for_no_coroutine() -> None:
    async def charge_on_the_loop(command: ChargePayment, session: Session) -> Done:
        return Done()

    async def prepare_on_the_loop(session: Session) -> None: ...

    def publishing(command: ChargePayment, session: Session, outbox: Outbox) -> Done:
        return Done()

    with pytest.raises(DeclarationError, match=r"would block the loop.*AsyncSession"):
        Service("payment").handles(ChargePayment)(charge_on_the_loop)
    with pytest.raises(DeclarationError, match="would block the loop"):
        Service("payment").prepares(prepare_on_the_loop)
    with pytest.raises(DeclarationError, match="an Outbox, which works on the loop"):
        Service("payment").handles(ChargePayment)(publishing)


async def test_a_service_may_bring_its_database(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/own.db")
    app = shop(database=partial(SqlAlchemyDatabase, engine))
    async with running(app) as client:
        assert (await client.run(saga, PlaceOrder(order="o1", amount=42))).status == "completed"
    await engine.dispose()
    assert (await charges(f"sqlite+aiosqlite:///{tmp_path}/own.db"))["o1"] == 42


def test_its_database_is_made_for_its_namespace() -> None:
    made: list[str] = []

    def make(namespace: str) -> MemoryDatabase:
        made.append(namespace)
        return MemoryDatabase(namespace=namespace)

    app = shop(database=make)
    assert isinstance(database_of(app, app.service("payment"), "sqlite:///any.db"), MemoryDatabase)
    assert made == ["shop.payment"]


def test_a_database_that_cannot_be_made_anew_is_refused() -> None:
    with pytest.raises(DeclarationError, match="cannot be called"):
        shop(database="sqlite:///any.db")


async def test_a_session_that_the_database_does_not_give_is_refused_at_start() -> None:
    with pytest.raises(DeclarationError, match="charge takes AsyncSession"):
        async with running(shop(database=lambda namespace: MemoryDatabase(namespace=namespace))):
            pass


def test_so_is_one_that_is_only_prepared_with() -> None:
    payment = Service("payment")
    payment.prepares(create_tables)
    with pytest.raises(DeclarationError, match="create_tables takes AsyncConnection"):
        check(payment, MemoryDatabase())


def test_no_provider_takes_a_session() -> None:
    with pytest.raises(DeclarationError, match="no transaction is open"):
        Service("payment").provider(ChargePayment)(charge)


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [("postgresql", "PostgresDatabase"), ("postgresql+asyncpg", "SqlAlchemyDatabase"),
     ("postgresql+psycopg", "SqlAlchemyDatabase"), ("sqlite+aiosqlite", "SqlAlchemyDatabase"),
     ("sqlite+pysqlite", "ThreadedSqlAlchemyDatabase"), ("postgresql+psycopg2", "ThreadedSqlAlchemyDatabase")],
)  # fmt: skip
def test_an_address_says_by_which_driver(scheme: str, kind: str) -> None:
    assert type(database_at(f"{scheme}://user@host/name", "shop.payment")).__name__ == kind


class Plug:
    """An entry point of an installed package."""

    def load(self) -> Callable[[str, str], MemoryDatabase]:
        return lambda url, namespace: MemoryDatabase(namespace=f"{url} {namespace}")


def test_a_package_may_bring_a_scheme_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*, group: str, name: str) -> list[Plug]:
        return [Plug()] if (group, name) == ("choros.databases", "teapot") else []

    monkeypatch.setattr("choros.roles.addresses.entry_points", found)
    assert database_at("teapot://kitchen", "shop.payment")._namespace == "teapot://kitchen shop.payment"  # type: ignore[attr-defined] # of memory
    with pytest.raises(UsageError):
        database_at("kettle://kitchen")
