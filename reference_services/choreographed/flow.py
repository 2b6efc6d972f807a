"""The order as a choreography: what nobody orchestrates, in one place to read and to check."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from choros import App, Choreography, FactLog, Program, Service
from reference_services.choreographed.facts import OrderFailing, OrderPlaced
from reference_services.contracts import OrderConfirmed, OrderRejected

FRONT = "front"


def order_flow(services: Iterable[Service]) -> Choreography[OrderPlaced]:
    """Payment, then inventory, then shipping; the orders service decides. Nothing is sent before all is paid and held,
    so that a parcel never has to come back."""
    return Choreography(
        "order",
        version=1,
        start=OrderPlaced,
        key=lambda placed: placed.order.order_id,  # the same order begins one flow, however often it is placed
        good=OrderConfirmed,
        turns=OrderFailing,
        bad=OrderRejected,
        closer="orders",
        services=services,
        within=timedelta(hours=1),
    )


def choreographed_shop(members: Iterable[Service], listeners: Iterable[Service] = ()) -> App:
    """The application of those who take part, of those who only listen, and of the front door. The fact log has what
    the front says, which no database keeps; so `choros flow show` tells of an order from its first fact on."""
    services = tuple(members)
    return App(
        "shop", name="order", services=(*services, *listeners), choreographies=(order_flow(services),),
        programs=(Program(FRONT, publishes=OrderPlaced),), fact_log=FactLog(),
    )  # fmt: skip
