"""`saga show` and `saga run` beside a real broker, with the service away: they say that nobody consumes its queue."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from choros.cli import app as cli
from choros.cli import waits
from choros.errors import OutcomePending
from choros.roles.addresses import Addresses, connected
from choros.roles.loading import load_app
from choros.roles.roles import client_of
from tests.end_to_end.shop import remove
from tests.end_to_end.stuck_bell import Begin

BELL = "tests.end_to_end.stuck_bell"
NOBODY_EITHER = "no orchestrator on this store is at work, either"


async def choros(*words: str) -> Any:
    """In a thread: it has a loop of its own."""
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, list(words)))


def rounded(text: str) -> str:
    """A busy machine takes its time."""
    return re.sub(r"\b\d+s\b", "Ns", text)


@pytest.fixture
async def where(tmp_path: Path, amqp_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """What an orchestrator would have declared is there; no process of the application runs."""
    monkeypatch.setenv("CHOROS_NAMESPACE", namespace)
    addresses = Addresses(amqp_url, f"sqlite:///{tmp_path}/sagas.db")
    async with connected(addresses, load_app(BELL), "test") as transport:
        await transport.declare(load_app(BELL).topology)
    return addresses


async def test_a_run_says_what_it_waits_for_and_ends_with_it(
    where: Addresses, amqp_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "SOON", 0.2)
    given = ("--broker", where.broker, "--store", where.store)
    ended = await choros("saga", "run", BELL, "ringing", "-i", '{"how": "block"}', "--timeout", "2", *given)
    assert isinstance(ended.exception, OutcomePending)
    because = f"nobody consumes {namespace}.bell, where 1 message waits; {NOBODY_EITHER}"
    assert rounded(ended.exception.sentence).endswith(f"it waits for send_ring at bell, since Ns; {because}.")
    assert [line for line in rounded(ended.stderr).splitlines() if line.startswith("…")] == [
        f"… waits for send_ring at bell, since Ns; {because}"
    ]
    await remove(amqp_url, load_app(BELL).topology)


async def test_show_says_what_a_saga_waits_for(where: Addresses, amqp_url: str, namespace: str) -> None:
    async with client_of(load_app(BELL), where) as client:
        saga_id = await client.start(load_app(BELL).saga("ringing"), Begin(how="block"))
    show = ["saga", "show", BELL, "block", "--broker", where.broker, "--store", where.store]
    told = " ".join(rounded((await choros(*show)).stdout).split())
    assert told.endswith(
        f"waits for send_ring at bell, since Ns attempt 1, the next in Ns; it gives up in 14m nobody consumes "
        f"{namespace}.bell, where 1 message waits; {NOBODY_EITHER} Try: choros run {BELL} --role service:bell"
    )
    found = json.loads((await choros(*show, "-o", "json")).stdout)["waits"]
    assert (found["service"], found["attempt"], found["seen"]) == (
        "bell", 1, {"state": "there", "consumers": 0, "waiting": 1}
    )  # fmt: skip
    async with client_of(load_app(BELL), where) as client:
        await client.pause(saga_id)
    lines = (await choros(*show)).stdout.splitlines()
    assert lines[-2:] == [
        "waits to be resumed: nothing is sent",
        f"  Try: choros saga resume {BELL} block --store {where.store}",
    ]
    await remove(amqp_url, load_app(BELL).topology)
