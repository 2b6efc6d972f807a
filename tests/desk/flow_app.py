"""A flow that nobody tracks: an order is charged, held and sent; a parcel that cannot leave takes all of it back."""

from __future__ import annotations

from choros import App, Fact, FactLog, Program, Refused, Service, SqliteTransaction


class Placed(Fact, name="flow.placed"):
    order: str


class Charged(Fact, name="flow.charged"):
    order: str


class Held(Fact, name="flow.held"):
    order: str


class Shipped(Fact, name="flow.shipped"):
    order: str


class Damaged(Fact, name="flow.damaged"):
    order: str


class Refunded(Fact, name="flow.refunded"):
    order: str


payment, inventory, shipping, mails = Service("payment"), Service("inventory"), Service("shipping"), Service("mails")


@payment.on(Placed, publishes=Charged)
async def charge(fact: Placed, db: SqliteTransaction) -> Charged:
    return Charged(order=fact.order)


@payment.on(Damaged, undoes=Placed, publishes=Refunded)
async def refund(fact: Damaged, db: SqliteTransaction) -> Refunded:
    return Refunded(order=fact.order)


@inventory.on(Charged, publishes=Held)
async def hold(fact: Charged, db: SqliteTransaction) -> Held:
    return Held(order=fact.order)


@inventory.on(Damaged, undoes=Charged)
async def release(fact: Damaged, db: SqliteTransaction) -> None: ...


@shipping.on(Held, publishes=(Shipped, Damaged))
async def ship(fact: Held, db: SqliteTransaction) -> Shipped:
    if fact.order.endswith("d"):
        raise Refused("damaged", fact=Damaged(order=fact.order))
    return Shipped(order=fact.order)


@mails.on(Shipped, Refunded)
async def tell(fact: Shipped | Refunded, db: SqliteTransaction) -> None:
    if fact.order.startswith("x"):
        raise ValueError("no such customer")


till = Program("till", publishes=Placed)
app = App("flow", services=[payment, inventory, shipping, mails], programs=[till], fact_log=FactLog())
