"""Terminating a saga that runs: by a client, on a command line, and what is told of it afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from choros import Client, cli
from choros.desk.overview import WantedSagas, overview
from choros.desk.timeline import timeline
from choros.errors import UsageError
from choros.messages import Closed, Failure
from choros.runtime.orchestrator.history import read_history
from tests.captured import capture_logs

from ..saga import shop
from .stage import Stage, reply_to, staged

SAGAS = {("order", 1): shop.order_saga}


async def begun(stage: Stage) -> tuple[Client, str]:
    """Paid, and the inventory is asked."""
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.carry_out("payment")
    return client, saga_id


async def shown(client: Client, saga_id: str) -> list[str]:
    return [*timeline(await client.show(saga_id), shop.order_saga)]


async def test_it_ends_once_what_is_open_is_closed() -> None:
    async with staged() as stage:
        client, saga_id = await begun(stage)
        asked = await stage.command("inventory")
        assert await client.signed("ada", "a test order").terminate(saga_id) == "terminating"
        assert await client.cancel(saga_id) == "too_late"
        (one,) = (await overview(SAGAS, stage.store, WantedSagas(), 9)).found
        assert (one.record.status, one.reason, one.step) == ("running", "terminating", "reserve_inventory")
        close = await stage.command("inventory")
        assert (close.type, close.key) == ("choros.close.v1", f"{saga_id}:reserve_inventory:1:close")
        await stage.answer(reply_to(close, Closed(), source="/shop/inventory"))
        outcome = await client.wait(saga_id)
        assert (outcome.status, outcome.ended, outcome.failure) == ("terminated", True, None)
        late = reply_to(asked, shop.RESERVED)
        await stage.answer(late)
        told = await shown(client, saga_id)
        assert told[-1] == "  left standing: charge_payment"
        assert any("terminating" in line or "is being terminated" in line for line in told)
        assert "(terminate by ada: a test order)" in " ".join(" ".join(told).split())
        (one,) = (await overview(SAGAS, stage.store, WantedSagas(status="terminated"), 9)).found
        assert (one.reason, one.step) == ("terminated", "")
        assert await client.terminate(saga_id) == "too_late"
        again = await client.rerun(saga_id, "reserve_inventory")
        assert again != saga_id


async def test_what_is_in_doubt_is_told() -> None:
    async with staged() as stage:
        client, saga_id = await begun(stage)
        await stage.command("inventory")
        await client.terminate(saga_id)
        for _ in range(2):
            close = await stage.command("inventory")
            failed = reply_to(close, Failure(code="Boom", kind="failed"), "failed", source="/shop/inventory")
            await stage.answer(failed)
        assert (await client.wait(saga_id)).status == "terminated"
        assert (await shown(client, saga_id))[-2:] == [
            "  left standing: charge_payment", "  in doubt: reserve_inventory",
        ]  # fmt: skip
        (one,) = (await overview(SAGAS, stage.store, WantedSagas(), 9)).found
        assert one.reason == "terminated, in doubt: reserve_inventory"
        with pytest.raises(UsageError, match="reserve_inventory may stand or not"):
            await client.rerun(saga_id, "reserve_inventory")


async def test_one_that_is_being_undone_and_paused_is_ended_all_the_same() -> None:
    async with staged() as stage:
        client, saga_id = await begun(stage)
        await stage.answer(reply_to(await stage.command("inventory"), Failure(code="sold_out"), "refused"))
        await stage.command("payment")
        await client.pause(saga_id)
        assert await client.terminate(saga_id) == "terminating"
        account = await client.show(saga_id)
        assert not account.instance.paused
        kinds = [one.kind for row in account.history for one in read_history(row.events)]
        assert kinds[-2:] == ["terminating", "sent"]


TRAVEL = """
from choros import App, Command, Done, Message, Pivot, Saga, Service

class Trip(Message, name="travel.trip"):
    who: str

class Book(Command[Done]):
    who: str

def book_it(trip: Trip) -> Book:
    return Book(who=trip.who)

app = App("travel", sagas=[Saga("trip", start=Trip, key=lambda trip: trip.who, steps=(Pivot(book_it, to="hotel"),))],
          services=[Service("hotel", commands=[Book])])
"""


def test_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "terminal_travel.py").write_text(TRAVEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def choros(*words: str) -> tuple[object, str]:
        servers = ("--broker", "memory://", "--store", "sqlite:///sagas.db")
        monkeypatch.setattr(sys, "argv", ["choros", "saga", *words, *servers])
        with capture_logs(), pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    code, _ = choros("start", "terminal_travel", "trip", "-i", '{"who": "Ada"}')
    assert code == 0
    code, said = choros("terminate", "terminal_travel", "Ada", "--reason", "a test")
    assert (code, said) == (0, "terminating: its open commands are closed first, then it has ended as it is\n")
    code, said = choros("terminate", "terminal_travel", "Ada", "-o", "json")
    assert (code, json.loads(said)["answer"]) == (1, "too_late")
