"""Whatever arrives, `decode` gives an envelope that can be written again, or MessageRejected; nothing else."""

import contextlib
import json
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from choros.errors import MessageRejected
from choros.wire.attributes import MOST
from choros.wire.envelope import ATTRIBUTES, DO_EXPIRY, MAX_BODY, Envelope, Wire, decode, encode
from tests.wire.test_envelope import COMMAND, FACT
from tests.wires import CARD, Heap, damaged, heaps, names, nested, noise, values

FAST = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
SECONDS = 5.0
"""Of the processor, for the worst body: it takes some hundredths, and hours where something is tried over and over."""
MEMORY = 48 * MAX_BODY
"""Bytes, for the worst body: a list of empty objects, of which each takes 64 bytes."""

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Cs"]), min_size=1, max_size=40)
moments = st.integers(0, 4_000_000_000).map(float) | st.sampled_from([0.25, 1_785_585_600.5])


def said_of(wire: Wire) -> Envelope | str:
    try:
        return decode(wire)
    except MessageRejected as rejected:
        return str(rejected)


def check(wire: Wire) -> None:
    if wire.content_type == "application/json":  # with a parameter, it never takes the quick way
        assert said_of(replace(wire, content_type="application/json; charset=utf-8")) == said_of(wire)
    try:
        envelope = decode(wire)
    except MessageRejected as rejected:
        reason = str(rejected)
    else:
        again = encode(envelope)
        read = decode(Wire(again.body, again.headers, again.content_type, again.reply_to))
        assert encode(read) == again
        assert Envelope.loads(envelope.dumps()) == envelope
        return
    assert CARD not in reason


@pytest.mark.slow
@FAST
@given(noise)
def test_whatever_arrives(wire: Wire) -> None:
    check(wire)


@FAST
@given(damaged(COMMAND, FACT))
def test_a_message_that_was_damaged(wire: Wire) -> None:
    check(wire)


def structured(body: bytes) -> Wire:
    return Wire(body, {}, "application/cloudevents+json")


WORST = Heap(b'{"data":[', b"{},", MAX_BODY // 3 - 4)


def refused_or_read(heap: Heap) -> None:
    body = heap.body()
    for wire in (Wire(body, {}, "application/cloudevents+json"), Wire(body, encode(COMMAND).headers)):
        with contextlib.suppress(MessageRejected):
            decode(wire)


@settings(FAST, max_examples=20)
@given(heaps)
@example(WORST)
@example(WORST._replace(piece=b"[1],"))
def test_no_body_takes_long(heap: Heap) -> None:
    began = time.process_time()
    refused_or_read(heap)
    assert time.process_time() - began < SECONDS


@pytest.mark.slow
@settings(FAST, max_examples=5)
@given(heaps)
@example(WORST)
def test_no_body_takes_much_memory(heap: Heap) -> None:
    tracemalloc.start()
    try:
        refused_or_read(heap)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


@FAST
@given(st.sampled_from([COMMAND, FACT]), st.dictionaries(names, values, min_size=1, max_size=2), st.binary(max_size=50))
def test_a_message_that_is_almost_right(envelope: Envelope, changes: dict[str, Any], body: bytes) -> None:
    sent = encode(envelope)
    check(Wire(body or sent.body, {**sent.headers, **changes}, sent.content_type))


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), nested)
event_names = st.sampled_from(
    [attribute for attribute, _ in ATTRIBUTES.values()] + [DO_EXPIRY, "specversion", "data", CARD]
)


@FAST
@given(st.dictionaries(event_names, json_values, max_size=3), st.integers(0, 400), st.binary(max_size=3))
@example({"data": float("inf")}, 0, b"")
def test_a_structured_event_that_is_almost_right(changes: dict[str, Any], cut: int, junk: bytes) -> None:
    sent = {name.removeprefix("cloudEvents_"): value for name, value in encode(FACT).headers.items()}
    body = json.dumps({**sent, "data": {}, **changes}).encode()
    check(Wire(body, {}, "application/cloudevents+json"))
    check(Wire(body[:cut] + junk + body[cut:], {}, "application/cloudevents+json"))


@FAST
@given(
    id=text,
    key=st.sampled_from(["k:do", "k:undo", "k"]),
    type=text,
    source=text,
    time=moments,
    data=st.text(),
    subject=st.just("") | text,
    attempt=st.integers(1, MOST),
    not_after=st.none() | moments,
    tracestate=st.just("") | text,
)
def test_every_envelope_survives_the_wire(**fields: Any) -> None:
    rest: dict[str, Any] = {"correlation_id": "s", "saga": "o", "saga_version": 1, "step": "p"}
    envelope = Envelope(kind="command", **rest, **fields)
    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-delivery-count": 1},
        {"x-note": "x" * 9000},
        {"note": "x" * 9000},
        {"tracestate": "x" * 9000, "cloudEvents_tracestate": "x" * 9000},
        {"cloudEvents_time": None},
        {"cloudEvents_specversion": "0.3"},
        {"cloudEvents_specversion": b"1.0"},
        {"cloudEvents:type": "another"},
        {"ce-type": "another"},
        {"traceparent": "00-" + "0" * 31 + "2-" + "0" * 15 + "1-01"},
        {"tracestate": "a=b"},
        {f"cloudEvents_{DO_EXPIRY}": "2030-01-01T00:00:00Z"},
        {"cloudEvents_expirytime": "2030-01-01T00:00:00Z", f"cloudEvents_{DO_EXPIRY}": "2031-01-01T00:00:00Z"},
        {"cloudEvents_begantime": "9999-12-31T23:59:60Z"},
        {"cloudEvents_sagakind": "fact"},
        {"cloudEvents_sagakind": ["command"]},
        {7: 7},
    ],
)
@pytest.mark.parametrize("key", ["saga:step:do", "saga:step:undo"])
def test_the_quick_way_says_what_the_careful_one_says(headers: dict[Any, Any], key: str) -> None:
    sent = encode(replace(COMMAND, key=key))
    check(replace(sent, headers={**sent.headers, **headers}))
    check(replace(sent, headers={**sent.headers, **headers}, reply_to="x" * 600))
    for name in sent.headers:
        check(replace(sent, headers={**{one: sent.headers[one] for one in sent.headers if one != name}, **headers}))


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_the_check_of_this_file_can_fail(wrong: Any) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        check(wrong)
