"""What can go wrong before anything runs: one line with a hint, an exit code, no traceback, no hang."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aio_pika
import pytest

from choros.transport.topology import topology
from reference_services.sample_orders import sample_orders
from tests.end_to_end.shop import APP, SERVICES, SUBSCRIBERS, Ended, choros, remove
from tests.every_day import every_day
from tests.private_servers import PrivateRedis, answer_to

FAILED, MEANINGLESS, UNREACHABLE = 1, 2, 4
SECONDS = 150.0
"""20 on a quiet machine; a hang has no end."""
ORDER = sample_orders(1)[0].to_json()
ORCHESTRATOR = ("run", APP, "--role", "orchestrator")
PAYMENT = ("run", "reference_services.payment", "--role", "service:payment")
START = ("saga", "start", APP, "order", "-i", ORDER)


@dataclass(frozen=True)
class Place:
    """Addresses that work, to be spoilt one at a time, and a folder to run in."""

    folder: Path
    broker: str
    store: str
    database: str
    namespace: str
    closed: int
    """A port that nobody listens on."""

    def run(self, *arguments: str, within: float = SECONDS, given: str | None = None) -> Ended:
        return choros(
            *arguments,
            cwd=self.folder,
            within=within,
            given=given,
            CHOROS_BROKER=self.broker,
            CHOROS_STORE=self.store,
            CHOROS_DATABASE=self.database,
            CHOROS_NAMESPACE=self.namespace,
            CHOROS_WAIT="0",
        )

    def module(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(text)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
async def place(tmp_path: Path, amqp_url: str, namespace: str, closed_port: int) -> AsyncIterator[Place]:
    """RabbitMQ, and SQLite for the rest."""
    files = f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db"
    yield Place(tmp_path, amqp_url, *files, namespace, closed_port)
    await remove(amqp_url, topology(namespace, services=SERVICES, applications=["order"], subscribers=SUBSCRIBERS))


def refused(ended: Ended, code: int, *words: str) -> None:
    """One line that says what and why, and what to do about it."""
    assert "Traceback" not in ended.out + ended.err, ended.err
    assert len(ended.complaints) == 1, ended
    assert ended.err.splitlines()[-1] == ended.complaints[0]
    assert all(line.startswith("{") for line in ended.err.splitlines()[:-1]), "log entries, and nothing else"
    assert re.search("Try: |Did you mean ", ended.complaints[0])
    for word in words:
        assert word in ended.complaints[0]
    assert ended.code == code
    assert ended.seconds < SECONDS


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(ORCHESTRATOR, id="orchestrator"),
        pytest.param(PAYMENT, id="service", marks=pytest.mark.nightly),
        pytest.param(START, id="start", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize(
    "fault",
    [
        "no broker",
        pytest.param(
            "silent broker", marks=pytest.mark.nightly
        ),  # what says nothing, or nothing to the point, is waited for
        "wrong password",
        "wrong vhost",
        pytest.param("not AMQP", marks=pytest.mark.nightly),
    ],
)
def test_a_broker_that_cannot_be_used(
    place: Place, fault: str, arguments: tuple[str, ...], redis_url: str, silent_port: int
) -> None:
    server = re.sub(r".*@", "", place.broker).rstrip("/")
    broker, code, words = {
        "no broker": (f"amqp://guest:guest@127.0.0.1:{place.closed}/", UNREACHABLE, "does not answer"),
        "silent broker": (f"amqp://guest:guest@127.0.0.1:{silent_port}/", UNREACHABLE, "does not answer"),
        "wrong password": (f"amqp://guest:opensesame@{server}/", FAILED, "refuses this user or password"),
        "wrong vhost": (f"{place.broker.rstrip('/')}/nowhere", FAILED, "has no such virtual host"),
        "not AMQP": (f"amqp://guest:guest@{redis_url.removeprefix('redis://').split('/')[0]}/", 0, "The broker at"),
    }[fault]
    ended = replace(place, broker=broker).run(*arguments)
    refused(ended, code or ended.code, words)
    assert ended.code in (FAILED, UNREACHABLE)
    assert "opensesame" not in ended.out + ended.err


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("queue", ["payment", "replies.order"])
async def test_a_queue_that_exists_with_other_arguments(place: Place, queue: str) -> None:
    name = f"{place.namespace}.{queue}"
    async with await aio_pika.connect(place.broker) as connection:
        await (await connection.channel()).declare_queue(name, durable=True, arguments={"x-queue-type": "classic"})
        ended = await in_thread(lambda: place.run(*(PAYMENT if queue == "payment" else ORCHESTRATOR)))
    refused(ended, FAILED, f"queue '{name}' exists with other arguments", "rabbitmqctl delete_queue")


async def in_thread(act: Callable[[], Ended]) -> Ended:
    return await asyncio.to_thread(act)


# --- Redis ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """One that evicts keys."""
    server = PrivateRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    configured(server, "maxmemory-policy", "allkeys-lru")
    yield server
    server.kill()


def configured(server: PrivateRedis, setting: str, value: str) -> None:
    assert answer_to(server.port, f"CONFIG SET {setting} {value}\r\n".encode(), 3) == b"+OK"


@pytest.mark.parametrize(
    "arguments", [ORCHESTRATOR, START, ("saga", "list", APP)], ids=lambda words: words[0] + words[1]
)
def test_a_redis_that_may_forget(place: Place, other_redis: PrivateRedis, arguments: tuple[str, ...]) -> None:
    ended = replace(place, store=other_redis.url).run(*arguments)
    refused(ended, FAILED, "may evict keys (maxmemory-policy is allkeys-lru)", "noeviction")


@pytest.mark.parametrize("arguments", [ORCHESTRATOR, ("saga", "list", APP)], ids=["run", "list"])
def test_a_redis_that_is_not_there(place: Place, arguments: tuple[str, ...]) -> None:
    refused(replace(place, store=f"redis://127.0.0.1:{place.closed}/0").run(*arguments), UNREACHABLE, "Redis at")


def test_a_redis_that_wants_another_password(place: Place, tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    try:
        configured(server, "requirepass", "opensesame")
        refused(replace(place, store=server.url).run(*ORCHESTRATOR), FAILED, "Redis at")
        wrong = server.url.replace("redis://", "redis://:letmein@")
        ended = replace(place, store=wrong).run(*ORCHESTRATOR)
        refused(ended, FAILED, "Redis at")
        assert "letmein" not in ended.out + ended.err
    finally:
        server.kill()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", every_day(["/proc/nowhere/sagas.db", "/dev/null/sagas.db", "/"], ["/"], pytest.mark.nightly)
)
def test_a_store_that_cannot_be_written(place: Place, path: str) -> None:
    for arguments in (ORCHESTRATOR, ("saga", "list", APP)):
        ended = replace(place, store=f"sqlite:///{path}").run(*arguments)
        assert ended.code in (FAILED, MEANINGLESS, UNREACHABLE)
        refused(ended, ended.code)


@pytest.mark.parametrize("path", ["/proc/nowhere/payment.db", "/dev/null/payment.db"])
def test_a_database_that_cannot_be_written(place: Place, path: str) -> None:
    ended = replace(place, database=f"sqlite:///{path}").run(*PAYMENT)
    assert ended.code in (FAILED, MEANINGLESS, UNREACHABLE)
    refused(ended, ended.code)


def test_a_store_that_is_no_database(place: Place) -> None:
    (place.folder / "sagas.db").write_text("To whom it may concern: this is a letter. " * 100)
    ended = place.run("saga", "list", APP)
    refused(ended, ended.code)
    assert ended.code in (FAILED, UNREACHABLE)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--store", "mysql://localhost/sagas"), ("--store", "sagas.db"), ("--broker", "kafka://localhost")],
)
def test_an_address_that_means_nothing(place: Place, option: str, value: str) -> None:
    refused(place.run(*ORCHESTRATOR, option, value), MEANINGLESS)


# --- names ------------------------------------------------------------------------------------------------------------


NAMES = [
    (("run", "no_such_module"), "there is no such module"),
    (("check", "no.such.module"), "there is no such module"),
    (("check", f"{APP}.app:nothing"), "nothing is no App"),
    (("check", "reference_services.contracts"), "no App in it"),
    (("graph", APP, "--saga", "orders"), "There is no saga 'orders'"),
    (("run", APP, "--role", "conductor"), "There is no role 'conductor'"),
    (("run", APP, "--role", "service:nobody"), "There is no service 'nobody'"),
    (("run", APP, "--role", "subscriber:payment"), "'payment'"),
    (("saga", "start", APP, "orders", "-i", ORDER), "There is no saga 'orders'"),
    (("saga", "start", APP, "order", "-i", '{"order_id": '), "that is no JSON"),
    (("saga", "start", APP, "order", "-i", '{"order_id": "1"}'), "customer: missing"),
    (("saga", "start", APP, "order", "-i", ORDER, "--key", ""), "start key"),
    (("saga", "run", APP, "order", "-i", "NaN"), "shop.order.place.v1"),
    (("saga", "show", APP, "nothing"), "There is no store"),
    (("saga", "cancel", APP, "nothing"), "There is no saga instance with the id or start key 'nothing'"),
]
EVERY_DAY = [NAMES[0], NAMES[2], NAMES[6], NAMES[9], NAMES[13]]


@pytest.mark.parametrize(
    "name", every_day(NAMES, EVERY_DAY, pytest.mark.nightly), ids=lambda name: " ".join(name[0])[:40]
)
def test_a_name_that_means_nothing(place: Place, name: tuple[tuple[str, ...], str]) -> None:
    arguments, words = name
    ended = place.run(*arguments)
    assert ended.code in (FAILED, MEANINGLESS)
    refused(ended, ended.code, words)


def test_a_service_without_its_handlers(place: Place) -> None:
    """The order application only knows what payment is asked to do."""
    ended = place.run("run", APP, "--role", "service:payment")
    refused(ended, FAILED, "payment", "ChargePayment")


BROKEN = {
    "a mistake": ("import nothing_of_this_name", "nothing_of_this_name"),
    "a typo": ("def order(:", "SyntaxError"),
    "an error": ("app = 1 / 0", "ZeroDivisionError"),
    "a saga that cannot work": (
        "from choros import Saga\nfrom reference_services.contracts import PlaceOrder\n"
        "saga = Saga('order', start=PlaceOrder, steps=())",
        "commands nobody",
    ),
    "an exit": ("raise SystemExit", ""),
}


@pytest.mark.parametrize("mistake", every_day(BROKEN, ["a typo", "a saga that cannot work"], pytest.mark.nightly))
def test_a_module_that_cannot_be_loaded(place: Place, mistake: str) -> None:
    text, words = BROKEN[mistake]
    place.module("broken_app", text)
    ended = place.run("run", "broken_app")
    assert ended.code in (FAILED, MEANINGLESS)
    refused(ended, ended.code, "broken_app" if mistake != "a saga that cannot work" else "saga", words)


# --- the demo ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_demo_without_its_orders(place: Place) -> None:
    (place.folder / "letter.csv").write_text("Dear Sir or Madam,\nyours\n")
    (place.folder / "latin.csv").write_bytes(b"InvoiceNo\n\xe4\xf6\xfc\n")
    for path in ("nothing.csv", "letter.csv", "latin.csv", "."):
        refused(place.run("demo", "--broker", "memory://", "--orders", path), MEANINGLESS, path)


@pytest.mark.nightly
def test_a_demo_that_cannot_write(place: Place) -> None:
    (place.folder / "file").write_text("")
    for arguments in (("--folder", "file"), ("--folder", "/dev/null/here"), ("--outcomes", "/dev/null/here.json")):
        ended = place.run("demo", "--broker", "memory://", "--count", "1", *arguments)
        refused(ended, MEANINGLESS, arguments[1])


@pytest.mark.parametrize("fault", ["no broker", "no Redis"])
@pytest.mark.slow
def test_a_demo_whose_servers_cannot_be_used(place: Place, fault: str, redis_url: str) -> None:
    """It starts nine processes and must end them all again."""
    broker, store = {
        "no broker": (f"amqp://guest:opensesame@127.0.0.1:{place.closed}/", redis_url),
        "no Redis": (place.broker, f"redis://:opensesame@127.0.0.1:{place.closed}/0"),
    }[fault]
    ended = place.run("demo", "--count", "3", "--broker", broker, "--store", store, within=280)
    refused(replace(ended, seconds=0), ended.code, fault.split()[1])
    assert ended.code in (FAILED, UNREACHABLE)
    assert "opensesame" not in ended.out + ended.err


def test_the_mistake_of_one_start_does_not_reach_the_next(place: Place) -> None:
    """The same key with another body is refused; the saga that has it stays as it is."""
    other = json.dumps({**json.loads(ORDER), "customer": "99999"})
    first = place.run(*START)
    assert first.code == 0
    assert re.fullmatch(r"[0-9a-f-]{36}\n", first.out)
    refused(place.run("saga", "start", APP, "order", "-i", other), FAILED, "another body")
    again = place.run("saga", "start", APP, "order", "-i", "-", given=ORDER)
    assert (again.code, again.out) == (0, first.out)


@pytest.mark.slow
def test_the_silent_server_is_really_silent(silent_port: int) -> None:
    """Or the test above would show nothing."""
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(answer_to(silent_port, b"AMQP\x00\x00\x09\x01", 11)))
    asking.start()
    asking.join(5)
    assert answers == [b""]
