"""What sets the shop's three declarations apart, to the last difference: one edit would take it away."""

from __future__ import annotations

from choros import App, Pivot, RetryPolicy, Saga, Step
from choros_verify import parity
from reference_services.choreographed.app import app as choreographed
from reference_services.contracts import PlaceOrder, analytics, inventory, notifications, payment, shipping
from reference_services.orchestrated.app import app as orchestrated
from reference_services.order import saga as hybrid_saga
from reference_services.order.app import app as hybrid

FLOW = choreographed.choreography("order")
SERVICES = (payment, inventory, shipping, notifications, analytics)


def test_what_is_tried_for_the_last_time_and_the_order_of_the_undo_set_hybrid_and_flow_apart() -> None:
    told = parity((hybrid, hybrid.saga("order")), (choreographed, FLOW))
    given_up = (
        "{}, once tried for the last time, is undone in saga 'order', and waits for a person in choreography 'order'"
    )
    assert list(told.differences) == [
        given_up.format("payment"),
        given_up.format("inventory"),
        "where payment is done, inventory is done, shipping is refused, the undo of inventory fails: saga 'order' does"
        " not end, payment stands, inventory waits for a person; choreography 'order' does not end, nothing stands,"
        " inventory waits for a person",
    ]


def test_declared_alike_there_they_are_at_parity() -> None:
    park = RetryPolicy(exhausted="park")
    steps = (
        Step(hybrid_saga.charge_payment, "payment", hybrid_saga.refund_payment, retry=park),
        Step(hybrid_saga.reserve_inventory, "inventory", hybrid_saga.release_inventory, retry=park),
        Pivot(hybrid_saga.ship_order, "shipping"),
    )
    saga = Saga(
        "order", start=PlaceOrder, key=lambda order: order.order_id, steps=steps, undo="at_once",
        completed=hybrid_saga.order_confirmed, compensated=hybrid_saga.order_rejected,
    )  # fmt: skip
    told = parity((App("shop", name="order", sagas=(saga,), services=SERVICES), saga), (choreographed, FLOW))
    assert told.held, str(told)


def test_what_is_commanded_in_one_and_told_in_the_other_sets_the_sagas_apart() -> None:
    told = parity((orchestrated, orchestrated.saga("order")), (hybrid, hybrid.saga("order")))
    assert list(told.differences) == [
        "notifications works in saga 'order' only",
        "analytics works in saga 'order' only",
    ]
