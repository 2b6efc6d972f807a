"""`make bench` and `make bench-stages` in small: every row has its figures and no saga is lost, which would fail the
run. Nothing is timed."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.application import Adapters, Application
from benchmarks.campaign import QUICK, Plan, ratios
from benchmarks.contestants import CHOROS, HAND_PACKED, LEVELS, STOCK_REDIS
from benchmarks.length import table as length_table
from benchmarks.measuring import Arrivals, Figures, Part
from benchmarks.pattern import APP, Pattern
from benchmarks.report import as_markdown, table
from benchmarks.soak import STEPS, Look
from benchmarks.soak import table as soak_table
from benchmarks.stage.decisions import decision_stages, machine_stages
from benchmarks.stage.frames import frame_stages
from benchmarks.stage.services import relay_stages
from benchmarks.stage.stage import Stage
from benchmarks.stage.stores import COMMITS, LOADS
from benchmarks.stage.wire import text_stages, wire_stages
from benchmarks.stored import AN_HOUR, MONTHS, asleep, ended, fill
from benchmarks.waiting import Cost
from benchmarks.waiting import rows as waiting_rows
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, Committed, EntryNames, Loaded, Transition
from choros.transport.memory import MemoryBroker, MemoryTransport

ROOT = Path(__file__).resolve().parents[2]
HERE: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 280, "check": False, "cwd": ROOT}
SAGAS = 12
CALLED = {
    "decision on a start": "Transitions._begin",
    "decision on a reply": "Transitions._decide",
    "relay": "Relay._settle",
    "envelope onto the wire": "encode",
    "envelope off the wire": "decode",
    "command understood": "understood",
    "reply understood": "read_reply",
    "acknowledgement": "LeasedDelivery.ack",
    "machine: begin": "begin",
    "machine: decide": "decide",
    "state to text": "Instance.dumps",
    "text to state": "Instance.loads",
    "message to text": "Message.to_json",
    "text to message": "Message.from_json",
    "size and depth of a body": "why_unreadable",
    "envelope to text": "Envelope.dumps",
    "fresh id": "fresh_id",
    "routine event, which nobody hears": "Logger.debug",
}
"""What is called once for each time that the table of the stages counts."""


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *arguments]
    return subprocess.run(command, **HERE)


@pytest.mark.nightly
def test_every_row_has_figures_and_no_saga_is_lost(amqp_url: str, redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"

    done = bench("--quick", "--sagas", str(SAGAS), "--json", str(path))

    assert done.returncode == 0, done.stderr
    assert "hand-packed floor" in done.stdout
    assert "rabbitmq + redis" in done.stdout
    rows = json.loads(path.read_text())["rows"]
    for name in (STOCK_REDIS, HAND_PACKED, CHOROS):
        assert [row["in_flight"] for row in rows if row["contestant"] == name] == list(LEVELS)
    assert {100, 10, 1} == {row["in_flight"] for row in rows if row["contestant"] == f"{CHOROS}, two processes"}
    for row in rows:
        (figures,) = row["rounds"]
        assert figures["sagas"] == min(SAGAS, QUICK.levels[row["in_flight"]])
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
        assert figures["sagas_per_second"] > 0
        assert figures["cpu"] > 0
        assert row["of_hand_packed"][0] > 0 or row["contestant"].startswith("choros: memory")


@pytest.mark.slow
def test_it_says_what_is_missing_without_servers() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("AMQP_URL", "REDIS_URL")}
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py")]

    done = subprocess.run(command, **HERE, env=environment)

    assert done.returncode == 2
    assert done.stderr == "AMQP_URL and REDIS_URL must be set. Try: make bench.\n"


def measured(*rates: float) -> list[Figures]:
    return [Figures(1, 10, rate, 1.0, 1.0, 1.0, {"redis": 0.5}) for rate in rates]


def test_the_share_of_a_floor_is_taken_within_each_round() -> None:
    results = {(10, "floor"): measured(100, 200), (10, "choros"): measured(80, 120)}

    assert ratios(results, 10, "choros", "floor", attrgetter("sagas_per_second")) == [0.8, 0.6]
    assert ratios(results, 1, "choros", "floor", attrgetter("sagas_per_second")) == []


def test_the_table_has_the_shares_with_their_spread() -> None:
    results = {(10, STOCK_REDIS): measured(100, 200), (10, CHOROS): measured(80, 120)}

    assert as_markdown(table(results)).splitlines()[-1] == (
        "| 10 | choros: rabbitmq + redis | 100 (80-120) | 0.70 (0.60-0.80) |  | 1.00 | 1.00 | 1.00 | 0.50 |"
    )


def test_a_quick_look_is_at_those_by_whom_the_product_is_judged() -> None:
    assert not QUICK.whole
    assert set(QUICK.levels) == set(LEVELS)
    assert Plan({}, 1, 1.0).whole


@pytest.mark.slow
async def test_the_table_of_the_stages_counts_what_one_saga_does() -> None:
    pattern, sagas = Pattern(), 20
    stages = {stage.name: stage for stage in _pure_stages(pattern)}
    called = await _calls(sagas)

    assert CALLED.keys() <= stages.keys()
    assert (called["a load"] / sagas, called["a commit"] / sagas) == (LOADS, COMMITS)
    assert {name: called[CALLED[name]] / sagas for name in CALLED} == {name: stages[name].times for name in CALLED}


def _pure_stages(pattern: Pattern) -> list[Stage]:
    of_sagas = [*decision_stages(pattern), *machine_stages(pattern)]
    return [*of_sagas, *relay_stages(pattern), *wire_stages(pattern), *frame_stages(pattern), *text_stages(pattern)]


async def _calls(sagas: int) -> Counter[str]:
    """How often each function of choros is called while so many sagas go well."""
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "/framework/choros/" in frame.f_code.co_filename:
            called[frame.f_code.co_qualname] += 1

    class Counted(MemoryStore):
        async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
            called["a load"] += len(saga_ids)
            return await super().load(saga_ids, wanted)

        async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
            called["a commit"] += len(batch)
            return await super().commit(batch)

    arrivals, transport = Arrivals(), MemoryTransport(MemoryBroker(), "counted")
    adapters = Adapters(lambda: transport, Counted, lambda _: MemoryDatabase())
    async with Application("counted", adapters).opened(Part.WHOLE, arrivals.heard) as shop:
        await shop.carry_out("first")
        await arrivals.reach(1)
        called.clear()
        sys.setprofile(note)
        try:
            for number in range(sagas):
                await shop.carry_out(f"order-{number}")
            await arrivals.reach(1 + sagas)
        finally:
            sys.setprofile(None)
    return called


@pytest.mark.long
def test_every_stage_is_measured_and_the_sum_is_told() -> None:
    """Without servers, so without Redis."""
    environment = {name: value for name, value in os.environ.items() if name not in ("AMQP_URL", "REDIS_URL")}
    command = [sys.executable, "-m", "benchmarks.stages", "--rounds", "1"]

    done = subprocess.run(command, **HERE, env=environment)

    assert {name for name in CALLED if name not in done.stdout} == set()
    assert "memory + sqlite: the whole" in done.stdout
    assert "sqlite: commit" in done.stdout


async def test_what_is_filled_in_bulk_is_there_and_in_order() -> None:
    store, pattern = MemoryStore(), Pattern()
    await store.open()

    await fill(store, 600, partial(ended, pattern))
    assert await store.counts() == {("order", "completed"): 600}
    await fill(store, 5, lambda number, now: asleep(pattern, 1000 + number, now))

    assert await store.counts() == {("order", "completed"): 600, ("order", "running"): 5}
    assert not await store.due(store.now() + AN_HOUR - 60, APP.kinds, 500)
    assert len(await store.due(store.now() + AN_HOUR + 60, APP.kinds, 500)) == 3
    assert len(await store.due(store.now() + MONTHS + AN_HOUR + 60, APP.kinds, 500)) == 5  # every second one sleeps
    assert not await store.unsent("commands", store.now() + 60, 500)


def test_who_grows_on_the_way_is_found_out() -> None:
    def looks(last: int) -> list[Look]:
        return [*(Look(number, 1.0, 100, 100) for number in range(STEPS - 1)), Look(STEPS, 1.0, 100, last)]

    assert [row[-1] for row in soak_table(looks(110))[1:]] == ["", "", "yes"]
    assert [row[-1] for row in soak_table(looks(111))[1:]] == ["", "", "**no**"]


def test_what_grows_with_the_length_is_found_out() -> None:
    assert [row[-1] for row in length_table([(100, 120)], 1000, (100, 150))[1:]] == ["", "1.2: yes", "", "1.5: yes"]
    assert [row[-1] for row in length_table([(9, 11)], 1000, (2, 4))[1:]] == ["", "1.2: **no**", "", "1.5: **no**"]


def test_what_grows_with_how_many_wait_is_found_out() -> None:
    def told(*costs: float) -> list[str]:
        few, many = Cost(1, 1, 1, 1), Cost(*costs)
        return [row[-1] for row in waiting_rows("sqlite", 2000, [few], [many])]

    assert told(1.2, 1.3, 1.0, 1.3) == ["1.2: yes", "1.3: yes", "1.3: yes", "1.3: yes", "1.3: yes"]
    assert told(1.3, 2.0, 1.4, 1.4) == ["1.2: **no**", "1.3: **no**", "1.3: **no**", "1.3: **no**", "1.3: **no**"]


@pytest.mark.nightly
def test_waiting_in_small() -> None:
    small = ("--sagas", "1500", "--rounds", "1", "--told", "20", "--rest", "0.4")
    waiting = subprocess.run([sys.executable, "-m", "benchmarks.waiting", *small], **HERE)
    assert len(re.findall(r"(?:redis|sqlite) .* +\d+\.\d+ +\d", waiting.stdout)) == 10, waiting.stderr


@pytest.mark.nightly
def test_length_in_small() -> None:
    small = ("--steps", "200", "--items", "400", "--rounds", "1")
    length = subprocess.run([sys.executable, "-m", "benchmarks.length", *small], **HERE)
    assert len(re.findall(r"(?:step of a saga of|item of the) .* +\d+", length.stdout)) == 4, length.stderr


@pytest.mark.nightly
def test_growth_and_soak_in_small(amqp_url: str, redis_url: str) -> None:
    small = ("--sagas", "2000", "--asleep", "1500", "--rounds", "1", "--load", "100")

    growth = subprocess.run([sys.executable, "-m", "benchmarks.stored", *small], **HERE)
    soak = subprocess.run([sys.executable, "-m", "benchmarks.soak", "--sagas", "200"], **HERE)

    assert len(re.findall(r"(?:redis|sqlite) +2,000 +\d+ ", growth.stdout)) == 2, growth.stderr
    assert len(re.findall(r"(?:redis|sqlite) +1,500 +\d+\.\d ", growth.stdout)) == 2, growth.stderr
    assert re.search(r"200 +\d+ +\d+\.\d +\d+\.\d +(yes|\*\*no)", soak.stdout), soak.stderr
