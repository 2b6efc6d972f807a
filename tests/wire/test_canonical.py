"""What is said the same has the same canonical text, however it is written; most messages are their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from choros.messages import Message
from choros.wire.canonical import canonical

EAST = timezone(timedelta(hours=2))


class Line(BaseModel, extra="allow", serialize_by_alias=True):
    price: Decimal = Decimal(0)
    weight: float = 0.0


@dataclass
class Place:
    tags: frozenset[int] = frozenset()


class Order(Message):
    id: str
    tags: frozenset[str] = frozenset()
    lines: dict[str, int] = {}  # noqa: RUF012  # pydantic copies it
    nested: tuple[Line, ...] = ()
    places: list[Place] = []  # noqa: RUF012
    total: Decimal = Decimal(0)
    rate: float = 0.0
    at: datetime | None = None
    rest: Any = None
    rates: Mapping[Decimal, int] = {}
    groups: frozenset[frozenset[int]] = frozenset()


class Plain(Message):
    id: str
    count: int = 0
    notes: tuple[str, ...] = ()


def text(**said: Any) -> str:
    order = Order(id="1", **said)
    return canonical(order, order.model_dump_json())


def dated(moment: datetime) -> str:
    return text(at=moment)


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (dict(lines={"x": 1, "y": 2}), dict(lines={"y": 2, "x": 1})),
    (dict(total=Decimal("10")), dict(total=Decimal("10.00"))),
    (dict(total=Decimal("1E+1")), dict(total=Decimal("10"))),
    (dict(total=Decimal("0.10")), dict(total=Decimal("0.1"))),
    (dict(total=Decimal("1E+1000")), dict(total=Decimal("10E+999"))),
    (dict(total=Decimal("-0.0")), dict(total=Decimal(0))),
    (dict(rate=-0.0), dict(rate=0.0)),
    (dict(at=datetime(2026, 1, 1, 12, tzinfo=UTC)), dict(at=datetime(2026, 1, 1, 14, tzinfo=EAST))),
    (dict(rest={"x": 1, "y": {"b": [1], "a": 2}}), dict(rest={"y": {"a": 2, "b": [1]}, "x": 1})),
    (dict(nested=(Line(price="1.0", a=1, b=2),)), dict(nested=(Line(price=1, b=2, a=1),))),  # type: ignore[arg-type, call-arg]
    (dict(rates={Decimal("1.0"): 1, Decimal(2): 2}), dict(rates={Decimal("2.0"): 2, Decimal(1): 1})),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_said_the_same_has_the_same_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert Order(id="1", **one) == Order(id="1", **other)
    assert text(**one) == text(**other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dict(lines={"x": 1, "y": 2}), dict(lines={"x": 2, "y": 1})),
        (dict(total=Decimal("10")), dict(total=Decimal("100"))),
        (dict(total=Decimal("1.1")), dict(total=Decimal("11"))),
        (dict(total=Decimal("-1")), dict(total=Decimal("1"))),
        (dict(at=datetime(2026, 1, 1, 12, tzinfo=UTC)), dict(at=datetime(2026, 1, 1, 12, tzinfo=EAST))),
        (dict(rest=[1, 2]), dict(rest=[2, 1])),
        (dict(tags={"a"}), dict(tags={"b"})),
    ],
)
def test_what_is_said_otherwise_has_another_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert text(**one) != text(**other)


def test_a_moment_at_the_end_of_the_calendar_stays_as_it_is() -> None:
    assert "9999-12-31T23:59:00-02:00" in dated(datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-2))))


@pytest.mark.parametrize(
    "message",
    [
        Plain(id='é\u2028\x01"\\/', count=2**70, notes=("a", "b")),
        Order(id="1", lines={"a": 1, "b": 2}, total=Decimal("3"), rate=1e22, at=datetime(2026, 1, 1, tzinfo=UTC)),
        Order(id="1", total=Decimal("0.25"), rate=0.1, tags=frozenset({"a"}), rest=[1, None, "x", {"a": True}]),
    ],
)
def test_most_messages_are_their_own_canonical_text(message: Message) -> None:
    """So an older choros, which has no other, digests them to the same."""
    assert canonical(message, message.to_json()) == message.to_json()


class Tags(RootModel[frozenset[int]]):
    pass


class Prices(RootModel[dict[str, Decimal]]):
    pass


class Open(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, frozenset[int]]


class Counted(BaseModel):
    tags: frozenset[int]

    @computed_field  # type: ignore[prop-decorator] # pydantic's own way
    @property
    def also(self) -> frozenset[int]:
        return self.tags


@pydantic_dataclass(config=ConfigDict(serialize_by_alias=True))
class Renamed:
    tags: frozenset[int] = Field(alias="Tags")


class Sloppy(Message):
    total: Decimal = 0  # type: ignore[assignment] # as people do
    rates: tuple[Decimal, ...] = (1,)  # type: ignore[assignment]
    limit: Decimal | None = 0  # type: ignore[assignment]


ONE, OTHER = frozenset([0, 8]), frozenset([8, 0])
ALIKE: list[tuple[Any, Any, Any]] = [
    (Tags, Tags(ONE), Tags(OTHER)),
    (Prices, Prices({"a": Decimal("1")}), Prices({"a": Decimal("1.0")})),
    (Open, Open(x=ONE), Open(x=OTHER)),  # type: ignore[call-arg]
    (Counted, Counted(tags=ONE), Counted(tags=OTHER)),
    (Renamed, Renamed(Tags=ONE), Renamed(Tags=OTHER)),
]


@pytest.mark.parametrize(("kind", "one", "other"), ALIKE)
def test_so_it_is_within_whatever_pydantic_knows(kind: Any, one: Any, other: Any) -> None:
    message: Any = type("Held", (Message,), {"__annotations__": {"f": kind}, "__module__": __name__})
    first, second = message(f=one), message(f=other)
    assert first == second
    assert first.to_json() != second.to_json()
    assert canonical(first, first.to_json()) == canonical(second, second.to_json())


def test_a_default_of_another_type_says_what_it_is_read_as() -> None:
    left, given = Sloppy(), Sloppy(total=Decimal(0), rates=(Decimal("1.0"),), limit=Decimal("0.0"))
    assert left == given
    assert canonical(left, left.to_json()) == canonical(given, given.to_json())


def test_the_order_of_a_set_says_nothing() -> None:
    """That of texts differs from process to process; that of these numbers, by who came first."""
    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert [list(one), list(other)] == [[0, 8], [8, 0]]
    groups = [Order(id="1", groups=frozenset([each]), places=[Place(each)]) for each in (one, other)]
    assert groups[0] == groups[1]
    assert len({order.to_json() for order in groups}) == 2
    assert len({canonical(order, order.to_json()) for order in groups}) == 1
