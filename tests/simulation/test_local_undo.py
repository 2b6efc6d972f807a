"""Work that its handler takes back itself, under faults: its books, its rows and what is answered say the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from choros import App, Call, Command, Done, LocalUndo, MemoryTransaction, Message, Refused, Saga, Service, Step
from choros.store.barrier import Row
from choros.store.local_undo import LocalUndo as Log
from choros.wire import undone
from choros.wire.envelope import Envelope
from choros_verify import Scene, plan_for
from choros_verify.simulation.scene import judged, quietly

THERE = 2


class Order(Message):
    number: str


class Pick(Command[Done], refusals=("not_there",)):
    number: str


class PutBack(Command[Done]):
    number: str


def pick(order: Order) -> Pick:
    return Pick(number=order.number)


def put_back(order: Order) -> PutBack:
    return PutBack(number=order.number)


def lines_of(saga_id: str) -> int:
    """How many lines an order has: some are all there, some are not."""
    return 1 + zlib.crc32(saga_id.encode()) % 4


async def move(db: MemoryTransaction, key: str, movement: int) -> None:
    await db.put(key, (*await db.get(key, ()), movement))


def warehouse() -> Service:
    service = Service("warehouse")

    @service.handles(Pick)
    async def picks(command: Pick, db: MemoryTransaction, undo: LocalUndo, call: Call) -> Done:
        for line in range(1, lines_of(call.correlation_id) + 1):
            if line > THERE:
                raise Refused("not_there")
            await move(db, call.key, -line)
            undo.add(f"line {line}", move, db, call.key, line)
        return Done()

    @service.handles(PutBack)
    async def puts_back(command: PutBack, db: MemoryTransaction, call: Call) -> Done:
        await db.put(call.key, True)
        return Done()

    return service


SAGA = Saga("delivery", start=Order, steps=(Step(pick, to="warehouse", compensation=put_back),))
APP = App("orchard", sagas=[SAGA], services=[warehouse()])
BOOKS = {"ok": [-1, -2], "refused": [-1, -2, 2, 1]}


class Ended(NamedTuple):
    """What is left of a run."""

    found: list[str]
    """What the simulation itself finds wrong."""
    books: dict[Any, Any]
    rows: list[Row]


def ran(seed: int) -> Ended:
    scene = Scene(APP, own={"warehouse": warehouse}, store="memory")
    with quietly():
        world = scene.world(replace(plan_for(seed, scene.setting), store="memory"))
        try:
            found = judged(world, 4 * scene.horizon)
            rows = [row for one in world.evidence() for row in one.rows["warehouse"].values()]
            return Ended(found, dict(world.databases["warehouse"].items), rows)
        finally:
            world.end()


def wrong(books: dict[Any, Any], rows: list[Row]) -> Iterator[str]:
    """What the rows of the `do`s say that the books do not, or the other way round."""
    picked = {row.key: row for row in rows if row.key.endswith(":do") and row.content}
    for key, movements in books.items():
        if key in picked and list(movements) != expected(picked[key]):  # else it is forgotten for its age
            yield f"{key}: {movements}"
    for key, row in picked.items():
        if expected(row) and key not in books:
            yield f"{key}: {row.state}, and nothing in the books"


def expected(row: Row) -> list[int]:
    lines = min(THERE, lines_of(row.key.partition(":")[0]))
    told = undone.read(Envelope.loads(row.content).undone)
    if row.state == "ok":
        return [-line for line in range(1, lines + 1)]
    assert told in ((), ("line 2", "line 1"))
    return BOOKS["refused"] if told else []


@pytest.mark.slow
def test_books_rows_and_answers_agree_whatever_happens() -> None:
    ended = [ran(seed) for seed in range(1, 13)]
    assert [one.found for one in ended if one.found] == []
    assert [line for one in ended for line in wrong(one.books, one.rows)] == []
    assert any("line 2" in row.content for one in ended for row in one.rows)


@pytest.mark.slow
def test_a_list_of_what_was_never_taken_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def only_says_so(self: Log) -> None:
        self._taken_back += [what for what, _ in reversed(self._parts)]
        self._parts.clear()

    monkeypatch.setattr(Log, "take_back", only_says_so)
    ended = [ran(seed) for seed in range(1, 13)]
    assert [line for one in ended for line in wrong(one.books, one.rows)]
