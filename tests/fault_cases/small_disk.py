"""A small disk that can be filled up: a tmpfs, which a keeper unmounts as soon as this process lets go of it, even by
dying. It needs root. (A mount namespace would be neater, but SQLite and df look behind `/proc/PID/root`.)"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.private_servers import BootFailed

KEEPER = 'mount -t tmpfs -o "size=$1m" small-disk "$2" && echo mounted && read -r _; umount --lazy "$2"'


class SmallDisk:
    """So many mebibytes."""

    def __init__(self, path: Path, mebibytes: int) -> None:
        """Mount it; raises BootFailed where that is not allowed."""
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "keeper", str(mebibytes), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is not for it
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"mounted\n":
            self.close()
            raise BootFailed("Nothing can be mounted here: that needs root.")

    def fill(self, leave: int = 0) -> None:
        """Take all space but so many bytes away."""
        space = os.statvfs(self.path)
        with (self.path / "ballast").open("ab") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, space.f_bavail * space.f_frsize - leave))

    def clear(self) -> None:
        """Give the space back."""
        (self.path / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """It is gone, with all that was on it."""
        self._keeper.communicate()


@contextlib.contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """One for a while."""
    disk = SmallDisk(path, mebibytes)
    try:
        yield disk
    finally:
        disk.close()
