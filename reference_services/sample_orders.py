"""Made-up orders, for a demo without a file: the same for the same seed, and every story is among them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count

from reference_services.contracts import OrderLine, PlaceOrder
from reference_services.inventory.catalogue import discontinued
from reference_services.payment.service import CREDIT_LIMIT
from reference_services.shipping.carrier.fate import Outcome, fate_of

_GOODS = (
    ("White hanging heart t-light holder", 255),
    ("White metal lantern", 339),
    ("Cream cupid hearts coat hanger", 275),
    ("Knitted union flag hot water bottle", 339),
    ("Set of 7 babushka nesting boxes", 765),
    ("Glass star frosted t-light holder", 425),
    ("Hand warmer union jack", 185),
    ("Assorted colour bird ornament", 169),
    ("Red 3 piece retrospot cutlery set", 375),
    ("Childs garden trowel blue", 85),
    ("Regency cakestand 3 tier", 1275),
    ("Jumbo bag red retrospot", 195),
)
_COUNTRIES = ("United Kingdom",) * 12 + ("France", "Germany", "EIRE", "Norway", "Japan")
_OPENING = datetime(2010, 12, 1, 8, 0)  # noqa: DTZ001 (as in the file of real orders: no zone)
# One order in twenty is refused at each step. The damaged parcel comes first: it is the demo's story.
_DAMAGED, _TOO_DEAR, _SOLD_OUT = 2, 7, 12


def sample_orders(size: int, seed: int = 7) -> tuple[PlaceOrder, ...]:
    """So many orders. At least one of them is refused with damaged_in_transit."""
    random_ = random.Random(seed)
    return tuple(_order(number, size, seed, random_) for number in range(size))


def _order(number: int, size: int, seed: int, random_: random.Random) -> PlaceOrder:
    story = number % 20
    damaged = story == _DAMAGED or (size <= _DAMAGED and number == size - 1)
    return PlaceOrder(
        order_id=_order_id(f"S{seed}-{number + 1:04}", "damaged_in_transit" if damaged else "delivered"),
        customer=str(random_.randrange(12_346, 18_288)),
        country=random_.choice(_COUNTRIES),
        placed_at=(_OPENING + timedelta(minutes=7 * number)).isoformat(),
        lines=tuple(_lines(story, random_)),
    )


def _order_id(stem: str, outcome: Outcome) -> str:
    """What becomes of a parcel follows from the order's id, so look for an id with the wanted ending."""
    ids = (f"{stem}{_letters(n)}" for n in count())
    return next(order_id for order_id in ids if fate_of(order_id).outcome == outcome)


def _letters(number: int) -> str:
    return "" if number == 0 else _letters((number - 1) // 26) + chr(ord("a") + (number - 1) % 26)


def _lines(story: int, random_: random.Random) -> Iterator[OrderLine]:
    goods = random_.sample(_GOODS, k=random_.randint(2, 5))
    for description, pence in goods:
        # Four lines of at most six pieces stay far below the limit.
        yield _line(description, random_.randint(1, 6), pence, sold=True)
    if story == _TOO_DEAR:
        yield _line("Edwardian parasol black", CREDIT_LIMIT // 595 + 1, 595, sold=True)
    if story == _SOLD_OUT:
        yield _line("Boxed glass ashtray", 1, 251, sold=False)


def _line(description: str, pieces: int, pence: int, *, sold: bool) -> OrderLine:
    first = 20_000 + sum(map(ord, description)) * 7 % 60_000
    article = next(article for article in map(str, range(first, 99_999)) if discontinued(article) != sold)
    return OrderLine(article=article, description=description, quantity=pieces, unit_price=pence)
