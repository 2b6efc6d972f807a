"""The order as a flow that nobody orchestrates: each service reacts to what the one before it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from choros import Choreography, Fact, Service, Transaction


class OrderPlaced(Fact):
    order_id: str


class PaymentCharged(Fact):
    order_id: str


class PaymentDeclined(Fact):
    order_id: str


class PaymentRefunded(Fact):
    order_id: str


class StockReserved(Fact):
    order_id: str


class OutOfStock(Fact):
    order_id: str


class StockReleased(Fact):
    order_id: str


class ParcelShipped(Fact):
    order_id: str


class AddressUnknown(Fact):
    order_id: str


class OrderCompleted(Fact):
    order_id: str


class OrderFailed(Fact):
    order_id: str


def payment_service(refunded_at: tuple[type[Fact], ...] = (OutOfStock, StockReleased)) -> Service:
    payment = Service("payment")

    @payment.on(OrderPlaced, effect="charge", publishes=(PaymentCharged, PaymentDeclined))
    async def charge(fact: OrderPlaced, db: Transaction) -> PaymentCharged:
        return PaymentCharged(order_id=fact.order_id)

    async def refund(fact: Fact, db: Transaction) -> PaymentRefunded:
        return PaymentRefunded(order_id="7")

    if refunded_at:
        payment.on(*refunded_at, undoes="charge", publishes=PaymentRefunded)(refund)
    return payment


def inventory_service() -> Service:
    inventory = Service("inventory")

    @inventory.on(PaymentCharged, publishes=(StockReserved, OutOfStock))
    async def reserve(fact: PaymentCharged, db: Transaction) -> StockReserved:
        return StockReserved(order_id=fact.order_id)

    @inventory.on(AddressUnknown, undoes=PaymentCharged, publishes=StockReleased)
    async def release(fact: AddressUnknown, db: Transaction) -> StockReleased:
        return StockReleased(order_id=fact.order_id)

    return inventory


def shipping_service() -> Service:
    shipping = Service("shipping")

    @shipping.on(StockReserved, publishes=(ParcelShipped, AddressUnknown))
    async def ship(fact: StockReserved, db: Transaction) -> ParcelShipped:
        return ParcelShipped(order_id=fact.order_id)

    return shipping


def orders_service(failed_at: tuple[type[Fact], ...] = (PaymentDeclined, PaymentRefunded)) -> Service:
    orders = Service("orders")

    @orders.on(ParcelShipped, publishes=OrderCompleted)
    async def complete(fact: ParcelShipped, db: Transaction) -> OrderCompleted:
        return OrderCompleted(order_id=fact.order_id)

    async def fail(fact: Fact, db: Transaction) -> OrderFailed:
        return OrderFailed(order_id="7")

    orders.on(*failed_at, publishes=OrderFailed)(fail)
    return orders


def members(*services: Service) -> list[Service]:
    """Who takes part; a service that is given takes the place of the one of its name."""
    usual = (payment_service(), inventory_service(), shipping_service(), orders_service())
    return list({service.name: service for service in (*usual, *services)}.values())


def order_flow(*services: Service, **given: Any) -> Choreography[Any]:
    return Choreography(
        **{
            "name": "order", "start": OrderPlaced, "key": lambda fact: fact.order_id, "good": OrderCompleted,
            "bad": OrderFailed, "closer": "orders", "services": members(*services), "within": timedelta(hours=1),
            **given,
        }
    )  # fmt: skip
