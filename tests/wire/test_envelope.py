"""The envelope: what is written is a CloudEvent by the official SDK's reading, and what the SDK writes can be read."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import rabbitmq
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from choros.errors import MessageRejected
from choros.wire.attributes import rfc3339
from choros.wire.envelope import MAX_BODY, Envelope, Wire, decode, encode

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
NOON = 1_785_585_600.123456

COMMAND = Envelope(
    id="e1",
    kind="command",
    type="charge-payment.v1",
    source="/shop/order",
    time=NOON,
    data='{"amount":100}',
    subject="order-1042",
    correlation_id="s1",
    causation_id="e0",
    key="s1:charge_payment:1:do",
    saga="order",
    saga_version=1,
    step="charge_payment",
    attempt=2,
    reply_to="shop.replies.order",
    not_after=NOON + 30,
    traceparent=TRACE,
    tracestate="a=b",
    own_headers='{"tenant":"acme"}',
)
FACT = Envelope(
    id="e2", kind="fact", type="order-confirmed.v1", source="/shop/order", time=NOON, data="{}", stream="s1", seq=3
)


def wire(envelope: Envelope = COMMAND, *, body: bytes | None = None, **changes: Any) -> Wire:
    """An envelope on the wire with some of its headers changed; None takes one away."""
    sent = encode(envelope)
    headers = {**sent.headers, **{f"cloudEvents_{name}": value for name, value in changes.items()}}
    kept = {name: value for name, value in headers.items() if value is not None}
    return Wire(sent.body if body is None else body, kept, sent.content_type, sent.reply_to)


def structured(**changes: Any) -> Wire:
    sent = {name.removeprefix("cloudEvents_"): value for name, value in encode(FACT).headers.items()}
    event = {**sent, "datacontenttype": "application/json", "data": {"a": 1}, **changes}
    return Wire(json.dumps(event).encode(), {}, "application/cloudevents+json; charset=utf-8")


def rejection(message: Wire) -> str:
    with pytest.raises(MessageRejected) as caught:
        decode(message)
    assert "4111" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("envelope", [COMMAND, FACT], ids=["command", "fact"])
def test_an_envelope_survives_the_wire_and_the_store(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope
    assert Envelope.loads(envelope.dumps()) == envelope


def test_the_store_keeps_what_is_empty_or_zero_but_not_missing() -> None:
    bare = Envelope(id="e", kind="fact", type="t", source="s", time=0.0, data="", not_after=0.0)
    assert Envelope.loads(bare.dumps()) == bare
    assert "seq" not in bare.dumps()


def test_a_time_in_whole_seconds_is_written_as_a_time() -> None:
    assert encode(Envelope(id="e", kind="fact", type="t", source="s", time=1, data="")).headers["cloudEvents_time"] == (
        "1970-01-01T00:00:01.000000Z"
    )


def test_the_properties_repeat_what_a_person_looks_for() -> None:
    sent = encode(COMMAND)
    assert (sent.content_type, sent.type, sent.app_id, sent.reply_to, sent.correlation_id, sent.timestamp) == (
        *("application/json", "charge-payment.v1", "order", "shop.replies.order", "s1"),
        int(NOON),
    )
    assert encode(FACT).reply_to is None
    assert sent.headers["cloudEvents_time"] == rfc3339(NOON) == "2026-08-01T12:00:00.123456Z"


# --- the official SDK as oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", [COMMAND, FACT], ids=["command", "fact"])
def test_the_sdk_reads_what_we_write(envelope: Envelope) -> None:
    sent = encode(envelope)
    properties = {"content-type": sent.content_type}
    event = from_amqp_event(AMQPMessage(properties, dict(sent.headers), sent.body))
    assert isinstance(event, CloudEvent)
    assert (event.get_id(), event.get_source(), event.get_type()) == (envelope.id, envelope.source, envelope.type)
    assert event.get_time() == datetime.fromtimestamp(envelope.time, UTC)
    assert event.get_specversion() == "1.0"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == json.loads(envelope.data)
    assert event.get_extension("correlationid") == (envelope.correlation_id or None)
    assert event.get_extension("factseq") == (envelope.seq or None)


def sdk_event() -> CloudEvent:
    names = {"sagakind": "fact", "factstream": "s1", "factseq": 3, "correlationid": "s1", "traceparent": TRACE}
    return CloudEvent(
        attributes={
            "id": "e2",
            "source": "/shop/order",
            "type": "order-confirmed.v1",
            "specversion": "1.0",
            "time": datetime.fromtimestamp(NOON, UTC),
            "datacontenttype": "application/json",
            **names,
        },
        data={"a": [1, "é"]},
    )


def check_read(envelope: Envelope) -> None:
    assert (envelope.id, envelope.source, envelope.type) == ("e2", "/shop/order", "order-confirmed.v1")
    assert (envelope.stream, envelope.seq, envelope.traceparent) == ("s1", 3, TRACE)
    assert envelope.time == pytest.approx(NOON, abs=0.001)
    assert json.loads(envelope.data) == {"a": [1, "é"]}


def test_we_read_what_the_sdk_writes_in_binary_mode() -> None:
    sent = to_binary_event(sdk_event())
    assert sent.application_properties["cloudEvents_time"] == int(NOON * 1000)  # as AMQP 1.0 has it
    check_read(decode(Wire(sent.application_data, sent.application_properties, sent.properties["content-type"])))


def test_we_read_what_the_sdk_writes_in_the_form_of_knative() -> None:
    sent = rabbitmq.to_binary(sdk_event(), JSONFormat())
    assert sent.headers["ce-factseq"] == "3"
    check_read(decode(Wire(sent.body, sent.headers, sent.content_type)))


def test_we_read_what_the_sdk_writes_in_structured_mode() -> None:
    sent = to_structured_event(sdk_event())
    check_read(decode(Wire(sent.application_data, {}, sent.properties["content-type"])))


# --- tolerance --------------------------------------------------------------------------------------------------------


def test_both_prefixes_are_read_but_not_mixed() -> None:
    colons = {name.replace("cloudEvents_", "cloudEvents:"): value for name, value in encode(COMMAND).headers.items()}
    assert decode(Wire(b'{"amount":100}', colons, reply_to="shop.replies.order")) == COMMAND
    mixed = Wire(b"{}", {**colons, "cloudEvents_id": "4111111111111111"})
    assert rejection(mixed) == "The headers mix the prefixes 'cloudEvents_' and 'cloudEvents:'."


def test_what_else_begins_with_ce_is_passed_over() -> None:
    sent = encode(COMMAND)
    beside = {"ce-id": "another", "ce-knativearrivaltime": "2026-08-01T12:00:00Z"}
    assert decode(Wire(sent.body, {**beside, **sent.headers}, reply_to="shop.replies.order")) == COMMAND


JSON_TYPES = [
    None,
    "",
    "application/json",
    "Application/JSON; charset=utf-8",
    "text/json",
    "application/vnd.shop+json ;v=1",
]
OTHER_TYPES = ["application/xml", "text/plain", "application/jsonp", "json", "application/json+xml", "4111"]


@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_the_content_type_is_json_or_absent(content_type: str | None) -> None:
    sent = encode(FACT)
    assert decode(Wire(sent.body, sent.headers, content_type)) == FACT
    assert decode(structured(datacontenttype=content_type)).data == '{"a":1}'


@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_a_body_of_another_type_is_not_read_as_json(content_type: str) -> None:
    sent = encode(FACT)
    assert rejection(Wire(sent.body, sent.headers, content_type)) == "The content type is not JSON."
    assert rejection(structured(datacontenttype=content_type)) == "The content type is not JSON."


def test_the_content_type_of_structured_data_is_text() -> None:
    assert rejection(structured(datacontenttype=4111)) == "The content type is not JSON."


# --- when a command expires -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "attribute"), [("do", "expirytime"), *[(o, "doexpirytime") for o in ("undo", "close")]]
)
def test_only_a_do_may_be_dropped_past_its_time(operation: str, attribute: str) -> None:
    command = replace(COMMAND, key=f"s1:charge_payment:1:{operation}")
    headers = encode(command).headers
    assert {name for name in headers if name.endswith("expirytime")} == {f"cloudEvents_{attribute}"}
    assert decode(encode(command)) == command


def test_an_undo_of_an_older_choros_says_it_as_a_do() -> None:
    undo = replace(COMMAND, key="s1:charge_payment:1:undo")
    both = wire(undo, expirytime=rfc3339(NOON + 9), doexpirytime=rfc3339(NOON + 30))
    assert decode(wire(undo, doexpirytime=None, expirytime=rfc3339(NOON + 30))) == undo == decode(both)
    assert decode(wire(COMMAND, doexpirytime=rfc3339(NOON + 99))) == COMMAND


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"sagaattempt": "7"}, "attempt", 7),
        ({"sagaattempt": b"7"}, "attempt", 7),
        ({"sagaversion": "1"}, "saga_version", 1),
        ({"sagakind": b"command"}, "kind", "command"),
        ({"specversion": b"1.0"}, "id", "e1"),
        ({"id": "é".encode()}, "id", "é"),
        ({"time": datetime.fromtimestamp(NOON, UTC)}, "time", NOON),
        ({"time": "2026-08-01T14:00:00+02:00"}, "time", 1_785_585_600),
        ({"time": "2026-08-01t12:00:00.25z"}, "time", 1_785_585_600.25),
        ({"time": "2026-08-01 12:00:00.123456789-00:00"}, "time", NOON),
        ({"time": b"2016-12-31T15:59:60.5-08:00"}, "time", 1_483_228_800.5),
        ({"time": 1_785_585_600_250}, "time", 1_785_585_600.25),
        ({"expirytime": 1_785_585_600_250}, "not_after", 1_785_585_600.25),
        ({"sagaattempt": 2**31 - 1}, "attempt", 2**31 - 1),
        ({"subject": None}, "subject", ""),
        ({"traceparent": TRACE.encode()}, "traceparent", TRACE),
    ],
    ids=str,
)
def test_native_and_string_values_are_read(changes: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(decode(wire(**changes)), field) == value


def test_trace_flags_are_handed_on_as_they_are() -> None:
    assert encode(decode(wire())).headers["traceparent"] == TRACE


@pytest.mark.parametrize("native", [TRACE, TRACE.encode()])
def test_the_tracers_own_headers_count_where_there_are_no_others(native: Any) -> None:
    sent = wire(traceparent=None, tracestate=None)
    read = decode(Wire(sent.body, {**sent.headers, "traceparent": native, "tracestate": "c=d"}))
    assert (read.traceparent, read.tracestate) == (TRACE, "c=d")


@pytest.mark.parametrize("broken", ["", "00-xyz", 7, b"\xff", ["a"], "x" * 600, TRACE + "\n"], ids=repr)
def test_a_broken_trace_does_not_stop_a_message(broken: Any) -> None:
    read = decode(wire(traceparent=broken, tracestate=["a"]))
    assert (read.traceparent, read.tracestate, read.id) == ("", "", "e1")


def test_headers_of_others_are_left_alone() -> None:
    others: dict[Any, Any] = {"x-death": [{"n": 1}] * 9_000, 7: "seven", b"x": b"y", "loop": [[[]]], "none": None}
    sent = encode(FACT)
    assert decode(Wire(sent.body, {**sent.headers, **others})) == FACT


# --- rejection --------------------------------------------------------------------------------------------------------


NONSENSE: dict[str, list[Any]] = {
    "id": [
        *("", "4111\n", "4111\x7f", "4111\x85", "\ud800", b"\xff", ["4111"], 4111, "4" * 513),
        *("4111\ufdd0", "4111\uffff", "4111\U0010fffe"),
    ],
    "sagakind": ["4111", ["fact"], {"a": "4111"}, 1, b"\xff"],
    "sagaattempt": [0, -1, 2**31, str(2**31), 2**63, 10**5000, True, 1.0, "1_0", " 1", "4111x", "\u0663", b"\xff", []],
    "time": [
        *("4111", "2026-08-01", "2026-08-01T12:00:00", 4111, "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"),
        *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59"),
        *(
            "20260801T120000Z",
            "2026-W31-6T12:00:00Z",
            "2026-213T12:00:00Z",
            "2026-08-01x12:00:00Z",
            "2026-02-30T12:00:00Z",
        ),
        *("2026-08-01T12:00Z", "2026-08-01T12:00:00,5Z", "2026-08-01T12:00:00.Z", "2026-08-01T24:00:00Z"),
        *("2026-08-01T12:00:00+02", "2026-08-01T12:00:00+0200", "2026-08-01T12:00:00+02:00:30", "2026-08-01T12:00:60Z"),
        *("2026-08-01T12:00:00+24:00", "\u0662026-08-01T12:00:00Z", "2026-08-01T23:59:61Z"),
        *(True, 2**32 - 1, 1_785_585_600, 253_402_300_799_000, -1_785_585_600_250),
        *(datetime(2026, 8, 1), datetime.max, datetime.min),  # noqa: DTZ001, DTZ901
    ],
    "expirytime": [float("nan"), float("inf"), "never", {}],
    "sagaoutcome": ["4111", 1],
}


@pytest.mark.parametrize("attribute", NONSENSE)
def test_a_value_that_means_nothing_is_rejected_by_the_name_of_its_attribute(attribute: str) -> None:
    for value in NONSENSE[attribute]:
        assert rejection(wire(**{attribute: value})) == f"The attribute {attribute} has no acceptable value."


def test_a_reply_address_is_text() -> None:
    assert rejection(Wire(b"{}", encode(COMMAND).headers, None, "4111\n")) == (
        "The attribute reply_to has no acceptable value."
    )


@pytest.mark.parametrize("version", ["0.3", None, 1.0, ["1.0"], "4111"])
def test_only_version_1_0_is_a_cloudevent(version: Any) -> None:
    assert rejection(wire(specversion=version)) == "The message is no CloudEvent of specversion 1.0."


def test_what_is_missing_is_named() -> None:
    assert rejection(wire(id=None, idempotencykey=None)) == "The message lacks id, idempotencykey."
    assert rejection(wire(FACT, factseq=None)) == "The message lacks factseq."
    assert rejection(wire(sagakind="reply")) == "The message lacks sagaoutcome."
    assert rejection(wire(sagakind=None)) == "The message lacks sagakind."
    assert rejection(Wire(b"{}", {})) == "The message is no CloudEvent of specversion 1.0."


def test_size_and_depth_are_bounded() -> None:
    assert rejection(wire(body=b"4" * 2 * 1024 * 1024)) == f"The body is larger than {MAX_BODY} bytes."
    assert rejection(wire(other="4111" * 4_000)) == "The headers are larger than 8192 bytes."
    assert rejection(wire(body=b"[" * 300 + b"]" * 300)) == "The body is nested deeper than 100 levels."
    assert rejection(wire(body=b'{"a":' * 300)) == "The body is nested deeper than 100 levels."
    assert decode(wire(body=b'{"a":"' + b"[{" * 300 + b'"}')).id == "e1"
    assert decode(wire(body=b"[" + b"[]," * 300 + b"[]]")).id == "e1"
    assert rejection(wire(body=b"\xff4111")) == "The body is not UTF-8."


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 500_000, b'"' + b"\\" * 900_001, b'"' * 1_000_001], ids=len)
def test_no_body_is_slow_to_measure(body: bytes) -> None:
    assert decode(wire(body=b"[]" * 101 + body)).id == "e1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"4111", "The body is no CloudEvent with data."),
        (b"[]", "The body is no CloudEvent with data."),
        (b'{"id":"4111"}', "The body is no CloudEvent with data."),
        (b"{4111", "The body is not JSON."),
        (b"\xff", "The body is not JSON."),
        (b'{"data":NaN}', "The body is not JSON."),
        (b'{"data":' + b"9" * 5_000 + b"}", "The body is not JSON."),
        (b'{"data":"\\ud800"}', "The body is not JSON."),
        (b'{"data":1e400}', "The body has a number that JSON cannot hold."),
        (b'{"data":[-1e400]}', "The body has a number that JSON cannot hold."),
        (b"[" * 300, "The body is nested deeper than 100 levels."),
        (b'{"data":4111}', "The message is no CloudEvent of specversion 1.0."),
    ],
)
def test_a_structured_body_that_is_no_event_is_rejected(body: bytes, reason: str) -> None:
    assert rejection(Wire(body, {}, "application/cloudevents+json")) == reason


def test_structured_attributes_are_read_as_strictly() -> None:
    assert decode(structured()).data == '{"a":1}'
    assert decode(structured(subject=None)).subject == ""
    assert rejection(structured(factseq=1.5)) == "The attribute factseq has no acceptable value."
    assert rejection(structured(sagakind={"a": 1})) == "The attribute sagakind has no acceptable value."
    assert rejection(structured(id=4111)) == "The attribute id has no acceptable value."
