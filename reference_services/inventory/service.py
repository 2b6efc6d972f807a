"""The inventory service: holds every line of an order, or none.

A reservation is several transactions in the stock book, so to choros the stock book is a *provider*: an effect
outside the service's transaction, asked for under the command's key.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from choros import Call, Refused, Service
from reference_services.contracts import (
    InventoryReleased,
    InventoryReserved,
    ReleaseInventory,
    ReserveInventory,
)
from reference_services.inventory.stock import Reservation, Stock


def inventory_service(stock: Stock) -> Service:
    """The service with its handlers."""
    service = Service("inventory")

    async def find_reservation(command: ReserveInventory, call: Call) -> InventoryReserved | None:
        found = await asyncio.to_thread(stock.find, call.key)
        if found is None:
            return None
        # Broken off in the middle, it is continued: the same key is the same reservation.
        return await reserve_inventory(command, call) if found.state == "holding" else _answer(found)

    @service.provider(ReserveInventory, ask=find_reservation)
    async def reserve_inventory(command: ReserveInventory, call: Call) -> InventoryReserved:
        return _answer(await asyncio.to_thread(stock.reserve, call.key, command.order_id, _pieces(command)))

    @service.provider(ReleaseInventory)
    async def release_inventory(command: ReleaseInventory) -> InventoryReleased:
        return InventoryReleased(pieces=await asyncio.to_thread(stock.release, command.order_id))

    return service


def _pieces(command: ReserveInventory) -> Counter[str]:
    """Pieces by article: an order may name an article in several lines."""
    pieces: Counter[str] = Counter()
    for line in command.lines:
        pieces[line.article] += line.pieces
    return pieces


def _answer(reservation: Reservation) -> InventoryReserved:
    if reservation.state == "refused":
        raise Refused("out_of_stock")
    return InventoryReserved(reservation_id=reservation.key)
