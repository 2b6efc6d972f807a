"""`choros.values.replace` is `dataclasses.replace`, whatever the class."""

import dataclasses
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar

import pytest

from choros.saga.machine.instance import Instance, Leg, NodeState
from choros.store.sagas import Loaded, Record, Transition
from choros.values import replace
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
