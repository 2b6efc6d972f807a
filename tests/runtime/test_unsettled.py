"""What a running saga has left standing: who is told, how it is found, and how a person settles it."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from choros import Addresses, Client, cli, running
from choros.desk.overview import WantedSagas, overview
from choros.desk.timeline import timeline
from choros.errors import UsageError
from choros.messages import Closed, Done, Failure
from choros.runtime.orchestrator.labels import UNSETTLED
from choros.runtime.orchestrator.unsettled import MOST_COUNTED, Unsettled
from choros.store.sagas import LABEL
from choros.testing.conformance.records import creation
from choros.values import replace
from tests.captured import capture_logs

from ..saga import shop
from .stage import Stage, reply_to, staged

SAGAS = {("order", 1): shop.order_saga}
STANDING = "reserve_inventory"


async def parked(stage: Stage) -> tuple[Client, str]:
    """The undo of the second step has failed twice."""
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.carry_out("payment")
    await stage.carry_out("inventory")
    await stage.answer(reply_to(await stage.command("shipping"), Failure(code="no_such_address"), "refused"))
    for _ in range(2):
        failed = Failure(code="Boom", kind="failed")
        await stage.answer(reply_to(await stage.command("inventory"), failed, "failed"))
    assert (await client.wait(saga_id)).status == "parked"
    return client, saga_id


async def left(stage: Stage) -> tuple[Client, str]:
    """A person goes on without it."""
    client, saga_id = await parked(stage)
    assert await client.skip(saga_id, STANDING) == "unparked"
    await stage.answer(reply_to(await stage.command("inventory"), Closed()))
    await stage.answer(reply_to(await stage.command("payment"), Done()))
    outcome = await client.wait(saga_id)
    assert (outcome.status, outcome.left_standing) == ("compensated", (STANDING,))
    return client, saga_id


async def found(stage: Stage, saga: str = "", status: str = "") -> list[str]:
    wanted = WantedSagas(unsettled=True, saga=saga, status=status)
    seen = await overview(SAGAS, stage.store, wanted, 9)
    return [one.record.saga_id for one in seen.found]


async def test_it_is_told_and_found_until_it_is_settled() -> None:
    async with staged() as stage:
        with capture_logs() as logs:
            client, saga_id = await left(stage)
        [alert] = [one for one in logs if one["event"] == "choros.saga.left_standing"]
        assert (alert["log_level"], alert["saga_id"], alert["step"]) == ("error", saga_id, STANDING)
        assert f"{STANDING} (undo) is in doubt after 2 attempts: Boom" in alert["code"]
        unsettled = Unsettled(stage.store)
        await unsettled.look()
        assert [*unsettled.noticed] == [
            "1 saga has left something standing or in doubt. Try: choros saga list --unsettled"
        ]
        assert await found(stage) == [saga_id] == await found(stage, saga="order", status="compensated")
        assert await found(stage, status="terminated") == []
        told = [*timeline(await client.show(saga_id), shop.order_saga)]
        assert told[-2:] == [f"  left standing: {STANDING}", "  withheld until that is settled: order-rejected.v1"]
        with pytest.raises(UsageError, match="has left reserve_inventory standing"):
            await client.rerun(saga_id, "charge_payment")
        assert await client.signed("ada", "released by hand").settle(saga_id) == "by_hand"
        with pytest.raises(UsageError, match="nothing is to be settled: it is compensated"):
            await client.settle(saga_id)
        await unsettled.look()
        assert (await found(stage), [*unsettled.noticed]) == ([], [])
        account = await client.show(saga_id)
        assert "(settle by ada: released by hand)" in " ".join(" ".join(timeline(account, shop.order_saga)).split())
        assert json.loads(account.record.state).get("withheld") is None
        assert await client.rerun(saga_id, "charge_payment") != saga_id


async def test_what_was_done_by_hand_is_closed_and_then_undone() -> None:
    async with staged() as stage:
        client, saga_id = await parked(stage)
        assert await client.settle(saga_id, STANDING) == "unparked"
        await stage.answer(reply_to(await stage.command("inventory"), Closed()))
        await stage.answer(reply_to(await stage.command("payment"), Done()))
        outcome = await client.wait(saga_id)
        assert (outcome.status, outcome.left_standing) == ("compensated", ())
        assert await found(stage) == []


async def test_no_more_are_counted_than_a_look_may_cost() -> None:
    async with staged() as stage:
        label = {f"{LABEL}{UNSETTLED}": "1"}
        await stage.store.commit(
            [replace(creation(f"s{number:04}"), entries=label) for number in range(MOST_COUNTED + 1)]
        )
        unsettled = Unsettled(stage.store)
        await unsettled.look()
        assert unsettled.noticed[0].startswith("1000 or more sagas have left something standing")


POSTERS = """
from datetime import timedelta
from choros import App, Command, Done, Fact, Message, Pivot, Refused, RetryPolicy, Saga, Service, Step
from choros.store.barrier import Transaction

class Plan(Message):
    name: str

class Print(Command[Done]):
    name: str

class Stop(Command[Done]):
    name: str

class Sign(Command[Done], refusals=("no_time",)):
    name: str

class Off(Fact):
    name: str

def print_posters(plan: Plan) -> Print:
    return Print(name=plan.name)

def stop_posters(plan: Plan) -> Stop:
    return Stop(name=plan.name)

def sign(plan: Plan) -> Sign:
    return Sign(name=plan.name)

def off(plan: Plan) -> Off:
    return Off(name=plan.name)

printer, agency = Service("printer"), Service("agency")

@printer.handles(Print)
async def printing(command: Print, db: Transaction) -> Done:
    return Done()

@printer.handles(Stop)
async def stopping(command: Stop, db: Transaction) -> Done:
    raise OSError("the printer is gone")

@agency.handles(Sign)
async def signing(command: Sign, db: Transaction) -> Done:
    raise Refused("no_time")

concert = Saga("concert", start=Plan, key=lambda plan: plan.name, steps=(
    Step(print_posters, to="printer", compensation=stop_posters, undo_retry=RetryPolicy(attempts=1),
         undo_exhausted="skip"),
    Pivot(sign, to="agency"),
), compensated=off)
app = App("posters", sagas=[concert], services=[printer, agency])
"""


def test_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With services that carry out, and fail, and close, on real files."""
    (tmp_path / "posters_left.py").write_text(POSTERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    posters: Any = import_module("posters_left")

    async def call_off() -> str:
        addresses = Addresses("memory://", "sqlite:///sagas.db", "sqlite:///{service}.db")
        async with running(posters.app, addresses) as client:
            outcome = await client.run(posters.concert, posters.Plan(name="summer"))
        assert (outcome.status, outcome.left_standing) == ("compensated", ("print_posters",))
        return outcome.saga_id

    def choros(*words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["choros", "saga", *words, "--store", "sqlite:///sagas.db"])
        with capture_logs(), pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    with capture_logs():
        saga_id = asyncio.run(call_off())
    code, said = choros("list", "posters_left", "--unsettled", "-o", "json")
    [row] = json.loads(said)
    assert (code, row["saga_id"], row["status"], row["left_standing"]) == (0, saga_id, "compensated", ["print_posters"])
    assert row["reason"] == "left standing: print_posters; no_time"
    assert "  left standing: print_posters\n" in choros("show", "posters_left", "summer")[1]
    code, said = choros("settle", "posters_left", "summer", "--broker", "memory://", "--reason", "rang them")
    assert (code, said) == (0, "by_hand: this is noted in its history\n")
    assert choros("list", "posters_left", "--unsettled") == (0, "")
    assert "left standing:" not in choros("show", "posters_left", "summer")[1].partition("settled by a person")[2]
