"""`choros.values.replace` is `dataclasses.replace`, whatever the class; what is made quickly is what is made anyway."""

import dataclasses
import inspect
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar

import pytest

from choros.saga.machine.instance import Instance, Leg, NodeState
from choros.store.sagas import Loaded, Record, Transition
from choros.values import quickly_made, replace
from choros.wire.envelope import Envelope, Wire


@dataclass(frozen=True, slots=True)
class One:
    only: int


@dataclass(frozen=True, slots=True)
class Derived(One):
    more: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("upside down")


@dataclass(frozen=True)
class Open:
    a: int
    kind: ClassVar[str] = "open"
    b: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plain:
    kind: str
    number: int = field(default=7, kw_only=True)
    more: list[int] = field(default_factory=list)
    name: str = "name"


@quickly_made
@dataclass(frozen=True, slots=True)
class Quick:
    kind: str
    number: int = field(default=7, kw_only=True)
    more: list[int] = field(default_factory=list)
    name: str = "name"


RECORD = Record(
    saga_id="s", saga="o", saga_version=1, key="k", digest="d", application="a", version=1, transition="t",
    status="running", state="{}", started_at=1.0, updated_at=1.0,
)  # fmt: skip
VALUES: list[tuple[Any, dict[str, Any]]] = [
    (Instance("s1", "{}"), {"status": "parked", "seq": 7}),
    (NodeState(), {"leg": Leg("do", "{}", 1, 0.0, None)}),
    (Envelope(id="x", kind="fact", type="t", source="s", time=1.0, data="{}"), {"to": "there"}),
    (Wire(b"{}", {}), {"headers": {"a": 1}}),
    (RECORD, {"version": 2}),
    (Loaded(RECORD), {"recalled": True}),
    (Transition(RECORD), {"entries": {"a": "b"}}),
    (One(1), {"only": 2}),
    (Derived(1), {"more": 2}),
    (Checked(1, 2), {"high": 3}),
    (Open(1), {"a": 2}),
]


@pytest.mark.parametrize(("value", "changes"), VALUES, ids=lambda one: type(one).__name__)
def test_it_is_what_the_standard_library_makes(value: Any, changes: dict[str, Any]) -> None:
    before = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    for wanted in (changes, {}):
        made = replace(value, **wanted)
        assert made == dataclasses.replace(value, **wanted)
        assert type(made) is type(value) and made is not value
        assert {name: getattr(value, name) for name in before} == before
        with pytest.raises(FrozenInstanceError):
            setattr(made, next(iter(before)), 1)


def test_a_field_that_there_is_not_is_refused() -> None:
    wrong: dict[str, Any] = {"nope": 1}
    with pytest.raises(AttributeError, match="nope"):
        replace(RECORD, **wrong)


def test_a_class_that_checks_its_fields_still_does() -> None:
    with pytest.raises(ValueError, match="upside down"):
        replace(Checked(1, 2), low=3)


GIVEN: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a",), {}),
    (("a", [1], "b"), {"number": 2}),
    ((), {"kind": "a", "name": "b", "more": [3]}),
]


@pytest.mark.parametrize(("given", "named"), GIVEN)
def test_what_is_made_quickly_is_what_is_made_anyway(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    quick, plain = Quick(*given, **named), Plain(*given, **named)
    assert dataclasses.asdict(quick) == dataclasses.asdict(plain)
    assert type(quick) is Quick and repr(quick) == repr(plain).replace("Plain", "Quick")
    assert quick == Quick(*given, **named) != replace(quick, kind="other")
    with pytest.raises(FrozenInstanceError):
        quick.kind = "b"  # type: ignore[misc] # that is the point


def test_what_is_made_quickly_has_its_own_of_what_is_made_anew() -> None:
    assert Quick("a").more is not Quick("a").more


@pytest.mark.parametrize(("given", "named"), [((), {}), (("a", [], "b", 2), {}), (("a",), {"nope": 1})])
def test_what_a_dataclass_does_not_take_is_not_taken(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Plain, Quick):
        with pytest.raises(TypeError, match="argument"):
            kind(*given, **named)


def test_a_class_that_checks_its_fields_is_not_made_quickly() -> None:
    for kind in (Checked, Derived, Open):
        with pytest.raises(AssertionError):
            quickly_made(kind)


@pytest.mark.parametrize("kind", [Quick, Envelope, Wire, Instance, NodeState, Leg, Record, Loaded, Transition])
def test_it_takes_what_its_fields_say(kind: type) -> None:
    fields = {one.name: one for one in dataclasses.fields(kind)}
    parameters = inspect.signature(kind).parameters
    assert sorted(parameters) == sorted(fields)
    for name, parameter in parameters.items():
        assert (parameter.kind is parameter.KEYWORD_ONLY) is fields[name].kw_only
