"""Payment, inventory and shipping, on the same ledger, stock book and carriers as where they are commanded.

What lies outside of a service's database is asked for under a key of the order, so a fact that is handled again asks
for the same again; and it is given back whether or not the service knows of it (`OrderFailing`).
"""

from __future__ import annotations

import asyncio
from collections import Counter

from choros import Refused, Service, SqliteTransaction, all_of
from reference_services.choreographed.facts import (
    OrderFailing,
    OrderPlaced,
    ParcelRefused,
    ParcelSent,
    PaymentDeclined,
    PaymentReturned,
    PaymentTaken,
    StockHeld,
    StockReturned,
    StockShort,
    problem_of,
)
from reference_services.contracts import PlaceOrder, ShipOrder
from reference_services.inventory.stock import Stock
from reference_services.payment import ledger
from reference_services.payment.service import CREDIT_LIMIT
from reference_services.shipping.carriers import Booked, Carrier, CarrierTrouble


def payment_service(credit_limit: int = CREDIT_LIMIT) -> Service:
    """Charges each order to its customer, up to a limit."""
    service = Service("payment")
    service.prepares(ledger.create_tables)

    @service.on(OrderPlaced, effect="charge", publishes=(PaymentTaken, PaymentDeclined))
    async def charge(placed: OrderPlaced, db: SqliteTransaction) -> PaymentTaken:
        order = placed.order
        if order.total > credit_limit:
            code = "credit_limit_exceeded"
            raise Refused(code, fact=PaymentDeclined(**problem_of(order, code)))
        charge_id = await ledger.charge(db, order.order_id, order.customer, order.total, f"{order.order_id}:charge")
        return PaymentTaken(order_id=order.order_id, charge_id=charge_id)

    @service.on(OrderFailing, undoes="charge", publishes=PaymentReturned)
    async def give_back(failing: OrderFailing, db: SqliteTransaction) -> PaymentReturned:
        amount = await ledger.refund(db, failing.order_id, f"{failing.order_id}:refund")
        return PaymentReturned(order_id=failing.order_id, amount=amount)

    return service


def inventory_service(stock: Stock) -> Service:
    """Holds every line of an order that is paid for, or none."""
    service = Service("inventory")

    @service.on(all_of(OrderPlaced, PaymentTaken), effect="reserve", publishes=(StockHeld, StockShort))
    async def reserve(placed: OrderPlaced, taken: PaymentTaken, db: SqliteTransaction) -> StockHeld:
        order = placed.order
        key = f"{taken.order_id}:reserve"
        reservation = await asyncio.to_thread(stock.reserve, key, order.order_id, _pieces(order))
        if reservation.state == "refused":
            raise Refused("out_of_stock", fact=StockShort(**problem_of(order, "out_of_stock")))
        return StockHeld(order_id=order.order_id, reservation_id=key)

    @service.on(OrderFailing, undoes="reserve", publishes=StockReturned)
    async def release(failing: OrderFailing, db: SqliteTransaction) -> StockReturned:
        return StockReturned(order_id=failing.order_id, pieces=await asyncio.to_thread(stock.release, failing.order_id))

    return service


def _pieces(order: PlaceOrder) -> Counter[str]:
    """Pieces by article: an order may name an article in several lines."""
    pieces: Counter[str] = Counter()
    for line in order.lines:
        pieces[line.article] += line.quantity
    return pieces


def shipping_service(carrier: Carrier) -> Service:
    """Hands what is held to a carrier. Once that has it, nothing takes it back: so it comes last."""
    service = Service("shipping")

    @service.on(all_of(OrderPlaced, StockHeld), publishes=(ParcelSent, ParcelRefused))
    async def ship(placed: OrderPlaced, held: StockHeld, db: SqliteTransaction) -> ParcelSent:
        order = placed.order
        outcome = await carrier.book(f"{held.order_id}:ship", order.order_id, order.country)
        if isinstance(outcome, Booked):
            return ParcelSent(order_id=order.order_id, tracking=outcome.tracking)
        if outcome.code not in ShipOrder.refusals:
            raise CarrierTrouble("The carrier refuses with a code that we do not know.")
        raise Refused(outcome.code, fact=ParcelRefused(**problem_of(order, outcome.code)))

    return service
