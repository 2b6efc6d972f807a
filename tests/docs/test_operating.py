"""docs/operating.md shows what `choros saga show` says of a saga that does not go on: all of it is made here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from choros.cli.letters_of_saga import beside_lines
from choros.cli.waits import waiting_lines
from choros.desk.awaited import waits_for
from choros.desk.dead_letters import dead_letter
from choros.desk.parkings import Beside
from choros.desk.timeline import timeline
from choros.roles.roles import stop_all
from choros.runtime.client.account import account_of
from choros.runtime.orchestrator.stuck import Declarations
from choros.transport.copies import REASON
from choros.transport.topology import Names
from choros.wire.envelope import Wire
from tests.runtime.waiting_shop import TIMEOUT, Shop, application, shop

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
Case = Callable[[Shop, str], Awaitable[None]]


async def away(one: Shop, saga_id: str) -> None:
    await asyncio.sleep(5 * TIMEOUT + 10)


async def hangs(one: Shop, saga_id: str) -> None:
    consumer = await one.part.transport.consume("shop.payment", 10)
    await consumer.receive(10)
    await asyncio.sleep(TIMEOUT - 9)


async def undecided(one: Shop, saga_id: str) -> None:
    await one.part.transport.consume("shop.payment", 10)
    await asyncio.sleep(8)
    await stop_all([one.part])
    await asyncio.sleep(1)


async def slow(one: Shop, saga_id: str) -> None:
    await one.part.transport.consume("shop.payment", 1)
    await asyncio.sleep(5 * TIMEOUT + 10)


async def full(one: Shop, saga_id: str) -> None:
    """As a policy makes it, with an order before ours."""
    queue = one.part.transport._broker._queues["shop.payment"]  # type: ignore[attr-defined] # the broker in memory
    queue.arguments["x-overflow"], queue._length = "reject-publish", 1
    await one.start("order-1041")
    await asyncio.sleep(1)


async def parked(one: Shop, saga_id: str) -> None:
    await asyncio.sleep(16 * 60)


async def paused(one: Shop, saga_id: str) -> None:
    await asyncio.sleep(9)
    await one.client.pause(saga_id)


async def otherwise(one: Shop, saga_id: str) -> None:
    await asyncio.sleep(9)
    one.app = application(version=2)


CASES: dict[str, Case] = {
    "The service is not there": away, "Its handler is at work, or hangs": hangs,
    "No orchestrator is at work": undecided, "It is slow": slow,
    "Its queue is full": full, "It is parked": parked, "It is paused": paused, "It is declared otherwise": otherwise,
}  # fmt: skip


async def shown(one: Shop, saga_id: str) -> Sequence[str]:
    """As `choros saga show shop order-1042` prints it."""
    account = await account_of(one.part.store, saga_id)
    sagas = one.app.sagas
    lines = list(timeline(account, sagas.get((account.record.saga, account.record.saga_version))))
    if why := await Declarations(sagas, one.part.store).why_stuck(account.record):
        return [*lines, f"stuck: {why}"]
    waits = await waits_for(sagas, "shop", one.part.store, saga_id, one.part.transport.attendance)
    return [
        *lines,
        *waiting_lines("shop", "sqlite:///sagas.db", account.record, account.instance, waits, one.part.store.now()),
    ]


@pytest.mark.parametrize(
    "heading", [pytest.param(one, marks=pytest.mark.slow) if CASES[one] is parked else one for one in CASES]
)
async def test_what_the_page_shows_is_what_is_said(heading: str) -> None:
    async with shop() as one:
        if CASES[heading] is full:
            await full(one, "")
        saga_id = await one.start()
        await (asyncio.sleep(9) if CASES[heading] is full else CASES[heading](one, saga_id))
        lines = "\n".join(await shown(one, saga_id))
    assert rounded(lines) == rounded(section(heading))
    assert all(len(line) <= 80 for line in lines.splitlines())


def test_a_dead_letter_is_named() -> None:
    reason = {REASON: "The body is no charge.v1: amount: missing.", "cloudEvents_type": "charge.v1"}
    letter = dead_letter(Wire(b"{}", reason), "shop.payment.dead", Names("shop"))
    lines = beside_lines("shop", "s1", Beside([replace(letter, id="1d1f5763e636")]))
    assert "\n".join(lines) == section("A message of it is a dead letter")


def rounded(text: str) -> str:
    """A busy machine may take a second."""
    return re.sub(r"\b\d+s\b", "some seconds", text)


def section(heading: str) -> str:
    found = re.search(rf"^### {heading}\n.*?^```text\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""
