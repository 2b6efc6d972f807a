"""`make bench` in small: every row has its figures and no saga is lost, which would fail the run. Nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.campaign import QUICK, Plan, ratios
from benchmarks.measuring import Figures

ROOT = Path(__file__).resolve().parents[2]
SAGAS = 12
LEVELS = (1, 10, 100, 1000)


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.long
def test_every_row_has_figures_and_no_saga_is_lost(amqp_url: str, redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"

    done = bench("--quick", "--sagas", str(SAGAS), "--json", str(path))

    assert done.returncode == 0, done.stderr
    assert "floor" in done.stdout
    assert "rabbitmq+redis" in done.stdout
    rows = json.loads(path.read_text())["rows"]
    assert len({row["contestant"] for row in rows}) == 4
    assert [row["in_flight"] for row in rows if row["contestant"] == "floor"] == list(LEVELS)
    for row in rows:
        (figures,) = row["rounds"]
        assert figures["sagas"] == SAGAS
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
        assert figures["sagas_per_second"] > 0
        assert figures["cpu"] > 0
        assert row["ratio"][0] > 0


@pytest.mark.slow
def test_it_says_what_is_missing_without_servers() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("AMQP_URL", "REDIS_URL")}
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)

    assert done.returncode == 2
    assert done.stderr == "AMQP_URL and REDIS_URL must be set. Try: make bench.\n"


def test_the_share_of_the_floor_is_taken_within_each_round() -> None:
    def measured(*rates: float) -> list[Figures]:
        return [Figures(1, 10, rate, 1.0, 1.0, 1.0) for rate in rates]

    results = {(10, "floor"): measured(100, 200), (10, "choros"): measured(80, 120)}

    assert ratios(results, 10, "choros", "floor") == [0.8, 0.6]


def test_a_cap_bounds_every_measurement() -> None:
    assert Plan({1: 5, 10: 50}, 1, 1.0).capped(12).levels == {1: 5, 10: 12}
    assert max(QUICK.capped(12).levels.values()) == 12
