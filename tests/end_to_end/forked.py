"""`choros ...` as a process of its own that has imported choros before it begins: most of what it costs is that.

It is forked from a process that does nothing else. Memory, arguments, environment, folder, streams and exit code are
its own; what was imported before it had any of these is only what reads none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory

IMPORTED = [
    "choros.cli", "choros.roles.roles", "choros.transport.rabbitmq", "choros.store.redis", "choros.store.sqlite",
    "uvloop",
]  # fmt: skip
STREAMS = ("in", "out", "err")
Said = tuple[int, str, str]
"""The exit code, what was answered, and what was said beside that."""
_FORKING = get_context("forkserver")
_FORKING.set_forkserver_preload(IMPORTED)


def run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], given: str, within: float) -> Said:
    """Run it to its end; raises TimeoutExpired where it has none."""
    with TemporaryDirectory() as place:
        streams = [Path(place, name) for name in STREAMS]
        for stream, text in zip(streams, (given, "", ""), strict=True):
            stream.write_text(text)
        process = _FORKING.Process(target=_live, args=(arguments, folder, dict(environment), streams))
        process.start()
        try:
            process.join(within)
            if process.exitcode is None:
                raise TimeoutExpired(list(arguments), within)
            return process.exitcode, streams[1].read_text(), streams[2].read_text()
        finally:
            process.kill()
            process.join()
            process.close()


def _live(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: Sequence[Path]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR | os.O_APPEND), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", buffering=buffering, closefd=False)
        for number, mode, buffering in ((0, "r", -1), (1, "w", -1), (2, "w", 1))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["choros", *arguments]
    sys.path.insert(0, str(folder))
    from choros.cli import process

    process()
