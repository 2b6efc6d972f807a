"""A store that fills up is said to, in the log and in the health report, while there is time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from choros.errors import StoreUnreachable
from choros.runtime.host.rooms import StoreRoom
from choros.runtime.host.vitals import Report, Vitals
from choros.store.sagas import Room
from choros.store.sqlite.file import room_on_disk
from choros.transport.memory import MemoryBroker, MemoryTransport
from tests.captured import capture_logs


class Filling:
    """Something with room, or without."""

    def __init__(self, used: int = 0, total: int = 100) -> None:
        self.room: Room | None = Room("The disk", used, total)
        self.away = False

    async def __call__(self) -> Room | None:
        if self.away:
            raise StoreUnreachable("away", "wait.")
        return self.room


async def test_it_is_said_once_when_it_fills_up_and_once_when_it_no_longer_does() -> None:
    store = Filling(79)
    rooms = StoreRoom(store)
    with capture_logs() as said:
        await rooms.look(1.0)
        assert not rooms.filling
        for used in (80, 95):
            store.room = Room("The disk", used, 100)
            await rooms.look(1.0)
        assert [one.startswith("The disk, where the saga store is, is 95% full.") for one in rooms.filling] == [True]
        store.away = True
        await rooms.look(1.0)
        assert rooms.filling
        store.away, store.room = False, Room("The disk", 10, 100)
        await rooms.look(1.0)
    assert not rooms.filling
    assert [(one["event"], one["log_level"]) for one in said] == [
        ("choros.store.filling", "warning"),
        ("choros.store.room_again", "info"),
    ]


async def test_where_there_is_no_limit_nothing_is_said() -> None:
    store = Filling()
    store.room = None
    rooms = StoreRoom(store)
    await rooms.look(1.0)
    assert not rooms.filling


async def test_one_that_never_answers_holds_nobody_up() -> None:
    async def never() -> Room | None:
        await asyncio.Event().wait()
        return None

    rooms = StoreRoom(never)
    async with asyncio.timeout(5):
        await rooms.look(1.0)


async def test_the_health_report_has_it_as_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    vitals = Vitals("orchestrator", path=path)
    transport = MemoryTransport(MemoryBroker())
    vitals.broker = lambda: transport.health
    await transport.connect()
    vitals.room.ask = Filling(90)
    running = asyncio.create_task(vitals.run())
    while not path.exists():
        await asyncio.sleep(0.1)
    report = Report.read(path)
    running.cancel()
    await asyncio.wait({running})
    assert [one for one in report.remarks if "90% full" in one]
    assert not report.complaints(report.at)


def test_the_disk_of_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    room = room_on_disk(tmp_path / "later.db")
    assert room is not None and 0 < room.used <= room.total
    assert room_on_disk(tmp_path / "nowhere" / "later.db") is None
