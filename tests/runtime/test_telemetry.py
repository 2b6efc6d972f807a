"""Logs say who and where, and never what was in a message."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from choros.envelope import Wire, encode
from choros.runtime.service import Service
from choros.runtime.subscriber import Subscriber
from choros.runtime.telemetry import configure_logging, get_logger, mask, speaking_of
from tests.runtime.participant_stage import (
    Charge,
    Charged,
    Paid,
    Refund,
    Refunded,
    Unpaid,
    command,
    eventually,
    fact,
    misbehave,
    stage_for,
)

CARD = "4111111111111111"
SPACED = "4111 1111 1111 1111"
Configure = Callable[..., Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configure logging into a string; what was configured before comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configured(service: str = "payment", **more: Any) -> Callable[[], list[dict[str, Any]]]:
        stream = io.StringIO()
        configure_logging(service, stream=stream, **more)
        return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    yield configured
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_line_says_when_who_and_about_what(configure: Configure) -> None:
    lines = configure()
    with speaking_of(command(Charge(order="o1"), id="m1")):
        get_logger("choros.test").info("choros.test.done", count=3)
    get_logger("choros.test").info("choros.test.over")
    inside, outside = lines()
    assert inside.pop("timestamp").endswith("Z")
    assert inside.pop("version")
    assert inside == {
        "level": "info", "event": "choros.test.done", "logger": "choros.test", "service": "payment", "count": 3,
        "saga_id": "s1", "saga": "order", "step": "charge", "attempt": 1, "message_id": "m1",
        "correlation_id": "s1", "causation_id": "start", "trace_id": "a" * 32, "span_id": "b" * 16, "trace_flags": "01",
    }  # fmt: skip
    assert "saga_id" not in outside


def test_unknown_keys_are_dropped_and_counted(configure: Configure) -> None:
    lines = configure(allow=["order"])
    get_logger("shop").info("charged", card=CARD, order="o1", status=object(), count=int(CARD))
    (line,) = lines()
    assert (line["dropped"], line["order"], line["status"], line["count"]) == (1, "o1", "<object>", "<int>")
    assert CARD not in json.dumps(line)


def test_an_exception_is_its_type_and_its_place(configure: Configure) -> None:
    lines = configure()

    def pay(card: str) -> None:
        try:
            raise KeyError(card)
        except KeyError as error:
            raise ValueError(f"cannot charge {card}") from error

    for say in (get_logger("a").exception, logging.getLogger("b").exception):
        try:
            pay("secret")
        except ValueError:
            say("pay.failed")
    for line in lines():
        assert [link["type"] for link in line["exception"]] == ["ValueError", "KeyError"]
        assert line["exception"][0]["frames"][-1].endswith(" pay")
        assert line["exception"][0]["frames"][-1].startswith("test_telemetry.py:")
        assert "secret" not in json.dumps(line)


def test_other_libraries_say_no_arguments(configure: Configure) -> None:
    lines = configure(level="DEBUG")
    logging.getLogger("aio_pika.queue").critical("Cannot parse %r", "secret")
    logging.getLogger("aiormq").error("frame %r", "secret")  # told by the transport in its own words
    logging.getLogger("uvicorn.access").setLevel(logging.NOTSET)  # another test's server may have silenced it
    logging.getLogger("uvicorn.access").info('%s - "%s"', "1.2.3.4", "GET /livez")
    broken, access = lines()
    assert (broken["event"], broken["logger"]) == ("Cannot parse %r", "aio_pika.queue")
    assert access["event"] == '1.2.3.4 - "GET /livez"'


def test_people_get_text(configure: Configure) -> None:
    stream = io.StringIO()
    configure_logging("payment", stream=stream, json=False)
    try:
        raise ValueError(CARD)
    except ValueError:
        get_logger("a").exception("pay.failed")
    assert "pay.failed" in stream.getvalue()
    assert "ValueError at " in stream.getvalue()
    assert CARD not in stream.getvalue()
    configure()


def test_a_terminal_gets_text_and_a_pipe_gets_json(configure: Configure) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure_logging("payment", stream=terminal)
    get_logger("a").info("started")
    assert not terminal.getvalue().startswith("{")
    lines = configure()
    get_logger("a").info("started")
    assert lines()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"card {CARD}.", "card [number]."),
        (SPACED, "[number]"),
        ("4111-1111-1111-1111", "[number]"),
        ("amqp://shop:hunter2@broker/v", "amqp://***@broker/v"),
        ("0198c1f2-7f3a-7abc-8def-012345678901", "0198c1f2-7f3a-7abc-8def-012345678901"),
        ("2026-11-23T00:41:08.123456Z", "2026-11-23T00:41:08.123456Z"),
        ("retry 12 of 15 in 600 s", "retry 12 of 15 in 600 s"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert mask(text) == masked


async def test_no_card_number_in_any_log_or_dead_letter_reason(
    configure: Configure, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines = configure(level="DEBUG")
    service = Service("payment")
    user_log = get_logger("shop.payment")

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        user_log.info("payment.charging", card=command.card, count=1)
        logging.getLogger("shop").info("charging %s", command.card)
        try:
            await misbehave(command.how, command.card)
        except ValueError:
            user_log.exception("payment.broken")
            raise
        return Charged(payment=command.card)

    @service.provider(Refund)
    async def refund(command: Refund) -> Refunded:
        raise ConnectionError(f"refund of {CARD}")

    @service.on(Paid)
    async def paid(fact: Paid) -> None:
        raise ValueError(CARD)

    good = command(Charge(order="o", card=CARD))
    ways = ("ok", "declined", "surprised", "broken", "cancelled")
    async with stage_for(service) as stage:
        for number, how in enumerate(ways):
            await stage.send(command(Charge(order="o", card=CARD, how=how), saga=f"s{number}"))
        await stage.send(
            command(Charge(order="o", card=CARD), saga="s9", id=CARD, subject=CARD, causation_id=CARD),
            command(Refund(order="o"), "undo", saga="s0"),
        )
        wire = encode(good)
        await stage.put(encode(replace(good, data=json.dumps({"order": 1, "card": CARD, CARD: CARD}))))
        await stage.put(encode(replace(good, data=CARD)))
        await stage.put(encode(replace(good, type=CARD)))
        await stage.put(encode(replace(good, step=CARD)))
        await stage.put(encode(replace(good, key=CARD)))
        await stage.put(encode(replace(good, reply_to=CARD)))
        await stage.put(replace(wire, headers={**wire.headers, "cloudEvents_time": CARD, "x": CARD, CARD: CARD}))
        await stage.put(replace(wire, headers={**wire.headers, "cloudEvents_sagakind": CARD}))
        await stage.put(Wire(CARD.encode(), {}, content_type=f"application/cloudevents+{CARD}"))
        await stage.replies(7)
        await eventually(lambda: len(stage.parked()) == 9)
        reasons = stage.parked()
    async with stage_for(service, kind=Subscriber, attempts=1) as stage:
        await stage.publish(fact(Paid(order=CARD)), fact(Unpaid(order=CARD), 2))
        await eventually(lambda: len(stage.parked("shop.facts.payment")) == 1)
        reasons += stage.parked("shop.facts.payment")
    logged = json.dumps(lines()) + capsys.readouterr().out + capsys.readouterr().err
    events = [line["event"] for line in lines()]
    assert {"choros.command.parked", "choros.command.failed", "choros.command.undeclared_refusal"} < set(events)
    assert {"payment.charging", "payment.broken", "choros.fact.parked", "choros.command.refused"} < set(events)
    assert CARD not in logged
    assert not [reason for reason in reasons if "4111" in reason]


async def test_lines_of_handlers_that_run_side_by_side_carry_their_own_ids(configure: Configure) -> None:
    lines, log = configure(), get_logger("shop")

    async def work(saga: str) -> None:
        with speaking_of(command(Charge(order="o"), saga=saga)):
            await asyncio.sleep(0)
            log.info("at.work", step=f"own-{saga}")

    await asyncio.gather(work("s1"), work("s2"))
    assert [(line["saga_id"], line["step"]) for line in lines()] == [("s1", "own-s1"), ("s2", "own-s2")]
