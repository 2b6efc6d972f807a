"""Each rule is held by a test that fails when the rule is taken out. Run with -s to see which."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.removal import Removal
from tests.rules.removals import REMOVALS

ROOT = Path(__file__).parents[2]
FAILED = 1
"""pytest's exit code where tests ran and failed; a removal that breaks the import would give another."""


@pytest.mark.slow
@pytest.mark.parametrize("removal", REMOVALS, ids=str)
def test_a_rule_that_is_taken_out_is_missed(removal: Removal) -> None:
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.rules.removal")
    done = subprocess.run(
        [*command, *removal.killed_by],
        cwd=ROOT, env={**os.environ, "CHOROS_WITHOUT_RULE": str(removal)}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert " failed" in done.stdout, done.stdout


def test_every_rule_but_those_of_composites_is_taken_out_once() -> None:
    assert {removal.rule for removal in REMOVALS} == set(range(1, 25))
    assert len(set(map(str, REMOVALS))) == len(REMOVALS)
