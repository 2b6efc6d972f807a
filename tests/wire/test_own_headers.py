"""Headers of the user's own: few, short, by plain names; whatever else comes is parked, and whatever else is given is
refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from choros.app.sending import headers_text
from choros.errors import MessageRejected, UsageError
from choros.wire.envelope import Wire, decode, encode
from choros.wire.own_headers import LONGEST_OWN, LONGEST_VALUE, MOST_OWN, NO_HEADERS, read, written
from tests.wire.test_envelope import COMMAND

HEADER = "cloudEvents_ownheaders"
MOST = {f"h{number}": "v" for number in range(MOST_OWN)}
UNFIT: list[Any] = [
    {"Tenant": "acme"},
    {"": "acme"},
    {"x" * 41: "acme"},
    {"a b": "acme"},
    {"tenant": ""},
    {"tenant": 1},
    {"tenant": None},
    {"tenant": ["acme"]},
    {"tenant": "a\nb"},
    {"tenant": "x" * (LONGEST_VALUE + 1)},
    {**MOST, "one-more": "v"},
    {"a": "x" * LONGEST_VALUE, "b": "x" * LONGEST_VALUE},
    {"tenant": "☕" * 200},  # written with escapes, six characters each
]


def arrives(value: Any) -> str:
    sent = encode(COMMAND)
    wire = Wire(sent.body, {**sent.headers, HEADER: value}, sent.content_type, sent.reply_to)
    other = replace(wire, content_type="application/json; charset=utf-8")  # which takes the closer look
    assert decode(other) == decode(wire)
    return decode(wire).own_headers


@pytest.mark.parametrize("headers", [{"tenant": "acme"}, {"a.b-c_d9": "naïve ☕"}, MOST, {"a": "x" * LONGEST_VALUE}])
def test_they_are_read_as_they_were_written(headers: dict[str, str]) -> None:
    text = written(headers)
    assert (dict(read(text)), arrives(text), arrives(text.encode())) == (headers, text, text)
    assert len(text) <= LONGEST_OWN


def test_however_somebody_else_writes_them_they_are_the_same() -> None:
    assert arrives('{ "tenant" : "ac\\u006de" , "a":"é"}') == written({"a": "é", "tenant": "acme"})


def test_none_are_an_empty_mapping_and_are_not_sent() -> None:
    assert (written({}), read("")) == ("", NO_HEADERS)
    assert HEADER not in encode(replace(COMMAND, own_headers="")).headers


@pytest.mark.parametrize("stored", ["x", "[]", '{"Tenant":"acme"}', "\ud800"])
def test_what_a_store_holds_and_nobody_wrote_is_as_good_as_none(stored: str) -> None:
    assert read(stored) == NO_HEADERS


def test_what_is_read_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        read(written({"tenant": "acme"}))["tenant"] = "other"  # type: ignore[index] # which is what is tried


@pytest.mark.parametrize("headers", UNFIT)
def test_what_is_unfit_is_refused_where_it_is_given_and_parked_where_it_arrives(headers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be sent"):
        headers_text(headers)
    with pytest.raises(MessageRejected, match="The attribute ownheaders has no acceptable value"):
        arrives(json.dumps(headers, ensure_ascii=True))


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match="a list is no mapping"):
        headers_text(["tenant"])  # type: ignore[arg-type] # which is what is tried


RUBBISH: list[Any] = [
    "", "x", "[]", "{}", "1", '"a"', "null", "{", '{"a":"b"', '{"a":"b"}x', "\x00", "{" * 400, '{"a":' * 100, b"\xff",
    1, 1.5, True, b"", [1], {"tenant": "acme"}, '{"a":"\\ud800"}', '{"a":"' + "x" * 2000 + '"}', '{"a":NaN}',
]  # fmt: skip


@pytest.mark.parametrize("value", RUBBISH)
def test_rubbish_is_parked(value: Any) -> None:
    with pytest.raises(MessageRejected, match="The attribute ownheaders has no acceptable value"):
        arrives(value)
