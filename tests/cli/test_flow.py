"""`choros flow` at the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from choros import Addresses
from choros.cli.places import places
from choros.errors import UsageError
from choros.roles.addresses import connected, database_of
from choros.roles.roles import publisher_of
from choros.runtime.client.beginning import first_fact
from choros.runtime.host.outbox_rows import OutboxRows
from choros.store.barrier import Transaction, value_of
from tests.cli.test_cli import Choros, choros
from tests.desk import flow_app
from tests.end_to_end.shop import remove
from tests.facts.stage import moved
from tests.simulation import flows

__all__ = ["choros"]  # the fixture

ORDERS = "tests.desk.test_flow_map:ORDERS"
FLOW = "tests.desk.flow_app"


def test_the_map_in_each_format(choros: Choros) -> None:
    assert choros("flow", "map", ORDERS).out.startswith("order-confirmed.v1\n  published by")
    twice = choros("flow", "map", ORDERS, "--with", ORDERS)
    assert twice == choros("flow", "map", ORDERS), "named twice is once"
    assert json.loads(choros("flow", "map", ORDERS, "-o", "json").out)["namespace"] == "map"
    assert choros("flow", "map", ORDERS, "-o", "mermaid").out.startswith("flowchart")
    assert choros("flow", "map", ORDERS, "-o", "svg").out.startswith("<svg")


def test_a_format_that_there_is_not(choros: Choros) -> None:
    said = choros("flow", "map", ORDERS, "-o", "smg")
    assert (said.code, said.out) == (2, "")
    assert "There is no output format 'smg'" in said.err


def test_addresses_for_all_and_by_name() -> None:
    found = places("--database", ["sqlite:///{service}.db", "pay-1=redis://h/0?a=b"], "default")
    assert (found.of("pay-1"), found.of("mails")) == ("redis://h/0?a=b", "sqlite:///{service}.db")
    assert places("--database", None, "default").of("mails") == "default"
    assert places("--database", ["redis://h/0?a=b"], "default").of("a") == "redis://h/0?a=b"
    with pytest.raises(UsageError, match="--database gives two addresses for all"):
        places("--database", ["sqlite:///a", "sqlite:///b"], "default")
    with pytest.raises(UsageError, match="two addresses of 'mails'"):
        places("--database", ["mails=sqlite:///a", "mails=sqlite:///b"], "default")


async def written(url: str, age: float) -> None:
    """In the outboxes: a charge that inventory, whose database is there, has not handled."""
    about = moved(1, "o1", time=1.0)
    for name, fact in (("payment", flow_app.Charged(order="o1")), ("inventory", None)):
        database = database_of(flow_app.app, flow_app.app.services[name], url)
        await database.open()

        async def write(transaction: Transaction, name: str = name, fact: flow_app.Charged | None = fact) -> None:
            if fact:
                await OutboxRows("flow", name, about, transaction, lambda: 1_000_000.0 - age).fact(fact)

        (result,) = await database.run([write])
        value_of(result)
        await database.close()


def test_a_flow_as_far_as_it_can_be_read(choros: Choros) -> None:
    asyncio.run(written("sqlite:///{service}.db", 0))
    said = choros("flow", "show", FLOW, "o1", "--broker", "memory://", "--database", "sqlite:///{service}.db")
    lines = said.out.splitlines()
    assert lines[0].startswith("◇ flow.charged.v1  payment")
    assert lines[0].endswith("no broker has it yet  what caused it was not found")
    assert lines[1] == "  … inventory  waiting", "of what has not left nobody lacks anything"
    assert "  the broker: one in memory ends with its process" in lines
    assert "  the database of shipping: There is no database 'shipping.db'." in lines
    assert (said.code, said.err) == (0, "")
    assert not Path("shipping.db").exists(), "looking makes no file"
    named = ("--database", "payment=sqlite:///payment.db", "--database", "sqlite:///nowhere/{service}.db")
    told = json.loads(choros("flow", "show", FLOW, "o1", "--broker", "memory://", *named, "-o", "json").out)
    assert told["to_come"][0]["standing"] == "unknown", "its inbox was not asked"


async def paid_in_the_second_run(url: str) -> None:
    """In the outbox of who takes the money."""
    wanted = flows.Wanted(ticket="t1")
    about = first_fact(flows.flow, wanted, namespace="box", source="/box/box", at=1.0, run=2)
    database = database_of(flows.app, flows.money, url)
    await database.open()

    async def write(transaction: Transaction) -> None:
        await OutboxRows("box", "money", about, transaction, lambda: 2.0).fact(flows.Paid(ticket="t1"))

    (result,) = await database.run([write])
    value_of(result)
    await database.close()


def test_of_several_runs_under_one_key_the_one_that_is_meant(choros: Choros) -> None:
    asyncio.run(paid_in_the_second_run("sqlite:///{service}.db"))
    where = ("--broker", "memory://", "--database", "sqlite:///{service}.db")
    first = choros("flow", "show", "tests.simulation.flows", "t1", *where)
    assert "Nothing is known of a flow 't1'" in first.err
    assert choros("flow", "show", "tests.simulation.flows", "t1", "--run", "2", *where).out.startswith("◇ paid.v1")


def test_nothing_known_says_where_it_was_not_looked(choros: Choros) -> None:
    said = choros("flow", "show", FLOW, "o9", "--broker", "memory://", "--database", "sqlite:///{service}.db")
    assert (said.code, said.out) == (1, "")
    assert "Nothing is known of a flow 'o9'. Not read: the broker: one in memory" in said.err
    assert choros("flow", "show", FLOW, "o9", "--since", "sometime").code == 2
    assert choros("flow", "show", FLOW, "o9", "--broker", "http://x").code == 2


@pytest.mark.servers
async def test_out_of_the_log_of_a_broker(choros: Choros, amqp_url: str, namespace: str) -> None:
    """The key of what a program has published is enough; a service that never ran lacks it, and that is said."""
    app, databases = flow_app.app.within(namespace), ("--database", "sqlite:///{service}.db")
    addresses = Addresses(amqp_url, database=databases[1])
    await asyncio.to_thread(asyncio.run, prepared(namespace))
    try:
        async with connected(addresses, app, "test") as transport:
            await transport.declare(app.topology)
        async with publisher_of(app, "till", addresses) as till:
            for order in ("o1", "o2"):
                await till.publish(flow_app.Placed(order=order), key=order)
        command = ("flow", "show", f"{FLOW}:app", "o2", "--broker", amqp_url, *databases)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHOROS_NAMESPACE", namespace)
            said = await asyncio.to_thread(choros, *command)
        assert said.out.count("◇") == 1
        (missing,) = [line for line in said.out.splitlines() if "would publish" in line]
        assert missing.startswith("  ! payment: flow.placed.v1 missing since ")
        assert f"nobody consumes {namespace}.facts.payment, where 2 messages wait" in missing
        assert said.code == 1
    finally:
        await remove(amqp_url, app.topology)


async def prepared(namespace: str) -> None:
    """The database of payment, as it has it after its first start."""
    app = flow_app.app.within(namespace)
    database = database_of(app, app.services["payment"], "sqlite:///{service}.db")
    await database.open()
    await database.close()
