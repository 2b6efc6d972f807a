"""Orders out of a file of sold invoices: one row for each invoice line, as the "Online Retail" data set has it.

A line that cannot be sold is dropped and named, and its order goes on with the rest. An order without a good line,
and a cancellation, is rejected as a whole and named. Nothing is half-placed and nothing disappears without a word.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from choros import UsageError
from reference_services.contracts import MOST_LINES, MOST_PENCE_A_PIECE, MOST_PIECES, OrderLine, PlaceOrder

COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"
)  # fmt: skip
GUEST = "guest"
"""Whoever ordered without a customer number."""
_INVOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
# Goods have five digits, and perhaps a variant in letters; DCGS... are those of a second supplier. Everything else
# (POST, D, M, DOT, C2, S, BANK CHARGES, AMAZONFEE, gift vouchers ...) is a service, a fee or a correction.
_GOODS = re.compile(r"[0-9]{5}[A-Z]{0,3}|DCGS[0-9]{4}[A-Z]{0,3}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,6})?")
_CUSTOMER = re.compile(r"[A-Za-z0-9]{1,40}")


@dataclass(frozen=True, slots=True)
class DroppedLine:
    """A line of the file that is part of no order."""

    line: int
    order_id: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}, order {self.order_id or 'without a number'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RejectedOrder:
    """An invoice of the file that is no order."""

    order_id: str
    reason: str

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.reason}"


@dataclass(frozen=True, slots=True)
class OrderFile:
    """What was read: every line is in an order, dropped, or part of a rejected invoice."""

    orders: tuple[PlaceOrder, ...]
    dropped_lines: tuple[DroppedLine, ...]
    rejected: tuple[RejectedOrder, ...]


class _NotSold(Exception):
    """Why a line is dropped."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Sale:
    line: OrderLine
    placed_at: str
    customer: str
    country: str


def read_orders(path: Path) -> OrderFile:
    """Read the file; raises UsageError where it is no such file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _sort_out(_rows(file, path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "the path of a CSV file of orders.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text.", f"iconv -f latin1 -t utf-8 {path}.") from None
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}.", "quotes around what holds a comma.") from None


def _rows(file: Iterable[str], path: Path) -> Iterator[_Row]:
    reader = csv.DictReader(file, restkey="", restval="", strict=True)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"{path} has no column {', '.join(missing)}.", f"a header line with {','.join(COLUMNS)}.")
    for row in reader:
        yield _Row(reader.line_num, {column: row[column].strip() for column in COLUMNS})


def _sort_out(rows: Iterable[_Row]) -> OrderFile:
    invoices: dict[str, list[_Row]] = {}  # an invoice's lines need not stand together
    for row in rows:
        invoices.setdefault(row.fields["InvoiceNo"], []).append(row)
    orders: list[PlaceOrder] = []
    dropped: list[DroppedLine] = []
    rejected: list[RejectedOrder] = []
    for order_id, lines in invoices.items():
        match _order(order_id, lines, dropped):
            case PlaceOrder() as order:
                orders.append(order)
            case str(reason) if order_id:
                rejected.append(RejectedOrder(order_id, reason))
    return OrderFile(tuple(orders), tuple(dropped), tuple(rejected))


def _order(order_id: str, rows: list[_Row], dropped: list[DroppedLine]) -> PlaceOrder | str:
    """The order, or why it is none."""
    if not order_id:
        dropped += [DroppedLine(row.line, "", "has no InvoiceNo") for row in rows]
        return "has no InvoiceNo"
    if order_id[0] in "Cc":
        return "is a cancellation"
    if not _INVOICE.fullmatch(order_id):
        return "has a number that is no order id"
    sales = list(_sales(order_id, rows, dropped))
    if not sales:
        return "has no line that can be sold"
    if len(sales) > MOST_LINES:
        return f"has more than {MOST_LINES} lines"
    first = sales[0]
    return PlaceOrder(
        order_id=order_id,
        customer=first.customer,
        country=first.country,
        placed_at=first.placed_at,
        lines=tuple(sale.line for sale in sales),
    )


def _sales(order_id: str, rows: list[_Row], dropped: list[DroppedLine]) -> Iterator[_Sale]:
    for row in rows:
        try:
            yield _sale(row.fields)
        except _NotSold as reason:
            dropped.append(DroppedLine(row.line, order_id, str(reason)))


def _sale(fields: Mapping[str, str]) -> _Sale:
    line = OrderLine(
        article=_article(fields["StockCode"]),
        description=" ".join(fields["Description"].split())[:200],
        quantity=_whole(fields["Quantity"], "Quantity", "pieces", MOST_PIECES),
        unit_price=_whole(fields["UnitPrice"], "UnitPrice", "pence", MOST_PENCE_A_PIECE, times=100),
    )
    return _Sale(line, _moment(fields["InvoiceDate"]), _customer(fields["CustomerID"]), _country(fields["Country"]))


def _article(text: str) -> str:
    article = text.upper()  # 85123a and 85123A are the same article
    if not _GOODS.fullmatch(article):
        raise _NotSold(f"StockCode {text[:30]!r} is not goods" if text else "has no StockCode")
    return article


def _whole(text: str, column: str, unit: str, most: int, times: int = 1) -> int:
    if not _NUMBER.fullmatch(text):
        raise _NotSold(f"{column} {text[:30]!r} is no number" if text else f"has no {column}")
    number = Decimal(text) * times
    if number <= 0:
        raise _NotSold(f"{column} is {text}, not above zero")
    if number != int(number) or number > most:
        raise _NotSold(f"{column} is {text}, not a whole number of {unit} up to {most}")
    return int(number)


def _moment(text: str) -> str:
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %H:%M"):
        try:
            return datetime.strptime(text, form).isoformat(timespec="seconds")  # noqa: DTZ007 (the file names no zone)
        except ValueError:
            continue
    raise _NotSold(f"InvoiceDate {text[:30]!r} is no date" if text else "has no InvoiceDate")


def _customer(text: str) -> str:
    """17850.0 is customer 17850; none, 0.0 and nan are guests."""
    number = text.removesuffix(".0")
    if number.lower() in ("", "0", "nan"):
        return GUEST
    if not _CUSTOMER.fullmatch(number):
        raise _NotSold(f"CustomerID {text[:30]!r} is no customer")
    return number


def _country(text: str) -> str:
    if len(text) > 60 or not text.isprintable():
        raise _NotSold("Country is no name")
    return text or "Unspecified"
