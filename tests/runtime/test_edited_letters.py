"""Edited dead letters: only the body changes, only to what is taken, and of both versions one is handled."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.cli.bodies import Body
from choros.cli.editor import edited
from choros.desk.dead_letters import DeadLetter, StaysParked, dead_letter
from choros.desk.edits import body_of, check_taken, with_body
from choros.desk.parkings import Parkings, WantedLetters
from choros.desk.redrive import ActedOn, Acts, act_on_all
from choros.errors import MessageRejected, UsageError
from choros.runtime.subscriber.subscriber import Subscriber
from choros.transport.copies import BODY_SIZE, CAME_THROUGH, REASON
from choros.transport.port import Delivery, Published
from choros.wire.envelope import Wire, decode, encode

from ..saga import shop
from .participant_stage import Charge, Paid, command, eventually, fact, make_service, stage_for
from .stage import NAMES, make_app, reply_to, staged
from .test_dead_letters import COMMANDS, FACTS, REPLIES, WHO, Operator, ledger


async def put_back(operator: Operator, queue: str, edit: Callable[[bytes], bytes] | None) -> list[ActedOn]:
    """All that is parked: as it is, or edited; what is put back is there a second time."""
    acts = Acts(await operator.ready(), NAMES, WHO)

    async def act(letter: DeadLetter, delivery: Delivery) -> ActedOn:
        if edit is None:
            return await acts.redrive(letter, delivery)
        return await acts.edit(letter, delivery, with_body(delivery.wire, edit(delivery.wire.body)))

    dead = [NAMES.dead_queue(queue)]
    return [done async for done in act_on_all(Parkings(operator.transport, dead, NAMES), WantedLetters(), act)]


@pytest.mark.parametrize("edited_first", [True, False])
async def test_of_an_edited_command_and_the_unedited_one_that_a_crash_left_one_is_carried_out(
    edited_first: bool,
) -> None:
    calls: list[str] = []
    async with stage_for(make_service(calls)) as stage:
        wire = encode(command(Charge(order="o", card="wrong")))
        for edit in (edited_first, not edited_first):
            await stage.outside.post(NAMES.dead_queue(COMMANDS), "", wire)
            done = await put_back(Operator(stage.broker), COMMANDS, right if edit else None)
            assert [one.left for one in done] == [""]
            await stage.replies(1)
        assert await stage.effects() == {"o": 1}
        assert calls == ["s1:charge:1:do"]
        edits = [act for act in Operator(stage.broker).acts() if act["act"] == "edit"]
        assert [(json.loads(act["body"])["card"], json.loads(act["edited"])["card"]) for act in edits] == [
            ("wrong", "right")
        ]


def right(body: bytes) -> bytes:
    return body.replace(b"wrong", b"right")


@pytest.mark.parametrize("edited_first", [True, False])
async def test_of_an_edited_fact_and_the_unedited_one_that_a_crash_left_one_is_handled(edited_first: bool) -> None:
    heard: list[int] = []
    async with stage_for(ledger(heard, broken=False), kind=Subscriber) as stage:
        wire = encode(fact(Paid(order="wrong")))
        wire = replace(wire, headers={**wire.headers, CAME_THROUGH: NAMES.facts_of("order")})
        for edit in (edited_first, not edited_first):
            await stage.outside.post(NAMES.dead_queue(FACTS), "", wire)
            await put_back(Operator(stage.broker), FACTS, right if edit else None)
        await eventually(lambda: stage.counts == {"handled": 1, "repeated": 1})
        assert len(heard) == 1


async def test_an_edited_reply_decides_and_the_unedited_one_changes_nothing() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        saga_id = await (await stage.client()).start(shop.order_saga, shop.ORDER)
        answer = reply_to(await stage.command("payment"))
        wrong = encode(replace(answer, data='{"charge": "c"}'))
        operator = Operator(stage.broker)
        for edit in (lambda _: answer.data.encode(), None):
            await stage.transport.post(NAMES.dead_queue(REPLIES), REPLIES, wrong)
            await put_back(operator, REPLIES, edit)
        await stage.command("inventory")
        history = (await (await stage.client()).show(saga_id)).history
        assert sum("replied" in row.events for row in history) == 1


# --- what is refused --------------------------------------------------------------------------------------------------

APP = App("shop", services=[make_service(), ledger([]), Service("news", facts=[shop.OrderConfirmed])])


def check(app: App, wire: Wire, queue: str, body: bytes) -> None:
    """As `choros dead edit` does."""
    letter = dead_letter(wire, NAMES.dead_queue(queue), NAMES)
    check_taken(app, letter, with_body(wire, body), body_of(wire))


def test_a_body_that_would_be_parked_again_is_refused() -> None:
    wire = encode(command(Charge(order="o")))
    check(APP, wire, COMMANDS, b'{"order":"p"}')
    for body, why in (
        (b'{"order":1}', "order"), (b'{"order":"o","x":1}', "extra_forbidden"), (b"\xff", "UTF-8"), (b"{", "json"),
    ):  # fmt: skip
        with pytest.raises(MessageRejected, match=why):
            check(APP, wire, COMMANDS, body)


def test_what_no_other_body_mends_is_refused() -> None:
    body = b'{"order":"p"}'
    for wrong, why in (
        (command(Charge(order="o"), step="ship"), "step"),
        (command(Charge(order="o"), reply_to=""), "reply_to"),
        (command(Charge(order="o"), type="other.v1"), "no handler for other.v1"),
        (fact(Paid(order="o")), "A fact came"),
    ):
        with pytest.raises(MessageRejected, match=why):
            check(APP, encode(wrong), COMMANDS, body)
    told = encode(fact(Paid(order="o")))
    forged = replace(told, headers={**told.headers, CAME_THROUGH: NAMES.facts_of("other"), REASON: "why"})
    with pytest.raises(StaysParked):
        check(APP, forged, FACTS, body)


def test_a_fact_that_would_read_as_before_is_refused() -> None:
    told = encode(fact(Paid(order="o")))
    check(APP, told, FACTS, b'{"order":"p"}')
    with pytest.raises(UsageError, match="as it did before"):
        check(APP, told, FACTS, b'{"order":"o","oder":"p"}')


def test_a_reply_is_judged_by_its_saga_and_only_where_that_is_known() -> None:
    sent = command(Charge(order="o"), step="charge_payment", key="s1:charge_payment:1:do", saga_version=1)
    wire = encode(reply_to(sent, shop.CHARGED))
    check(make_app(), wire, REPLIES, b'{"payment_id":"other"}')
    with pytest.raises(MessageRejected, match="payment_id"):
        check(make_app(), wire, REPLIES, b"{}")
    with pytest.raises(UsageError, match="does not have saga 'order' in version 1"):
        check(APP, wire, REPLIES, b"{}")


# --- what stays -------------------------------------------------------------------------------------------------------


def test_of_a_whole_cloud_event_only_the_data_changes() -> None:
    event: dict[str, Any] = {
        "specversion": "1.0", "id": "m", "sagakind": "fact", "type": "paid.v1", "source": "/shop/order",
        "time": "2026-11-22T12:00:00Z", "factstream": "s1", "factseq": 1, "data": {"order": "o"},
    }  # fmt: skip
    wire = Wire(json.dumps(event).encode(), {}, "application/cloudevents+json")
    assert body_of(wire) == b'{"order":"o"}'
    new = with_body(wire, b'{"order":"p","at":1.10}')
    assert replace(decode(wire), data="") == replace(decode(new), data="")
    assert decode(new).data == '{"order":"p","at":1.1}'
    assert b"1.10" in new.body
    with pytest.raises(MessageRejected, match="not JSON"):
        with_body(wire, b'{"order":"p"},"factseq":2')
    with pytest.raises(UsageError, match="cannot be edited"):
        body_of(replace(wire, body=b"{"))


async def test_a_copy_that_was_cut_is_whole_with_another_body() -> None:
    async with stage_for(make_service()) as stage:
        wire = encode(command(Charge(order="o")))
        await stage.outside.post(
            NAMES.dead_queue(COMMANDS), "", replace(wire, body=b"{" * 99, headers={**wire.headers, BODY_SIZE: 10**8})
        )
        (done,) = await put_back(Operator(stage.broker), COMMANDS, lambda _: wire.body)
        assert done.left == ""
        assert [one.outcome for one in await stage.replies(1)] == ["ok"]


def test_what_is_not_touched_stays_to_the_last_digit() -> None:
    text = '{"a":0.10,"b":[1e400,12345678901234567890.5,{"c":-0}],"d":"é\\u0000"}'
    assert Body(text).text() == text.replace("\\u0000", "\\u0000")
    body = Body(text)
    for path, value in (("b.2.c", "1.50"), ("d", "plain"), ("new", '{"x": 2.0}'), ("b.0", "null")):
        body.set(path, value)
    assert body.text() == '{"a":0.10,"b":[null,12345678901234567890.5,{"c":1.50}],"d":"plain","new":{"x":2.0}}'
    for path in ("z.y", "b.3", "b.x", "a.b", ""):
        with pytest.raises(LookupError):
            body.set(path, "1")


def test_ways_to_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"a":1}'
    file = tmp_path / "body.json"
    file.write_bytes(b"anything")
    assert edited(body, ["body.a=2"], "") == b'{"a":2}'
    assert edited(body, [], str(file)) == b"anything"
    for sets, given, why in (
        (["a=2"], "", "no part of the body"), (["body.b.c=2"], "", "no 'b'"), (["body.a=1"], "", "Nothing has changed"),
        (["body.a=2"], str(file), "do not go together"), ([], str(tmp_path), "--body"), ([], "", "Nothing says how"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=why):
            edited(body, sets, given)
    with pytest.raises(UsageError, match="no JSON"):
        edited(b"{", ["body.a=2"], "")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for editor, outcome in (("true", "Nothing has changed"), ("false", "false failed")):
        monkeypatch.setenv("EDITOR", editor)
        with pytest.raises(UsageError, match=outcome):
            edited(body, [], "")
    monkeypatch.setenv("EDITOR", "sed -i s/1/3/")
    assert json.loads(edited(body, [], "")) == {"a": 3}


async def test_a_message_that_no_broker_takes_again_stays_as_it_was() -> None:
    async with stage_for(make_service(), start=False) as stage:
        await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(b"x" * (16 * 1024 * 1024 + 1), {}))
        (done,) = await put_back(Operator(stage.broker), COMMANDS, lambda body: body + b"y")
        assert "no broker takes again" in done.left
        assert await stage.outside.post(NAMES.dead_queue(COMMANDS), "", Wire(b"", {})) is Published.CONFIRMED
