"""Messages as a hostile or careless sender writes them: from almost right to pure noise, with what AMQP can hold."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import strategies as st

from choros.wire.attributes import MAX_DEPTH
from choros.wire.envelope import ATTRIBUTES, DO_EXPIRY, MAX_BODY, Envelope, Wire, encode

CARD = "4111111111111111"
"""What a message said, and no rejection may repeat."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.sampled_from([CARD, CARD.encode(), int(CARD), 10**300, Decimal("NaN"), "9999-12-31T23:59:59Z", b"\xff", 2**63])
)


def nested(inner: Any) -> Any:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)


values = st.recursive(scalars, nested)
attributes = [f"cloudEvents_{attribute}" for attribute, _ in ATTRIBUTES.values()] + ["cloudEvents_specversion"]
attributes += [f"cloudEvents_{DO_EXPIRY}", "ce-id"]
names = st.sampled_from([*attributes, "cloudEvents:id", "x-death", "traceparent", CARD])
content_types = st.sampled_from(
    [None, "application/json", "application/cloudevents+json", "APPLICATION/CLOUDEVENTS", "application/xml", "x"]
)


class Heap(NamedTuple):
    """A body too large to be shown: a head, and one piece again and again."""

    head: bytes
    piece: bytes
    times: int
    closed: bool = False

    def body(self) -> bytes:
        ends = bytes({ord("["): ord("]"), ord("{"): ord("}")}[sign] for sign in reversed(self.piece) if sign in b"[{")
        return self.head + self.piece * self.times + (b"1" + ends * self.times if self.closed else b"")


pieces = [b"[" * 9, b"]", b"{}", b"[],", b'"', b"\\", b'"a":', b"1e999,", b"-0,", b"\xff", b"\xed\xa0\x80", b"\x00"]
bombs = st.builds(
    Heap,
    st.sampled_from([b"", b"{}", b'{"data":']),
    st.sampled_from([b"[", b'{"a":', b'{"a":[']),
    st.integers(MAX_DEPTH - 3, MAX_DEPTH + 2) | st.sampled_from([10_000, MAX_BODY // 16]),
    st.booleans(),
)
heads = st.sampled_from([b"", b"[", b'{"data":[', b'{"data":"'])
heaps = bombs | st.builds(
    lambda head, piece, size: Heap(head, piece, (size - len(head)) // len(piece)),
    heads,
    st.sampled_from(pieces),
    st.sampled_from([MAX_BODY // 8, MAX_BODY, MAX_BODY + 10]),
)


@st.composite
def damaged_bytes(draw: st.DrawFn, body: bytes) -> bytes:
    """A body with a few of its bytes changed, cut out, doubled or put in."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 8)))
        put = draw(st.sampled_from([b"", body[start:end] * 2, *pieces]) | st.binary(max_size=3))
        body = body[:start] + put + body[end:]
    return body


@st.composite
def damaged(draw: st.DrawFn, *envelopes: Envelope) -> Wire:
    """A valid message with something wrong in its body, its headers or its properties; or, sometimes, nothing."""
    wire = encode(draw(st.sampled_from(envelopes)))
    headers = dict(wire.headers)
    for name in draw(st.lists(st.sampled_from(sorted(headers)), max_size=2)):
        headers.pop(name, None)
    headers |= draw(st.dictionaries(names, values, max_size=2))
    headers |= dict(zip(headers, draw(st.permutations(list(headers.values()))), strict=True)) if draw(rarely) else {}
    body = draw(st.just(wire.body) | damaged_bytes(wire.body) | st.binary(max_size=30))
    reply_to = draw(st.just(wire.reply_to) | st.none() | st.text(max_size=30))
    content_type = draw(st.just(wire.content_type) | content_types)
    return replace(wire, body=body, headers=headers, reply_to=reply_to, content_type=content_type)


rarely = st.sampled_from([False] * 9 + [True])
noise = st.builds(
    Wire,
    st.binary(max_size=200),
    st.dictionaries(names | st.text() | st.integers(), values, max_size=5),
    content_types,
    st.none() | st.text(),
)
