"""A process that has everything imported and forks a child for each removal: starting afresh would take ten times as
long. It reads names of removals, one a line, and answers each with a line of JSON: pytest's exit code and what it said.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, NoReturn

import pytest

from tests.rules.removal import Removal
from tests.rules.removals import REMOVALS

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.rules.nursery")
QUIETLY = ("-x", "-q", "--tb=native", "-p", "no:cacheprovider", "-p", "asyncio", "-p", "timeout")
"""Each child starts pytest anew, so it does without the plugins that no test there needs."""
NO_MORE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
BROKEN = 70
"""The exit code of a child that could not even take its rule out."""


class Nursery:
    """The other end of it."""

    def __init__(self) -> None:
        """Start it. A test that fails for want of a rule often waits in vain first, so patience is short there."""
        self._process = subprocess.Popen(
            COMMAND, cwd=ROOT, env={**os.environ, **NO_MORE, "CHOROS_PATIENCE": "5"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def without(self, removal: Removal) -> tuple[int, str]:
        """Run the tests that should notice that this rule is missing."""
        print(removal, file=self._pipe(self._process.stdin), flush=True)
        code, said = json.loads(self._pipe(self._process.stdout).readline())
        return code, said

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe
        return pipe


def main() -> None:
    """Import what the children will need, then serve."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what pytest prints is no answer
    files = sorted({test.split("::")[0] for removal in REMOVALS for test in removal.killed_by})
    assert pytest.main([*QUIETLY, "-qq", "--collect-only", *files]) == 0
    gc.freeze()  # what is imported lives as long as we do: a child that looked through it would have to copy it
    removals = {str(removal): removal for removal in REMOVALS}
    for line in sys.stdin:
        print(json.dumps(_born(removals[line.rstrip("\n")])), file=answers, flush=True)


def _born(removal: Removal) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            _live(removal, said)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def _live(removal: Removal, said: IO[str]) -> NoReturn:
    code = BROKEN
    try:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        removal.apply()
        _forget_tests()
        code = int(pytest.main([*QUIETLY, *removal.killed_by]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forget_tests() -> None:
    """What they declare while they are imported must be declared without the rule."""
    for name in [name for name in sys.modules if name.startswith("tests.") and not name.startswith("tests.rules")]:
        del sys.modules[name]


if __name__ == "__main__":
    main()
