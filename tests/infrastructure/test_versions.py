"""`.ci/versions` mounts things and runs as root: whatever becomes of it, nothing of it is left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
COMMAND = str(ROOT / ".ci/versions")

STUBS = {
    "debootstrap": 'mkdir -p "$4/proc" "$4/dev" "$4/sys" "$4/usr/sbin" "$4/srv"',
    "apt-get": "echo bookworm http://example.org/debian/",
    "chroot": 'awk "\\$2 ~ /trixie/" /proc/mounts >"$STARTED.new"; mv "$STARTED.new" "$STARTED"; exec sleep 4711',
}
"""A Debian in no time; what is run in it says what is mounted there, and never ends."""


@pytest.fixture
def stubbed(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is fetched."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    for name, lines in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TMPDIR": f"{tmp_path}/work", "STARTED": f"{tmp_path}/started"}


@pytest.mark.servers
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_leaves_nothing_behind_when_it_is_stopped(sign: signal.Signals, stubbed: dict[str, str]) -> None:
    """Not a mount, not a process, not a file. (It needs root, as the servers' tests do.)"""
    started, work = Path(stubbed["STARTED"]), Path(stubbed["TMPDIR"])
    process = subprocess.Popen([COMMAND, "trixie"], env=stubbed, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not started.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    mounted = {line.split()[1].rpartition("/trixie/")[2] for line in started.read_text().splitlines()}
    assert {"proc", "dev", "sys"} <= mounted
    os.killpg(process.pid, sign)  # and again, as make passes on what it was sent itself
    process.send_signal(sign)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said.decode()
    assert not list(work.iterdir())
    assert str(work) not in Path("/proc/mounts").read_text()
    assert not [other for other in Path("/proc").glob("[0-9]*/environ") if marked(other, f"STARTED={started}")]


def marked(environment: Path, words: str) -> bool:
    try:
        return words.encode() in environment.read_bytes()
    except OSError:
        return False


@pytest.mark.servers
def test_a_python_that_is_not_there_is_named(stubbed: dict[str, str]) -> None:
    done = subprocess.run([COMMAND, "3.99"], env=stubbed, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert done.stderr == "There is no Python 3.99 on this machine: neither on PATH nor among pyenv's.\n"
    assert not list(Path(stubbed["TMPDIR"]).iterdir())
