"""Reading a file of orders: every line is sold, dropped and named, or part of a rejected invoice."""

from collections import Counter
from pathlib import Path

import pytest

from choros.errors import UsageError
from reference_services.inventory.catalogue import discontinued
from reference_services.orders import GUEST, OrderFile, read_orders
from reference_services.payment.service import CREDIT_LIMIT
from reference_services.sample_orders import sample_orders
from reference_services.shipping.carrier.fate import fate_of

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "22222,LANTERN,2,2010-12-01 08:26:00,1.5,17850.0,United Kingdom"


def read(tmp_path: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8") -> OrderFile:
    path = tmp_path / "orders.csv"
    path.write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return read_orders(path)


def test_an_order_of_two_lines(tmp_path: Path) -> None:
    file = read(tmp_path, f"1,{GOOD}", '1,85123a,"HEART, WHITE ",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom')
    [order] = file.orders
    assert (order.order_id, order.customer, order.country) == ("1", "17850", "United Kingdom")
    assert order.placed_at == "2010-12-01T08:26:00"
    assert [(line.article, line.description) for line in order.lines] == [
        ("22222", "LANTERN"),
        ("85123A", "HEART, WHITE"),
    ]
    assert order.total == 2 * 150 + 6 * 255
    assert not file.dropped_lines
    assert not file.rejected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("POST,POSTAGE,3,2010-12-01 08:45:00,18.0,1.0,France", "StockCode 'POST' is not goods"),
        ("BANK CHARGES,,1,2010-12-01 08:45:00,18.0,1.0,France", "StockCode 'BANK CHARGES' is not goods"),
        (",,1,2010-12-01 08:45:00,18.0,1.0,France", "has no StockCode"),
        ("22222,x,0,2010-12-01 08:45:00,18.0,1.0,France", "Quantity is 0, not above zero"),
        ("22222,x,-3,2010-12-01 08:45:00,18.0,1.0,France", "Quantity is -3, not above zero"),
        ("22222,x,1.5,2010-12-01 08:45:00,18.0,1.0,France", "Quantity is 1.5, not a whole number of pieces"),
        ("22222,x,two,2010-12-01 08:45:00,18.0,1.0,France", "Quantity 'two' is no number"),
        ("22222,x,1_0,2010-12-01 08:45:00,18.0,1.0,France", "Quantity '1_0' is no number"),
        ("22222,x,1000001,2010-12-01 08:45:00,18.0,1.0,France", "Quantity is 1000001, not a whole number of pieces"),
        ("22222,x,1,2010-12-01 08:45:00,0.0,1.0,France", "UnitPrice is 0.0, not above zero"),
        ("22222,x,1,2010-12-01 08:45:00,0.001,1.0,France", "UnitPrice is 0.001, not a whole number of pence"),
        ("22222,x,1,2010-12-01 08:45:00,nan,1.0,France", "UnitPrice 'nan' is no number"),
        ("22222,x,1,2010-12-01 08:45:00,1e9,1.0,France", "UnitPrice '1e9' is no number"),
        ("22222,x,1,yesterday,1.0,1.0,France", "InvoiceDate 'yesterday' is no date"),
        ("22222,x,1,2010-12-01 08:45:00,1.0,a@b,France", "CustomerID 'a@b' is no customer"),
        ("22222,x", "has no Quantity"),
    ],
)
def test_a_bad_line_is_dropped_and_named_and_its_order_goes_on(tmp_path: Path, line: str, reason: str) -> None:
    file = read(tmp_path, f"1,{GOOD}", f"1,{line}")
    [dropped] = file.dropped_lines
    assert (dropped.line, dropped.order_id) == (3, "1")
    assert str(dropped).startswith(f"line 3, order 1: {reason}")
    assert [len(order.lines) for order in file.orders] == [1]


def test_what_is_no_order_is_rejected_whole_and_named(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        f"C1,{GOOD}",
        "2,POST,POSTAGE,3,2010-12-01 08:45:00,18.0,1.0,France",
        f"a b,{GOOD}",
        *[f"4,{GOOD}"] * 1001,
    )
    assert file.orders == ()
    assert [str(rejected) for rejected in file.rejected] == [
        "order C1: is a cancellation",
        "order 2: has no line that can be sold",
        "order a b: has a number that is no order id",
        "order 4: has more than 1000 lines",
    ]
    assert [dropped.order_id for dropped in file.dropped_lines] == ["2"]


def test_a_line_without_an_invoice_is_dropped(tmp_path: Path) -> None:
    file = read(tmp_path, f",{GOOD}", f"1,{GOOD}")
    assert [str(dropped) for dropped in file.dropped_lines] == ["line 2, order without a number: has no InvoiceNo"]
    assert not file.rejected
    assert len(file.orders) == 1


def test_the_lines_of_an_invoice_need_not_stand_together(tmp_path: Path) -> None:
    file = read(tmp_path, f"1,{GOOD}", f"2,{GOOD}", f"1,{GOOD}")
    assert [(order.order_id, len(order.lines)) for order in file.orders] == [("1", 2), ("2", 1)]


@pytest.mark.parametrize("customer", ["", "0.0", "nan"])
def test_no_customer_is_a_guest(tmp_path: Path, customer: str) -> None:
    [order] = read(tmp_path, f"1,22222,x,1,12/1/2010 8:26,1.0,{customer},").orders
    assert (order.customer, order.country, order.placed_at) == (GUEST, "Unspecified", "2010-12-01T08:26:00")


def test_a_byte_order_mark_and_more_columns_do_no_harm(tmp_path: Path) -> None:
    file = read(tmp_path, f"1,{GOOD},more,and more", header=f"{HEADER},Remark", encoding="utf-8-sig")
    assert len(file.orders) == 1


def test_a_file_without_orders_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path) == OrderFile((), (), ())


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column UnitPrice, Country"):
        read(tmp_path, header="InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID")


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\xff\xfe\x00", HEADER.encode() + b'\n"1"x,2\n'])
def test_what_is_no_file_of_orders_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_orders(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_orders(path)


@pytest.mark.parametrize("size", [1, 2, 3, 24, 60])
@pytest.mark.parametrize("seed", [1, 7])
def test_made_up_orders_tell_every_story(size: int, seed: int) -> None:
    orders = sample_orders(size, seed)
    assert orders == sample_orders(size, seed)
    assert len({order.order_id for order in orders}) == size
    stories = Counter(fate_of(order.order_id).outcome for order in orders)
    assert stories["damaged_in_transit"] == max(1, (size + 17) // 20)
    assert stories["address_not_served"] == 0
    dear = sum(order.total > CREDIT_LIMIT for order in orders)
    sold_out = sum(any(discontinued(line.article) for line in order.lines) for order in orders)
    assert dear == (size + 12) // 20
    assert sold_out == (size + 7) // 20
