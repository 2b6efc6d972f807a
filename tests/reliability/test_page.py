"""The report reads what the runs write, and says of what was not run that it was not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.measuring import APP, CHOROS, MEASUREMENTS, ROOT
from tests.reliability.page import NOT_RUN, PAGE, page


def test_what_was_not_run_is_not_reported() -> None:
    empty = page({one.name: None for one in MEASUREMENTS})
    assert empty.count(NOT_RUN) == 7
    assert not any(line.startswith("| 0") for line in empty.splitlines())


def test_the_page_that_is_committed_was_measured_in_every_part() -> None:
    assert NOT_RUN not in PAGE.read_text()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "command", "words"),
    [
        pytest.param("verify", ("verify", APP, "--mutants"), "| order | 1/1/1 | ", marks=pytest.mark.nightly),
        ("simulation", ("sim", "run", APP, "--campaigns", "20"), "20 campaigns"),
    ],
)
def test_it_reads_what_a_run_writes(name: str, command: tuple[str, ...], words: str, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    subprocess.run([*CHOROS, *command, "--json", str(written)], cwd=ROOT, check=True, stdout=sys.stderr)
    figures = {one.name: None for one in MEASUREMENTS} | {name: {"commit": "c", **json.loads(written.read_text())}}
    assert words in page(figures)
