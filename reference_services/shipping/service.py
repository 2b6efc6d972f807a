"""The shipping service: hands parcels to a carrier, an effect outside any database of ours."""

from __future__ import annotations

from choros import Call, Refused, Service
from reference_services.contracts import OrderShipped, ShipOrder
from reference_services.shipping.carriers import Booked, Carrier, CarrierTrouble, NotCarried


def shipping_service(carrier: Carrier) -> Service:
    """The service with its handler.

    The command's key is the carrier's idempotency key, so a retry books no second parcel.
    """
    service = Service("shipping")

    async def find_parcel(command: ShipOrder, call: Call) -> OrderShipped | None:
        found = await carrier.find(call.key)
        return _answer(found) if found else None

    @service.provider(ShipOrder, ask=find_parcel)
    async def ship_order(command: ShipOrder, call: Call) -> OrderShipped:
        return _answer(await carrier.book(call.key, command.order_id, command.country))

    return service


def _answer(outcome: Booked | NotCarried) -> OrderShipped:
    if isinstance(outcome, Booked):
        return OrderShipped(carrier=outcome.carrier, tracking=outcome.tracking)
    if outcome.code in ShipOrder.refusals:
        raise Refused(outcome.code)
    raise CarrierTrouble("The carrier refuses with a code that we do not know.")
