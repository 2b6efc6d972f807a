"""Logs say who and where, and never what was in a message."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from choros.app.service import Service
from choros.roles.roles import running
from choros.runtime.subscriber.subscriber import Subscriber
from choros.telemetry.context import speaking_of
from choros.telemetry.lines import configure_logging
from choros.telemetry.logs import MOST_TEXT, get_logger, mask
from choros.wire.envelope import Wire, encode
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
from tests.simulation.trip import app

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
        root.handlers[:] = []  # pytest gives each test one; here nobody else has configured anything
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


def test_what_may_quote_a_message_is_masked(configure: Configure) -> None:
    lines = configure()
    given = {"card": CARD, "status": object(), "count": int(CARD), "many": [SPACED], "name": "x", "long": "x" * 10**6}
    get_logger("choros.test").info("choros.test.done", **given)
    (line,) = lines()
    assert (line["card"], line["status"], line["count"], line["many"]) == (
        "[number]",
        "<object>",
        "<int>",
        ["[number]"],
    )
    assert len(line["long"]) < 10_000
    assert line["name_"] == "x", "records have a name of their own"


def test_what_is_cut_off_leaves_no_half_of_a_number(configure: Configure) -> None:
    lines = configure()
    for before in range(MOST_TEXT - len(CARD), MOST_TEXT):
        get_logger("choros.test").info("choros.test.done", why="x" * (before - 1) + " " + CARD)
    assert all("4111" not in line["why"] for line in lines())
    get_logger("choros.test").error("choros.test.failed", error=ValueError(f"{CARD} " + "x" * (4 * MOST_TEXT - 8)))
    assert "1111" not in json.dumps(lines()[-1])


def pay(card: str) -> None:
    try:
        raise KeyError(card)
    except KeyError as error:
        raise ValueError(f"cannot charge {card} by amqp://me:hush@host/") from error


@pytest.mark.parametrize("people", [False, True])
def test_an_exception_has_its_words_and_its_traceback(configure: Configure, people: bool) -> None:
    configure()
    stream = io.StringIO()
    configure_logging("payment", stream=stream, json=not people)
    with pytest.raises(ValueError, match="cannot charge") as raised:
        pay(f"sku-7 with {CARD}")
    get_logger("choros.test").error("choros.test.failed", error=raised.value)
    said = stream.getvalue()
    for wanted in ("ValueError", "KeyError", "cannot charge sku-7 with [number]", "in pay", "test_telemetry.py"):
        assert wanted in said
    assert CARD not in said
    assert "hush" not in said


def test_the_words_of_exceptions_can_be_turned_off(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_LOG_ERROR_TEXT", "0")
    lines = configure()
    with pytest.raises(ValueError, match="secret") as raised:
        pay("secret")
    get_logger("choros.test").error("choros.test.failed", error=raised.value)
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert line["frames"][-1].endswith(" pay")
    assert "secret" not in json.dumps(line)


def test_what_others_say_stays_whole(configure: Configure) -> None:
    """The application's own logs, by `logging` or structlog, with the ids of the message that is handled."""
    lines = configure(level="DEBUG")
    shop = logging.getLogger("shop")
    with speaking_of(command(Charge(order="o1"), id="m1")):
        shop.info("charged %s for %s", 12, "ada", extra={"card": CARD, "what": {"a": 1}})
        structlog.get_logger("shop.more").info("charged", sku="sku-7", amount=object)
    shop.warning({"charged": 12})
    try:
        pay("secret")
    except ValueError:
        shop.exception("it failed")
    logging.getLogger("aiormq").error("frame %r", "secret")  # told by the transport in its own words
    logging.getLogger("web.access").info('%s - "%s"', "1.2.3.4", "GET /livez")
    said = lines()
    assert "aiormq" not in {line["logger"] for line in said}
    # What an earlier test left behind may say something, too.
    first, more, odd, failed, access = (line for line in said if line["logger"] in ("shop", "shop.more", "web.access"))
    assert (first["event"], first["card"], first["what"]) == ("charged 12 for ada", CARD, {"a": 1})
    assert (first["logger"], first["saga_id"], first["message_id"]) == ("shop", "s1", "m1")
    assert (more["event"], more["sku"], more["amount"], more["saga_id"]) == ("charged", "sku-7", repr(object), "s1")
    assert (odd["event"], odd["level"]) == ("{'charged': 12}", "warning")
    assert "cannot charge secret" in failed["exception"] and "in pay" in failed["exception"]
    assert access["event"] == '1.2.3.4 - "GET /livez"'


def test_what_the_application_has_configured_stays(configure: Configure) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    theirs = logging.StreamHandler(stream)
    root.handlers[:] = [theirs]
    root.setLevel(logging.WARNING)
    configure_logging("payment", stream=io.StringIO())
    assert (root.handlers, root.level) == ([theirs], logging.WARNING)
    get_logger("choros.test").warning("choros.test.done", count=3, why="it is so")
    assert stream.getvalue() == 'choros.test.done count=3 why="it is so"\n'


async def test_a_guest_touches_no_logger(capsys: pytest.CaptureFixture[str]) -> None:
    """An application that runs within another process leaves handlers, levels and structlog as they were."""
    root, mine = logging.getLogger(), logging.getLogger("myshop")
    before = root.handlers[:], root.level, structlog.is_configured(), mine.handlers[:], mine.level
    async with running(app):
        pass
    assert before == (root.handlers, root.level, structlog.is_configured(), mine.handlers, mine.level)
    assert logging.getLogger("choros").handlers == []
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_text_and_a_pipe_gets_json(configure: Configure) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    configure()
    terminal = Terminal()
    configure_logging("payment", stream=terminal)
    get_logger("choros.a").info("started")
    assert not terminal.getvalue().startswith("{")
    lines = configure()
    get_logger("choros.a").info("started")
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
    user_log = get_logger("choros.payment")

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        user_log.info("payment.charging", card=command.card, count=1)
        try:
            await misbehave(command.how, command.card)
        except ValueError as error:
            user_log.error("payment.broken", error=error)
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
    lines, log = configure(), get_logger("choros.shop")

    async def work(saga: str) -> None:
        with speaking_of(command(Charge(order="o"), saga=saga)):
            await asyncio.sleep(0)
            log.info("at.work", step=f"own-{saga}")

    await asyncio.gather(work("s1"), work("s2"))
    assert [(line["saga_id"], line["step"]) for line in lines()] == [("s1", "own-s1"), ("s2", "own-s2")]


def test_whoever_imports_choros_imports_nothing_that_only_its_commands_need() -> None:
    said = "import choros, sys; print([name for name in ('structlog', 'rich', 'typer') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "[]\n"
