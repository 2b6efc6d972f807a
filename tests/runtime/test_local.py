"""Local steps through the real runtime: carried out beside the decisions, in their own database, over no broker."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from choros import Addresses, App, Client, DeclarationError, Saga, Step, UsageError, client_of, running
from choros.app.contract import contract
from choros.cli.application import app as commands
from choros.cli.topology import rights_of
from choros.cli.waits import waiting_lines
from choros.desk.awaited import waits_for
from choros.roles.roles import open_role, run_together, stop_all
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Start, Work
from choros.transport.memory import MemoryBroker
from tests.patience import PATIENCE
from tests.runtime.counter import Counterpart, TakeOrder, counter, erase_order, record_order

BOB = TakeOrder(order_id="bob")


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    return Addresses(f"memory://{tmp_path}", f"sqlite:///{tmp_path}/sagas.db", f"sqlite:///{tmp_path}/{{service}}.db")


def orders(addresses: Addresses) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(addresses.database.removeprefix("sqlite:///").replace("{service}", "orders"))) as db:
        return list(db.execute("SELECT id, state FROM orders"))


@asynccontextmanager
async def role(app: App, name: str, addresses: Addresses) -> AsyncIterator[None]:
    """As `choros run --role NAME` has it, until the end, which is in order."""
    async with AsyncExitStack() as stack:
        parts = await open_role(app, name, addresses, stack)
        at_work = asyncio.create_task(run_together(parts))
        try:
            yield
        finally:
            await stop_all(parts)
            async with asyncio.timeout(PATIENCE):
                await at_work


@asynccontextmanager
async def everybody(made: Counterpart, addresses: Addresses) -> AsyncIterator[Client]:
    """Each in a role of its own; the client is in none of them."""
    async with (
        role(made.app, "service:carrier", addresses),
        role(made.app, "orchestrator", addresses),
        client_of(made.app, addresses) as client,
    ):
        yield client


# --- what it does -----------------------------------------------------------------------------------------------------


async def test_it_is_carried_out_in_the_orchestrator_whoever_starts_the_saga(addresses: Addresses) -> None:
    made = counter()
    async with everybody(made, addresses) as client:
        assert (await client.run(made.taking, BOB)).status == "completed"
    assert orders(addresses) == [("bob", "filed")]
    assert made.calls == {"record": 1, "file": 1}


async def test_refused_and_undone_nothing_is_left(addresses: Addresses) -> None:
    made = counter()
    async with everybody(made, addresses) as client:
        taken = await client.run(made.taking, TakeOrder(order_id="taken"))
        nowhere = await client.run(made.taking, TakeOrder(order_id="nowhere"))
    assert [one.failure and one.failure.code for one in (taken, nowhere)] == ["taken", "no_such_address"]
    assert (taken.status, nowhere.status, orders(addresses), made.calls["erase"]) == (
        "compensated", "compensated", [], 1,
    )  # fmt: skip


async def test_everything_in_one_process(addresses: Addresses) -> None:
    made = counter()
    async with running(made.app, addresses) as client:
        assert (await client.run(made.taking, BOB)).status == "completed"
    assert orders(addresses) == [("bob", "filed")]


async def test_a_handler_that_takes_long_holds_up_no_other_saga(addresses: Addresses) -> None:
    made = counter()
    async with running(made.app, addresses) as client:
        slow = await client.start(made.asking, BOB)
        await made.asked.wait()
        others = [TakeOrder(order_id=f"o{number}") for number in range(20)]
        assert {(await client.run(made.taking, one)).status for one in others} == {"completed"}
        assert not (await client.outcome(slow)).ended
        made.held.set()
        assert (await client.wait(slow)).status == "completed"


async def test_a_handler_that_takes_too_long_is_cut_off_and_tried_again(addresses: Addresses) -> None:
    made = counter(handler_time=timedelta(milliseconds=20))
    async with running(made.app, addresses) as client:
        saga_id = await client.start(made.asking, BOB)
        while len(made.attempts) < 2:
            await asyncio.sleep(0.01)
        made.held.set()
        assert (await client.wait(saga_id)).status == "completed"
    assert {call.key for call in made.attempts} == {f"{saga_id}:ask_foreman:1:do"}


async def test_a_timeout_asks_again_and_a_copy_of_what_is_under_way_is_not_carried_out(addresses: Addresses) -> None:
    made = counter(timeout=timedelta(milliseconds=50))
    async with running(made.app, addresses) as client:
        saga_id = await client.start(made.asking, BOB)
        await made.asked.wait()
        while (await client.show(saga_id)).instance.state("ask_foreman").leg.attempt < 2:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        made.held.set()
        assert (await client.wait(saga_id)).status == "completed"
    assert len(made.attempts) == 1


async def test_it_stops_in_order_and_what_is_at_work_is_still_decided(addresses: Addresses) -> None:
    made = counter()
    async with client_of(made.app, addresses) as client:
        async with role(made.app, "orchestrator", addresses):
            saga_id = await client.start(made.asking, BOB)
            await made.asked.wait()
            asyncio.get_running_loop().call_later(0.05, made.held.set)
        assert (await client.outcome(saga_id)).status == "completed"


async def test_nothing_of_it_reaches_the_broker(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, str]] = []
    publish = MemoryBroker.publish

    def watched(self: MemoryBroker, exchange: str, key: str, wire: object) -> object:
        published.append((exchange, key))
        return publish(self, exchange, key, wire)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryBroker, "publish", watched)
    made = counter()
    async with everybody(made, addresses) as client:
        await client.run(made.taking, BOB)
    assert [exchange for exchange, key in published if key == "carrier"] == ["counter.commands"]
    assert not [one for one in published if "orders" in f"{one}"]


async def test_a_person_is_told_who_carries_it_out(addresses: Addresses) -> None:
    made = counter()
    async with running(made.app, addresses) as client:
        saga_id = await client.start(made.asking, BOB)
        await made.asked.wait()
        shown = await client.show(saga_id)
        one = await waits_for(made.app.sagas, "counter", client._store, saga_id)
        assert one and one.queue == ""
        told = waiting_lines("counter", "memory://", shown.record, shown.instance, one, one.since + 3)
        assert told[0] == "waits for ask_foreman at orders, since 3s"
        assert "an orchestrator carries it out itself" in " ".join(told)
        made.held.set()
        await client.wait(saga_id)


def test_rule_44_its_command_is_kept_apart() -> None:
    made = counter()
    start = Start("start", "taking", 1, "bob", BOB.to_json(), "digest")
    transition = Transitions(made.app).make([Work("s1", start)], None, 0.0).transition
    assert transition
    assert [(one.channel, one.message and one.message.to) for one in transition.outbox] == [("local", "orders")]


# --- who needs what ---------------------------------------------------------------------------------------------------


def test_no_queue_no_binding_no_rights_and_no_line_in_the_contract() -> None:
    app = counter().app
    assert (list(app.local), app.participants) == (["orders"], ["carrier"])
    assert not [queue.name for queue in app.topology.queues if "orders" in queue.name]
    assert not [one for one in app.topology.bindings if "orders" in f"{one}"]
    assert "orders" not in dict(rights_of(app))
    assert contract(app)["services"]["orders"] == {"commands": {}, "facts": []}


async def test_it_has_no_role_of_its_own(addresses: Addresses) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match="is local: the orchestrator carries it out"):
            await open_role(counter().app, "service:orders", addresses, stack)


def test_a_service_is_local_or_commanded() -> None:
    given = counter().app
    other = Saga(
        "other", start=TakeOrder, steps=(Step(record_order, to="orders", compensation=erase_order),),
        key=lambda order: order.order_id,
    )  # fmt: skip
    with pytest.raises(DeclarationError) as caught:
        App("counter", sagas=[*given.sagas.values(), other], services=given.services.values())
    assert "record_order sends to 'orders' over the broker, but a Local" in caught.value.sentence


def test_an_orchestrator_without_a_database_for_it_says_so_in_one_line() -> None:
    arguments = ["run", "tests.runtime.counter_app", "--role", "orchestrator", "--broker", "memory://"]
    ended = CliRunner().invoke(commands, [*arguments, "--store", "memory://"])
    assert isinstance(ended.exception, UsageError)
    assert ended.exception.sentence == (
        "The orchestrator carries out orders itself, and is given no database for that."
    )
    assert "the same for every orchestrator" in ended.exception.hint
