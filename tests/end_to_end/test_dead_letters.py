"""`choros dead` on a broker: every kind is parked and put back, by processes that are killed, and by two at once."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from choros import Addresses, App, Client
from choros.cli.dead import app as dead_command
from choros.cli.exit_codes import exit_code
from choros.cli.saga import app as saga_command
from choros.errors import ChorosError
from choros.roles.addresses import connected
from choros.roles.roles import client_of, open_role, run_together
from choros.sources import fresh_id
from choros.transport.acts import acts_topology
from choros.transport.copies import dead_copy
from choros.transport.inspection import LookingTransport
from choros.transport.port import Delivery, Published
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire, decode, encode
from tests.patience import PATIENCE
from tests.transport.brokers import delete

from .desk import Book, Booked, Travelled, Trip, app, trip_saga
from .shop import Ended, choros, environment, until

pytestmark = [pytest.mark.servers, pytest.mark.slow]
APP = "tests.end_to_end.desk"
KILLED_AT_THE_ACK = """
import os, signal
from choros.transport.leased import LeasedDelivery

async def ack(self):
    os.kill(os.getpid(), signal.SIGKILL)

LeasedDelivery.ack = ack
from choros.cli.exit_codes import exit_code
from choros.cli import main
main()
"""
BAD = Wire(b"\xff\x1b[2J", {"cloudEvents_type": b"\xfe", "x-deep": {"a": [1, {"b": None}]}}, content_type="image/png")


@dataclass
class Desk:
    """Everything is declared, and nobody is at work."""

    app: App
    addresses: Addresses
    names: Names
    transport: LookingTransport
    client: Client
    folder: Path

    async def type(self, *arguments: str, code: int = 0, given: str = "", of: Any = dead_command) -> Result:
        """In this process, whose application is in the namespace of the test."""
        runner = partial(CliRunner().invoke, of, arguments, env=self._settings, input=given)
        ended = await asyncio.to_thread(runner)
        failed = ended.exception if isinstance(ended.exception, ChorosError) else None
        assert (exit_code(failed) if failed else ended.exit_code) == code, ended.output
        return ended

    async def process(self, *arguments: str) -> Ended:
        return await asyncio.to_thread(choros, "dead", *arguments, cwd=self.folder, within=240, **self._settings)

    async def killed(self, *arguments: str) -> int:
        """The same in a process that is killed at its first acknowledgement."""
        command = [sys.executable, "-c", KILLED_AT_THE_ACK, "dead", *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, env=environment(**self._settings), timeout=240, check=False
        )
        return done.returncode

    async def rows(self) -> list[dict[str, Any]]:
        ended = await self.type("list", APP, "-o", "jsonl")
        return [json.loads(line) for line in ended.stdout.splitlines()]

    @property
    def _settings(self) -> dict[str, str]:
        return {"CHOROS_BROKER": self.addresses.broker, "CHOROS_NAMESPACE": self.app.namespace}

    async def park(self, queue: str, wire: Wire, exchange: str) -> None:
        parked = dead_copy(wire, "It was early.", queue, exchange)
        assert await self.transport.post(self.names.parking_exchange(queue), "", parked) is Published.CONFIRMED

    async def command(self) -> Delivery:
        """The next of the bus."""
        consumer = await self.transport.consume(self.names.service_queue("bus"), 1)
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await consumer.receive(1)
        await consumer.close()
        return delivery

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            running = asyncio.create_task(run_together(await open_role(self.app, "all", self.addresses, stack)))
            try:
                yield
            finally:
                running.cancel()
                await asyncio.wait({running})

    def entries(self, service: str) -> list[str]:
        with closing(sqlite3.connect(self.folder / f"{service}.db")) as database:
            return sorted(row[0] for row in database.execute("SELECT what FROM entry"))


@pytest.fixture
async def desk(tmp_path: Path, amqp_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    mine = app.within(namespace)
    monkeypatch.setattr("tests.end_to_end.desk.app", mine)
    addresses = Addresses(amqp_url, f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db")
    async with connected(addresses, mine, "test") as transport, client_of(mine, addresses) as client:
        await transport.declare(mine.topology)
        yield Desk(mine, addresses, Names(namespace), transport, client, tmp_path)
    await delete(amqp_url, mine.topology + acts_topology(namespace))


async def parked_of_every_kind(desk: Desk) -> None:
    """A command that went to nobody in time, a reply that came early, a fact, and what nobody can read."""
    for who in ("command", "reply"):
        await desk.client.start(trip_saga, Trip(who=who))
        delivery = await desk.command()
        sent = decode(delivery.wire)
        if who == "command":
            await desk.park(desk.names.service_queue("bus"), delivery.wire, desk.names.commands)
        else:
            await desk.park(sent.reply_to, encode(answer(desk, sent)), desk.names.replies_of("bus"))
        await delivery.ack()
    told = Envelope(
        id=fresh_id(), kind="fact", type=Travelled.type_name, source=f"/{desk.app.namespace}/{desk.app.name}", time=9e8,
        data=Travelled(who="fact").to_json(), stream="other", seq=1,
    )  # fmt: skip
    await desk.park(desk.names.subscriber_queue("diary"), encode(told), desk.names.facts_of(desk.app.name))
    assert await desk.transport.post(desk.names.commands, "bus", BAD) is Published.CONFIRMED
    await (await desk.command()).dead_letter("The body is not UTF-8.")


def answer(desk: Desk, command: Envelope) -> Envelope:
    return replace(
        command, id=fresh_id(), kind="reply", type=Booked.type_name, data=Booked(seat=1).to_json(), outcome="ok",
        source=f"/{desk.app.namespace}/bus", causation_id=command.id, reply_to="", not_after=None, began=None,
    )  # fmt: skip


@pytest.mark.long
async def test_every_kind_is_put_back_by_processes_that_are_killed_and_two_at_once_and_handled_once(desk: Desk) -> None:
    await parked_of_every_kind(desk)
    before = await desk.rows()
    await shown_with_its_saga(desk, "command", next(row for row in before if row["kind"] == "command" and row["step"]))
    assert sorted((row["kind"], row["step"]) for row in before) == [
        ("command", ""), ("command", "book_it"), ("fact", ""), ("reply", "book_it"),
    ]  # fmt: skip
    assert await desk.killed("redrive", APP, "--all") == -signal.SIGKILL
    assert [row["id"] for row in await desk.rows()] == [row["id"] for row in before]
    one, two = await asyncio.gather(*(desk.process("redrive", APP, "--all", "--by", by) for by in ("ada", "bob")))
    assert sum(int(ended.out.split()[1]) for ended in (one, two)) == 4
    async with desk.at_work():
        for who in ("command", "reply"):
            await until("it has ended", lambda who=who: ended(desk, who))  # type: ignore[misc]
        await until("all is told", lambda: told(desk, 3))
        await until("what nobody can read is parked again", lambda: parked_again(desk))
    assert desk.entries("bus") == ["command 1"]
    assert desk.entries("diary") == ["command", "fact", "reply"]
    acts = json.loads((await desk.type("acts", APP, "-o", "json")).stdout)
    assert len(acts) > 4
    assert {act["by"] for act in acts} > {"ada"} or {act["by"] for act in acts} > {"bob"}


async def shown_with_its_saga(desk: Desk, who: str, row: dict[str, Any]) -> None:
    arguments = ("show", APP, who, "--store", desk.addresses.store)
    ended = await desk.type(*arguments, of=saga_command)
    assert (
        f"dead letter {row['id']}: desk.book.v1, from {desk.names.service_queue('bus')}\n  It was early."
        in ended.stdout
    )
    told = json.loads((await desk.type(*arguments, "-o", "json", of=saga_command)).stdout)
    assert [letter["id"] for letter in told["dead_letters"]] == [row["id"]]


async def ended(desk: Desk, who: str) -> bool:
    return (await desk.client.outcome(await desk.client.id_of(who))).status == "completed"


async def told(desk: Desk, count: int) -> bool:
    return len(desk.entries("diary")) >= count


async def parked_again(desk: Desk) -> bool:
    return bool(await desk.rows())


async def test_what_is_printed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    book = replace(decode(encode(a_command(desk))), to="bus")
    for number in range(3):
        wire = encode(replace(book, id=f"m{number}", subject=f"o-{number}"))
        await desk.park(desk.names.service_queue("bus"), wire, desk.names.commands)
    rows = await desk.rows()
    assert [row["subject"] for row in rows] == ["o-0", "o-1", "o-2"]
    shown = (await desk.type("show", APP, rows[1]["id"])).stdout
    assert "parked from:" in shown and '"who": "ada"' in shown and "It was early." in shown
    page = await desk.type("list", APP, "--limit", "1", "--skip", "1")
    assert page.stdout.split("\t")[0] == rows[1]["id"]
    assert "3 in all; --skip 2" in page.stderr
    assert "their ids" in str((await desk.type("redrive", APP, code=2)).exception)
    assert "'nope'" in str((await desk.type("show", APP, "nope", code=2)).exception)
    assert "--yes" in str((await desk.type("drop", APP, rows[0]["id"], "--reason", "test", code=2)).exception)
    await asked_before_it_drops(desk, monkeypatch, rows[0]["id"])
    done = await desk.type("drop", APP, rows[0]["id"], "--reason", "it was a test", "--yes", "--by", "ada")
    assert done.stdout == "✔ 1 dropped\n"
    await desk.transport.post(desk.names.acts, "", Wire(b"{", {}))
    (act,) = json.loads((await desk.type("acts", APP, "--saga", "s1", "-o", "json")).stdout)
    assert (act["act"], act["by"], act["reason"], act["body"]) == ("drop", "ada", "it was a test", book.data)
    assert act["letter"]["id"] == rows[0]["id"]
    refused = await desk.type("edit", APP, rows[1]["id"], "--set", "body.seats=two", "--reason", "why", code=2)
    assert "It would be parked again: The body is no desk.book.v1: seats: int_type." in str(refused.exception)
    done = await desk.type("edit", APP, rows[1]["id"], "--set", "body.seats=2", "--reason", "why")
    assert done.stdout == "✔ 1 edited and put back\n"
    went = decode((await desk.command()).wire)
    assert (went.id, went.key, json.loads(went.data)) == ("m1", book.key, {"who": "ada", "seats": 2})
    assert [row["id"] for row in await desk.rows()] == [rows[2]["id"]]


async def asked_before_it_drops(desk: Desk, monkeypatch: pytest.MonkeyPatch, letter: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("choros.cli.dead_acts.is_terminal", lambda _: True)
        said = await desk.type("drop", APP, letter, "--reason", "test", code=1, given="n\n")
        assert "Drop 1 dead letter for good?" in said.stdout
        assert "nothing was dropped" in said.stderr
        assert "no dead letter 'nope'" in str((await desk.type("drop", APP, "nope", "--reason", "x", code=2)).exception)
    assert len(await desk.rows()) == 3


def a_command(desk: Desk) -> Envelope:
    return Envelope(
        id="m", kind="command", type=Book.type_name, source=f"/{desk.app.namespace}/desk", time=9e8, to="bus",
        data=Book(who="ada").to_json(), correlation_id="s1", key="s1:book_it:1:do", saga="trip", saga_version=1,
        step="book_it", attempt=1, reply_to=desk.names.reply_queue(desk.app.name),
    )  # fmt: skip
