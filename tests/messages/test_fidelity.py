"""What is sent is what is read: every feature of pydantic that changes JSON, and what becomes of it.

A class is refused when it is declared, or each message is looked at when it is written, or all are sure to survive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import math
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    InstanceOf,
    Json,
    JsonValue,
    NaiveDatetime,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    create_model,
    field_serializer,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from choros.errors import DeclarationError, MessageUnwritable
from choros.messages import Fact, Message, Reply, fidelity_of

T = TypeVar("T")


class Method(BaseModel):
    kind: str


class Card(Method):
    number: str = ""


class Leaf(BaseModel):
    x: float = 0.0


class Twin(BaseModel):
    x: float = 0.0


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Word(StrEnum):
    YES = "yes"


class Number(IntEnum):
    ONE = 1


class Pair(Enum):
    A = (1, 2)


class Point(NamedTuple):
    x: int
    y: int


class Shape(TypedDict, total=False):
    sides: int


class Renamed(TypedDict):
    __pydantic_config__ = ConfigDict(serialize_by_alias=True)  # type: ignore[misc] # pydantic's own way
    n: Annotated[int, Field(alias="N")]


@dataclasses.dataclass
class Box:
    width: int = 0


@dataclasses.dataclass
class BigBox(Box):
    height: int = 0


@dataclasses.dataclass
class Late:
    width: int = dataclasses.field(default=1, init=False)


class Cat(BaseModel):
    is_a: Literal["cat"] = "cat"


class Dog(BaseModel):
    is_a: Literal["dog"] = "dog"


class Opaque:
    pass


def reveal(secret: SecretStr) -> str:
    return secret.get_secret_value()


def holding(kind: Any, config: ConfigDict | None = None, **field: Any) -> Any:
    """A message with one field of this kind."""
    namespace = {"__annotations__": {"f": kind}, "__module__": __name__}
    namespace |= {"f": Field(**field)} if field else {}
    namespace |= {"model_config": config} if config else {}
    return type("Held", (Message,), namespace)


# --- refused when it is declared --------------------------------------------------------------------------------------

REFUSED: list[tuple[Any, str]] = [
    (SecretStr, "is written as '**********'"),
    (SecretBytes, "is written as '**********'"),
    (Secret[int], "is written as '**********'"),
    (SecretStr | None, "is written as '**********'"),
    (tuple[SecretStr, ...], "is written as '**********'"),
    (dict[str, SecretStr], "is written as '**********'"),
    (Annotated[SecretStr, AfterValidator(lambda it: it)], "is written as '**********'"),
    (Json[int], "is written as what it holds"),
    (Json[int] | None, "is written as what it holds"),
    (dict[tuple[int, int], int], "has keys that cannot be read back"),
    (dict[Point, int], "has keys that cannot be read back"),
    (dict[frozenset[str], int], "has keys that cannot be read back"),
    (dict[None, int], "has keys that cannot be read back"),
    (Iterable[int], "is used up when it is written"),
    (Late, "is written, but cannot be read"),
    (Callable[[], int], "is of a kind that no JSON is read as"),
    (type[Method], "is of a kind that no JSON is read as"),
    (Pair, "has values that cannot be read back"),
    (Literal[b"a"], "has values that cannot be read back"),
    (Literal[Colour.RED], "has values that cannot be read back"),
]


@pytest.mark.parametrize(("kind", "why"), REFUSED)
def test_what_can_never_be_read_back_is_refused_when_it_is_declared(kind: Any, why: str) -> None:
    with pytest.raises(DeclarationError, match=r"Message Held: f\S* " + re.escape(why)) as refused:
        holding(kind)
    assert refused.value.hint


def test_what_pydantic_cannot_describe_is_refused() -> None:
    with pytest.raises(DeclarationError, match="of a kind that no JSON"):
        holding(Opaque, config=ConfigDict(arbitrary_types_allowed=True))


@pytest.mark.parametrize(
    ("field", "config"),
    [
        (dict(alias="orderId"), None),
        (dict(validation_alias="orderId"), None),
        (dict(validation_alias=AliasChoices("a", "b")), None),
        (dict(validation_alias=AliasPath("a", 0)), None),
        (dict(validation_alias=AliasPath("f", 0)), None),
        (dict(serialization_alias="z"), ConfigDict(serialize_by_alias=True)),
        (dict(alias="a", validation_alias="b"), ConfigDict(serialize_by_alias=True)),
        ({}, ConfigDict(alias_generator=str.upper)),
        (dict(exclude=True), None),
    ],
)
def test_a_name_that_is_written_and_not_read_is_refused(field: dict[str, Any], config: ConfigDict | None) -> None:
    with pytest.raises(DeclarationError, match=r"Message Held: f is (written as|left out)"):
        holding(str, config=config, **field)


@pytest.mark.parametrize(
    ("given", "field", "config"),
    [
        ("f", dict(serialization_alias="z"), None),
        ("orderId", dict(alias="orderId"), ConfigDict(serialize_by_alias=True)),
        ("orderId", dict(alias="orderId"), ConfigDict(validate_by_name=True)),
        ("orderId", dict(alias="orderId"), ConfigDict(populate_by_name=True)),
        ("a", dict(validation_alias=AliasChoices("a", "f")), None),
        ("a", dict(validation_alias=AliasChoices("a", AliasPath("f"))), None),
        ("F", {}, ConfigDict(alias_generator=str.upper, serialize_by_alias=True)),
    ],
)
def test_a_name_that_is_read_as_it_is_written_survives(given: str, field: dict[str, Any], config: Any) -> None:
    message = holding(str, config=config, **field)
    sent = message(**{given: "x"})
    assert message.from_json(sent.to_json()) == sent


def test_a_computed_field_is_refused_where_its_reader_knows_no_such_field() -> None:
    def declare(base: type[Message], **config: Any) -> Any:
        class Net(base, **config):  # type: ignore[valid-type, misc] # the base is the point
            net: int

            @computed_field  # type: ignore[prop-decorator] # pydantic's own way
            @property
            def gross(self) -> int:
                return 2 * self.net

        return Net

    for base, config in ((Message, {}), (Reply, {}), (Fact, {"extra": "forbid"}), (Message, {"extra": "allow"})):
        with pytest.raises(DeclarationError, match="gross is written, but cannot be read"):
            declare(base, **config)
    fact = declare(Fact)
    assert fact.from_json(fact(net=1).to_json()) == fact(net=1)


def test_bytes_that_are_written_and_read_in_two_ways_are_refused() -> None:
    with pytest.raises(DeclarationError, match="is written as base64 and read as utf8"):
        holding(bytes, config=ConfigDict(ser_json_bytes="base64"))
    both = holding(bytes, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
    assert both.from_json(both(f=b"\xff").to_json()) == both(f=b"\xff")


def test_what_is_wrong_deep_inside_is_found() -> None:
    class Inner(BaseModel):
        token: SecretStr

    with pytest.raises(DeclarationError, match=r"Message Held: f\[\].token is written as"):
        holding(list[Inner])


def test_a_class_that_waits_for_another_is_judged_once_that_is_there() -> None:
    namespace: dict[str, Any] = {"__annotations__": {"f": "Missing | None"}, "__module__": __name__}
    waiting: Any = type("Waiting", (Message,), namespace)
    with pytest.raises(DeclarationError, match=r"f\.token is written as"):
        waiting.model_rebuild(_types_namespace={"Missing": create_model("Missing", token=(SecretStr, ...))})


# --- looked at when it is written -------------------------------------------------------------------------------------

LOOKED_AT: list[tuple[Any, Any, Any]] = [
    # what is declared, a value that survives, one that does not
    (Any, {"a": [1, 1.5, None]}, (1, 2)),
    (Any, "x", datetime(2026, 1, 1, tzinfo=UTC)),
    (Any, "x", {1: 2}),
    (Any, 1, Card(kind="card")),
    (object, [1], {1}),
    (dict[str, Any], {"a": 1}, {"a": Decimal(1)}),
    (list[Any], [1], [Colour.RED]),
    (Sequence[int], [1], (1,)),
    (Hashable, 1, (1,)),
    (str | date, "x", date(2026, 1, 1)),
    (str | Decimal, "x", Decimal(1)),
    (Leaf | Twin, Leaf(x=1), Twin(x=1)),
    (int | str, "1", None),
    (int | float, 1.0, None),
    (int | float, 1, None),
    (bool | int, True, None),
    (Decimal | float, 1.5, None),
    (int | list[int], [1], None),
    (list[int] | tuple[int, ...], [1], (1,)),
    (tuple[bytes, ...] | list[bytes], (b"a",), [b"a"]),
    (dict[str, tuple[bytes, ...] | list[bytes] | None], {"k": (b"a",)}, {"k": [b"a"]}),
    (dict[str | None, int], {"a": 1}, {None: 1}),
    (dict[int | str, int], {"1": 1}, {1: 1}),
    (dict[Colour, int], {Colour.BLUE: 1}, {Colour.RED: 1}),
    (dict[Literal["a", 1], int], {"a": 1}, {1: 1}),
    (re.Pattern[str], re.compile("a"), re.compile("a", re.I)),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=561)))),
    (Annotated[str, AfterValidator(lambda it: it.removeprefix("x"))], "a", "xxa"),
    (Annotated[str, BeforeValidator(lambda it: f"{it}"[:3])], "abc", None),
    (Annotated[float, PlainSerializer(lambda it: round(it, 1))], 0.5, 0.55),
    (Annotated[SecretStr, PlainSerializer(reveal, return_type=str)], SecretStr("x"), None),
    (Point, Point(1, 2), None),
    (InstanceOf[Method], Method(kind="x"), Card(kind="x")),
    (JsonValue, {"a": [None, 1.5]}, None),
    (AnyUrl, AnyUrl("http://a.b/c"), None),
    (Path, Path("/a"), None),
    (ipaddress.IPv4Address, ipaddress.ip_address("1.1.1.1"), None),
    (Base64Bytes, b"aGk=", None),
    (ByteSize, 1000, None),
    (complex, 1 + 2j, None),
    (Counter[str], Counter("a"), None),
    (OrderedDict[str, int], OrderedDict(a=1), None),
    (defaultdict[str, int], {"a": 1}, None),
    (dict[float, int], {1.5: 1}, None),
    (time, time(1, 2, 3, 4), time(1, 2, tzinfo=timezone(timedelta(hours=1, seconds=30)))),
]


@pytest.mark.parametrize(("kind", "good", "bad"), LOOKED_AT)
def test_what_may_come_back_as_another_is_looked_at_when_it_is_written(kind: Any, good: Any, bad: Any) -> None:
    message = holding(kind)
    assert fidelity_of(message).doubtful
    sent = message(f=good)
    assert message.from_json(sent.to_json()) == sent
    if bad is not None:
        with pytest.raises(MessageUnwritable, match="read back"):
            message(f=bad).to_json()


def test_what_a_subclass_adds_is_not_lost_in_silence() -> None:
    for kind, lost in ((Method, Card(kind="card", number="4111")), (Box, BigBox(1, 2))):
        message = holding(list[kind])  # type: ignore[valid-type] # made here
        with pytest.raises(MessageUnwritable, match=r"read back with another f\[\] than it is written with"):
            message(f=[lost]).to_json()


def test_a_number_that_json_does_not_have_is_not_written_as_nothing() -> None:
    for kind in (Leaf, Leaf | None, list[Leaf]):
        value = Leaf(x=math.nan)
        message = holding(kind)(f=[value] if kind == list[Leaf] else value)
        with pytest.raises(MessageUnwritable):
            message.to_json()
    optional = holding(float | None, config=ConfigDict(allow_inf_nan=True))
    assert optional.from_json(optional(f=None).to_json()) == optional(f=None)
    with pytest.raises(MessageUnwritable, match="another f "):
        optional(f=math.inf).to_json()
    for how in ("constants", "strings"):
        with pytest.raises(MessageUnwritable):
            holding(float, config=ConfigDict(allow_inf_nan=True, ser_json_inf_nan=how))(f=math.nan).to_json()


def test_a_field_that_is_left_out_must_hold_what_is_read_instead() -> None:
    message = holding(str, exclude=True, default="")
    assert message.from_json(message().to_json()) == message()
    with pytest.raises(MessageUnwritable, match="another f "):
        message(f="local").to_json()
    maybe = holding(int, exclude_if=lambda it: it > 1, default=0)
    assert maybe(f=1).to_json() == '{"f":1}'
    with pytest.raises(MessageUnwritable, match="another f "):
        maybe(f=2).to_json()


def test_a_default_that_its_own_field_does_not_take_is_noticed() -> None:
    wrong: list[Any] = [(int, None), (int, "x"), (float, math.nan), (Method, Card(kind="x"))]
    for kind, default in wrong:
        with pytest.raises(MessageUnwritable):
            holding(kind, default=default)().to_json()
    sloppy: list[Any] = [(float, 0), (Decimal, 0), (tuple[int, ...], [])]
    for kind, default in sloppy:
        message = holding(kind, default=default)
        assert list(message.from_json(message().to_json()).__dict__.values()) in ([default], [()])


def test_a_typed_dict_that_renames_its_fields_is_looked_at() -> None:
    message = holding(Renamed)
    sent = message(f={"N": 1})
    with contextlib.suppress(MessageUnwritable):  # by which name it is written, depends on pydantic
        assert message.from_json(sent.to_json()) == sent


def test_what_a_factory_makes_is_looked_at_unless_it_is_known() -> None:
    wrong: list[Any] = [(list[int], lambda: ["x"]), (Decimal, lambda: None), (dict[str, int], list)]
    for kind, make in wrong:
        with pytest.raises(MessageUnwritable):
            holding(kind, default_factory=make)().to_json()
    known: list[Any] = [(list[int], list), (dict[str, int], dict), (uuid.UUID, uuid.uuid4), (frozenset[int], frozenset)]
    for kind, make in known:
        message = holding(kind, default_factory=make)
        assert not fidelity_of(message).doubtful
        sent = message()
        assert message.from_json(sent.to_json()) == sent


def test_what_is_changed_in_a_copy_is_looked_at() -> None:
    message = holding(int)
    assert message(f=1).model_copy(update={"f": 2}) == message(f=2)
    with pytest.raises(MessageUnwritable, match="f: int_type"):
        message(f=1).model_copy(update={"f": "x"})
    assert message(f=1).model_copy() == message(f=1)


def test_extra_fields_are_looked_at() -> None:
    class Open(Message, extra="allow"):
        a: int = 0

    assert Open.from_json(Open(b=[1]).to_json()) == Open(b=[1])  # type: ignore[call-arg] # it takes anything
    with pytest.raises(MessageUnwritable, match="another b "):
        Open(b=(1, 2)).to_json()  # type: ignore[call-arg]


def test_models_with_code_of_their_own_are_looked_at() -> None:
    class Grows(Message):
        n: int

        @model_validator(mode="before")
        @classmethod
        def grow(cls, given: dict[str, int]) -> dict[str, int]:
            return {"n": given["n"] + 1}

    class Halves(Message):
        n: int

        @field_serializer("n")
        def halve(self, n: int) -> int:
            return n // 2

    class Wraps(Message):
        n: int

        @model_serializer
        def wrap(self) -> dict[str, int]:
            return {"m": self.n}

    class Shouts(Message):
        word: str

        def model_dump_json(self, **how: Any) -> str:
            return super().model_dump_json(**how).upper()

    for one in (Grows(n=1), Halves(n=3), Wraps(n=1), Shouts(word="a")):
        with pytest.raises(MessageUnwritable):
            one.to_json()
    assert Halves.from_json(Halves(n=0).to_json()) == Halves(n=0)


def test_private_attributes_are_no_part_of_a_message() -> None:
    class Noted(Message):
        n: int
        _when: float = PrivateAttr(default=0.0)

        def model_post_init(self, _: Any) -> None:
            self._when = math.nan

    assert Noted.from_json(Noted(n=1).to_json()).n == 1


def test_json_that_a_validator_of_its_own_reads_is_only_looked_at() -> None:
    kind = Annotated[Json[int], BeforeValidator(lambda it: it if isinstance(it, str) else json.dumps(it))]
    message = holding(kind)
    assert message.from_json(message(f="5").to_json()) == message(f="5")


def test_no_reason_repeats_what_the_message_said() -> None:
    with pytest.raises(MessageUnwritable) as caught:
        holding(Any)(f={"4111": ("4112",)}).to_json()
    assert "411" not in str(caught.value)


# --- sure to survive --------------------------------------------------------------------------------------------------

SURVIVES: list[tuple[Any, Any]] = [
    (int, 2**70), (float, -0.0), (float, 1e300), (Decimal, Decimal("10.00")), (Decimal, Decimal("1E+400")),
    (bool, True), (None, None), (str, "é\u2028\0"), (bytes, b"abc"), (date, date.max),
    (timedelta, timedelta.max), (timedelta, timedelta.min), (timedelta, timedelta(days=-1, microseconds=3)),
    (uuid.UUID, uuid.UUID(int=1)), (Colour, Colour.RED), (Word, Word.YES), (Number, Number.ONE),
    (Literal["a", 1], 1), (Literal[Word.YES], Word.YES), (list[int], [1]), (tuple[int, str], (1, "a")),
    (set[int], {1}), (frozenset[str], frozenset("ab")), (deque[int], deque([1])), (dict[str, int], {"a": 1}),
    (dict[int, int], {1: 1}), (dict[bool, int], {True: 1}), (dict[Decimal, int], {Decimal("1.5"): 1}),
    (dict[date, int], {date.max: 1}), (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}), (dict[bytes, int], {b"a": 1}),
    (dict[Literal["a"], int], {"a": 1}), (dict[Word, int], {Word.YES: 1}), (Mapping[str, int], {"a": 1}),
    (int | None, None), (Leaf, Leaf(x=1)), (RootModel[int], RootModel[int](1)),
    (list[Leaf], [Leaf(x=1)]), (Shape, {"sides": 3}), (Literal[Number.ONE], Number.ONE),
    (Annotated[Cat | Dog, Field(discriminator="is_a")], Dog()),
    (NaiveDatetime, datetime.now(UTC).replace(tzinfo=None)), (Annotated[int, Field(ge=1)], 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), SURVIVES)
def test_what_is_sure_to_survive_is_not_looked_at(kind: Any, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    message = holding(kind)
    sent = message(f=value)
    assert not fidelity_of(message).doubtful
    if value is not None:
        monkeypatch.setattr("choros.messages._check_read", None)
    read = message.from_json(sent.to_json())
    assert read == sent and type(read.f) is type(sent.f)


def test_a_generic_message_is_judged_by_what_it_holds() -> None:
    class Parcel(Message, Generic[T]):
        inside: T

    assert not fidelity_of(Parcel[int]).doubtful
    with pytest.raises(DeclarationError, match=r"inside is written as"):
        Parcel[SecretStr]


def test_a_class_within_itself_is_judged_once() -> None:
    class Tree(Message):
        leaf: float = 0.0
        branches: tuple[Tree, ...] = ()

    Tree.model_rebuild(_types_namespace={"Tree": Tree})
    tree = Tree(branches=(Tree(leaf=1.0),))
    assert not fidelity_of(Tree).doubtful
    assert Tree.from_json(tree.to_json()) == tree
