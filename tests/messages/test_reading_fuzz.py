"""Whatever gets past `decode`: a service, an orchestrator and a subscriber read it, or reject it; nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from choros.app.service import Service
from choros.errors import MessageRejected
from choros.messages import Close
from choros.runtime.host.admission import Received, read_command
from choros.runtime.host.off_the_wire import read_envelope
from choros.runtime.orchestrator.replies import judge, read_reply
from choros.runtime.subscriber.subscriber import Subscriber
from choros.saga.machine.inputs import Answered
from choros.transport.topology import Names
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope, Wire, encode
from tests.runtime.participant_stage import (
    NOW,
    REPLY_TO,
    Charge,
    Paid,
    Refund,
    close,
    command,
    eventually,
    fact,
    make_service,
    stage_for,
)
from tests.saga.shop import CHARGED, order_saga
from tests.wires import CARD, damaged, noise

FAST = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
NAMES, SERVICE = Names("shop"), make_service()
COMMANDS = [command(Charge(order=CARD)), command(Refund(order="o1"), "undo"), close("do"), close("undo")]
ANSWER = Envelope(
    id="r1", kind="reply", type=CHARGED.type_name, source="/shop/payment", time=NOW, data=CHARGED.to_json(),
    correlation_id="s1", causation_id="c1", key="s1:charge_payment:1:do", saga="order", saga_version=1,
    step="charge_payment", attempt=1, outcome="ok",
)  # fmt: skip
keys = st.builds(
    "{}:{}:{}:{}".format,
    st.sampled_from(["s1", CARD, "", "s 1"]),
    st.sampled_from(["charge_payment", "charge", "order_noted", "a[1].charge", CARD, ""]),
    st.sampled_from(["1", "2", "01", "0", "999999", "1000000", "-1", "\u0661"]),
    st.sampled_from(["do", "undo", "close", "DO", CARD]),
)


def _check_words(rejected: MessageRejected) -> None:
    assert CARD not in str(rejected)


def check_command(wire: Wire) -> None:
    try:
        received = read_command(wire, SERVICE, NAMES)
    except MessageRejected as rejected:
        _check_words(rejected)
        return
    assert received.envelope.key == str(received.key)
    assert (received.handler is None) is isinstance(received.message, Close) is (received.key.operation == "close")
    assert received.envelope.reply_to.startswith("shop.replies.")
    again = read_command(encode(received.envelope), SERVICE, NAMES)
    assert (again.envelope, again.message) == (received.envelope, received.message)


def check_reply(wire: Wire) -> None:
    try:
        envelope = read_envelope(wire)
        read_reply(envelope, NAMES.way_of("reply", envelope.source), NAMES, "orders")
        answered = judge(order_saga, (1,), envelope)
    except MessageRejected as rejected:
        _check_words(rejected)
        return
    assert (envelope.saga, envelope.saga_version) == ("order", 1)
    assert (answered.id, str(answered.key), answered.outcome) == (envelope.id, envelope.key, envelope.outcome)
    assert judge(order_saga, (1,), read_envelope(encode(envelope))) == answered


@pytest.mark.slow
@FAST
@given(damaged(*COMMANDS) | noise)
def test_a_service_reads_a_command_or_rejects_it(wire: Wire) -> None:
    check_command(wire)


@FAST
@given(st.sampled_from(COMMANDS), keys, st.sampled_from(["charge", "charge_payment", "s1", "a[1].charge"]))
def test_a_service_reads_a_key_or_rejects_it(envelope: Envelope, key: str, step: str) -> None:
    check_command(encode(replace(envelope, key=key, step=step)))


@pytest.mark.slow
@FAST
@given(damaged(ANSWER, replace(ANSWER, outcome="failed"), replace(ANSWER, saga_version=7)) | noise)
def test_an_orchestrator_reads_a_reply_or_rejects_it(wire: Wire) -> None:
    check_reply(wire)


@FAST
@given(keys, st.sampled_from(["ok", "refused", "failed"]), st.sampled_from([ANSWER.type, "choros.closed.v1", CARD]))
def test_an_orchestrator_reads_a_key_or_rejects_it(key: str, outcome: Any, type_: str) -> None:
    check_reply(encode(replace(ANSWER, key=key, outcome=outcome, type=type_)))


def test_what_is_right_is_read() -> None:
    received = [read_command(encode(one), SERVICE, NAMES) for one in COMMANDS]
    assert all(isinstance(one, Received) for one in received)
    reply = read_reply(read_envelope(encode(ANSWER)), NAMES.replies_of("payment"), NAMES, "orders")
    answered = judge(order_saga, (1,), reply)
    assert isinstance(answered, Answered)
    assert answered.key == CommandKey("s1", "charge_payment", 1, "do")
    assert REPLY_TO.startswith("shop.replies.")


def listening() -> Service:
    service = Service("payment")

    @service.on(Paid)
    async def paid(fact: Paid) -> None:
        return None

    return service


async def hear(wires: list[Wire]) -> None:
    """Every message is dealt with, and the subscriber goes on."""
    async with stage_for(listening(), kind=Subscriber) as stage:
        for wire in wires:
            await stage.put(wire, NAMES.facts, "paid.v1")
        await stage.publish(fact(Paid(order="last"), seq=99, stream="last"))
        await eventually(lambda: sum(stage.counts.values()) == len(wires) + 1)
        assert stage.counts["handled"] + stage.counts.get("repeated", 0) >= 1
        assert not any(CARD in reason for reason in stage.parked(NAMES.subscriber_queue("payment")))
        assert stage.running is not None
        assert not stage.running.done()


def could_come_off_a_wire(wire: Wire) -> bool:
    """In AMQP all names are strings."""
    return all(isinstance(name, str) for name in wire.headers)


@pytest.mark.slow
@settings(FAST, max_examples=10)
@given(st.lists(damaged(fact(Paid(order=CARD))) | noise.filter(could_come_off_a_wire), min_size=5, max_size=30))
def test_a_subscriber_reads_a_fact_or_parks_it(wires: list[Wire]) -> None:
    asyncio.run(hear(wires))
