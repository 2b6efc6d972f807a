"""A program of the fault cases as a process that will be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from choros import App
from tests.private_servers import die_with_parent


@contextmanager
def doomed(program: str, app: App, failpoint: str, log: Path, **said: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m tests.fault_cases.PROGRAM`, told by its environment what else it has to know: `store` is
    CHOROS_STORE."""
    said |= {"namespace": app.namespace, "failpoint": failpoint}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {f"CHOROS_{name.upper()}": value for name, value in said.items()}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.fault_cases.{program}"],
            env=environment, stdout=out, stderr=out, preexec_fn=die_with_parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
