"""The command line against a shop that runs: what a person at a terminal sees, and what a script can rely on."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from choros import __version__
from choros.roles.addresses import Addresses
from reference_services.contracts import PlaceOrder
from reference_services.demo.processes import Processes
from reference_services.sample_orders import sample_orders
from tests.end_to_end.order_files import STORIES
from tests.end_to_end.shop import APP, Ended, choros, open_shop, until

pytestmark = pytest.mark.slow
ORDERS = sample_orders(20, seed=21)
GOOD = [order for index, order in enumerate(ORDERS) if index not in STORIES]
BAD = {reason: ORDERS[index] for index, reason in STORIES.items()}


class Terminal:
    """Somebody who types commands."""

    def __init__(self, shop: Processes, namespace: str) -> None:
        self.settings = {
            "CHOROS_BROKER": shop.addresses.broker,
            "CHOROS_STORE": shop.addresses.store,
            "CHOROS_NAMESPACE": namespace,
        }
        self.folder = shop.folder

    async def type(self, *arguments: str, given: str | None = None, code: int = 0, complains: bool = True) -> Ended:
        """Run a command; it must end with this exit code, and complain only if that is not 0 or 3."""
        ended = await asyncio.to_thread(choros, *arguments, cwd=self.folder, within=240, given=given, **self.settings)
        assert ended.code == code, ended
        assert len(ended.complaints) == (1 if complains and code not in (0, 3) else 0), ended.err
        assert "Traceback" not in ended.err
        return ended

    async def status(self, saga_id: str) -> str:
        ended = await self.type("saga", "show", APP, saga_id, "-o", "json")
        return str(json.loads(ended.out)["status"])

    async def ends(self, saga_id: str, status: str) -> None:
        async def ended() -> bool:
            return await self.status(saga_id) == status

        await until(f"{saga_id} is {status}", ended)


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite", pytest.param("redis", marks=pytest.mark.nightly)])
async def test_what_a_person_types(tmp_path: Path, amqp_url: str, redis_url: str, namespace: str, store: str) -> None:
    where = redis_url if store == "redis" else f"sqlite:///{tmp_path}/sagas.db"
    async with open_shop(tmp_path / "shop", Addresses(broker=amqp_url, store=where), namespace) as shop:
        terminal = Terminal(shop, namespace)
        done = await runs_to_completion(terminal, GOOD[0])
        undone = await runs_into_a_refusal(terminal, BAD["damaged_in_transit"], "damaged_in_transit at ship_order")
        await starts_once(terminal, GOOD[1])
        await shows(terminal, done, undone)
        await cancels(terminal, shop, GOOD[2], done)


async def runs_to_completion(terminal: Terminal, order: PlaceOrder) -> str:
    ended = await terminal.type("saga", "run", APP, "order", "-i", order.to_json())
    saga_id, status = ended.out.split()
    assert status == "completed"
    return saga_id


async def runs_into_a_refusal(terminal: Terminal, order: PlaceOrder, why: str) -> str:
    ended = await terminal.type("saga", "run", APP, "order", "-i", "-", given=order.to_json(), code=3)
    saga_id, _, rest = ended.out.strip().partition(" ")
    assert rest == f"compensated ({why})"
    return saga_id


async def starts_once(terminal: Terminal, order: PlaceOrder) -> None:
    """The same key is the same saga; with another body it is refused."""
    start = ("saga", "start", APP, "order", "-i")
    first, second = await asyncio.gather(*(terminal.type(*start, order.to_json()) for _ in range(2)))
    assert first.lines == second.lines
    assert len(first.lines) == 1
    other = order.model_copy(update={"customer": "99999"})
    refused = await terminal.type(*start, other.to_json(), code=1)
    assert "was started under this key with another body" in refused.complaints[0]
    await terminal.ends(first.lines[0], "completed")
    again = await terminal.type("saga", "run", APP, "order", "-i", order.to_json())
    assert again.out.split() == [first.lines[0], "completed"]


async def shows(terminal: Terminal, done: str, undone: str) -> None:
    everything = await terminal.type("saga", "list", APP, "-o", "json")
    rows = json.loads(everything.out)
    by_line = await terminal.type("saga", "list", APP, "-o", "jsonl")
    assert [json.loads(line) for line in by_line.lines] == rows
    assert [row["status"] for row in rows if row["saga_id"] == done] == ["completed"]
    assert [row["status"] for row in rows if row["saga_id"] == undone] == ["compensated"]
    assert len(rows) == 3
    filtered = await terminal.type("saga", "list", APP, "--status", "compensated")
    assert len(filtered.lines) == 1
    assert undone in filtered.out
    assert len((await terminal.type("saga", "list", APP, "--limit", "2")).lines) == 2
    shown = await terminal.type("saga", "show", APP, undone)
    for words in ("refused: damaged_in_transit", "undo of reserve_inventory", "undo of charge_payment"):
        assert words in shown.out
    assert shown.out.index("undo of reserve_inventory") < shown.out.index("undo of charge_payment")
    await terminal.type("saga", "show", APP, "00000000-0000-0000-0000-000000000000", code=1)


async def cancels(terminal: Terminal, shop: Processes, order: PlaceOrder, done: str) -> None:
    """Too late for what has ended; undone where a service is just not answering."""
    late = await terminal.type("saga", "cancel", APP, done, code=1, complains=False)
    assert late.out.startswith("too_late: it has passed its pivot")
    shop.running["inventory"].send_signal(signal.SIGSTOP)
    try:
        started = await terminal.type("saga", "start", APP, "order", "-i", order.to_json())
        saga_id = started.lines[0]

        async def charged() -> bool:
            return bool(entries(shop.folder, order))

        await until("the order is charged", charged)
        cancelled = await terminal.type("saga", "cancel", APP, saga_id)
        assert cancelled.out == "compensating: it is being undone\n"
    finally:
        shop.running["inventory"].send_signal(signal.SIGCONT)
    await terminal.ends(saga_id, "compensated")
    assert [debit for debit, _ in entries(shop.folder, order)].count("sales") == 1
    assert len(entries(shop.folder, order)) == 2


def entries(folder: Path, order: PlaceOrder) -> list[tuple[str, int]]:
    """What the ledger says of an order."""
    with closing(sqlite3.connect(folder / "payment.db")) as ledger:
        found = ledger.execute("SELECT debit, amount_pence FROM entry WHERE order_id = ?", (order.order_id,))
        return [(str(debit), int(pence)) for debit, pence in found]


def test_version(tmp_path: Path) -> None:
    ended = choros("version", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"choros {__version__}\n", "")


def test_check_and_graph(tmp_path: Path) -> None:
    """Which steps are commanded, to whom, undone by what; who follows which fact; and the same as a picture."""
    checked = choros("check", APP, cwd=tmp_path)
    assert (checked.code, checked.err) == (0, "")
    for words in ("RefundPayment", "to inventory", "pivot", "notifications, analytics", "✔ everything fits together"):
        assert words in checked.out
    drawn = choros("graph", APP, cwd=tmp_path)
    assert (drawn.code, drawn.err) == (0, "")
    assert drawn.out.startswith("flowchart LR\n")
    for words in ("charge_payment", "undo: ReleaseInventory", "OrderConfirmed", "untracked"):
        assert words in drawn.out


@pytest.mark.long
def test_a_store_may_hold_sagas_that_the_application_does_not_declare(tmp_path: Path) -> None:
    """Those of another deployment under the same name: `show` tells what became of it, in JSON too."""
    (tmp_path / "other.py").write_text(OTHER)
    store = f"sqlite:///{tmp_path}/sagas.db"
    ran = choros("run", "other:once", cwd=tmp_path, CHOROS_STORE=store, CHOROS_BROKER="memory://", within=240)
    assert ran.code == 2  # `once` is no App: it ran while the module was loaded
    (row,) = json.loads(choros("saga", "list", APP, "-o", "json", "--store", store, cwd=tmp_path).out)
    shown = choros("saga", "show", APP, row["saga_id"], "--store", store, cwd=tmp_path)
    assert (shown.code, shown.complaints) == (0, [])
    assert "saga other v1" in shown.out
    assert choros("saga", "show", APP, row["saga_id"], "-o", "json", "--store", store, cwd=tmp_path).code == 0


OTHER = """
import asyncio, os
from choros import Addresses, App, Command, Done, Message, Pivot, Saga, Service, running

class Go(Message):
    n: int

class Move(Command[Done]):
    n: int

service = Service("mover")

@service.handles(Move)
async def move(command: Move) -> Done:
    return Done()

def move_it(go: Go) -> Move:
    return Move(n=go.n)

saga = Saga("other", start=Go, key=lambda go: str(go.n), steps=(Pivot(move_it, to="mover"),))
app = App("shop", name="order", sagas=[saga], services=[service])

async def main():
    async with running(app, Addresses("memory://", os.environ["CHOROS_STORE"], "memory://")) as client:
        await client.run(saga, Go(n=1))

asyncio.run(main())
once = None
"""
