"""docs/testing.md is run as it stands: its files, its commands, its tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from choros_verify.exploration.mutants import MUTANTS
from tests.every_day import every_day

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
NAMED = re.findall(r"`(choros verify trip[^`]*)`", PAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trip.py").write_text(next(code for code in CODE if "app = App(" in code))
    (tmp_path / "test_trip.py").write_text(next(code for code in CODE if "def test_" in code))
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = re.sub(r"^choros ", f"{sys.executable} -m choros ", command)
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PYTHONPATH": "."},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("command", every_day([*COMMANDS, *NAMED], COMMANDS, pytest.mark.nightly))
def test_a_command_of_the_page_does_what_it_says(command: str, folder: Path) -> None:
    ended = run(command, folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "✖" not in ended.stdout
    if command == "choros verify trip":
        has_the_figures_of_the_page(ended.stdout)


def has_the_figures_of_the_page(said: str) -> None:
    shown = next(line for line in PAGE.splitlines() if line.startswith("saga trip (version 1)"))
    states = re.search(r"[\d,]+ states, [\d,]+ transitions", shown)
    assert states
    assert states.group() in said
    assert PAGE[PAGE.index("  ends: compensated") : PAGE.index("✔ complete: every interleaving")] in said, "all of it"


@pytest.mark.long
@pytest.mark.slow
def test_the_tests_of_the_page_pass(folder: Path) -> None:
    ended = run(f"{sys.executable} -m pytest -q -p no:cacheprovider test_trip.py", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_is_something_to_run() -> None:
    assert "choros verify trip" in COMMANDS, "its figures are compared"
    assert len(COMMANDS) == 3
    assert len(NAMED) >= 2


def test_each_rule_that_is_taken_out_of_a_node_is_a_mutant() -> None:
    rows = PAGE[PAGE.index("| node | without") : PAGE.index("### Nodes in nodes")].splitlines()[2:]
    listed = [name.strip() for row in rows if row for name in row.split("|")[2].split(",")]
    concern_all = ("", "step", "two steps", "two commands", "pivot", "refusal", "result")
    assert {*listed} <= {one.name for one in MUTANTS}
    assert {one.name for one in MUTANTS if one.needs not in concern_all} <= {*listed}
