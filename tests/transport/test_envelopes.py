"""What is packed in one pass is what `encode` says; what is read in one pass is what `decode` reads, or left to it."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from choros.errors import MessageRejected
from choros.transport.leased import Lease
from choros.transport.rabbitmq import envelopes
from choros.transport.rabbitmq.envelopes import envelope_frame, read_quickly
from choros.transport.rabbitmq.frames import UNENCODABLE, header_frame, received, republishable
from choros.transport.rabbitmq.hearing import BrokerDelivery
from choros.transport.rabbitmq.lease import RabbitDelivery
from choros.transport.rabbitmq.properties import read_properties
from choros.wire.envelope import ATTRIBUTES, Envelope, Wire, decode, encode
from tests.wire.test_envelope import COMMAND, FACT
from tests.wires import damaged, damaged_bytes

REPLY = replace(COMMAND, id="e3", kind="reply", outcome="ok", causation_id="e1", not_after=None, reply_to="")
REFUSED = replace(REPLY, outcome="refused", undone='["the hold"]')
UNDO = replace(COMMAND, id="e4", key="s1:charge_payment:1:undo", attempt=40_000, began=1_785_585_600.0)
IN_A_FLOW = replace(FACT, flow="order", flow_version=2, flow_id="f-1")
SENT = [
    COMMAND,
    UNDO,
    REPLY,
    REFUSED,
    IN_A_FLOW,
    FACT,
    replace(FACT, seq=2**31 - 1, subject="é" * 100, tracestate="a=b"),
]
FRAME, MESSAGE_ID = 7 + 12, "m" * 32
HARD = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(max_size=5) | st.text("é\x00\x1fa\ud800", max_size=3) | st.text("é", min_size=120, max_size=300)
moments = st.floats(-1, 1e12) | st.sampled_from([0.0, 1_785_585_600.123456, 253402300799.9, float("nan")])
envelopes_ = st.builds(
    replace,
    st.sampled_from(SENT),
    type=texts, source=texts, subject=texts, correlation_id=texts, key=texts, step=texts, outcome=texts, stream=texts,
    undone=texts, reply_to=texts, tracestate=texts, traceparent=texts | st.just(COMMAND.traceparent), time=moments,
    not_after=st.none() | moments, began=st.none() | moments, attempt=st.integers(-5, 2**70), seq=st.integers(0, 300),
    flow=texts, flow_id=texts, own_headers=texts,
)  # fmt: skip


def packed(how: Any, *given: Any) -> Any:
    """What it says, and of how large a body, whatever the order of its headers."""
    try:
        frame: bytes = how(7, *given)
    except UNENCODABLE:
        return "refused"
    assert frame[:3] + frame[-1:] == b"\x02\x00\x07\xce"
    assert int.from_bytes(frame[3:7], "big") == len(frame) - 8
    return frame[7:FRAME], read_properties(frame[FRAME:-1])


def by_wire(channel: int, envelope: Envelope) -> bytes:
    return header_frame(channel, encode(envelope), MESSAGE_ID)


def in_one_pass(channel: int, envelope: Envelope) -> bytes:
    return envelope_frame(channel, envelope, len(envelope.data.encode()), MESSAGE_ID)


@settings(HARD, max_examples=50)
@given(envelopes_ | st.sampled_from(SENT))
def test_whatever_is_sent(envelope: Envelope) -> None:
    assert packed(in_one_pass, envelope) == packed(by_wire, envelope)


def test_every_attribute_is_packed() -> None:
    once = {*envelopes._SHARED, *envelopes._TEXTS, *envelopes._TRACES}
    assert once | {"id", "time", "not_after", "began", "attempt", "seq"} == set(ATTRIBUTES)


@pytest.mark.parametrize("header", [{"a": "\ud800"}, {"a": 1 << 70}, {"a": object()}, {1: "a"}])
def test_what_amqp_cannot_carry_is_refused(header: dict[Any, Any]) -> None:
    assert packed(header_frame, Wire(b"{}", header), MESSAGE_ID) == "refused"


# --- reading ---


def read(how: Any, properties: bytes, body: bytes) -> Any:
    try:
        return how(properties, body)
    except MessageRejected as rejected:
        return rejected.sentence


def by_a_closer_look(properties: bytes, body: bytes) -> Envelope:
    return decode(received(properties, body))


def check(properties: bytes, body: bytes) -> None:
    quickly = read(read_quickly, properties, body)
    assert quickly in (None, read(by_a_closer_look, properties, body))


def properties_of(envelope: Envelope) -> bytes:
    return in_one_pass(1, envelope)[FRAME:-1]


@pytest.mark.parametrize("envelope", SENT[:6])
def test_what_choros_sends_needs_no_closer_look(envelope: Envelope) -> None:
    body = envelope.data.encode()
    assert read_quickly(properties_of(envelope), body) == decode(encode(envelope))
    assert read_quickly(by_wire(1, envelope)[FRAME:-1], body) == decode(encode(envelope))  # an older choros


@pytest.mark.slow
@HARD
@given(damaged(COMMAND, UNDO, REPLY, FACT))
def test_a_message_that_was_damaged(wire: Wire) -> None:
    with suppress(*UNENCODABLE):
        check(header_frame(1, replace(wire, headers=republishable(wire.headers)), MESSAGE_ID)[FRAME:-1], wire.body)


@pytest.mark.slow
@HARD
@given(st.sampled_from(SENT), st.data())
@example(COMMAND, None)
def test_bytes_that_were_damaged(envelope: Envelope, data: st.DataObject | None) -> None:
    whole = properties_of(envelope)
    check(data.draw(damaged_bytes(whole)) if data else whole[:-1], envelope.data.encode())


@pytest.mark.long
@pytest.mark.slow
def test_each_byte_of_a_message_damaged() -> None:
    for envelope in SENT:
        whole = properties_of(envelope)
        for at in range(len(whole)):
            for put in (b"", b"\x00", b"\xff", b"\x0e", whole[at : at + 1] * 2):
                check(whole[:at] + put + whole[at + 1 :], b"{}")
            check(whole[:at], b"{}")


@pytest.mark.parametrize("body", [b"\xff", b"[" * 101, b"{}" + b" " * 2**20])
def test_a_body_that_cannot_be_read(body: bytes) -> None:
    check(properties_of(COMMAND), body)


def test_a_delivery_reads_either_way() -> None:
    class Deaf(Lease):
        def acknowledge(self, tag: int) -> None: ...

        def give_back(self, tag: int) -> None: ...

    lease = Deaf("q", None, None)  # type: ignore[arg-type] # it settles nothing
    came = [BrokerDelivery(1, "x", properties_of(one), one.data.encode()) for one in SENT]
    for envelope, delivery in zip(SENT, (RabbitDelivery(lease, one) for one in came), strict=True):
        assert delivery.read() == decode(delivery.wire) == decode(encode(envelope))
    with pytest.raises(MessageRejected, match="cannot be decoded"):
        RabbitDelivery(lease, came[0]._replace(properties=came[0].properties[:-1])).read()
