"""Whatever arrives, `decode` gives an envelope that can be written again, or MessageRejected; nothing else."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from choros.envelope import _ATTRIBUTES, Envelope, Wire, decode, encode
from choros.errors import MessageRejected
from tests.test_envelope import COMMAND, FACT

CARD = "4111111111111111"
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.sampled_from([CARD, CARD.encode(), int(CARD), 10**300, "9999-12-31T23:59:59Z"])
)


def nested(inner: Any) -> Any:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)


values = st.recursive(scalars, nested)
attributes = [f"cloudEvents_{attribute}" for attribute, _ in _ATTRIBUTES.values()] + ["cloudEvents_specversion"]
names = st.sampled_from([*attributes, "cloudEvents:id", "x-death", "traceparent", CARD])
content_types = st.sampled_from(
    [None, "application/json", "application/cloudevents+json", "APPLICATION/CLOUDEVENTS", "x"]
)
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
moments = st.integers(0, 4_000_000_000).map(float) | st.sampled_from([0.25, 1_785_585_600.5])


def check(wire: Wire) -> None:
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


@FAST
@given(
    st.binary(max_size=200),
    st.dictionaries(names | st.text() | st.integers(), values, max_size=5),
    content_types,
    st.none() | st.text(),
)
def test_whatever_arrives(body: bytes, headers: Any, content_type: str | None, reply_to: str | None) -> None:
    check(Wire(body, headers, content_type, reply_to))


@FAST
@given(st.sampled_from([COMMAND, FACT]), st.dictionaries(names, values, min_size=1, max_size=2), st.binary(max_size=50))
def test_a_message_that_is_almost_right(envelope: Envelope, changes: dict[str, Any], body: bytes) -> None:
    sent = encode(envelope)
    check(Wire(body or sent.body, {**sent.headers, **changes}, sent.content_type))


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), nested)
event_names = st.sampled_from([attribute for attribute, _ in _ATTRIBUTES.values()] + ["specversion", "data", CARD])


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
    type=text,
    source=text,
    time=moments,
    data=st.text(),
    subject=st.just("") | text,
    attempt=st.integers(1, 2**63 - 1),
    not_after=st.none() | moments,
    tracestate=st.just("") | text,
)
def test_every_envelope_survives_the_wire(**fields: Any) -> None:
    rest: dict[str, Any] = {"correlation_id": "s", "key": "k", "saga": "o", "saga_version": 1, "step": "p"}
    envelope = Envelope(kind="command", **rest, **fields)
    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_the_check_of_this_file_can_fail(wrong: Any) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        check(wrong)
