"""A broker that loses everything in mid-run: no saga is lost with it, and its facts can be brought back."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

import aio_pika
import pytest

from choros.roles.addresses import Addresses
from choros.roles.roles import client_of, open_role, run_together, stop_all
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from tests.end_to_end.shop import Ended, choros, until
from tests.facts import newsroom
from tests.private_servers import PrivateRabbitMQ

SAGAS = 60
APP = "tests.facts.newsroom"


@asynccontextmanager
async def roles(addresses: Addresses, *names: str) -> AsyncIterator[None]:
    """These roles at work in this process, each with connections of its own."""
    async with AsyncExitStack() as stack:
        parts = [part for name in names for part in await open_role(newsroom.app, name, addresses, stack)]
        loops = asyncio.create_task(run_together(parts))
        try:
            yield
        finally:
            await stop_all(parts)
            await loops


def told(folder: Path, by: str = "news") -> list[str]:
    with closing(sqlite3.connect(folder / f"{by}.db")) as database:
        return [who for (who,) in database.execute("SELECT who FROM told ORDER BY who")]


async def fact_waits(broker: PrivateRabbitMQ) -> bool:
    """Whether a confirmed fact lies in the subscriber's queue."""
    async with await aio_pika.connect(broker.url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue(f"{newsroom.app.namespace}.facts.news", passive=True)
        return bool(queue.declaration_result.message_count)


async def start_all(client: Client, broker: PrivateRabbitMQ, empty: asyncio.Event) -> list[Outcome]:
    """Start sagas one after another; say so when there is something to lose."""
    ids = []
    for number in range(SAGAS):
        ids.append(await client.start(newsroom.trip_saga, newsroom.Trip(who=f"{number:03}")))
        if number == SAGAS // 2:
            await until("there is a fact to lose", partial(fact_waits, broker))
            empty.set()
        await asyncio.sleep(0.02)
    return [await client.wait(saga_id) for saga_id in ids]


async def empty_when(broker: PrivateRabbitMQ, ready: asyncio.Event) -> None:
    """Pull the plug and throw the disk away; then start it again."""
    await ready.wait()
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(shutil.rmtree, broker.folder / "data")
    await asyncio.to_thread(broker.start)


@pytest.mark.servers
@pytest.mark.long
async def test_no_saga_is_lost_and_every_lost_fact_is_brought_back_and_handled_once(tmp_path: Path) -> None:
    broker = PrivateRabbitMQ(tmp_path / "rabbitmq")
    await asyncio.to_thread(broker.start)
    try:
        addresses = Addresses(broker.url, f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db")
        async with roles(addresses, "orchestrator", "service:hotel", "service:bank"):
            async with client_of(newsroom.app, addresses) as client:
                ready = asyncio.Event()
                outcomes, _ = await asyncio.gather(start_all(client, broker, ready), empty_when(broker, ready))
            assert {outcome.status for outcome in outcomes} == {"completed"}

            store = ("--store", addresses.store)
            async with roles(addresses, "subscriber:news"):  # gets what was published into the emptied broker
                await asyncio.sleep(1)
            left = len(told(tmp_path))
            assert left < SAGAS, "nothing was lost: this test shows nothing"
            create_archive(tmp_path)
            missed = await asyncio.to_thread(choros_in, tmp_path, "missed", *store, "--database", addresses.database)
            assert (missed.code, f"news: {SAGAS - left} missed of {SAGAS} facts" in missed.out) == (1, True), missed

            put_out = await asyncio.to_thread(choros_in, tmp_path, "republish", "--broker", addresses.broker, *store)
            assert (put_out.code, f"{SAGAS} facts of {SAGAS} sagas put out again" in put_out.out) == (0, True), put_out
            async with roles(addresses, "subscriber:news", "subscriber:archive"):
                everyone = [f"{number:03}" for number in range(SAGAS)]
                for service in ("news", "archive"):
                    await until(f"{service} is told", partial(all_told, tmp_path, service))
                await asyncio.sleep(1)  # for one too many
            assert told(tmp_path) == told(tmp_path, "archive") == everyone
            missed = await asyncio.to_thread(choros_in, tmp_path, "missed", *store, "--database", addresses.database)
            assert (missed.code, missed.lines) == (
                0, [f"news: 0 missed of {SAGAS} facts", f"archive: 0 missed of {SAGAS} facts"],
            )  # fmt: skip
    finally:
        await asyncio.to_thread(broker.kill, epmd=True)


async def all_told(folder: Path, by: str) -> bool:
    return len(told(folder, by)) >= SAGAS


def create_archive(folder: Path) -> None:
    """A subscriber that has never run has no database; the command would say so."""
    with closing(sqlite3.connect(folder / "archive.db")):
        pass


def choros_in(folder: Path, verb: str, *more: str) -> Ended:
    return choros("facts", verb, APP, "--since", "1h", *more, cwd=folder, within=240)
