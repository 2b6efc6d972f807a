"""A loop of many items on a store: an answer to a late one costs what one to an early one does, on the way back too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from choros import Done, Failure, ForEach, Pivot, Saga, Step
from choros.store.memory.sagas import MemoryStore
from choros.store.sqlite.sagas import SqliteStore
from tests.runtime.test_long_sagas import Desk, Pack, Packed, PackLine, Seal, UnpackLine, growth

pytestmark = pytest.mark.slow


def lines_of(count: int) -> Callable[[Pack], list[int]]:
    def lines(start: Pack) -> list[int]:
        return list(range(count))

    return lines


def pack_line(start: Pack, line: int) -> PackLine:
    return PackLine(order=start.order, line=line)


def unpack_line(start: Pack, line: int) -> UnpackLine:
    return UnpackLine(order=f"{start.order} {line}")


def seal(packed: list[Packed]) -> Seal:
    return Seal(weight=sum(one.weight for one in packed))


def saga_of(count: int) -> Saga[Pack]:
    step = Step(pack_line, to="packers", compensation=unpack_line)
    each = ForEach(lines_of(count), step, name="lines")
    return Saga("packing", start=Pack, key=lambda start: start.order, steps=(each, Pivot(seal, to="packers")))


async def packed(count: int, store: MemoryStore | None = None) -> Desk:
    desk = Desk(saga_of(count), store) if store else Desk(saga_of(count))
    await desk.start()
    for line in range(count):
        assert PackLine.from_json(desk.sent[-1].data).line == line
        await desk.answer(Packed(weight=line + 7))
    return desk


async def test_what_is_written_for_an_answer_does_not_grow_with_the_items() -> None:
    short, long = await packed(50), await packed(300)
    assert growth(long) < 1.2
    assert long.asked == 300, "one item is loaded for each, and at the end all replies"
    assert Seal.from_json(long.sent[-1].data).weight == sum(line + 7 for line in range(300))
    assert max(long.written[-3:]) < 2 * max(short.written[1:]), "nothing is written again because it was loaded"


@pytest.mark.nightly
async def test_ten_thousand() -> None:
    desk = await packed(10_000)
    assert growth(desk) < 1.2
    assert Seal.from_json(desk.sent[-1].data).weight == sum(line + 7 for line in range(10_000))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_refused_behind_them_all_are_undone_the_newest_first(kind: str, tmp_path: Path) -> None:
    file = SqliteStore(tmp_path / "sagas.db", namespace="shop.packing")
    desk = await packed(120, file if kind == "sqlite" else None)  # type: ignore[arg-type]  # the same port
    await desk.answer(Failure(code="broken"), "refused")
    undone = []
    while (await desk.whole()).record.status == "compensating":
        undone.append(desk.sent[-1].key)
        await desk.answer(Done())
    assert undone == [f"s1:lines[{line}].pack_line:1:undo" for line in range(119, -1, -1)]
    assert (await desk.whole()).record.status == "compensated"
    await desk.store.close()
