"""The inventory service as an application of its own: `choros run reference_services.inventory`."""

from __future__ import annotations

import os
from pathlib import Path

from choros import App
from reference_services.inventory.catalogue import opening_stock
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock


def stock_path() -> Path:
    """CHOROS_STOCK, or else stock.db beside the service's database."""
    if chosen := os.environ.get("CHOROS_STOCK"):
        return Path(chosen)
    database = os.environ.get("CHOROS_DATABASE", "")
    folder = Path(database.removeprefix("sqlite:///")).parent if database.startswith("sqlite:///") else Path(".choros")
    return folder / "stock.db"


app = App("shop", services=(inventory_service(Stock(stock_path(), opening_stock)),))
