"""Reading what a stranger wrote: nothing is raised, nothing that can be read is lost, and the rest is pamqp's."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
import pytest
from aiormq.abc import DeliveredMessage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from choros.errors import MessageRejected
from choros.transport.copies import dead_copy, retry_copy
from choros.transport.rabbitmq.frames import LARGEST_UNREADABLE, publish_frames, republishable, unsealed
from choros.transport.rabbitmq.properties import SEAL, read_properties
from choros.wire.attributes import MAX_DEPTH
from choros.wire.envelope import UNREADABLE, Wire, decode

from .strangers import CORRELATION, HEADERS, MESSAGE_ID, ODD, TYPE, UNDECODABLE, deep, flagged, long, short, table

texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
moments = st.integers(1, 2**32 - 1).map(lambda at: datetime.fromtimestamp(at, UTC))
scalars = (
    st.booleans()
    | st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, width=32)
    | moments
    | texts
    | st.binary(max_size=20).map(bytearray)
    | st.builds(Decimal, st.integers(0, 10**6))
)
tables = st.dictionaries(
    names,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)),
    max_size=6,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": texts.filter(bool),
        "headers": tables.filter(bool),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": texts.filter(bool),
        "reply_to": texts.filter(bool),
        "message_id": texts.filter(bool),
        "timestamp": moments,
        "message_type": texts.filter(bool),
        "app_id": texts.filter(bool),
    },
)
letters = st.sampled_from([bytes([letter]) for letter in b"tbBsuIilLfdDTVSxAF\0Z"])
entries = st.tuples(st.binary(max_size=8), st.builds(bytes.__add__, letters, st.binary(max_size=30)))
noise = st.builds(
    flagged,
    st.integers(0, 0xFFFF) | st.just(HEADERS),
    st.binary(max_size=200) | st.lists(entries, max_size=5).map(lambda given: table(*given)),
)


def written(properties: dict[str, Any]) -> bytes:
    """As pamqp writes them, which any client does much like it."""
    header = ContentHeader(properties=commands.Basic.Properties(**properties))
    return pamqp.frame.marshal(header, 1)[7 + 12 : -1]


def wire_of(raw: bytes, body: bytes = b"{}") -> Wire:
    header = ContentHeader(properties=commands.Basic.Properties(headers={SEAL: bytearray(raw)}))
    return unsealed(cast(DeliveredMessage, SimpleNamespace(header=header, body=body)))


@settings(deadline=None)
@given(properties)
def test_what_pamqp_writes_is_read_as_pamqp_reads_it(given_: dict[str, Any]) -> None:
    raw = written(given_)
    header = ContentHeader()
    header.unmarshal(b"\0\x3c" + b"\0" * 10 + raw)
    found = read_properties(raw)
    assert found.whole
    assert found.values == {name: value for name, value in header.properties if value not in (None, "")}


@settings(deadline=None)
@given(properties, st.data())
def test_what_is_cut_off_is_not_whole_and_raises_nothing(given_: dict[str, Any], data: st.DataObject) -> None:
    raw = written(given_)
    length = data.draw(st.integers(0, len(raw) - 1))
    found = read_properties(raw[:length])
    assert not found.whole
    assert found.values.items() <= read_properties(raw).values.items() or "headers" in found.values


@settings(deadline=None, max_examples=500)
@given(noise | st.binary(max_size=100))
@example(b"")
@example(b"\xff\xff" * 40)
def test_noise_is_read_parked_and_sent_again_without_an_error(raw: bytes) -> None:
    wire = wire_of(raw)
    with pytest.raises(MessageRejected):
        decode(wire)
    for copy in (dead_copy(wire, "why", "queue", "exchange"), retry_copy(wire)):
        copy = Wire(copy.body, republishable(copy.headers), copy.content_type, copy.reply_to, copy.correlation_id)
        frames = publish_frames(1, 131072, "exchange", "key", copy, "m-1")
        assert read_properties(frames[1][7 + 12 : -1]).whole


@pytest.mark.parametrize("case", UNDECODABLE)
def test_a_message_that_cannot_be_decoded_is_rejected_with_that_reason(case: str) -> None:
    wire = wire_of(UNDECODABLE[case])
    with pytest.raises(MessageRejected, match="cannot be decoded"):
        decode(wire)
    assert base64.b64decode(wire.headers[UNREADABLE]) == UNDECODABLE[case][:LARGEST_UNREADABLE]


@pytest.mark.parametrize("case", ODD)
def test_what_is_only_odd_is_read(case: str) -> None:
    assert UNREADABLE not in wire_of(ODD[case]).headers


def test_what_can_be_read_beside_it_is_kept() -> None:
    headers = table(
        (b"before", b"S" + long(b"1")),
        (b"bad", b"T" + b"\xff" * 8),
        (b"\xff", b"S" + long(b"2")),
        (b"inner", b"F" + table((b"bad", b"T" + b"\xff" * 8), (b"good", b"I\0\0\0\x07"))),
        (b"list", b"A" + long(b"t\x01" + b"T" + b"\xff" * 8 + b"t\0")),
        (b"after", b"l" + b"\0" * 7 + b"\x05"),
    )
    raw = flagged(HEADERS | CORRELATION | MESSAGE_ID | TYPE, headers + short(b"\xff") + short(b"m") + short(b"t"))
    found = read_properties(raw)
    assert not found.whole
    assert found.values == {
        "headers": {"before": "1", "inner": {"good": 7}, "list": [True, False], "after": 5},
        "message_id": "m",
        "message_type": "t",
    }


def test_tables_may_be_as_deep_as_a_body() -> None:
    assert read_properties(flagged(HEADERS, deep(MAX_DEPTH - 1))).whole
    assert not read_properties(flagged(HEADERS, deep(MAX_DEPTH))).whole


def test_every_letter_is_read_as_pamqp_reads_it() -> None:
    """Those too that pamqp never writes."""
    for letter in "tbBsuIilLfdDTV\0x":
        value = long(b"xyz") if letter == "x" else b"\x01" + b"\0" * (7 if letter in "lLdT" else 8)
        size = {"t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "f": 4, "D": 5, "V": 0, "\0": 0, "x": 7}
        value = value[: size.get(letter, 8)] if letter != "T" else b"\0\0\0\0\x01\0\0\0"
        raw = flagged(HEADERS, table((b"a", letter.encode() + value), (b"z", b"t\x01")))
        header = ContentHeader()
        header.unmarshal(b"\0\x3c" + b"\0" * 10 + raw)
        assert read_properties(raw) == ({"headers": header.properties.headers}, True), letter
