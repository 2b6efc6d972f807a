"""Ctrl-C in the middle of a command that computes: one line, an exit code, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE

MODULE = """
import os
from pathlib import Path
from tests.simulation.library import app

os.register_at_fork(after_in_child=lambda: Path(f"worker-{os.getpid()}").touch())
Path("loaded").touch()
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("sim", "run", "endless", "--campaigns", "1000000", "--workers", "2"), "worker-*"),
        (("verify", "endless", "--duplicates", "5", "--crashes", "5", "--retries", "5"), "loaded"),
    ],
)
def test_it_ends_in_one_line_and_takes_its_workers_with_it(
    tmp_path: Path, words: tuple[str, ...], seen: str, sign: signal.Signals
) -> None:
    (tmp_path / "endless.py").write_text(MODULE)
    command, environment = [sys.executable, "-m", "choros", *words], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            give_up = time.monotonic() + PATIENCE
            while not list(tmp_path.glob(seen)):
                assert time.monotonic() < give_up and process.poll() is None
                time.sleep(0.02)
            process.send_signal(sign)
            said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, *said) == (128 + sign, "", "✖ Interrupted.\n")
    give_up = time.monotonic() + PATIENCE
    while any(lives(int(worker.name.partition("-")[2])) for worker in tmp_path.glob("worker-*")):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Also a process whose parent is gone and that nobody has buried yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
