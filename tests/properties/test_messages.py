"""Any class, any value: what is declared and said is read as it was, or refused; none is lost in silence."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from choros.errors import DeclarationError, MessageUnwritable
from choros.wire.canonical import canonical
from tests.messages.test_fidelity import Card, Colour, Leaf, Method, holding

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(), float: st.floats(), str: st.text(st.characters(exclude_categories=["Cs"])), bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False), date: st.dates(), bytes: st.binary(max_size=4),
    datetime: st.datetimes(timezones=st.none() | st.timezones()), time: st.times(), timedelta: st.timedeltas(),
    uuid.UUID: st.uuids(), Colour: st.sampled_from(Colour), Method: st.builds(Card) | st.builds(Method),
    Leaf: st.builds(Leaf, x=st.floats()), Any: st.none() | st.integers() | st.tuples(st.integers()),
}  # fmt: skip
_KEYS = [int, str, bool, Decimal, date, uuid.UUID, Colour, float]


Kind = tuple[Any, st.SearchStrategy[Any]]
"""A type, and values of it."""


def _list(one: Kind) -> Kind:
    return list.__class_getitem__(one[0]), st.lists(one[1], max_size=3)


def _tuple(one: Kind) -> Kind:
    return tuple.__class_getitem__((one[0], ...)), st.lists(one[1], max_size=3).map(tuple)


def _optional(one: Kind) -> Kind:
    return one[0] | None, st.none() | one[1]


def _either(two: tuple[Kind, Kind]) -> Kind:
    return two[0][0] | two[1][0], two[0][1] | two[1][1]


def _dict(two: tuple[Any, Kind]) -> Kind:
    key, (value, values) = two
    return dict.__class_getitem__((key, value)), st.dictionaries(_SCALARS[key], values, max_size=3)


def _around(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    single = st.one_of(inner.map(_list), inner.map(_tuple), inner.map(_optional))
    return single | st.tuples(inner, inner).map(_either) | st.tuples(st.sampled_from(_KEYS), inner).map(_dict)


KINDS = st.recursive(st.sampled_from(sorted(_SCALARS.items(), key=str)), _around, max_leaves=4)


@settings(deadline=None)
@given(st.data())
def test_whatever_is_declared_and_said_is_read_or_refused(data: st.DataObject) -> None:
    kind, values = data.draw(KINDS)
    try:
        message = holding(kind)
    except DeclarationError:
        return
    value = data.draw(values)
    try:
        sent = message(f=value)
        body = sent.to_json()
    except (MessageUnwritable, ValueError):
        return
    read = message.from_json(body)
    assert read == sent
    assert canonical(read, read.to_json()) == canonical(sent, body)
