"""A file of invoices as the data set has them, with everything that can be wrong in it, and what must come of it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from reference_services.contracts import PlaceOrder
from reference_services.orders import COLUMNS
from reference_services.sample_orders import sample_orders

# sample_orders refuses one order in twenty at each step; see its stories.
STORIES = {2: "damaged_in_transit", 7: "credit_limit_exceeded", 12: "out_of_stock"}
COUNT = 60
_BAD_LINES = (  # (order by index, article, quantity, price)
    (0, "22423", "0", "2.55"),
    (1, "22423", "-3", "2.55"),
    (1, "22423", "6", "0"),
    (4, "POST", "1", "18.00"),
    (7, "22423", "six", "2.55"),
    (20, "22423", "6", "-1.25"),
)
DROPPED = len(_BAD_LINES) + 1 + 2  # one has no invoice number; two make an invoice of their own
REJECTED = ("C536379", "536414")


@dataclass(frozen=True)
class Invoices:
    """The file, and the outcome of each order in it."""

    path: Path
    outcomes: dict[str, str]


def write_invoices(path: Path, count: int = COUNT) -> Invoices:
    """Write `count` good invoices among bad lines, a cancellation and an invoice without a good line."""
    orders = sample_orders(count, seed=11)
    rows = [row for order in orders for row in _rows(order)]
    rows += [_row(orders[index], article, quantity, price) for index, article, quantity, price in _BAD_LINES]
    rows += [
        _row(orders[0], "22423", "6", "2.55") | {"InvoiceNo": ""},
        _row(orders[0], "22423", "-1", "2.55") | {"InvoiceNo": "C536379"},
        _row(orders[0], "22423", "1", "0") | {"InvoiceNo": "536414"},
        _row(orders[0], "gift_0001", "1", "10") | {"InvoiceNo": "536414"},
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return Invoices(path, {order.order_id: _outcome(index) for index, order in enumerate(orders)})


def _outcome(index: int) -> str:
    reason = STORIES.get(index % 20)
    return f"compensated ({reason})" if reason else "completed"


def _rows(order: PlaceOrder) -> list[dict[str, str]]:
    return [_row(order, line.article, str(line.quantity), f"{line.unit_price / 100:.2f}") for line in order.lines]


def _row(order: PlaceOrder, article: str, quantity: str, price: str) -> dict[str, str]:
    placed_at = order.placed_at.replace("T", " ")
    values = (order.order_id, article, "SOMETHING, NICE", quantity, placed_at, price, order.customer, order.country)
    return dict(zip(COLUMNS, values, strict=True))
