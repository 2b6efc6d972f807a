"""Writes `tests/carried/COMMIT/`: what the choros of that commit leaves behind in stores, databases and messages.

    python -m tests.carried.make COMMIT

Run it once for each landed version whose storage or messages differ from the last one's; never again for an old one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.private_servers import PrivateRedis

ROOT = Path(__file__).parents[2]


def make(commit: str) -> Path:
    """The folder with what that version left behind."""
    folder = ROOT / "tests" / "carried" / commit
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        checkout, redis = Path(temporary) / "checkout", PrivateRedis(Path(temporary) / "redis")
        redis.start()
        git("worktree", "add", "--detach", str(checkout), commit)
        try:
            write(checkout, folder, redis.url)
        finally:
            redis.kill()
            git("worktree", "remove", "--force", str(checkout))
    return folder


def write(checkout: Path, folder: Path, redis_url: str) -> None:
    """The application is this one's; the framework is that of the checkout."""
    environment = {**os.environ, "PYTHONPATH": f"{checkout / 'framework'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-P", "-m", "tests.carried.writing", str(folder), redis_url]
    subprocess.run(command, check=True, cwd=checkout.parent, env=environment)


def git(*arguments: str) -> None:
    """Run it in this repository."""
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    make(sys.argv[1])
