"""A minute of chaos on real processes, as `make chaos` has it for a quarter of an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_of_chaos_loses_doubles_and_leaves_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "1", "--seed", "1", "--report", str(report)]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "chaos")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    found = json.loads(report.read_text())
    assert set(found["zeros"].values()) == {0}
    assert found["sagas"] > 50, "a load"
    assert found["kills"] + found["cuts"] > 10, "and chaos"
    assert {"completed", "compensated"} <= found["outcomes"].keys()
