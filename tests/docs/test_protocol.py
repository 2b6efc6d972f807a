"""docs/protocol.md says what the code does: its tables, its examples, and a participant written from it alone."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from choros import messages
from choros.app.app import App
from choros.app.service import Service
from choros.app.settings import SETTINGS
from choros.messages import Command, Done, Fact, Failure, Message, Refusal, Reply
from choros.names import RESERVED_NAMES
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.reply_outbox import UNROUTABLE_AFTER
from choros.saga.nodes import Pivot, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.sources import fresh_id
from choros.store.memory.sagas import MemoryStore
from choros.transport import copies, permissions
from choros.transport.acts import acts_topology
from choros.transport.fact_log import FactLog
from choros.transport.foreign import ForeignExchange
from choros.transport.instances import instance_name, instance_topology
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.frames import LARGEST_UNREADABLE
from choros.transport.topology import DELIVERY_LIMIT, RETRY_LADDER, Names, Subscription, topology
from choros.wire.attributes import MAX_DEPTH, MOST
from choros.wire.envelope import (
    _REQUIRED,
    ATTRIBUTES,
    DO_EXPIRY,
    MAX_BODY,
    MAX_HEADERS,
    UNREADABLE,
    Wire,
    decode,
    encode,
)
from tests.docs import foreign_participant
from tests.docs.foreign_participant import Body, Handler, No, Participant

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

# --- the tables -------------------------------------------------------------------------------------------------------


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table behind a heading, without its head."""
    lines = PAGE.split(f"{heading}\n", 1)[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" |")])
    return rows


def code(cell: str) -> str:
    return cell.strip("` ")


def test_the_attributes_are_those_of_the_envelope() -> None:
    names = [code(row[0]) for row in table_after("### Attributes")]
    assert sorted(names) == sorted(["specversion", DO_EXPIRY, *(attribute for attribute, _ in ATTRIBUTES.values())])


@pytest.mark.parametrize(("kind", "column"), [("command", 2), ("reply", 3), ("fact", 4), ("signal", 5)])
def test_what_is_required_is_what_the_decoder_requires(kind: str, column: int) -> None:
    written = {code(row[0]) for row in table_after("### Attributes") if row[column] == "●"}
    always = ("id", "kind", "type", "source", "time")
    assert written == {"specversion", *(ATTRIBUTES[name][0] for name in (*always, *_REQUIRED[kind]))}


def arguments_on_the_page() -> dict[str, list[str]]:
    return {code(row[0]): [code(cell) for cell in row[1:]] for row in table_after("### Arguments")}


def test_the_queue_arguments_are_those_of_the_topology() -> None:
    page = arguments_on_the_page()
    shop = topology("shop", services=["payment"], applications=["orders"], subscribers=["mail"], fact_log=FactLog())
    for queue in shop.queues:
        log = queue.name == Names("shop").facts_log
        detour = queue.name.endswith(".detour")
        column = (
            4 if detour else 3 if log else 2 if queue.name.endswith(".dead") else 1 if ".retry." in queue.name else 0
        )
        own = queue.name.split(".retry.")[0]
        seconds = queue.name.rpartition(".")[2].removesuffix("s")
        words = {
            "the queue's own name": queue.name,
            "the name of the subscriber queue": own,
            "seconds × 1000": f"{seconds}000",
            "<ns>.dead": "shop.dead",
            "<ns>.retry": "shop.retry",
            "<ns>.<application>.facts": "shop.orders.facts",
        }
        written = {name: words.get(cells[column], cells[column]) for name, cells in page.items()}
        assert {name: value for name, value in written.items() if value} == {
            name: str(value) for name, value in queue.arguments.items()
        }
    assert {name for queue in shop.queues for name in queue.arguments} == set(page)


def test_the_names_are_those_of_the_topology() -> None:
    named = [(code(row[1].split(" for ")[0].split(", ")[0]), row) for row in table_after("## 1. Names on the broker")]
    rows = dict(named)
    assert len(rows) == len(named)
    shop = topology(
        "<ns>",
        services=["<service>"],
        applications=["<application>"],
        subscribers=["<subscriber>"],
        fact_log=FactLog(),
        nesting=["<application>"],
        hearing={"<application>": ["<type>"]},
        publishers=["<service>"],
        signalling=["<service>"],
        signalled=["<application>"],
    )
    names = Names("<ns>")
    shop += instance_topology(names, "<subscriber>", "<instance>")
    shop += replace(FOREIGN.ours(names), exchanges=(), queues=FOREIGN.ours(names).queues[:2])
    shared = names.dead
    for exchange in shop.exchanges:
        assert rows[exchange.name if exchange.name == shared else written(exchange.name)][2] == exchange.kind
    everything = [*(one.name for one in shop.exchanges), *(one.name for one in shop.queues)]
    assert {shared, *(written(name) for name in everything if name != shared)} == set(rows)
    bound = [(b.source, b.destination, b.key) for b in shop.bindings]
    assert ("<ns>.commands", "<ns>.<service>", "<service>") in bound
    assert ("<ns>.replies", "<ns>.replies.<application>", "<ns>.replies.<application>") in bound
    assert ("<ns>.facts", "<ns>.facts.<subscriber>", "") in bound
    assert ("<ns>.retry", "<ns>.facts.<subscriber>", "<ns>.facts.<subscriber>") in bound
    assert ("<ns>.retry", "<ns>.facts.<subscriber>.retry.5s", "<ns>.facts.<subscriber>.retry.5s") in bound
    assert ("<ns>.facts", "<ns>.facts.by-type", "") in bound
    assert ("<ns>.signals", "<ns>.signals.<application>", "<ns>.signals.<application>") in bound
    assert ("<ns>.<service>.signals", "<ns>.signals", "") in bound
    assert ("<ns>.facts.by-type", "<ns>.facts.app.<application>", "<type>") in bound
    assert ("<ns>.facts", "<ns>.facts.log", "") in bound
    assert ("<ns>.log.marks", "<ns>.facts.log", "<ns>.facts.log") in bound
    assert ("<ns>.dead", "<ns>.<service>.dead", "<ns>.<service>") in bound
    assert ("<ns>.<service>.dead", "<ns>.<service>.dead", "") in bound
    assert ("<ns>.<service>.replies", "<ns>.replies", "") in bound
    assert ("<ns>.<application>.facts", "<ns>.facts", "") in bound
    assert ("<ns>.<service>.facts", "<ns>.facts", "") in bound
    assert ("<ns>.facts", "<ns>.facts.<subscriber>@<instance>", "") in bound
    assert ("<ns>.retry", "<ns>.facts.<subscriber>@<instance>", "<ns>.facts.<subscriber>") in bound
    assert ("<ns>.retry", "<ns>.facts.foreign.<name>", "<ns>.facts.foreign.<name>") in bound
    entry = "<ns>.facts.<subscriber>.retry"
    assert (entry, "<ns>.facts.<subscriber>.retry.5s", "<ns>.facts.<subscriber>.retry.5s") in bound


FOREIGN = ForeignExchange("<name>", "theirs", ("#",))


def written(name: str) -> str:
    """As the page writes it."""
    name = re.sub(r"^.*\.dead$", "<queue>.dead", name)
    return re.sub(r"^.*\.retry\.\d+s$", "<queue>.retry.<seconds>s", name)


def test_who_may_write_where_is_what_the_permissions_say() -> None:
    names, mail = Names("<ns>"), Subscription("<subscriber>")
    detour = {"its detour": Names.detour_of(names.facts_of("<application>")), "probe": names.probe}
    whole = topology(
        "<ns>",
        services=["<service>"],
        applications=["<application>"],
        nesting=["<application>"],
        hearing={"<application>": ["<type>"]},
        signalling=["<service>"],
        signalled=["<application>"],
        subscribers=["<subscriber>"],
    )
    instances = names.subscriber_queue(instance_name("<subscriber>", permissions.EVERY_STORE))
    words = {**detour, "its queue": names.subscriber_queue("<subscriber>"), "its instance queues": instances}
    each = permissions.subscriber(names, replace(mail, replicas="every"))
    assert each.configures == (instances,)
    roles = {
        "orchestrator": permissions.orchestrator(names, "<application>", nests=True, hears=True, signalled=True),
        "client (starts sagas)": permissions.client(names, "<application>", nests=True),
        "service": permissions.participant(names, "<service>"),
        "service that publishes, besides": permissions.publisher(names, "<service>"),
        "service that signals, besides": permissions.signaller(names, "<service>"),
        "subscriber": permissions.subscriber(names, mail, reads_log=True),
        "subscriber each of whose processes hears every fact; it may *configure* its instance queues": each,
        "foreign:NAME (translates what others publish)": FOREIGN.rights(names),
        "operator (acts on dead letters, so may speak for all)": permissions.operator(names, whole),
    }
    table = {row[0]: [cells(cell, words) for cell in row[1:]] for row in table_after("### Who may write where")}
    assert table == {role: [set(rights.writes), set(rights.reads)] for role, rights in roles.items()}


def cells(cell: str, words: Mapping[str, str]) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell)) | {name for word, name in words.items() if word in cell}


def test_the_limits_the_ladder_and_the_parking_headers_are_those_of_the_code() -> None:
    limits = {row[0].split(":")[0]: row[1] for row in table_after("## 8. Limits")}
    assert limits["body"] == f"{MAX_BODY} bytes"
    assert limits["headers"] == str(MAX_HEADERS)
    assert limits["nesting of the JSON body"] == f"{MAX_DEPTH} levels"
    assert "1, 5, 30, 120 and 600 seconds" in PAGE
    assert RETRY_LADDER == (1, 5, 30, 120, 600)
    assert f"given back {DELIVERY_LIMIT} times" in PAGE
    assert f"An *integer* is at most {MOST}." in PAGE
    assert f"choros: for {UNROUTABLE_AFTER:.0f} s" in PAGE
    assert f"choros: {SETTINGS['prefetch'].default}" in PAGE
    assert f"choros: {SETTINGS['handler_time'].default / 60:.0f} minutes a call" in PAGE
    headers = [code(row[0]) for row in table_after("## 9. Parking")]
    always = [copies.REASON, copies.FAILED_AT, copies.ORIGINAL_QUEUE, copies.CAME_THROUGH]
    assert headers == [*always, copies.RETRIES, copies.REDRIVEN, UNREADABLE, copies.BODY_SIZE, copies.BODY_SHA256]
    assert f"first {LARGEST_UNREADABLE // 1024} KiB" in PAGE
    assert all(f"`{name}` = {value}" in ACTS or f"`{name}` = `{value}`" in ACTS for name, value in acts_arguments())
    assert all(f"`{name}`" in PAGE for name in (*copies._NOT_COPIED, *copies._NOT_COPIED_PREFIXES, *RESERVED_NAMES))


ACTS = re.sub(r"\s+", " ", PAGE).replace("of this name: `quorum`", "of this name: `x-queue-type` = `quorum`")


def acts_arguments() -> list[tuple[str, str | int]]:
    return [(name, value) for queue in acts_topology("x").queues for name, value in queue.arguments.items()]


def test_every_type_of_choros_that_the_page_names_exists_and_the_other_way_round() -> None:
    own = [m for m in vars(messages).values() if isinstance(m, type) and issubclass(m, Message)]
    exist = {m.type_name for m in own if m.type_name.startswith("choros.")}
    assert set(re.findall(r"choros\.[a-z-]+\.v\d+", PAGE)) == exist


EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
COMMAND, REPLY, REFUSED, FAILED, GIVEN, FACT = EXAMPLES


def wire_of(example: Mapping[str, Any]) -> Wire:
    properties = dict(example["properties"])
    del properties["message_id"], properties["delivery_mode"]
    return Wire(json.dumps(example["body"], separators=(",", ":")).encode(), example["headers"], **properties)


@pytest.mark.parametrize("example", [COMMAND, REPLY, FACT], ids=["command", "reply", "fact"])
def test_the_examples_are_what_choros_reads_and_writes(example: Mapping[str, Any]) -> None:
    wire = wire_of(example)
    assert encode(decode(wire)) == wire


@pytest.mark.parametrize("example", [REFUSED, FAILED, GIVEN], ids=["refused", "failed", "with data"])
def test_the_examples_of_failures_fit_the_example_of_a_reply(example: Mapping[str, Any]) -> None:
    reply = decode(wire_of({**REPLY, "headers": REPLY["headers"] | example["headers"], "body": example["body"]}))
    read = Refusal if "data" in example["body"] else Failure
    assert read.from_json(reply.data).kind == reply.outcome


# --- a participant that knows nothing but the page --------------------------------------------------------------------


class Buy(Message):
    order: str
    amount: int


class Charged(Reply):
    payment: str


class Charge(Command[Charged], refusals=("card_declined",)):
    order: str
    amount: int


class Refund(Command[Done]):
    order: str


class Send(Command[Done], refusals=("no_such_address",)):
    order: str


class Bought(Fact):
    order: str


def charge(buy: Buy) -> Charge:
    return Charge(order=buy.order, amount=buy.amount)


def refund(buy: Buy) -> Refund:
    return Refund(order=buy.order)


def send(buy: Buy) -> Send:
    return Send(order=buy.order)


def bought(buy: Buy) -> Bought:
    return Bought(order=buy.order)


PATIENT = timedelta(seconds=20)


def sale(timeout: timedelta = PATIENT) -> Saga[Buy]:
    once = RetryPolicy(attempts=1)
    return Saga(
        "sale",
        start=Buy,
        key=lambda buy: buy.order,
        steps=(
            Step(charge, to="shop", compensation=refund, timeout=timeout, retry=once),
            Pivot(send, to="shop", timeout=PATIENT),
        ),
        completed=bought,
    )


def do_charge(rows: sqlite3.Connection, body: Body) -> tuple[str, Body]:
    rows.execute("INSERT INTO ledger VALUES (?, ?)", (body["order"], body["amount"]))
    if body["amount"] > 1000:
        raise No("card_declined")
    return "charged.v1", {"payment": f"p-{body['order']}"}


def do_refund(rows: sqlite3.Connection, body: Body) -> tuple[str, Body]:
    rows.execute("INSERT INTO ledger SELECT name, -amount FROM ledger WHERE name = ?", (body["order"],))
    return "choros.done.v1", {}


def do_send(rows: sqlite3.Connection, body: Body) -> tuple[str, Body]:
    if body["order"].startswith("nowhere"):
        raise No("no_such_address")
    return "choros.done.v1", {}


@dataclass
class Shop:
    """A running orchestrator and the foreign participant."""

    saga: Saga[Buy]
    client: Client
    orchestrator: Orchestrator
    participant: Participant
    url: str
    namespace: str
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def sell(self, order: str, amount: int = 10) -> Outcome:
        return await self.client.run(self.saga, Buy(order=order, amount=amount), timeout=PATIENT)

    def ledger(self, order: str) -> list[int]:
        rows = self.participant.rows.execute("SELECT amount FROM ledger WHERE name = ?", (order,))
        return [amount for (amount,) in rows]

    def answers(self, operation: str) -> list[dict[str, Any]]:
        return [a for a in self.participant.answered if a["headers"]["cloudEvents_idempotencykey"].endswith(operation)]

    async def send_again(self, index: int) -> None:
        """What a broker or an orchestrator may do at any time: the same command once more."""
        command = self.participant.commands[index]
        copy = aio_pika.Message(
            command.body, headers=command.headers, reply_to=command.reply_to, content_type=command.content_type
        )
        await self.put(copy)

    async def put(self, message: aio_pika.Message) -> None:
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(f"{self.namespace}.commands", ensure=False)
            await exchange.publish(message, "shop")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT.total_seconds()):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(url: str, namespace: str, path: Path, saga: Saga[Buy]) -> AsyncIterator[Shop]:
    service = Service("shop", commands=[Charge, Refund, Send])
    app = App(namespace, sagas=[saga], services=[service])
    transport, store = RabbitMQTransport(url, namespace, "orchestrator"), MemoryStore()
    handlers: dict[str, Handler] = {"charge.v1": do_charge, "refund.v1": do_refund, "send.v1": do_send}
    participant = Participant(url, namespace, "shop", str(path / "shop.db"), handlers)
    participant.rows.execute("CREATE TABLE ledger (name TEXT, amount INTEGER)")
    await transport.connect()
    await store.open()
    orchestrator = Orchestrator(app, transport=transport, store=store, timers_every=0.02)
    await orchestrator.declare()
    client = Client(app, store=store, transport=transport, decider=orchestrator.decider)
    shop = Shop(saga, client, orchestrator, participant, url, namespace)
    shop.tasks = [asyncio.create_task(orchestrator.run()), asyncio.create_task(participant.run())]
    try:
        yield shop
    finally:
        await _close(shop, transport)
    for task in shop.tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error


async def _close(shop: Shop, transport: RabbitMQTransport) -> None:
    shop.orchestrator.stop()
    shop.tasks[1].cancel()
    await asyncio.wait(shop.tasks, timeout=20)
    shop.participant.rows.close()
    await transport.close()
    declared = topology(shop.namespace, services=["shop"], applications=[shop.namespace])
    async with await aio_pika.connect(shop.url) as connection:
        channel = await connection.channel()
        for queue in declared.queues:
            await channel.queue_delete(queue.name)
        for exchange in declared.exchanges:
            await channel.exchange_delete(exchange.name)


@pytest.fixture
async def shop(amqp_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(amqp_url, namespace, tmp_path, sale()) as shop:
        yield shop


def test_the_foreign_participant_uses_nothing_of_choros() -> None:
    tree = ast.parse(Path(foreign_participant.__file__).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.split(".")[0] in ("choros", "reference_services", "tests") for name in imported)


@pytest.mark.servers
async def test_it_completes_a_saga(shop: Shop) -> None:
    outcome = await shop.sell("o1")
    assert outcome.status == "completed"
    assert shop.ledger("o1") == [10]


@pytest.mark.servers
async def test_it_refuses_and_leaves_no_effect(shop: Shop) -> None:
    outcome = await shop.sell("o1", amount=5000)
    assert outcome.status == "compensated"
    assert outcome.failure
    assert (outcome.failure.code, outcome.failure.step) == ("card_declined", "charge")
    assert shop.ledger("o1") == []
    assert not shop.answers(":undo")


@pytest.mark.servers
async def test_it_undoes_what_was_done_before_a_refused_pivot(shop: Shop) -> None:
    outcome = await shop.sell("nowhere-1")
    assert outcome.status == "compensated"
    assert sum(shop.ledger("nowhere-1")) == 0
    assert len(shop.ledger("nowhere-1")) == 2


@pytest.mark.servers
async def test_it_answers_a_duplicate_with_the_stored_answer(shop: Shop) -> None:
    await shop.sell("o1")
    await shop.send_again(0)
    await until(lambda: len(shop.answers(":do")) == 3)
    first, _, again = shop.answers(":do")
    assert again == first
    assert shop.ledger("o1") == [10]
    assert (await shop.sell("o1")).status == "completed"


@pytest.mark.servers
async def test_a_stored_refusal_outlives_a_change_of_mind(shop: Shop) -> None:
    await shop.sell("o1", amount=5000)
    shop.participant.handlers["charge.v1"] = do_refund  # it would not refuse any more
    await shop.send_again(0)
    await until(lambda: len(shop.answers(":do")) == 2)
    assert shop.answers(":do")[0] == shop.answers(":do")[1]


@pytest.mark.servers
async def test_an_undo_before_its_do_leaves_a_tombstone(amqp_url: str, namespace: str, tmp_path: Path) -> None:
    undone = asyncio.Event()

    async def hold_the_do(operation: str) -> None:
        if operation == "do":
            await undone.wait()

    async with opened(amqp_url, namespace, tmp_path, sale(timedelta(seconds=0.3))) as shop:
        shop.participant.before = hold_the_do
        outcome = await shop.sell("o1")
        undone.set()
        await until(lambda: bool(shop.answers(":do")))
        assert outcome.status == "compensated"
        assert outcome.failure
        assert outcome.failure.kind == "in_doubt"
        assert shop.answers(":undo")[0]["headers"]["cloudEvents_type"] == "choros.nothing-to-undo.v1"
        assert shop.answers(":do")[0]["body"]["code"] == "cancelled"
        assert shop.ledger("o1") == []


@pytest.mark.servers
async def test_a_command_past_its_deadline_is_refused(shop: Shop) -> None:
    await shop.sell("o1")
    headers = dict(shop.participant.commands[0].headers)
    saga_id = fresh_id()
    headers |= {
        "cloudEvents_correlationid": saga_id,
        "cloudEvents_idempotencykey": f"{saga_id}:charge:1:do",
        "cloudEvents_expirytime": "2020-01-01T00:00:00Z",
    }
    body = json.dumps({"order": "late", "amount": 1}).encode()
    await shop.put(aio_pika.Message(body, headers=headers, reply_to=shop.participant.commands[0].reply_to))
    await until(lambda: len(shop.answers(":do")) == 3)
    assert shop.answers(":do")[2]["body"]["code"] == "expired"
    assert shop.ledger("late") == []


@pytest.mark.servers
async def test_a_parked_pivot_is_skipped_by_closing_it(amqp_url: str, namespace: str, tmp_path: Path) -> None:
    async with opened(amqp_url, namespace, tmp_path, stubborn()) as shop:
        shop.participant.handlers["send.v1"] = out_of_order
        outcome = await shop.sell("o1")
        assert outcome.status == "parked"
        await shop.client.skip(outcome.saga_id, "send", Done())
        await until(lambda: bool(shop.answers(":close")))
        assert (await shop.client.wait(outcome.saga_id)).status == "completed"
        assert shop.answers(":close")[0]["headers"]["cloudEvents_type"] == "choros.closed.v1"


def stubborn() -> Saga[Buy]:
    steps = (Pivot(send, to="shop", timeout=PATIENT, retry=RetryPolicy(attempts=1)),)
    return Saga("sale", start=Buy, key=lambda buy: buy.order, steps=steps, completed=bought)


def out_of_order(rows: sqlite3.Connection, body: Body) -> tuple[str, Body]:
    raise RuntimeError("the franking machine is broken")
