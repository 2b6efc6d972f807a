"""A participant and a subscriber in Node, written from docs/protocol.md: what the page says is enough, and true."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from aiormq.exceptions import ChannelAccessRefused

from choros import Done
from choros.sources import fresh_id
from choros.transport.copies import FAILED_AT, ORIGINAL_QUEUE, REASON
from choros.wire.envelope import Wire, decode
from tests.node import driver
from tests.node.driver import KEY, TYPE, Event, Market, install, opened
from tests.node.shop import HURRIED
from tests.patience import PATIENCE

pytestmark = [pytest.mark.long, pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    """One for all: each test sells under a name of its own."""
    folder = tmp_path_factory.mktemp("node")
    install(folder)
    async with opened(amqp_url, folder) as market:
        yield market


async def sold(market: Market, order: str) -> Event:
    """The `do` of a sale that has ended."""
    assert (await market.sell(order)).status == "completed"
    return await market.command(order)


def another(command: Event, **changed: Any) -> dict[str, Any]:
    """What makes the command one of a saga that the participant has never heard of."""
    saga_id = fresh_id()
    operation = changed.pop("operation", "do")
    return {"id": fresh_id(), "correlationid": saga_id, "idempotencykey": f"{saga_id}:charge:1:{operation}", **changed}


async def test_it_uses_nothing_but_amqplib_and_node() -> None:
    here = Path(driver.__file__).parent
    imported = {name for file in here.glob("*.mjs") for name in re.findall(r'from "([^"]+)"', file.read_text())}
    assert {name for name in imported if not name.startswith(("./", "node:"))} == {"amqplib"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", json.loads((here / "package.json").read_text())["dependencies"]["amqplib"])


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_it_carries_a_saga_out(market: Market) -> None:
    await sold(market, "o1")
    assert market.ledger("o1") == [10]
    await market.until(lambda: market.rows("SELECT name FROM heard WHERE name = 'o1'"))


async def test_its_answers_say_what_the_command_said(market: Market) -> None:
    assert (await market.sell("traced", traceparent=TRACE, tracestate="a=1")).status == "completed"
    command = await market.command("traced")
    answer = await market.answer_to(command)
    read = decode(Wire(json.dumps(answer["body"]).encode(), answer["headers"], "application/json"))
    assert (read.traceparent, read.tracestate, read.causation_id) == (
        TRACE,
        "a=1",
        command["headers"]["cloudEvents_id"],
    )
    assert command["headers"]["traceparent"] == TRACE  # the plain one, which choros writes as well


async def test_it_refuses_and_leaves_no_effect(market: Market) -> None:
    outcome = await market.sell("dear", amount=5000)
    assert outcome.status == "compensated"
    assert outcome.failure
    assert (outcome.failure.code, outcome.failure.step) == ("card_declined", "charge")
    assert market.ledger("dear") == []
    await sold(market, "after the dear one")  # so it has said all that came before
    assert not market.commands("dear", "undo", "refund.v1")


async def test_it_undoes_what_was_done_before_a_refused_pivot(market: Market) -> None:
    assert (await market.sell("nowhere-1")).status == "compensated"
    assert market.ledger("nowhere-1") == [10, -10]


async def test_a_failure_is_answered_and_tried_again_under_the_same_key(market: Market) -> None:
    first = await sold(market, "flaky-1")
    await market.answer_to(first, 2)
    outcomes = [one["headers"]["cloudEvents_sagaoutcome"] for one in market.answers(first)]
    assert outcomes == ["failed", "ok"]
    assert market.ledger("flaky-1") == [10]


async def test_a_code_that_nobody_declared_is_no_refusal(market: Market) -> None:
    await market.sell("tired-1")
    tired = await market.command("tired-1")
    await market.answer_to(tired, 3)
    assert {one["headers"]["cloudEvents_sagaoutcome"] for one in market.answers(tired)} == {"failed"}


async def test_an_undo_before_its_do_leaves_a_tombstone(market: Market) -> None:
    outcome = await market.sell("held-1", saga=HURRIED)
    assert outcome.status == "compensated"
    assert outcome.failure
    assert outcome.failure.kind == "in_doubt"
    undo = await market.command("held-1", "undo", "refund.v1")
    assert (await market.answer_to(undo))["headers"][TYPE] == "choros.nothing-to-undo.v1"
    market.node.tell(release="held-1")
    late = await market.answer_to(await market.command("held-1"))
    assert (late["headers"]["cloudEvents_sagaoutcome"], late["body"]["code"]) == ("refused", "cancelled")
    assert market.ledger("held-1") == []


async def test_an_undo_says_how_long_its_do_may_come_and_has_no_deadline(market: Market) -> None:
    await market.sell("nowhere-2")
    do, undo = await market.command("nowhere-2"), await market.command("nowhere-2", "undo", "refund.v1")
    assert undo["headers"]["cloudEvents_doexpirytime"] == do["headers"]["cloudEvents_expirytime"]
    assert "cloudEvents_expirytime" not in undo["headers"]
    assert undo["headers"]["cloudEvents_begantime"] == do["headers"]["cloudEvents_begantime"]


async def test_a_command_past_its_deadline_is_refused_unless_it_was_answered(market: Market) -> None:
    done = await sold(market, "o2")
    again = await market.send_again(done, expirytime=LONG_AGO)
    assert (await market.answer_to(again, 2))["headers"]["cloudEvents_sagaoutcome"] == "ok"
    late = await market.send_again(done, b'{"order": "late", "amount": 1}', **another(done, expirytime=LONG_AGO))
    assert (await market.answer_to(late))["body"]["code"] == "expired"
    assert market.ledger("late") == []


async def test_a_structured_command_is_carried_out(market: Market) -> None:
    done = await sold(market, "o3")
    fresh = {name.partition("_")[2]: value for name, value in done["headers"].items() if name.startswith("cloud")}
    event = {**fresh, **another(done), "data": {"order": "structured", "amount": 3}}
    market.made_up.add(event["idempotencykey"])
    await market.put(
        market.names.commands, "till", event, {}, "application/cloudevents+json; charset=utf-8", done["reply_to"]
    )
    await market.until(lambda: market.ledger("structured") == [3])


# --- duplicates -------------------------------------------------------------------------------------------------------


async def test_a_duplicate_is_answered_with_the_stored_answer(market: Market) -> None:
    done = await sold(market, "o4")
    for _ in range(5):
        await market.send_again(done)
    await market.answer_to(done, 6)
    assert len({json.dumps(one) for one in market.answers(done)}) == 1
    assert market.ledger("o4") == [10]


async def test_a_stored_refusal_outlives_a_change_of_mind(market: Market) -> None:
    await market.sell("dear-2", amount=5000)
    refused = await market.command("dear-2")
    await market.send_again(refused, b'{"order": "dear-2", "amount": 5}', id=fresh_id(), sagaattempt=2)
    assert (await market.answer_to(refused, 2))["body"]["code"] == "card_declined"


async def test_an_undo_is_answered_as_it_was(market: Market) -> None:
    await market.sell("nowhere-3")
    undo = await market.command("nowhere-3", "undo", "refund.v1")
    await market.send_again(undo, id=fresh_id(), sagaattempt=2)
    await market.answer_to(undo, 2)
    assert market.ledger("nowhere-3") == [10, -10]


async def test_a_crash_between_commit_and_answer_does_nothing_twice(market: Market) -> None:
    starts = market.node.starts
    await sold(market, "crash-1")
    assert market.ledger("crash-1") == [10]
    assert market.node.starts > starts


# --- closing ----------------------------------------------------------------------------------------------------------


async def test_a_parked_pivot_is_skipped_by_closing_it(market: Market) -> None:
    outcome = await market.sell("broken-1")
    assert outcome.status == "parked"
    await market.client.skip(outcome.saga_id, "send", Done())
    assert (await market.client.wait(outcome.saga_id)).status == "completed"
    key = {"headers": {KEY: f"{outcome.saga_id}:send:1:close"}}
    assert (await market.answer_to(key))["headers"][TYPE] == "choros.closed.v1"


async def close(market: Market, do: Event, of: str) -> Event:
    key = do["headers"][KEY].removesuffix(":do") + ":close"
    body = json.dumps({"of": of}).encode()
    return await market.send_again(do, body, id=fresh_id(), type="choros.close.v1", idempotencykey=key)


async def test_what_is_done_is_not_closed_but_told(market: Market) -> None:
    done = await sold(market, "o5")
    await close(market, done, "do")
    assert (await market.answer_to(done, 2)) == market.answers(done)[0]


async def test_what_is_closed_is_never_done(market: Market) -> None:
    done = await sold(market, "o6")
    other = another(done)
    closing = await close(market, {**done, "headers": {**done["headers"], KEY: other["idempotencykey"]}}, "do")
    assert (await market.answer_to(closing))["headers"][TYPE] == "choros.closed.v1"
    late = await market.send_again(done, b'{"order": "closed", "amount": 1}', **other)
    assert (await market.answer_to(late))["body"]["code"] == "cancelled"
    assert market.ledger("closed") == []


# --- what can never be handled ----------------------------------------------------------------------------------------


UNACCEPTABLE: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "no key": (dict(idempotencykey=None), None),
    "a round with a zero before it": (dict(idempotencykey="s:charge:01:do"), None),
    "another saga than its key's": (dict(correlationid="another"), None),
    "another step than its key's": (dict(sagastep="send"), None),
    "a kind of its own": (dict(sagakind="wish"), None),
    "the type of an undo": (dict(type="refund.v1"), b'{"order": "x"}'),
    "a close that is none": (dict(type="choros.close.v1"), b'{"of": "do"}'),
    "a time of no form": (dict(expirytime="20261122T120000Z"), None),
    "an unknown field": ({}, b'{"order": "x", "amount": 1, "more": 1}'),
    "a field of another type": ({}, b'{"order": "x", "amount": "1"}'),
    "no JSON": ({}, b"{"),
}


@pytest.mark.parametrize("wrong", UNACCEPTABLE)
async def test_a_command_that_means_nothing_is_parked(market: Market, wrong: str) -> None:
    done = await sold(market, f"before {wrong}")
    await market.dead(market.names.service_queue("till"))
    changed, body = UNACCEPTABLE[wrong]
    changed = {**another(done), **changed}
    before = len(market.node.heard("parked"))
    await market.send_again(done, body, **changed)
    await market.until(lambda: len(market.node.heard("parked")) > before)
    (parked,) = await market.dead(market.names.service_queue("till"))
    assert parked.headers["cloudEvents_id"] == changed["id"]
    assert parked.headers[ORIGINAL_QUEUE] == market.names.service_queue("till")
    assert parked.headers[REASON]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(parked.headers[FAILED_AT]))
    assert parked.reply_to == done["reply_to"]


async def test_a_body_of_another_kind_is_not_read_as_json(market: Market) -> None:
    done = await sold(market, "o7")
    await market.dead(market.names.service_queue("till"))
    headers = {**done["headers"], **{f"cloudEvents_{name}": value for name, value in another(done).items()}}
    body = {"order": "xml", "amount": 1}
    await market.put(market.names.commands, "till", body, headers, "application/xml", done["reply_to"])
    await market.until(lambda: market.node.heard("parked", reason="Its body is not JSON."))
    assert market.ledger("xml") == []


async def test_a_command_for_another_replica_is_given_back_ten_times(market: Market) -> None:
    done = await sold(market, "o8")
    await market.dead(market.names.service_queue("till"))
    await market.send_again(done, **another(done, type="weigh.v1"))
    reason = "No replica of this service handles this type of command."
    await market.until(lambda: market.node.heard("parked", reason=reason))
    came = [one for one in market.node.heard("command") if one["headers"].get(TYPE) == "weigh.v1"]
    assert [one["headers"].get("x-delivery-count", 0) for one in came] == list(range(11))


async def test_an_answer_whose_queue_is_gone_waits_in_its_row(market: Market) -> None:
    done = await sold(market, "o9")
    changed = another(done)
    gone = {**done, "reply_to": f"{market.names.replies}.gone"}
    sent = await market.send_again(gone, b'{"order": "gone", "amount": 1}', **changed)
    await market.until(lambda: market.node.heard("parked", reason="No queue takes the reply."))
    row = "SELECT confirmed FROM barrier WHERE key = ?"
    assert (market.ledger("gone"), market.rows(row, changed["idempotencykey"])) == ([1], [0])
    await market.send_again({**sent, "reply_to": done["reply_to"]}, b'{"order": "gone", "amount": 1}')
    await market.answer_to(sent)
    await market.until(lambda: market.rows(row, changed["idempotencykey"]) == [1])
    assert market.ledger("gone") == [1]


# --- facts ------------------------------------------------------------------------------------------------------------


def fact(order: str, seq: int = 1, **changed: Any) -> dict[str, Any]:
    attributes = {
        "specversion": "1.0", "id": fresh_id(), "sagakind": "fact", "type": "bought.v1", "time": "2026-11-22T12:00:00Z",
        "factstream": order, "factseq": seq, **changed,
    }  # fmt: skip
    return {f"cloudEvents_{name}": value for name, value in attributes.items()}


async def told(market: Market, order: str, exchange: str = "", **changed: Any) -> None:
    changed = {"source": f"/{market.namespace}/market", **changed}
    await market.put(exchange or market.names.facts_of("market"), "bought.v1", {"order": order}, fact(order, **changed))


async def heard(market: Market, stream: str, count: int) -> list[str]:
    found = await market.until(lambda: len(got := market.node.heard("fact", stream=stream)) >= count and got)
    return [one["what"] for one in found]


async def test_a_fact_is_handled_once(market: Market) -> None:
    for seq in (1, 1, 2):
        await told(market, "f1", seq=seq)
    assert sorted(await heard(market, "f1", 3)) == ["handled", "handled", "repeated"]
    assert len(market.rows("SELECT name FROM heard WHERE name = 'f1'")) == 2


async def test_a_fact_of_another_type_is_passed_over(market: Market) -> None:
    await told(market, "f2", type="weighed.v1")
    assert await heard(market, "f2", 1) == ["passed over"]


async def test_a_fact_that_fails_comes_again_from_the_retry_queue(market: Market) -> None:
    await told(market, "late-1")
    assert await heard(market, "late-1", 1) == ["handled"]
    assert market.node.heard("retried", retries=1)
    assert len(market.rows("SELECT name FROM heard WHERE name = 'late-1'")) == 1


async def test_a_known_fact_is_handled_whichever_way_it_came(market: Market) -> None:
    queue = market.names.subscriber_queue("audit")
    source = f"/{market.namespace}/market"
    await market.put("", queue, {"order": "f3"}, fact("f3", source=source))
    assert await heard(market, "f3", 1) == ["handled"]
    await market.put("", queue, {"order": "f3"}, fact("f3", seq=2, source=source, type="weighed.v1"))
    await market.until(lambda: market.node.heard("parked", reason="It is of an unknown type."))


async def test_what_it_gives_with_a_refusal_is_read_by_the_closing_fact(market: Market) -> None:
    async with await aio_pika.connect(market.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(market.names.facts_by_type, "not-bought.*")
        for order, limit in (("dear-3", 1000), ("curt-1", None)):
            assert (await market.sell(order, amount=5000)).status == "compensated"
            async with asyncio.timeout(PATIENCE), queue.iterator(no_ack=True) as facts:
                assert json.loads((await anext(facts)).body) == {"order": order, "limit": limit}


async def test_a_fact_by_type_names_the_exchange_of_its_publisher(market: Market) -> None:
    async with await aio_pika.connect(market.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(market.names.facts_by_type, "bought.*")
        await sold(market, "by type")
        async with asyncio.timeout(PATIENCE), queue.iterator(no_ack=True) as facts:
            fact = await anext(facts)
    assert (fact.exchange, fact.routing_key) == (market.names.facts_of("market"), "bought.v1")


# --- as a user who may do no more than it must ------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def least(market: Market) -> AsyncIterator[Market]:
    async with opened(market.url, market.node.folder, least=True) as least:
        yield least


async def test_the_permissions_on_the_page_are_enough(least: Market) -> None:
    done = await sold(least, "o1")
    await least.send_again(done, b"{", **another(done))
    await least.until(lambda: least.node.heard("parked"))
    await told(least, "late-2")
    assert await heard(least, "late-2", 1) == ["handled"]
    assert len(await least.dead(least.names.service_queue("till"))) == 1


async def test_who_may_not_configure_looks_and_does_not_declare(least: Market) -> None:
    queue = least.names.service_queue("till")
    async with await aio_pika.connect(least.node.settings["url"]) as connection:
        looking, declaring = await connection.channel(), await connection.channel()
        assert (await looking.declare_queue(queue, passive=True)).name == queue
        with pytest.raises(ChannelAccessRefused):
            await declaring.declare_exchange(least.names.replies_of("till"), "fanout", durable=True)


# --- at the end, since they count what all others have left -----------------------------------------------------------


async def test_what_is_forgotten_is_not_done_again(market: Market) -> None:
    done = await sold(market, "o10")
    market.node.tell(forget=True)
    await market.until(lambda: market.node.heard("forgot"))
    assert market.node.heard("forgot")[-1]["rows"] > 0
    await market.send_again(done)
    late = await market.answer_to(done, 2)
    assert (late["headers"]["cloudEvents_sagaoutcome"], late["body"]["code"]) == ("failed", "forgotten")
    assert market.ledger("o10") == [10]


async def test_the_orchestrator_has_parked_the_answers_to_what_tests_made_up_and_no_others(market: Market) -> None:
    """They are in doubt for nobody: no saga of its has asked."""
    done = await sold(market, "o11")
    await market.answer_to(await market.send_again(done, b'{"order": "o12", "amount": 1}', **another(done)))
    answered = [one["headers"] for one in market.node.heard("answered") if one["headers"][KEY] in market.made_up]
    parked: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(parked) < len(answered):
            parked += await market.dead(market.names.reply_queue("market"))
    assert {one.headers[KEY] for one in parked} == {headers[KEY] for headers in answered}
