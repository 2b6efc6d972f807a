"""A process says how it is: to its log, and to a file that a supervisor can read."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from choros.app.service import Service
from choros.cli import app
from choros.cli.exit_codes import exit_code
from choros.errors import ChorosError, StoreUnreachable
from choros.runtime.host import slots as calls
from choros.runtime.host.vitals import Report, Vitals
from choros.runtime.orchestrator.retention import outlasting
from choros.runtime.participant.participant import Participant
from choros.store.barrier import Transaction
from choros.transport.health import HealthRecord
from choros.transport.memory import MemoryBroker, MemoryTransport
from tests.captured import capture_logs
from tests.patience import PATIENCE
from tests.runtime.participant_stage import Charge, Charged, command, eventually, stage_for

EVERY = 0.05


@dataclass
class Receiver:
    """Something that has received something."""

    last_delivery: float | None


async def a_store_that_answers() -> None:
    return None


@asynccontextmanager
async def watched(vitals: Vitals) -> AsyncIterator[None]:
    running = asyncio.create_task(vitals.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


async def until(path: Path, is_so: Callable[[Report], bool]) -> Report:
    """Read the file, as a supervisor does, until it says so."""
    async with asyncio.timeout(PATIENCE):
        while (report := reported(path)) is None or not is_so(report):  # the file tells nobody that it is new
            await asyncio.sleep(0.01)
    return report


def reported(path: Path) -> Report | None:
    return Report.read(path) if path.exists() else None


def vitals_of(path: Path, broker: MemoryTransport, look: Callable[[], Awaitable[object]], **more: float) -> Vitals:
    vitals = Vitals("service:payment", path=path, every=EVERY, **more)
    vitals.broker = lambda: broker.health
    vitals.watch_store("saga store", look)
    return vitals


async def test_the_file_says_who_how_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    vitals = vitals_of(path, transport, a_store_that_answers)
    vitals.receivers = [Receiver(None), Receiver(12.5), Receiver(11.0)]
    async with watched(vitals):
        report = await until(path, lambda found: found.store.state == "connected")
        assert (report.role, report.broker.state, report.last_delivery) == ("service:payment", "connected", 12.5)
        assert not report.complaints(time.time())
        assert os.listdir(tmp_path) == ["health.json"]  # no half-written one beside it
    assert reported(path) is None  # nobody speaks for it any more


async def test_a_blocked_broker_shows_in_the_file_until_it_goes_on(tmp_path: Path) -> None:
    path, broker = tmp_path / "health.json", MemoryBroker()
    transport = MemoryTransport(broker)
    await transport.connect()
    async with watched(vitals_of(path, transport, a_store_that_answers)):
        await until(path, lambda found: found.broker.state == "connected")
        broker.pause()
        report = await until(path, lambda found: found.broker.state == "blocked")
        assert any("blocked" in sentence for sentence in report.complaints(time.time()))
        assert not report.complaints(time.time(), alive_only=True)
        broker.resume()
        await until(path, lambda found: found.broker.state == "connected")


async def test_a_destination_that_does_not_confirm_shows_in_the_file_until_it_does(tmp_path: Path) -> None:
    path, transport = tmp_path / "health.json", MemoryTransport(MemoryBroker())
    await transport.connect()
    record = HealthRecord("order")
    record.note("connected")
    transport._health = record
    async with watched(vitals_of(path, transport, a_store_that_answers)):
        for destination in ("shop.commands:payment", "shop.facts:placed.v1"):
            record.note_destination(destination, confirms=False)
        record.note_destination("shop.facts:placed.v1", confirms=True)
        report = await until(path, lambda found: found.broker.unconfirmed == ("shop.commands:payment",))
        assert report.broker.state == "connected"
        (sentence,) = report.complaints(time.time())
        assert sentence.startswith("shop.commands:payment does not confirm")
        assert not report.complaints(time.time(), alive_only=True)
        record.note("away", "no connection")  # it is still known afterwards
        assert record.now.unconfirmed == ("shop.commands:payment",)
        record.note_destination("shop.commands:payment", confirms=True)
        await until(path, lambda found: found.broker.unconfirmed == ())


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_store_that_is_away_shows_and_is_said_once(tmp_path: Path, hangs: bool) -> None:
    path, transport = tmp_path / "health.json", MemoryTransport(MemoryBroker())
    await transport.connect()
    away = False
    asked = 0
    back = asyncio.Event()

    async def look() -> None:
        nonlocal asked
        asked += 1
        if away and hangs:
            await back.wait()
        elif away:
            raise StoreUnreachable("It does not answer.")

    with capture_logs() as logs:
        async with watched(vitals_of(path, transport, look)):
            await until(path, lambda found: found.store.state == "connected")
            away, before = True, asked
            report = await until(path, lambda found: found.store.state == "away")
            assert "saga store" in report.store.detail
            assert any("store is away" in sentence for sentence in report.complaints(time.time()))
            await asyncio.sleep(5 * EVERY)
            assert asked == before + 1 if hangs else asked > before  # questions that hang do not pile up
            away = False
            back.set()
            await until(path, lambda found: found.store.state == "connected")
    said = [entry["event"] for entry in logs]
    assert said == ["choros.store.away", "choros.store.back"]


@pytest.mark.slow
async def test_a_loop_that_stands_still_is_said_loudly_and_shown(tmp_path: Path) -> None:
    path, transport = tmp_path / "health.json", MemoryTransport(MemoryBroker())
    await transport.connect()
    with capture_logs() as logs:
        async with watched(vitals_of(path, transport, a_store_that_answers, lag=0.3)):
            await until(path, lambda found: found.store.state == "connected")
            await asyncio.sleep(0)
            time.sleep(1.2)  # noqa: ASYNC251  # the mistake that is to be noticed
            await until(path, lambda found: found.loop_lag > 0.3)
    (said,) = [entry for entry in logs if entry["event"] == "choros.loop.blocked"]
    assert said["log_level"] == "error"
    assert said["seconds"] > 0.3


async def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    with capture_logs() as logs:
        async with watched(vitals_of(tmp_path / "no such folder" / "health", transport, a_store_that_answers)):
            await asyncio.sleep(3 * EVERY)
    assert {entry["event"] for entry in logs} == {"choros.health.unwritable"}


# --- choros health ----------------------------------------------------------------------------------------------------


def written(path: Path, *, age: float = 0.0, broker: str = "connected", store: str = "connected") -> Path:
    now = time.time()
    health = {"since": now - 7, "detail": ""}
    report = {
        "role": "orchestrator",
        "pid": 1,
        "at": now - age,
        "every": 5.0,
        "broker": {"state": broker, **health},
        "store": {"state": store, **health},
        "loop_lag": 0.0,
        "last_delivery": None,
    }
    path.write_text(json.dumps(report))
    return path


@pytest.mark.parametrize(
    ("wrong", "word", "alive"),
    [
        ({}, "all is well", True),
        ({"age": 60.0}, "hangs", False),
        ({"broker": "away"}, "broker is away", True),
        ({"broker": "blocked"}, "broker is blocked", True),
        ({"store": "away"}, "store is away", True),
    ],
)
def test_a_probe_goes_by_the_exit_code(tmp_path: Path, wrong: dict[str, float], word: str, alive: bool) -> None:
    path = str(written(tmp_path / "health.json", **wrong))  # type: ignore[arg-type]  # one keyword at a time
    result = CliRunner().invoke(app, ["health", path])
    assert (result.exit_code, word in result.output) == (1 if wrong else 0, True)
    assert CliRunner().invoke(app, ["health", path, "--alive"]).exit_code == (0 if alive else 1)


@pytest.mark.parametrize("content", [None, "", "{}", '{"broker": 1, "store": 2}', "[]"])
def test_a_missing_or_foreign_file_is_not_healthy(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "health.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ChorosError) as raised:
        Report.read(path)
    assert exit_code(raised.value) == 1
    assert raised.value.hint


async def test_sagas_that_are_left_alone_are_remarked_and_restart_nothing(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    vitals = Vitals("orchestrator", path=path)
    transport = MemoryTransport(MemoryBroker())
    vitals.broker = lambda: transport.health
    await transport.connect()
    vitals.stranded = lambda: 12
    vitals.unreadable = lambda: 3
    async with watched(vitals):
        await until(path, lambda report: (report.stranded, report.unreadable) == (12, 3))
        said = CliRunner().invoke(app, ["health", str(path)])
    assert said.exit_code == 0
    assert "12 live sagas are left alone" in said.output and "all is well" not in said.output
    assert "3 stored messages or sagas cannot be read here" in said.output


def test_a_report_of_a_choros_that_counted_no_sagas_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "health.json")
    old = {
        name: value for name, value in json.loads(path.read_text()).items() if name not in ("stranded", "unreadable")
    }
    path.write_text(json.dumps(old))
    assert (Report.read(path).stranded, Report.read(path).unreadable) == (0, 0)


def test_a_saga_that_outlasts_what_services_remember_is_named() -> None:
    vitals, began = Vitals("orchestrator"), [time.time() - 89 * 86_400]
    vitals.noticing.append(lambda: outlasting(began[0], 90 * 86_400))
    assert vitals.report().remarks == []
    began[0] -= 2 * 86_400
    (remark,) = vitals.report().remarks
    assert "for 91 days, longer than a service remembers" in remark


async def test_a_handler_that_hangs_is_named_and_its_database_is_not_called_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks a database whose transaction a handler holds waits for the handler."""
    monkeypatch.setattr(calls, "HANGS_AFTER", 0.1)
    monkeypatch.setattr(calls, "HOLDS_AFTER", 0.0)
    service, begun, go_on = Service("payment"), asyncio.Event(), asyncio.Event()

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction) -> Charged:
        begun.set()
        await go_on.wait()
        return Charged(payment=command.order)

    path, slow = tmp_path / "health.json", command(Charge(order="o"))
    async with stage_for(service) as stage:
        vitals = Vitals("service:payment", path=path, every=EVERY)
        vitals.broker = lambda: stage.transport.health
        assert isinstance(stage.runner, Participant)
        vitals.watch_store("database", lambda: stage.database.unsent(1), users=[stage.runner.calls])
        vitals.calls.append(stage.runner.calls)
        await stage.send(slow)
        await begun.wait()
        async with watched(vitals):
            report = await until(path, lambda report: bool(report.hanging))
            await asyncio.sleep(EVERY * 4)
            report = await until(path, lambda now: now.at > report.at)
            assert report.complaints(report.at) == []
            (said,) = report.remarks
            assert said.startswith("The handler charge is at work for")
            assert said.endswith(f"on {slow.key}.")
            go_on.set()
            await until(path, lambda report: not report.hanging)


def test_a_handler_that_cannot_be_stopped_is_a_complaint() -> None:
    connected = HealthRecord("broker").now
    left = calls.Hanging("charge", "s1:charge:1:do", connected.since, left_behind=True)
    report = Report("service:payment", 1, connected.since, EVERY, connected, connected, 0.0, None, hanging=[left])
    said = report.complaints(connected.since + 70)[-1]
    assert said.startswith("The handler charge is at work for 70 s on s1:charge:1:do: it was cancelled")
    assert report.complaints(connected.since, alive_only=True) == []


async def test_a_call_that_takes_long_is_named_in_the_log_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "HANGS_AFTER", 0.02)
    monkeypatch.setattr(calls, "LOOK_EVERY", 0.01)
    service, go_on = Service("payment"), asyncio.Event()

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        await go_on.wait()
        return Charged(payment=command.order)

    with capture_logs() as logs:
        async with stage_for(service) as stage:
            await stage.send(command(Charge(order="o")))
            await eventually(lambda: any(line["event"] == "choros.handler.hangs" for line in logs))
            await asyncio.sleep(0.05)
            go_on.set()
            await stage.replies(1)
    assert [line["handler"] for line in logs if line["event"] == "choros.handler.hangs"] == ["charge"]
