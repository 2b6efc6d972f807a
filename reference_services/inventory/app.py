"""The inventory service as an application of its own: `choros run reference_services.inventory`."""

from __future__ import annotations

from choros import App
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.tables import beside

app = App("shop", services=(inventory_service(Stock(beside("CHOROS_STOCK", "stock"), opening_stock)),))
