"""Run a command on a machine that is busy with something else: `python tests/loaded.py -- COMMAND [ARGUMENT...]`.

Two loops take their share of the processors, and one program writes to the disk and has it written through. They end
with the command, and with this program however it ends; at the latest after an hour.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if not __package__:  # run as a script: make the repository importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers import Stopped, listen_to_signals, supervise

WHILE_WANTED = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + 3600
def wanted():
    return os.getppid() == parent and time.monotonic() < until
"""
BUSY = f"""{WHILE_WANTED}
while wanted():
    sum(range(1_000_000))
"""
WRITER = f"""{WHILE_WANTED}
import tempfile
block = os.urandom(1 << 20)
with tempfile.TemporaryFile(buffering=0) as file:
    while wanted():
        file.seek(0)
        for _ in range(64):
            file.write(block)
        os.fsync(file.fileno())
"""
USAGE = "usage: python tests/loaded.py -- COMMAND [ARGUMENT...]"


def main(arguments: Sequence[str]) -> int:
    """Run the command beside the load and return its exit code."""
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not command:
        print(USAGE, file=sys.stderr)
        return 2
    listen_to_signals()
    try:
        with load():
            return supervise(command, os.environ)
    except Stopped as stopped:
        return 128 + stopped.sign


@contextlib.contextmanager
def load() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two busy loops and a writer, for as long as this lasts."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_running(program)) for program in (BUSY, BUSY, WRITER)]


@contextlib.contextmanager
def _running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program, str(os.getpid())]) as process:
        try:
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
