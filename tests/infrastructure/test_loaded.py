"""tests/loaded.py makes the machine busy, and no longer than its command runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loaded import load
from tests.patience import PATIENCE

SCRIPT = Path(__file__).parents[1] / "loaded.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


def until(what: str, condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain: {what}"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_load_takes_processors_and_disk_while_it_lasts() -> None:
    with load() as (one, other, writer):
        for process in (one, other):
            until("it computes", lambda pid=process.pid: _ticks(pid) > 20)  # type: ignore[misc]  # bound on purpose
        until("it writes", lambda: _written(writer.pid) > 1 << 20)
    assert not any(lives(process.pid) for process in (one, other, writer))


def _ticks(pid: int) -> int:
    """Hundredths of a second of processor time."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def _written(pid: int) -> int:
    """Bytes handed to the system."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["wchar"])


def test_it_passes_on_the_exit_code() -> None:
    assert subprocess.run([sys.executable, SCRIPT, "--", "sh", "-c", "exit 7"], check=False).returncode == 7


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_ends_the_load_too(tmp_path: Path, sign: signal.Signals) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, str(SCRIPT), "--", "sh", "-c", f"touch {ready}; exec sleep 60"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        until("the command runs", ready.exists)
        *load, command_itself = children(process.pid)
        assert len(load) == 3
        process.send_signal(sign)
        assert process.wait(PATIENCE) == (-sign if sign == signal.SIGKILL else 128 + sign)
    until("the load ends", lambda: not any(map(lives, load)))
    if sign == signal.SIGKILL:  # which leaves the command, whatever that is, to itself
        os.kill(command_itself, signal.SIGKILL)
    assert not list(tmp_path.glob("tmp*"))
