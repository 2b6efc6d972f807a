"""What we pack, pamqp would have packed, whatever the properties and headers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from choros.transport.rabbitmq.frames import UNENCODABLE
from choros.transport.rabbitmq.packing import header_frame
from choros.wire.envelope import Wire, encode
from tests.wire.test_envelope import COMMAND, FACT
from tests.wires import names, values

texts = st.none() | st.text(max_size=300) | st.text("é", min_size=120, max_size=135)
wires = st.builds(
    Wire, st.binary(max_size=5), st.dictionaries(names | st.text(max_size=140), values, max_size=6), content_type=texts,
    reply_to=texts, correlation_id=texts, type=texts, app_id=texts,
    timestamp=st.none() | st.integers(-1, 300_000_000_000),
)  # fmt: skip


def by_pamqp(wire: Wire) -> bytes:
    properties = commands.Basic.Properties(
        content_type=short(wire.content_type), headers=dict(wire.headers), delivery_mode=2,
        correlation_id=short(wire.correlation_id), reply_to=short(wire.reply_to), message_id="m1",
        message_type=short(wire.type), app_id=short(wire.app_id),
        timestamp=None if wire.timestamp is None else datetime.fromtimestamp(wire.timestamp, UTC),
    )  # fmt: skip
    return bytes(pamqp.frame.marshal(ContentHeader(properties=properties, body_size=len(wire.body)), 7))


def short(text: str | None) -> str | None:
    return text if text is None or len(text.encode()) <= 255 else None


def sorted_headers(wire: Wire) -> Wire:
    """pamqp sorts them; their order says nothing."""
    return replace(wire, headers=dict(sorted(wire.headers.items())))


def packed(how: Any, *given: Any) -> bytes | str:
    try:
        return bytes(how(*given))
    except UNENCODABLE:
        return "refused"


@settings(max_examples=300, deadline=None)
@given(wires)
def test_whatever_is_sent(wire: Wire) -> None:
    try:
        wire = sorted_headers(wire)
    except TypeError:  # names that are no texts: neither takes them
        assert packed(header_frame, 7, wire, "m1") == "refused"
        return
    assert packed(header_frame, 7, wire, "m1") == packed(by_pamqp, wire)


@pytest.mark.parametrize("envelope", [COMMAND, FACT])
def test_what_choros_sends(envelope: Any) -> None:
    wire = sorted_headers(encode(envelope))
    assert header_frame(7, wire, "m1") == by_pamqp(wire)
    assert header_frame(7, encode(envelope), "m1") != header_frame(8, encode(envelope), "m1")


@pytest.mark.parametrize(
    "header", [{"a": "\ud800"}, {"a": 1 << 70}, {"a": object()}, {"a": {"b": {1, 2}}}, {"a" * 300: "long"}, {"a": True}]
)
def test_what_amqp_cannot_carry_is_refused_as_pamqp_refuses_it(header: dict[str, Any]) -> None:
    wire = Wire(b"{}", header)
    assert packed(header_frame, 7, wire, "m1") == packed(by_pamqp, wire)
