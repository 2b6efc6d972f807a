"""Flows to explore: the order with payment and stock side by side, and what it is without one of its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from choros import Fact
from choros.app.flow_outline import FlowOutline, FlowReaction
from tests.app import flow_shop as shop


class OrderFailing(Fact):
    order_id: str


class ParcelReturned(Fact):
    order_id: str


class PaymentReversed(Fact):
    order_id: str


def reaction(
    said: str, *hears: type[Fact], says: Any = (), undoes: type[Fact] | None = None, gives_up: type[Fact] | None = None,
    silent: bool = False,
) -> FlowReaction:  # fmt: skip
    """One that waits for all that it hears."""
    service, name = said.split(".")

    def function() -> None: ...

    publishes = says if isinstance(says, tuple) else (says,)
    return FlowReaction(service, hears, publishes, silent, undoes, function, name, True, gives_up)


CHARGE = reaction(
    "payment.charge", shop.OrderPlaced, says=(shop.PaymentCharged, shop.PaymentDeclined), gives_up=shop.PaymentDeclined
)
REFUND = reaction("payment.refund", OrderFailing, undoes=shop.OrderPlaced, says=shop.PaymentRefunded)
RESERVE = reaction("inventory.reserve", shop.OrderPlaced, says=(shop.StockReserved, shop.OutOfStock))
RELEASE = reaction("inventory.release", OrderFailing, undoes=shop.OrderPlaced, says=shop.StockReleased)
SHIP = reaction(
    "shipping.ship", shop.PaymentCharged, shop.StockReserved, says=(shop.ParcelShipped, shop.AddressUnknown)
)
COMPLETE = reaction("orders.complete", shop.ParcelShipped, says=shop.OrderCompleted)
FAIL = reaction("orders.fail", shop.PaymentRefunded, shop.StockReleased, says=shop.OrderFailed)
NOES = (shop.PaymentDeclined, shop.OutOfStock, shop.AddressUnknown)
_TURN = reaction("orders.turn", shop.PaymentDeclined, says=OrderFailing)
TURNS = tuple(replace(_TURN, hears=(fact,)) for fact in NOES)
BESIDE = FlowOutline(
    "order", 1, shop.OrderPlaced, (shop.OrderCompleted,), (shop.OrderFailed,), (OrderFailing,), "orders",
    (CHARGE, REFUND, RESERVE, RELEASE, SHIP, COMPLETE, FAIL, *TURNS),
)  # fmt: skip
"""Payment and stock side by side; what one of them says no to, the closer turns on."""


def without(*left_out: FlowReaction) -> FlowOutline:
    """The same without these."""
    return replace(BESIDE, reactions=[one for one in BESIDE.reactions if one not in left_out])


def having(*more: FlowReaction) -> FlowOutline:
    """The same with these too."""
    return replace(BESIDE, reactions=[*BESIDE.reactions, *more])


class OrderWithdrawn(Fact):
    order_id: str


class Checked(Fact):
    order_id: str


class Suspicious(Fact):
    order_id: str


RACING = replace(
    BESIDE,
    reactions=[
        CHARGE, REFUND, reaction("inventory.look", shop.OrderPlaced, says=(shop.OutOfStock,), silent=True),
        reaction("orders.complete", shop.PaymentCharged, says=shop.OrderCompleted),
        reaction("orders.fail", shop.PaymentRefunded, says=shop.OrderFailed), *TURNS[:2],
    ],
)  # fmt: skip
RACING = replace(RACING, standing=tuple(one.function for one in RACING.reactions if one.name == "look"))
"""Something bad may be told beside the good end; the closer decides."""

_BAD = reaction("payment.refund", shop.OutOfStock, undoes=shop.OrderPlaced, says=shop.PaymentRefunded)
TWICE_BAD = replace(
    BESIDE,
    turns=(),
    reactions=[
        reaction("payment.charge", shop.OrderPlaced, says=shop.PaymentCharged),
        _BAD, replace(_BAD, hears=(Suspicious,)),
        reaction("inventory.look", shop.OrderPlaced, says=(shop.StockReserved, shop.OutOfStock)),
        reaction("fraud.look", shop.OrderPlaced, says=(Checked, Suspicious)),
        reaction("orders.complete", shop.PaymentCharged, shop.StockReserved, Checked, says=shop.OrderCompleted),
        reaction("orders.fail", shop.PaymentRefunded, says=shop.OrderFailed),
    ],
)  # fmt: skip
"""Two may say no in one flow, and one function undoes for both."""
TWICE_BAD = replace(TWICE_BAD, standing=tuple(one.function for one in TWICE_BAD.reactions if one.name == "look"))

ROUND = replace(
    BESIDE,
    turns=(), bad=(),
    reactions=[
        reaction("player.play", shop.OrderPlaced, says=shop.PaymentCharged),
        reaction("player.back", shop.PaymentCharged, says=(shop.StockReserved, shop.ParcelShipped)),
        reaction("player.again", shop.StockReserved, says=shop.PaymentCharged),
        reaction("orders.complete", shop.ParcelShipped, says=shop.OrderCompleted),
    ],
)  # fmt: skip
ROUND = replace(ROUND, standing=tuple(one.function for one in ROUND.reactions))
"""It goes round for as long as nobody leaves."""
