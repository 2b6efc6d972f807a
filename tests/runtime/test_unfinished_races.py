"""Finishing a command from outside beside its undo, on real databases: either it counts, or whoever does it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from choros.app.handler import Call
from choros.app.later import Later
from choros.app.service import Service
from choros.errors import TooLate
from choros.runtime.participant.unfinished import Unfinished
from choros.store.barrier import Database, Transaction
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from tests.runtime.participant_stage import Charge, Charged, Refund, Refunded, command, stage_for

SAGAS = 12


def service() -> Service:
    """Takes payments, and says with an undo whether it was finished."""
    made = Service("payment")

    @made.handles(Charge)
    async def charge(command: Charge, db: Transaction, call: Call) -> Charged | Later:
        return Later(f"token of {command.order}")

    @made.handles(Refund)
    async def refund(command: Refund, db: Transaction, call: Call) -> Refunded:
        return Refunded(payment=call.token)

    return made


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> list[Database]:
    """Two on the same rows: the service's, and that of the program outside."""
    if request.param == "sqlite":
        return [SqliteDatabase(tmp_path / "payment.db") for _ in range(2)]
    url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
    return [RedisDatabase(url, namespace) for _ in range(2)]


async def test_it_counts_or_comes_too_late_and_never_both(database: list[Database]) -> None:
    inside, other = database
    await other.open()
    outside = Unfinished(service(), other, namespace="shop")

    async def told(number: int) -> str:
        await asyncio.sleep(0.002 * number)
        try:
            return await outside.complete(f"token of o{number}", Charged(payment="p"))
        except TooLate:
            return "too late"

    try:
        async with stage_for(service(), inside, prefetch=100, scan_every=0.02) as stage:
            sagas = [f"s{number}" for number in range(SAGAS)]
            await stage.ask(*(command(Charge(order=f"o{n}"), saga=saga) for n, saga in enumerate(sagas)))
            assert len(await outside.list()) == SAGAS
            undos = [command(Refund(order=f"o{n}"), "undo", saga=saga) for n, saga in enumerate(sagas)]
            words, _ = await asyncio.gather(asyncio.gather(*map(told, range(SAGAS))), stage.send(*undos))
            answers = await stage.replies(SAGAS + words.count("finished"))
            tokens = {one.correlation_id: Refunded.from_json(one.data).payment for one in answers if "undo" in one.key}
            assert await outside.list() == []
    finally:
        await other.close()
    expected = ["" if word == "finished" else f"token of o{number}" for number, word in enumerate(words)]
    assert [tokens[saga] for saga in sagas] == expected
