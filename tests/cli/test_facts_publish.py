"""`choros facts publish`: a fact as a program of the application, and what is wrong with one that cannot be."""

import asyncio
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from choros import Addresses
from choros.cli.facts import app as facts_command
from choros.errors import UsageError
from choros.roles.addresses import connected
from choros.roles.loading import load_app
from choros.transport.topology import Names
from choros.wire.envelope import Envelope
from tests.end_to_end.shop import remove
from tests.patience import PATIENCE

IMPORTS = """
from choros import App, Choreography, Fact, Program, Service, Transaction

class OrderImported(Fact):
    order: str

class OrderDropped(Fact):
    order: str

importer = Program("importer", publishes=(OrderImported, OrderDropped))
app = App("imports", programs=[importer], services=[Service("mail", facts=(OrderImported,))])
two = App("imports", programs=[importer, Program("desk", publishes=OrderImported)])
none = App("imports")

class OrderClosed(Fact):
    order: str

desk = Service("desk")

@desk.on(OrderImported, publishes=OrderClosed)
async def close(imported: OrderImported, db: Transaction) -> OrderClosed:
    return OrderClosed(order=imported.order)

flow = Choreography("importing", start=OrderImported, key=lambda one: one.order, good=OrderClosed, closer="desk",
                    services=(desk,))
flowing = App("imports", programs=[importer], services=[desk], choreographies=[flow])
"""
BODY = '{"order": "o7"}'


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imports.py").write_text(IMPORTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "imports", raising=False)


def said(*arguments: str, of: str = "imports:app", broker: str = "memory://") -> str:
    command = ["publish", of, *arguments, "--broker", broker]
    return CliRunner().invoke(facts_command, command, catch_exceptions=False).stdout


@pytest.mark.usefixtures("imports")
def test_a_fact_that_no_queue_takes_is_said_to_be_published_all_the_same() -> None:
    assert "nobody subscribes" in said("OrderImported", BODY, "--key", "o7")
    of_one = ("order-imported.v1", BODY, "--key", "o7", "--seq", "2", "--program", "desk")
    assert "nobody subscribes" in said(*of_one, of="imports:two")


@pytest.mark.usefixtures("imports")
def test_a_fact_that_begins_a_flow_begins_it_and_each_run_is_another() -> None:
    first, again, second = (
        said("OrderImported", BODY, "--key", "o7", *more, of="imports:flowing") for more in ((), (), ("--seq", "2"))
    )
    assert first.startswith("✔ flow ")
    assert first == again != second
    with pytest.raises(UsageError, match="whose key for it is 'o7', not 'o8'"):
        said("OrderImported", BODY, "--key", "o8", of="imports:flowing")


@pytest.mark.usefixtures("imports")
@pytest.mark.parametrize(
    ("of", "arguments", "sentence"),
    [
        ("imports:none", ("OrderImported", BODY), "has no program that publishes"),
        ("imports:two", ("OrderImported", BODY), "As which program"),
        ("imports:two", ("OrderImported", BODY, "--program", "dask"), "There is no program 'dask'"),
        ("imports:app", ("OrderImport", BODY), "publishes no 'OrderImport'"),
        ("imports:app", ("OrderImported", "{}"), "order"),
        ("imports:app", ("OrderImported", "o7"), "no JSON"),
        ("imports:app", ("OrderImported", BODY, "--key", "x" * 600), "not known by the key"),
    ],
)
def test_what_cannot_be_published_is_a_sentence(of: str, arguments: tuple[str, ...], sentence: str) -> None:
    key = () if "--key" in arguments else ("--key", "o7")
    with pytest.raises(UsageError, match=sentence):
        said(*arguments, *key, of=of)


@pytest.mark.servers
@pytest.mark.usefixtures("imports")
async def test_the_same_again_is_the_same_fact(amqp_url: str, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "imports.py").write_text(IMPORTS.replace('"imports"', repr(namespace)))
    app = load_app("imports:app")
    try:
        async with connected(Addresses(amqp_url), app, "mail") as transport:
            await transport.declare(app.topology)
            for _ in range(2):
                told = await asyncio.to_thread(said, "OrderImported", BODY, "--key", "o7", broker=amqp_url)
                assert "✔ order-imported.v1 is published" in told
            consumer = await transport.consume(Names(namespace).subscriber_queue("mail"), 9)
            found: list[Envelope] = []
            async with asyncio.timeout(PATIENCE):
                while len(found) < 2:
                    for delivery in await consumer.receive(9):
                        await delivery.ack()
                        assert delivery.exchange == f"{namespace}.importer.facts"
                        found.append(delivery.read())
            assert len({(one.id, one.source, one.stream, one.seq) for one in found}) == 1
            assert found[0].source == f"/{namespace}/program/importer"
    finally:
        await remove(amqp_url, app.topology)


@pytest.mark.usefixtures("imports")
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "JSON: that is no JSON"),
        ("{}", "order is missing"),
        ('{"order": 7}', "order is no text"),
    ],
)
def test_what_is_no_such_fact_is_said_in_words(body: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        said("OrderImported", body, "--key", "o7")
    assert "a JSON object with the fields of OrderImported: order: str" in str(caught.value)
