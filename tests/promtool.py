"""Prometheus' own tool, which says whether metrics, rules and their tests are right."""

import os
import subprocess
from typing import Any

from tests.private_servers import find_program
from tests.servers import nothing_starts


def promtool(*arguments: str, given: str | None = None) -> str:
    """What it complains of; empty where all is well. Root installs it where apt-get is, as the servers."""
    program = find_program("promtool") or _installed()
    done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False, text=True)
    return "" if done.returncode == 0 and not done.stderr else f"{done.returncode}: {done.stdout}{done.stderr}"


def _installed() -> Any:
    if os.geteuid() == 0 and find_program("apt-get"):
        silent = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with nothing_starts():
            for step in (["update"], ["install", "--yes", "--no-install-recommends", "prometheus"]):
                command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *step]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=silent)
    found = find_program("promtool")
    assert found, "Install promtool first (on Debian: apt install prometheus)."
    return found
